import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../http/header-map.ts';

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
}

/** What is known of the client's TLS connection. */
export interface TlsView {
  readonly peerCertificatePresented: boolean;
  readonly peerCertificateValidated: boolean;
}

/** What route matching, hashing and header formatting may know of a stream. Implemented by the pipeline's StreamInfo. */
export interface StreamView {
  /** Chosen once per stream, uniform in [0, 2^53): fractions and weighted clusters of one stream agree. */
  readonly stableRandom: number;
  /** Null on a plain-text connection. */
  readonly downstreamTls: TlsView | null;
  /** The client's address after x-forwarded-for and PROXY protocol, without port; null for a pipe. */
  readonly downstreamRemoteIp: string | null;
  /** Dynamic metadata of a namespace (usually a filter's name); null when nothing was set. */
  dynamicMetadata(namespace: string): MetadataStruct | null;
  filterState(key: string): FilterStateObject | null;
}

/** What a value formatter reads. A response part that has not come yet is null. */
export interface FormatContext {
  readonly stream: StreamView;
  readonly requestHeaders: RequestHeaders | null;
  readonly responseHeaders: ResponseHeaders | null;
  readonly responseTrailers: HeaderMap | null;
}

/** A compiled format string (`%REQ(x)%...`). The pipeline implements it. */
export interface ValueFormatter {
  /** The whole value where it depends on nothing, which spares the call; null otherwise. */
  readonly constant: string | null;
  /** Empty where an operator has nothing to say. */
  format(context: FormatContext): string;
}

/** Text that is the same for every request. */
export class ConstantFormatter implements ValueFormatter {
  readonly constant: string;

  constructor(text: string) {
    this.constant = text;
  }

  format(_context: FormatContext): string {
    return this.constant;
  }
}
