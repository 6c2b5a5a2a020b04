import { ByteBuffer } from '../../../base/byte-buffer.ts';
import { framePrefix, MessageReader } from '../../../grpc/framing.ts';
import { type MethodStats, type MethodStatsTable, methodOfPath } from '../../../grpc/method-stats.ts';
import { encodeGrpcMessage, grpcStatusOfHttp, isGrpcContentType } from '../../../http/grpc-headers.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../../http/header-map.ts';
import { Flow, HttpFilter } from '../../../pipeline/http-filter.ts';
import type { ClusterManager } from '../../../upstream/cluster-manager.ts';
import { decodeBase64 } from './base64.ts';

const BINARY_TYPES: ReadonlySet<string> = new Set(['application/grpc-web', 'application/grpc-web+proto']);
const TEXT_TYPES: ReadonlySet<string> = new Set(['application/grpc-web-text', 'application/grpc-web-text+proto']);

/** Flag byte of the frame that holds the trailers. Source: gRPC, doc/PROTOCOL-WEB.md. */
const TRAILERS_FLAG = 0x80;
/** As much of a body that is no gRPC goes into `grpc-message`. Envoy lets longer ones pass where they come in one piece. */
const MAX_MESSAGE_BYTES = 16_384;
/** Of messages that are sent in base64, which is done message by message. As gRPC's own limit on the wire. */
const MAX_FRAME_BYTES = 0xffff_ffff;

/**
 * gRPC for browsers, which cannot read trailers: they are sent as a last frame of the body; all of it in base64 for clients that
 * can read text only. Source: Envoy, GrpcWebFilter; gRPC, doc/PROTOCOL-WEB.md.
 */
export class GrpcWebFilter extends HttpFilter {
  readonly #table: MethodStatsTable;
  readonly #clusters: ClusterManager;
  #active = false;
  #textRequest = false;
  #textResponse = false;
  #stats: MethodStats | null = null;
  /** Characters of a base64 group that is not whole. */
  #partialGroup = '';
  /** Frames of a response that goes out in base64. */
  #frames: MessageReader | null = null;
  /** Of an answer that is no gRPC: held until its body has become the message. */
  #headers: ResponseHeaders | null = null;

  constructor(table: MethodStatsTable, clusters: ClusterManager) {
    super();
    this.#table = table;
    this.#clusters = clusters;
  }

  override onRequestHeaders(headers: RequestHeaders, _end: boolean): Flow {
    const type = headers.get('content-type');
    if (headers.path === null || type === null) return Flow.Continue;
    this.#textRequest = TEXT_TYPES.has(type);
    if (!this.#textRequest && !BINARY_TYPES.has(type)) return Flow.Continue;
    this.#active = true;
    // The length is that of the body on its way here.
    headers.remove('content-length');
    this.#findStats(headers);
    headers.set('content-type', 'application/grpc');
    const accept = headers.get('accept');
    this.#textResponse = accept !== null && TEXT_TYPES.has(accept);
    headers.set('te', 'trailers');
    if (!headers.has('grpc-accept-encoding')) headers.set('grpc-accept-encoding', 'identity');
    return Flow.Continue;
  }

  #findStats(headers: RequestHeaders): void {
    const { route } = this.stream;
    const cluster = route === null ? null : this.#clusters.get(route.cluster);
    const name = methodOfPath(headers.path);
    if (cluster !== null && name !== null) this.#stats = this.#table.of(cluster, name);
  }

  override onRequestData(data: ByteBuffer, end: boolean): Flow {
    if (!this.#textRequest) return Flow.Continue;
    const text = this.#partialGroup + data.latin1();
    data.clear();
    const whole = text.length - (text.length % 4);
    this.#partialGroup = text.slice(whole);
    const bytes = decodeBase64(text.slice(0, whole));
    if (bytes === null) return this.#refuse('grpc_base_64_decode_failed');
    if (end && this.#partialGroup !== '') return this.#refuse('grpc_base_64_decode_failed_bad_size');
    data.append(bytes);
    return Flow.Continue;
  }

  #refuse(details: string): Flow {
    this.stream.sendLocalReply({
      status: 400,
      body: 'Bad gRPC-web request, invalid base64 data.',
      details,
      grpcStatus: null,
      modifyHeaders: null,
    });
    return Flow.Pause;
  }

  override onResponseHeaders(headers: ResponseHeaders, end: boolean): Flow {
    if (!this.#active) return Flow.Continue;
    this.#stats?.chargeStatus(headers.get('grpc-status'));
    const isGrpc = end ? headers.has('grpc-status') : isGrpcAnswer(headers);
    headers.remove('content-length');
    headers.set('content-type', this.#textResponse ? 'application/grpc-web-text+proto' : 'application/grpc-web+proto');
    if (end || isGrpc) return Flow.Continue;
    this.#headers = headers;
    return Flow.PauseAndBuffer;
  }

  override onResponseData(data: ByteBuffer, end: boolean): Flow {
    if (this.#headers !== null) return this.#collect(data, end);
    if (!this.#textResponse) return Flow.Continue;
    this.#frames ??= new MessageReader(MAX_FRAME_BYTES, true);
    const frames = this.#frames;
    frames.feed(data);
    for (let message = frames.next(); message !== null; message = frames.next()) {
      data.appendLatin1(Buffer.concat([framePrefix(message.length, frames.flags), message]).toString('base64'));
    }
    return Flow.Continue;
  }

  /** Of an answer that is no gRPC. */
  #collect(data: ByteBuffer, end: boolean): Flow {
    const heldBytes = this.stream.bufferedResponse?.length ?? 0;
    if (!end) {
      if (heldBytes >= MAX_MESSAGE_BYTES) data.clear();
      return Flow.PauseAndBuffer;
    }
    this.#describe(data);
    return Flow.Continue;
  }

  /** What is held, and `last` behind it, becomes the message. */
  #describe(last: ByteBuffer | null): void {
    const headers = this.#headers!;
    this.#headers = null;
    const held = this.stream.bufferedResponse;
    const body = `${held?.latin1() ?? ''}${last?.latin1() ?? ''}`.slice(0, MAX_MESSAGE_BYTES);
    held?.clear();
    last?.clear();
    headers.set('grpc-message', encodeGrpcMessage(body));
    headers.set('grpc-status', String(grpcStatusOfHttp(headers.status)));
    headers.set('content-length', '0');
  }

  override onResponseTrailers(trailers: HeaderMap): Flow {
    if (!this.#active) return Flow.Continue;
    this.#stats?.chargeStatus(trailers.get('grpc-status'));
    if (this.#headers !== null) {
      this.#describe(null);
      return Flow.Continue;
    }
    let text = '';
    for (let i = 0; i < trailers.list.length; i += 2) text += `${trailers.list[i]}:${trailers.list[i + 1]}\r\n`;
    trailers.removeWhere(() => true);
    const frame = Buffer.concat([framePrefix(text.length, TRAILERS_FLAG), Buffer.from(text, 'latin1')]);
    const data = new ByteBuffer();
    if (this.#textResponse) data.appendLatin1(frame.toString('base64'));
    else data.append(frame);
    this.stream.addDataBeforeResponseTrailers(data);
    return Flow.Continue;
  }
}

/** Already gRPC, or gRPC-Web in binary. */
function isGrpcAnswer(headers: ResponseHeaders): boolean {
  if (headers.status !== 200) return false;
  const type = headers.get('content-type');
  if (type === null) return false;
  return isGrpcContentType(type) || BINARY_TYPES.has(type.split(';', 1)[0]!.trimEnd().toLowerCase());
}
