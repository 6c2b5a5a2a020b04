import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import { FRAME_PREFIX_BYTES, framePrefix } from '../../../grpc/framing.ts';
import { Protocol } from '../../../http/codec.ts';
import { isGrpcContentType } from '../../../http/grpc-headers.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../../http/header-map.ts';
import { Flow, HttpFilter } from '../../../pipeline/http-filter.ts';

/**
 * Unary gRPC for HTTP/1 clients: the response is held until its trailers have come, whose status then stands in the headers; any
 * but zero makes it a 503. Source: Envoy, Http1BridgeFilter.
 */
export class GrpcHttp1BridgeFilter extends HttpFilter {
  readonly #upgradeProtobuf: boolean;
  readonly #ignoreQuery: boolean;
  #bridges = false;
  /** The client speaks bare protobuf: the frame around its message is ours to make, and that around the answer to take off. */
  #frames = false;
  #headers: ResponseHeaders | null = null;

  constructor(upgradeProtobuf: boolean, ignoreQuery: boolean) {
    super();
    this.#upgradeProtobuf = upgradeProtobuf;
    this.#ignoreQuery = ignoreQuery;
  }

  override onRequestHeaders(headers: RequestHeaders, _end: boolean): Flow {
    if (headers.path === null) return Flow.Continue;
    const isHttp1 = this.stream.info.protocol! < Protocol.Http2;
    if (this.#upgradeProtobuf && headers.get('content-type') === 'application/x-protobuf') {
      headers.set('content-type', 'application/grpc');
      headers.remove('content-length');
      this.stream.clearRouteCache();
      // For HTTP/2 the content type alone is changed: so does Envoy.
      this.#frames = isHttp1;
    }
    this.#bridges = isHttp1 && isGrpcContentType(headers.get('content-type'));
    if (this.#bridges && this.#ignoreQuery) {
      const query = headers.path.indexOf('?');
      if (query >= 0) headers.path = headers.path.slice(0, query);
    }
    return Flow.Continue;
  }

  override onRequestData(data: ByteBuffer, end: boolean): Flow {
    if (!this.#frames) return Flow.Continue;
    if (!end) return Flow.PauseAndBuffer;
    const held = this.stream.bufferedRequest;
    if (held === null) data.prepend(framePrefix(data.length));
    else held.prepend(framePrefix(held.length + data.length));
    return Flow.Continue;
  }

  override onResponseHeaders(headers: ResponseHeaders, end: boolean): Flow {
    if (!this.#bridges || end) return Flow.Continue;
    this.#headers = headers;
    return Flow.PauseAndBuffer;
  }

  /** Held until the trailers; without them it is no gRPC, and goes as it is. */
  override onResponseData(_data: ByteBuffer, end: boolean): Flow {
    return this.#headers === null || end ? Flow.Continue : Flow.PauseAndBuffer;
  }

  override onResponseTrailers(trailers: HeaderMap): Flow {
    const headers = this.#headers;
    if (headers === null) return Flow.Continue;
    const status = trailers.get('grpc-status');
    if (status !== null) {
      if (!/^0+$/.test(status)) headers.status = 503;
      headers.set('grpc-status', status);
    }
    const message = trailers.get('grpc-message');
    if (message !== null) headers.set('grpc-message', message);
    const held = this.stream.bufferedResponse;
    if (this.#frames && held !== null) held.drain(Math.min(FRAME_PREFIX_BYTES, held.length));
    headers.set('content-length', String(held?.length ?? 0));
    return Flow.Continue;
  }
}
