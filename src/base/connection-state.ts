/** A value of dynamic metadata, as `google.protobuf.Value` allows it. */
export type MetadataValue = null | boolean | number | string | readonly MetadataValue[] | MetadataStruct;
export interface MetadataStruct {
  readonly [key: string]: MetadataValue;
}

/** An object that a filter left in the stream's or connection's filter state. */
export interface FilterStateObject {
  /** As `%FILTER_STATE(key:PLAIN)%` and string matchers see it; null where the object has no text form. */
  serialize(): string | null;
  /** The IP address that the object stands for, without port; null for other objects. */
  ipAddress(): string | null;
  /** `%FILTER_STATE(key:FIELD:name)%`; null: it has no such field. */
  field?(name: string): string | null;
  /** `%FILTER_STATE(key:TYPED)%` where that is no text. */
  struct?(): MetadataStruct;
}

/** An object that is but its text. Source: Envoy, Router::StringAccessor. */
export class TextState implements FilterStateObject {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  serialize(): string {
    return this.text;
  }

  ipAddress(): null {
    return null;
  }
}

/**
 * What filters know of a connection: metadata and objects, from the listener filters on until it is closed. Requests on the
 * connection see the objects; metadata is the connection's own (Envoy: StreamInfo of the connection, with filter state of the
 * life span Connection). Made only where something is set.
 */
export class ConnectionState {
  readonly metadata = new Map<string, MetadataStruct>();
  readonly objects = new Map<string, FilterStateObject>();
  /** Keys of objects that connections to upstreams take over (Envoy: StreamSharingMayImpactPooling). */
  readonly shared = new Set<string>();

  /** Merges `values` into the namespace (Envoy: StreamInfo::setDynamicMetadata). */
  setMetadata(namespace: string, values: MetadataStruct): void {
    const before = this.metadata.get(namespace);
    this.metadata.set(namespace, before === undefined ? values : { ...before, ...values });
  }
}
