import { field, type SnapshotResource, type SnapshotType, textField } from './snapshot.ts';

/** Encoded wildcard answers that are kept. Each group has one of each type; older ones are made anew. */
const MAX_KEPT = 64;

/** A resource of a delta response. */
export interface DeltaItem {
  readonly name: string;
  readonly version: string;
  readonly any: Uint8Array;
  readonly aliases?: readonly string[];
}

/**
 * Discovery responses as bytes. A thousand clients of one group are told of a change by the same bytes but for the nonce.
 * Source: envoy.service.discovery.v3.DiscoveryResponse and DeltaDiscoveryResponse.
 */
export class ResponseEncodings {
  readonly #identifier: Buffer;
  readonly #bodies = new Map<SnapshotType, Buffer>();

  /** @param identifier names this control plane to its clients */
  constructor(identifier: string) {
    this.#identifier = textField(1, identifier);
  }

  /** All of a type, for state of the world. */
  sotwType(type: SnapshotType, nonce: string): Uint8Array {
    let body = this.#bodies.get(type);
    if (body === undefined) {
      body = this.#sotwBody(type.typeUrl, type.version, [...type.resources.values()]);
      if (this.#bodies.size >= MAX_KEPT) this.#bodies.delete(this.#bodies.keys().next().value!);
      this.#bodies.set(type, body);
    }
    return Buffer.concat([body, textField(5, nonce)]);
  }

  sotw(typeUrl: string, version: string, resources: readonly SnapshotResource[], nonce: string): Uint8Array {
    return Buffer.concat([this.#sotwBody(typeUrl, version, resources), textField(5, nonce)]);
  }

  #sotwBody(typeUrl: string, version: string, resources: readonly SnapshotResource[]): Buffer {
    return Buffer.concat([
      textField(1, version),
      ...resources.map((resource) => field(2, resource.any)),
      textField(4, typeUrl),
      field(6, this.#identifier),
    ]);
  }

  delta(
    typeUrl: string,
    version: string,
    changed: readonly DeltaItem[],
    removed: readonly string[],
    nonce: string,
  ): Uint8Array {
    return Buffer.concat([
      textField(1, version),
      ...changed.map(({ name, version: own, any, aliases = [] }) =>
        field(
          2,
          Buffer.concat([
            textField(1, own),
            // One without content says that there is nothing of this name (virtual hosts on demand).
            ...(any.length === 0 ? [] : [field(2, any)]),
            textField(3, name),
            ...aliases.map((alias) => textField(4, alias)),
          ]),
        ),
      ),
      textField(4, typeUrl),
      textField(5, nonce),
      ...removed.map((name) => field(6, Buffer.from(name, 'utf8'))),
      field(7, this.#identifier),
    ]);
  }
}
