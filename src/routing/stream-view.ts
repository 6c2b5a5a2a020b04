import type { FilterStateObject, MetadataStruct } from '../base/connection-state.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../http/header-map.ts';

export type { FilterStateObject, MetadataStruct, MetadataValue } from '../base/connection-state.ts';

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
