import { ByteBuffer } from '../base/byte-buffer.ts';
import {
  type CodecStream,
  Protocol,
  type RequestDecoder,
  ResetReason,
  type ResponseEncoder,
  type StreamEvents,
} from '../http/codec.ts';
import { isGrpcContentType } from '../http/grpc-headers.ts';
import { HeaderMap, type RequestHeaders, type ResponseHeaders } from '../http/header-map.ts';
import { HeldMetadata, type MetadataSink, type StreamMetadata } from '../http/stream-metadata.ts';
import type { Connection } from '../net/connection.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { Route } from '../routing/route.ts';
import { ActionKind } from '../routing/route-action.ts';
import type { RouteTable, RouteTableChoice } from '../routing/route-table.ts';
import { AccessLogType, type LogContext } from './access-logger.ts';
import type { HttpConnectionManager } from './connection-manager.ts';
import type { ConnectionManagerConfig } from './connection-manager-config.ts';
import { asksForClose, upgradeType } from './connection-tokens.ts';
import type { FilterSlot } from './filter-slot.ts';
import type { LocalReply, ResponseWatermarks } from './http-filter.ts';
import { formatLocalReply } from './local-reply-message.ts';
import type { DemandWaiter } from './on-demand.ts';
import { sanitizeRequest } from './request-sanitizing.ts';
import { finishInformationalHeaders, finishResponseHeaders } from './response-finishing.ts';
import { ResponseFlag } from './response-flag.ts';
import { StreamFilters, upgradeFilters } from './stream-filters.ts';
import { StreamInfo, UpstreamInfo } from './stream-info.ts';
import { type StreamTimeouts, StreamTimers, streamDuration } from './stream-timers.ts';
import { StreamTrace } from './trace/stream-trace.ts';
import { chargeTracing, decideTracing, decorateRequest, isTraced, type TracingConfig } from './tracing.ts';

/** A request whose filters have not seen it yet. The peer's window bounds what it holds. */
class DeferredRequest {
  readonly data = new ByteBuffer();
  end: boolean;

  constructor(end: boolean) {
    this.end = end;
  }
}

/**
 * One request on its way: owns headers, filters, timers and the access-log entry. Made by the connection manager.
 *
 * (Longer than most files: what request, response and their ends do to each other; the steps themselves stand beside it.)
 */
export class ActiveStream implements RequestDecoder, StreamEvents, StreamTimeouts, LogContext {
  readonly manager: HttpConnectionManager;
  readonly config: ConnectionManagerConfig;
  readonly connection: Connection;
  readonly dispatcher: Dispatcher;
  readonly encoder: ResponseEncoder;
  readonly codecStream: CodecStream;
  readonly info: StreamInfo;
  requestHeaders: RequestHeaders | null = null;
  requestTrailers: HeaderMap | null = null;
  responseHeaders: ResponseHeaders | null = null;
  responseTrailers: HeaderMap | null = null;
  logType: AccessLogType = AccessLogType.DownstreamEnd;
  /** Bytes a filter may hold back of the request and of the response. */
  requestBufferLimit: number;
  responseBufferLimit: number;
  /** The last byte of the request has arrived. */
  requestComplete = false;
  /** Response headers have gone to the codec. */
  responseStarted = false;
  /** The last byte of the response has gone to the codec. */
  responseComplete = false;
  /** The response opens a tunnel: bytes without HTTP semantics follow. */
  isTunnel = false;
  isHeadRequest = false;
  isGrpcRequest = false;
  /** Its request has been through the filters before (internal redirect). */
  readonly isRecreated: boolean;
  /** The connection is to be closed behind this response. */
  closesConnection = false;
  /** What the codec says of its error on this stream; empty: there was none. */
  codecDetails = '';
  /** `x-envoy-decorator-operation` of the response; empty: none. */
  decoratedOperation = '';
  /** Null: there is no tracer, or it cannot read what the request says of its trace. */
  trace: StreamTrace | null = null;
  #traced = false;
  /** The caller's name for the operation goes before any route's in the response: there is none. */
  #namedByCaller = false;
  #localReplySent = false;
  #metadataSink: MetadataSink | null = null;
  /** Waits for `#metadataSink`. */
  #requestMetadata: HeldMetadata | null = null;
  /** Waits for the response's headers. */
  #responseMetadata: HeldMetadata | null = null;
  #destroyed = false;
  #routes: RouteTableChoice | null = null;
  /** What the route waits for. */
  #demand: DemandWaiter | null = null;
  #route: Route | null = null;
  #routePicked = false;
  #chainCreated = false;
  /** What has come of a request that other streams of its connection go before; null: it is not put off. */
  #deferred: DeferredRequest | null = null;
  readonly #filters: StreamFilters;
  readonly #timers: StreamTimers;
  #watermarks: ResponseWatermarks | null = null;
  /** Reasons why the response's sink is full: the codec, and filters that hold back. */
  #sinkFull = 0;
  #upgradeCounted = false;

  /** @param earlier the stream whose request begins anew in this one; null: a new request */
  constructor(manager: HttpConnectionManager, encoder: ResponseEncoder, earlier: ActiveStream | null = null) {
    this.manager = manager;
    const config = manager.config;
    this.config = config;
    this.connection = manager.connection;
    const dispatcher = manager.connection.dispatcher;
    this.dispatcher = dispatcher;
    this.encoder = encoder;
    this.codecStream = encoder.stream;
    this.info = new StreamInfo(
      manager.connection,
      earlier === null ? dispatcher.wallMs : earlier.info.startWallMs,
      earlier === null ? dispatcher.nowMs : earlier.info.startMs,
      Math.floor(dispatcher.random.float() * 0x20_0000_0000_0000),
    );
    this.isRecreated = earlier !== null;
    if (earlier !== null) this.info.continueFrom(earlier.info);
    this.info.protocol = encoder.stream.protocol;
    this.info.listener = manager.context.listener;
    this.info.downstreamMeter = encoder.stream.meter;
    this.requestBufferLimit = manager.bufferLimit;
    this.responseBufferLimit = manager.bufferLimit;
    this.#filters = new StreamFilters(this);
    const timers = new StreamTimers(this, dispatcher);
    this.#timers = timers;
    this.codecStream.setEvents(this);
    if (config.streamIdleTimeoutMs > 0) timers.setIdle(config.streamIdleTimeoutMs);
    if (config.requestTimeoutMs > 0) timers.startRequest(config.requestTimeoutMs);
    if (config.requestHeadersTimeoutMs > 0) timers.startHeaders(config.requestHeadersTimeoutMs);
    if (config.maxStreamDurationMs > 0) timers.setDuration(config.maxStreamDurationMs);
    if (config.accessLogFlushIntervalMs > 0) timers.startPeriodicLog(config.accessLogFlushIntervalMs);
  }

  get stream(): StreamInfo {
    return this.info;
  }

  get destroyed(): boolean {
    return this.#destroyed;
  }

  // --- request ---

  onHeaders(headers: RequestHeaders, end: boolean): void {
    if (this.#destroyed) return;
    const { config, info } = this;
    this.requestHeaders = headers;
    this.isHeadRequest = headers.method === 'HEAD';
    this.isGrpcRequest = isGrpcContentType(headers.get('content-type'));
    this.#timers.stopHeaders();
    info.headersEndMs = this.dispatcher.nowMs;
    if (end) this.#markRequestComplete();
    // Protocol 1.0 is told only once the head is parsed.
    info.protocol = this.codecStream.protocol;
    if (asksForClose(headers, info.protocol)) this.closesConnection = true;
    const refusal = sanitizeRequest(this, headers);
    if (this.#destroyed || this.#localReplySent) return;
    if (refusal !== null) {
      this.sendLocalReply(refusal);
      return;
    }
    this.pickRoute();
    const { tracing } = config;
    // What began anew was decided upon the first time.
    if (tracing !== null && !this.isRecreated) {
      decideTracing(tracing, headers, this.#route, info, this.dispatcher.random.uint32());
    }
    if (config.accessLogOnNewRequest) this.log(AccessLogType.DownstreamStart);
    if (!this.#createChain() && this.#route !== null) {
      // What follows on the connection may be meant for the protocol that was asked for.
      this.closesConnection = true;
      config.stats.downstreamRqWsOnNonWsRoute.inc();
      this.#answer(403, '', 'upgrade_failed');
      return;
    }
    if (tracing !== null) this.#beginTrace(tracing, headers);
    if (this.manager.putsRequestOff()) this.#putOff(end);
    else this.#filters.requestHeaders(end);
    this.#timers.touch();
  }

  #beginTrace(tracing: TracingConfig, headers: RequestHeaders): void {
    const { info } = this;
    this.#traced = true;
    if (tracing.tracer !== null) {
      const name = tracing.egress ? `egress ${headers.authority ?? ''}` : 'ingress';
      const span = tracing.tracer.startSpan(tracing, headers, info, name, isTraced(info));
      if (span !== null) {
        this.trace = new StreamTrace(tracing, span, this);
        info.traceId = span.traceId;
        info.spanId = span.spanId;
      }
    }
    const span = this.trace === null ? null : this.trace.span;
    const named = decorateRequest(tracing, headers, this.#route, span);
    this.decoratedOperation = named ?? '';
    this.#namedByCaller = named === null;
  }

  /** Another route decides anew. Source: Envoy, ActiveStream::refreshTracing. */
  #refreshTrace(tracing: TracingConfig, headers: RequestHeaders): void {
    const { info, trace } = this;
    decideTracing(tracing, headers, this.#route, info, this.dispatcher.random.uint32());
    const span = trace === null ? null : trace.span;
    if (span?.usesLocalDecision) span.setSampled(isTraced(info));
    const named = decorateRequest(tracing, headers, this.#route, span);
    if (!this.#namedByCaller) this.decoratedOperation = named ?? '';
  }

  #putOff(end: boolean): void {
    this.#deferred = new DeferredRequest(end);
    // Or the peer's window would not bound what is kept.
    this.codecStream.pauseReads();
  }

  /** Goes on with a request that was put off to this turn. @returns false: it was not */
  resumeDeferred(): boolean {
    const deferred = this.#deferred;
    if (deferred === null || this.#destroyed) return false;
    this.#deferred = null;
    this.codecStream.resumeReads();
    const { data, end } = deferred;
    const trailers = this.requestTrailers !== null;
    const empty = data.length === 0;
    this.#filters.requestHeaders(end && empty && !trailers);
    if (!empty && !this.#destroyed && !this.#filters.requestHalted) this.#filters.requestData(data, end && !trailers);
    if (trailers && !this.#destroyed && !this.#filters.requestHalted) this.#filters.requestTrailers();
    return true;
  }

  onData(data: ByteBuffer, end: boolean): void {
    if (this.#destroyed) return;
    this.info.bytesReceived += data.length;
    if (end) this.#markRequestComplete();
    this.#timers.touch();
    if (this.#deferred !== null) {
      this.#deferred.data.moveFrom(data);
      this.#deferred.end = end;
      return;
    }
    if (this.#filters.requestHalted) data.clear();
    else this.#filters.requestData(data, end);
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.#destroyed) return;
    this.requestTrailers = trailers;
    this.#markRequestComplete();
    this.#timers.touch();
    if (this.#deferred === null && !this.#filters.requestHalted) this.#filters.requestTrailers();
  }

  /** Filters have no say in it; the terminal filter takes it when it is ready. */
  onMetadata(metadata: StreamMetadata): void {
    if (this.#destroyed || this.#localReplySent) return;
    this.#timers.touch();
    if (this.#metadataSink !== null) {
      this.#metadataSink.encodeMetadata(metadata);
      return;
    }
    this.#requestMetadata ??= new HeldMetadata();
    if (!this.#requestMetadata.add(metadata)) this.resetByFilter(ResetReason.Overflow, 'too_much_metadata');
  }

  setMetadataSink(sink: MetadataSink | null): void {
    this.#metadataSink = sink;
    if (sink !== null) this.#requestMetadata?.passTo(sink);
  }

  #markRequestComplete(): void {
    this.requestComplete = true;
    this.info.lastRxByteMs = this.dispatcher.nowMs;
  }

  /** The whole request has passed the filters: its timeout is over. */
  onRequestForwarded(): void {
    this.#timers.stopRequest();
  }

  // --- route ---

  /** The request's route, picked when first asked for and kept until `clearRouteCache`. */
  route(): Route | null {
    if (!this.#routePicked) this.pickRoute();
    return this.#route;
  }

  /** Taken once: a request that is routed anew is so by the table that it began with. Null: there is none. */
  routeTable(headers: RequestHeaders): RouteTable | null {
    this.#routes ??= this.config.routes.current();
    return this.#routes === null ? null : this.#routes.tableFor(headers);
  }

  /**
   * Asks for what the table lacks that the request's route may be in; when it is settled, the route is picked anew.
   * @returns false: there is nothing to ask for
   */
  demandRoutes(waiter: DemandWaiter): boolean {
    const headers = this.requestHeaders;
    const demand = headers === null || this.#routes === null ? null : this.#routes.demandFor(headers);
    if (demand === null) return false;
    const settled: DemandWaiter = {
      onDemandSettled: (outcome) => {
        this.#demand = null;
        // An answer of ours may be on its way out by now: it stands, and nothing is routed any more.
        if (this.#destroyed || this.#localReplySent) return;
        this.#routes = null;
        this.clearRouteCache();
        waiter.onDemandSettled(outcome);
      },
    };
    this.#demand = settled;
    this.config.environment.onDemand.ask(demand, settled);
    return true;
  }

  pickRoute(): void {
    this.#routePicked = true;
    const headers = this.requestHeaders;
    const table = headers === null ? null : this.routeTable(headers);
    const route = table === null ? null : table.route(headers!, this.info);
    this.#route = route;
    this.info.route = route;
    this.info.routeResolutionCount++;
    // Filters may still ask for it at the very end: no timer begins any more.
    // A request that was sent may be routed anew.
    if (this.info.upstream !== null && route?.action.kind !== ActionKind.Forward) this.info.upstream.clearCluster();
    if (this.#traced && !this.#destroyed && this.config.tracing !== null)
      this.#refreshTrace(this.config.tracing, headers!);
    if (route === null || this.#destroyed) return;
    const limit = route.requestBodyBufferLimit;
    if (limit !== null) this.requestBufferLimit = limit;
    const { action } = route;
    if (action.kind !== ActionKind.Forward) return;
    this.#noteCluster(route.cluster);
    if (action.idleTimeoutMs !== null) this.#timers.setIdle(action.idleTimeoutMs);
    if (action.flushTimeoutMs !== null) this.encoder.setFlushTimeout(action.flushTimeoutMs);
    if (action.streamDuration.configured) {
      const grpc = this.isGrpcRequest;
      const ms = streamDuration(action.streamDuration, headers!, this.config.maxStreamDurationMs, grpc);
      if (ms === null) this.#timers.stopDuration();
      else this.#timers.setDuration(ms - (this.dispatcher.nowMs - this.info.startMs));
    }
  }

  /** Known from the route on, whatever becomes of the request: for logs of local replies. */
  #noteCluster(name: string): void {
    const cluster = this.config.environment.clusters.get(name);
    if (cluster === null) return;
    this.info.upstream ??= new UpstreamInfo();
    this.info.upstream.setCluster(cluster.spec);
  }

  clearRouteCache(): void {
    this.#routePicked = false;
    this.#route = null;
  }

  // --- filters ---

  /** @returns false: an upgrade that is not allowed; the filters are then the usual ones */
  #createChain(): boolean {
    this.#chainCreated = true;
    const upgrade = upgradeType(this.requestHeaders!);
    const chosen = upgrade === null ? null : upgradeFilters(this.config, this.#route, upgrade);
    this.#filters.create(chosen ?? this.config.filters, this.#route);
    if (chosen === null) return upgrade === null;
    this.config.stats.downstreamCxUpgradesTotal.inc();
    this.config.stats.downstreamCxUpgradesActive.inc();
    this.#upgradeCounted = true;
    return true;
  }

  continueRequest(slot: FilterSlot): void {
    this.#filters.continueRequest(slot);
  }

  continueResponse(slot: FilterSlot): void {
    this.#filters.continueResponse(slot);
  }

  injectResponseData(slot: FilterSlot, data: ByteBuffer): void {
    if (this.#destroyed) {
      data.clear();
      return;
    }
    this.#timers.touch();
    this.#filters.injectResponse(slot, data);
  }

  addRequestTrailers(): HeaderMap {
    this.requestTrailers = new HeaderMap();
    this.#filters.markRequestTrailersAdded();
    return this.requestTrailers;
  }

  addResponseTrailers(): HeaderMap {
    this.responseTrailers = new HeaderMap();
    this.#filters.markResponseTrailersAdded();
    return this.responseTrailers;
  }

  addDataBeforeResponseTrailers(data: ByteBuffer): void {
    this.#filters.addDataBeforeResponseTrailers(data);
  }

  // --- backpressure ---

  pauseRequest(): void {
    if (this.#destroyed) return;
    this.config.stats.downstreamFlowControlPausedReadingTotal.inc();
    this.codecStream.pauseReads();
  }

  resumeRequest(): void {
    if (this.#destroyed) return;
    this.config.stats.downstreamFlowControlResumedReadingTotal.inc();
    this.codecStream.resumeReads();
  }

  setResponseWatermarks(observer: ResponseWatermarks | null): void {
    this.#watermarks = observer;
    if (observer !== null) for (let i = 0; i < this.#sinkFull; i++) observer.onResponseSinkFull();
  }

  onAboveWriteHighWatermark(): void {
    this.#sinkFull++;
    this.#watermarks?.onResponseSinkFull();
  }

  onBelowWriteLowWatermark(): void {
    this.#sinkFull--;
    this.#watermarks?.onResponseSinkReady();
  }

  onResponseBufferFull(): void {
    this.onAboveWriteHighWatermark();
  }

  onResponseBufferReady(): void {
    if (!this.#destroyed) this.onBelowWriteLowWatermark();
  }

  onRequestTooLarge(): void {
    // Envoy's HTTP/1 codec tells of the end behind the body, so a body refused is never complete there: the connection closes.
    if (this.codecStream.protocol < Protocol.Http2) this.requestComplete = false;
    this.config.stats.downstreamRqTooLarge.inc();
    this.#answer(413, 'Payload Too Large', 'request_payload_too_large');
  }

  onResponseTooLarge(): void {
    this.config.stats.rsTooLarge.inc();
    this.#answer(500, 'Internal Server Error', 'response_payload_too_large');
  }

  // --- response, from the terminal filter ---

  on1xxHeaders(headers: ResponseHeaders): void {
    if (this.#destroyed || this.responseHeaders !== null || !this.config.proxy100Continue) return;
    this.#timers.touch();
    this.#filters.informational(headers);
    if (this.#destroyed) return;
    finishInformationalHeaders(this, headers);
    this.manager.chargeResponse(this, headers.status);
    this.encoder.encode1xxHeaders(headers);
  }

  onResponseHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.#destroyed) return;
    this.responseHeaders = headers;
    this.#timers.touch();
    this.#timers.stopRequest();
    this.#filters.responseHeaders(end);
  }

  onResponseData(data: ByteBuffer, end: boolean): void {
    if (this.#destroyed || this.#filters.responseHalted) {
      data.clear();
      return;
    }
    this.#timers.touch();
    this.#filters.responseData(data, end);
  }

  onResponseTrailers(trailers: HeaderMap): void {
    if (this.#destroyed || this.#filters.responseHalted) return;
    this.responseTrailers = trailers;
    this.#timers.touch();
    this.#filters.responseTrailers();
  }

  encodeMetadata(metadata: StreamMetadata): void {
    if (this.#destroyed || this.#localReplySent || this.responseComplete) return;
    if (this.responseStarted) {
      this.encoder.encodeMetadata(metadata);
      return;
    }
    this.#responseMetadata ??= new HeldMetadata();
    if (!this.#responseMetadata.add(metadata)) this.resetByFilter(ResetReason.Overflow, 'too_much_metadata');
  }

  // --- response, to the codec ---

  encodeHeadersToCodec(end: boolean): void {
    if (this.#destroyed || this.responseStarted) return;
    const headers = this.responseHeaders!;
    this.info.firstTxByteMs = this.dispatcher.nowMs;
    finishResponseHeaders(this, headers);
    this.manager.chargeResponse(this, headers.status);
    this.responseStarted = true;
    if (this.isTunnel && this.config.accessLogOnTunnelEstablished) {
      this.log(AccessLogType.DownstreamTunnelSuccessfullyEstablished);
    }
    this.encoder.encodeHeaders(headers, end);
    if (end) this.#onResponseEnd();
    else if (this.#responseMetadata !== null && !this.#localReplySent) this.#responseMetadata.passTo(this.encoder);
  }

  encodeDataToCodec(data: ByteBuffer, end: boolean): void {
    if (this.#destroyed || this.responseComplete) {
      data.clear();
      return;
    }
    this.info.bytesSent += data.length;
    this.encoder.encodeData(data, end);
    if (end) this.#onResponseEnd();
  }

  encodeTrailersToCodec(): void {
    if (this.#destroyed || this.responseComplete) return;
    this.encoder.encodeTrailers(this.responseTrailers!);
    this.#onResponseEnd();
  }

  #onResponseEnd(): void {
    const now = this.dispatcher.nowMs;
    this.responseComplete = true;
    this.info.lastTxByteMs = now;
    this.config.stats.downstreamRqTime.recordValue(Math.round(now - this.info.startMs));
    this.manager.endStream(this);
  }

  // --- local replies ---

  #answer(status: number, body: string, details: string, grpcStatus: number | null = null): void {
    this.sendLocalReply({ status, body, details, grpcStatus, modifyHeaders: null });
  }

  /** Answers from here, through the response filters where they exist. A response that has begun is reset instead. */
  sendLocalReply(reply: LocalReply): void {
    if (this.#destroyed) return;
    this.info.responseCodeDetails = reply.details;
    // A bad request leaves the framing in doubt.
    if (
      reply.status === 400 &&
      this.codecStream.protocol < Protocol.Http2 &&
      !this.encoder.streamErrorOnInvalidHttpMessage
    ) {
      this.closesConnection = true;
    }
    if (this.responseStarted || this.responseComplete) {
      this.resetByFilter(ResetReason.LocalReset, '');
      return;
    }
    this.#filters.haltForLocalReply();
    this.#localReplySent = true;
    if (!this.#chainCreated && this.requestHeaders !== null) this.#createChain();
    // A response on its way through the filters is given up: its filters do not see a second one.
    const bypass = this.responseHeaders !== null;
    if (bypass) this.#filters.haltResponse();
    const { headers, body: text } = formatLocalReply(this, reply);
    this.responseHeaders = headers;
    this.#timers.touch();
    this.#timers.stopRequest();
    const body = text === '' || this.isHeadRequest ? null : ByteBuffer.from(Buffer.from(text, 'latin1'));
    if (!bypass) {
      this.#filters.localResponse(body);
      return;
    }
    this.encodeHeadersToCodec(body === null);
    if (body !== null && !this.#destroyed) this.encodeDataToCodec(body, true);
  }

  // --- ends ---

  /** Source: Envoy, ConnectionManagerImpl::ActiveStream::recreateStream. */
  recreate(response: ResponseHeaders, body: ByteBuffer | null): boolean {
    if (this.#destroyed || !this.requestComplete) return false;
    this.responseHeaders = response;
    this.info.responseCode = response.status;
    if (this.config.tracing !== null) chargeTracing(this.config.tracingStats, this.info);
    this.info.responseCodeDetails = 'internal_redirect';
    this.manager.recreateStream(this, body);
    return true;
  }

  /** A filter (or the router) gives the stream up. */
  resetByFilter(_reason: ResetReason, details: string): void {
    if (this.#destroyed) return;
    if (details !== '') this.info.responseCodeDetails = details;
    this.config.stats.downstreamRqTxReset.inc();
    this.manager.endStream(this);
  }

  /** From the codec. */
  onStreamReset(reason: ResetReason, details: string): void {
    if (this.#destroyed) return;
    if (details !== '') this.codecDetails = details;
    if (reason === ResetReason.ProtocolError) this.manager.noteBrokenStream();
    // NO_ERROR of HTTP/2 comes without details, and sets no flag.
    if (details !== '' && (reason === ResetReason.RemoteReset || reason === ResetReason.RemoteRefusedStreamReset)) {
      this.info.setFlag(ResponseFlag.DownstreamRemoteReset);
      if (this.info.responseCodeDetails === '') this.info.responseCodeDetails = 'downstream_remote_reset';
    }
    this.onReset(reason);
  }

  /** The codec's stream is gone before its end, whoever ended it. Source: Envoy, ActiveStream::onResetStream. */
  onReset(reason: ResetReason): void {
    if (this.#destroyed) return;
    this.config.stats.downstreamRqRxReset.inc();
    if (this.codecDetails !== '') {
      this.info.responseCodeDetails = this.codecDetails;
      if (reason !== ResetReason.RemoteReset && reason !== ResetReason.RemoteRefusedStreamReset) {
        this.info.setFlag(ResponseFlag.DownstreamProtocolError);
      }
    }
    this.manager.onStreamGone(this);
  }

  onStreamIdle(): void {
    this.config.stats.downstreamRqIdleTimeout.inc();
    this.info.setFlag(ResponseFlag.StreamIdleTimeout);
    this.#answer(this.#timeoutStatus, 'stream timeout', 'stream_idle_timeout');
  }

  onRequestTimeout(): void {
    this.config.stats.downstreamRqTimeout.inc();
    this.#answer(this.#timeoutStatus, 'request timeout', 'request_overall_timeout');
  }

  onRequestHeadersTimeout(): void {
    this.config.stats.downstreamRqHeaderTimeout.inc();
    this.#answer(this.#timeoutStatus, 'request header timeout', 'request_header_timeout');
  }

  onMaxStreamDuration(): void {
    this.config.stats.downstreamRqMaxDurationReached.inc();
    this.#answer(this.#timeoutStatus, 'downstream duration timeout', 'max_duration_timeout', 4);
  }

  /** Who kept the other waiting: we, once the request is complete. */
  get #timeoutStatus(): number {
    return this.requestComplete ? 504 : 408;
  }

  onPeriodicLog(): void {
    this.log(AccessLogType.DownstreamPeriodic);
  }

  /** Ends filters and timers and writes the access log. Once. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#timers.stopAll();
    if (this.#deferred !== null) {
      this.#deferred.data.clear();
      this.codecStream.resumeReads();
    }
    if (this.#demand !== null) this.config.environment.onDemand.forget(this.#demand);
    this.info.endMs = this.dispatcher.nowMs;
    this.#filters.end();
    if (this.info.healthCheck) this.config.tracingStats.healthCheck.inc();
    this.trace?.finish();
    if (this.#upgradeCounted) this.config.stats.downstreamCxUpgradesActive.dec();
    this.log(AccessLogType.DownstreamEnd);
    this.#filters.destroy();
  }

  log(type: AccessLogType): void {
    const loggers = this.config.accessLoggers;
    if (loggers.length === 0) return;
    this.logType = type;
    for (let i = 0; i < loggers.length; i++) loggers[i]!.log(this);
  }
}
