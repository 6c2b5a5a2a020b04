import { ByteBuffer } from '../../base/byte-buffer.ts';
import {
  Protocol,
  type RequestEncoder,
  ResetReason,
  type ResponseDecoder,
  type StreamEvents,
} from '../../http/codec.ts';
import { type HeaderMap, RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import type { HeaderMutations } from '../../routing/header-mutation.ts';
import type { FilterStateObject, FormatContext, MetadataStruct, ValueFormatter } from '../../routing/stream-view.ts';
import type { Host } from '../../upstream/host.ts';
import {
  type HttpPool,
  type PendingStream,
  PoolFailure,
  type PoolWaiter,
  type UpstreamConnectionInfo,
} from '../../upstream/pool.ts';
import type { StreamInfo } from '../stream-info.ts';

/** `tunneling_config`. */
export interface TunnelConfig {
  /** Value of `:authority`. */
  readonly hostname: ValueFormatter;
  /** POST instead of CONNECT. */
  readonly usePost: boolean;
  readonly postPath: string;
  readonly headersToAdd: HeaderMutations;
  /** Each request gets an id, in this header and under this key of the connection's metadata. Null: none. */
  readonly requestId: { readonly header: string; readonly metadataKey: string } | null;
  /** The response's headers (and trailers) are left in the connection's filter state. */
  readonly propagateResponseHeaders: boolean;
  readonly propagateResponseTrailers: boolean;
}

const METADATA_NAMESPACE = 'envoy.filters.network.tcp_proxy';
const RESPONSE_HEADERS_KEY = 'envoy.tcp_proxy.propagate_response_headers';
const RESPONSE_TRAILERS_KEY = 'envoy.tcp_proxy.propagate_response_trailers';

/** What the tunnel tells its owner. Between `onTunnelReady` and `onTunnelClosed` bytes flow. */
export interface TunnelOwner {
  readonly stream: StreamInfo;
  onTunnelReady(tunnel: HttpTunnel, host: Host, info: UpstreamConnectionInfo): void;
  onPoolFailure(reason: PoolFailure, transportFailureReason: string, host: Host): void;
  onUpstreamData(data: ByteBuffer, end: boolean): void;
  onTunnelClosed(): void;
  pauseDownstream(): void;
  resumeDownstream(): void;
}

/** Headers or trailers of the proxy's answer, for logs. Source: Envoy, TunnelResponseHeadersOrTrailers. */
class TunnelHeaders implements FilterStateObject {
  readonly #headers: HeaderMap;

  constructor(headers: HeaderMap) {
    this.#headers = headers;
  }

  serialize(): null {
    return null;
  }

  ipAddress(): null {
    return null;
  }

  struct(): MetadataStruct {
    const headers: MetadataStruct[] = [];
    if (this.#headers instanceof ResponseHeaders) {
      headers.push({ key: ':status', value: String(this.#headers.status) });
    }
    const { list } = this.#headers;
    for (let i = 0; i < list.length; i += 2) headers.push({ key: list[i]!, value: list[i + 1]! });
    return { headers };
  }
}

/**
 * A TCP connection's bytes inside a CONNECT (or POST) to an HTTP proxy. Source: Envoy, tcp_proxy/upstream.cc, and its
 * documentation "Tunneling TCP over HTTP".
 */
export class HttpTunnel implements ResponseDecoder, PoolWaiter, StreamEvents, PendingStream {
  readonly #owner: TunnelOwner;
  readonly #config: TunnelConfig;
  #pending: PendingStream | null = null;
  #encoder: RequestEncoder | null = null;
  #info: UpstreamConnectionInfo | null = null;
  #host: Host | null = null;
  #ready = false;
  #over = false;
  #readEnded = false;
  #writeEnded = false;

  constructor(owner: TunnelOwner, config: TunnelConfig) {
    this.#owner = owner;
    this.#config = config;
  }

  /** @returns false: the owner has been answered already */
  start(pool: HttpPool): boolean {
    const pending = pool.newStream(this, this);
    if (this.#encoder === null && !this.#over) this.#pending = pending;
    return !this.#over && !this.#ready;
  }

  /** The owner gives up waiting. */
  cancel(): void {
    this.#over = true;
    this.#pending?.cancel();
    this.#pending = null;
    this.#reset();
  }

  /** The owner is done. It hears nothing more. */
  close(): void {
    this.cancel();
  }

  write(data: ByteBuffer, end: boolean): void {
    const encoder = this.#encoder;
    if (encoder === null) {
      data.clear();
      return;
    }
    encoder.encodeData(data, end);
    // An HTTP/1 tunnel ends as a whole, with its connection.
    if (!end || this.#info!.protocol < Protocol.Http2) return;
    this.#writeEnded = true;
    if (this.#readEnded) this.#end();
  }

  pauseReads(): void {
    this.#encoder?.stream.pauseReads();
  }

  resumeReads(): void {
    this.#encoder?.stream.resumeReads();
  }

  // --- PoolWaiter ---

  onPoolReady(encoder: RequestEncoder, host: Host, info: UpstreamConnectionInfo): void {
    this.#pending = null;
    this.#encoder = encoder;
    this.#host = host;
    this.#info = info;
    encoder.stream.setEvents(this);
    const headers = this.#requestHeaders(info);
    if (info.protocol < Protocol.Http2) encoder.enableTcpTunneling();
    if (encoder.encodeHeaders(headers, false) !== null) this.#end();
  }

  onPoolFailure(reason: PoolFailure, transportFailureReason: string, host: Host): void {
    this.#pending = null;
    if (this.#over) return;
    this.#over = true;
    this.#owner.onPoolFailure(reason, transportFailureReason, host);
  }

  #requestHeaders(info: UpstreamConnectionInfo): RequestHeaders {
    const config = this.#config;
    const headers = new RequestHeaders();
    const context: FormatContext = {
      stream: this.#owner.stream,
      requestHeaders: headers,
      responseHeaders: null,
      responseTrailers: null,
    };
    headers.method = config.usePost ? 'POST' : 'CONNECT';
    headers.authority = config.hostname.constant ?? config.hostname.format(context);
    if (config.usePost) {
      headers.path = config.postPath;
      if (info.protocol >= Protocol.Http2) headers.scheme = info.connection.security === null ? 'http' : 'https';
    }
    const { requestId } = config;
    if (requestId !== null) {
      const id = crypto.randomUUID();
      headers.set(requestId.header, id);
      this.#owner.stream.setDynamicMetadata(METADATA_NAMESPACE, { [requestId.metadataKey]: id });
    }
    config.headersToAdd.apply(headers, context);
    return headers;
  }

  // --- ResponseDecoder ---

  on1xxHeaders(_headers: ResponseHeaders): void {}

  onHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.#over || this.#encoder === null) return;
    const { stream } = this.#owner;
    if (this.#config.propagateResponseHeaders) stream.setFilterState(RESPONSE_HEADERS_KEY, new TunnelHeaders(headers));
    const http1 = this.#info!.protocol < Protocol.Http2;
    const agreed = http1 ? headers.status >= 200 && headers.status < 300 : headers.status === 200;
    if (!agreed || end) {
      this.#end();
      return;
    }
    if (this.#ready) return;
    this.#ready = true;
    this.#owner.onTunnelReady(this, this.#host!, this.#info!);
  }

  onData(data: ByteBuffer, end: boolean): void {
    if (!this.#ready || this.#over) {
      data.clear();
      return;
    }
    this.#owner.onUpstreamData(data, end);
    if (end) this.#onReadEnd();
  }

  onTrailers(trailers: HeaderMap): void {
    if (!this.#ready || this.#over) return;
    const { stream } = this.#owner;
    if (this.#config.propagateResponseTrailers)
      stream.setFilterState(RESPONSE_TRAILERS_KEY, new TunnelHeaders(trailers));
    this.#owner.onUpstreamData(new ByteBuffer(), true);
    this.#onReadEnd();
  }

  #onReadEnd(): void {
    this.#readEnded = true;
    if (this.#writeEnded) this.#end();
  }

  // --- StreamEvents ---

  onStreamReset(_reason: ResetReason, _details: string): void {
    this.#encoder = null;
    this.#readEnded = true;
    this.#writeEnded = true;
    this.#end();
  }

  onAboveWriteHighWatermark(): void {
    this.#owner.pauseDownstream();
  }

  onBelowWriteLowWatermark(): void {
    this.#owner.resumeDownstream();
  }

  // --- ends ---

  #reset(): void {
    const encoder = this.#encoder;
    this.#encoder = null;
    if (encoder !== null && (!this.#readEnded || !this.#writeEnded)) encoder.stream.reset(ResetReason.LocalReset);
  }

  /** Without an agreement this is a failure to connect, and may be tried again. */
  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#reset();
    if (this.#ready) this.#owner.onTunnelClosed();
    else this.#owner.onPoolFailure(PoolFailure.RemoteConnectionFailure, '', this.#host!);
  }
}
