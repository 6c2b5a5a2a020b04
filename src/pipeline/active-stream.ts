import { assert } from '../base/assert.ts';
import { ByteBuffer } from '../base/byte-buffer.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import {
  type CodecStream,
  Protocol,
  type RequestDecoder,
  ResetReason,
  type ResponseEncoder,
  type StreamEvents,
} from '../http/codec.ts';
import { HeaderMap, type RequestHeaders, type ResponseHeaders } from '../http/header-map.ts';
import type { Connection } from '../net/connection.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { Route } from '../routing/route.ts';
import { ActionKind } from '../routing/route-action.ts';
import type { StreamDuration } from '../routing/route-policies.ts';
import { AccessLogType, type LogContext } from './access-logger.ts';
import type { HttpConnectionManager } from './connection-manager.ts';
import type { ConnectionManagerConfig, FilterEntry } from './connection-manager-config.ts';
import { FilterSlot, hooksOf } from './filter-slot.ts';
import type { LocalReply, ResponseWatermarks } from './http-filter.ts';
import { formatLocalReply } from './local-reply-message.ts';
import { RequestWalk, ResponseWalk } from './message-walks.ts';
import { sanitizeRequest } from './request-sanitizing.ts';
import { finishResponseHeaders } from './response-finishing.ts';
import { ResponseFlag } from './response-flag.ts';
import { formatGrpcTimeout, readGrpcTimeout } from './router/timeouts.ts';
import { StreamInfo, UpstreamInfo } from './stream-info.ts';

/** One request on its way: owns headers, filters, timers and the access-log entry. Made by the connection manager. */
export class ActiveStream implements RequestDecoder, StreamEvents, TimerTarget, LogContext {
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
  /** CONNECT or an upgrade that was let through: bytes without HTTP semantics. */
  isTunnel = false;
  isHeadRequest = false;
  isGrpcRequest = false;
  sawConnectionClose = false;
  localReplySent = false;
  #destroyed = false;
  #route: Route | null = null;
  #routePicked = false;
  #slots: FilterSlot[] = [];
  #chainCreated = false;
  readonly #requestWalk: RequestWalk;
  readonly #responseWalk: ResponseWalk;
  /** Hooks under way, of any filter and direction. Filters that asked meanwhile to go on wait in #queue. */
  #depth = 0;
  readonly #queue: FilterSlot[] = [];
  #idleTimer: Timer | null = null;
  #requestTimer: Timer | null = null;
  #headerTimer: Timer | null = null;
  #durationTimer: Timer | null = null;
  #periodicLogTimer: Timer | null = null;
  #idleTimeoutMs: number;
  #watermarks: ResponseWatermarks | null = null;
  /** Reasons why the response's sink is full: the codec, and filters that hold back. */
  #sinkFull = 0;
  #upgradeCounted = false;

  constructor(manager: HttpConnectionManager, encoder: ResponseEncoder) {
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
      dispatcher.wallMs,
      dispatcher.nowMs,
      Math.floor(dispatcher.random.float() * 0x20_0000_0000_0000),
    );
    this.info.protocol = encoder.stream.protocol;
    this.info.listener = manager.context.listener;
    this.info.downstreamMeter = encoder.stream.meter;
    this.requestBufferLimit = manager.bufferLimit;
    this.responseBufferLimit = manager.bufferLimit;
    this.#requestWalk = new RequestWalk(this);
    this.#responseWalk = new ResponseWalk(this);
    this.#idleTimeoutMs = config.streamIdleTimeoutMs;
    this.codecStream.setEvents(this);
    if (this.#idleTimeoutMs > 0) {
      this.#idleTimer = dispatcher.timerPool.take(this);
      this.#idleTimer.enable(this.#idleTimeoutMs);
    }
    if (config.requestTimeoutMs > 0) {
      this.#requestTimer = dispatcher.timerPool.take(this);
      this.#requestTimer.enable(config.requestTimeoutMs);
    }
    if (config.requestHeadersTimeoutMs > 0) {
      this.#headerTimer = dispatcher.timerPool.take(this);
      this.#headerTimer.enable(config.requestHeadersTimeoutMs);
    }
  }

  get stream(): StreamInfo {
    return this.info;
  }

  // --- request ---

  onHeaders(headers: RequestHeaders, end: boolean): void {
    if (this.#destroyed) return;
    const config = this.config;
    this.requestHeaders = headers;
    this.isHeadRequest = headers.method === 'HEAD';
    this.isGrpcRequest = isGrpcContentType(headers.get('content-type'));
    this.#headerTimer = this.#drop(this.#headerTimer);
    if (end) this.#markRequestComplete();
    this.info.headersEndMs = end ? this.info.lastRxByteMs : this.dispatcher.clock.monotonicMs();
    this.info.protocol = this.codecStream.protocol;
    // Protocol 1.0 is told only once the head is parsed.
    if (this.codecStream.protocol < Protocol.Http2) {
      this.sawConnectionClose = wantsClose(headers, this.codecStream.protocol);
    }
    const refusal = sanitizeRequest(this, headers, end);
    if (this.#destroyed || this.localReplySent) return;
    if (refusal !== null) {
      this.sendLocalReply(refusal);
      return;
    }
    this.pickRoute();
    if (config.accessLogOnNewRequest) this.#log(AccessLogType.DownstreamStart);
    if (!this.#createChain(headers)) {
      config.stats.downstreamRqWsOnNonWsRoute.inc();
      this.sendLocalReply({ status: 403, body: '', details: 'upgrade_failed', grpcStatus: null, modifyHeaders: null });
      return;
    }
    if (this.isTunnel) {
      config.stats.downstreamCxUpgradesTotal.inc();
      config.stats.downstreamCxUpgradesActive.inc();
      this.#upgradeCounted = true;
    }
    this.#applyRouteTimeouts();
    if (config.accessLogFlushIntervalMs > 0 && this.#periodicLogTimer === null) {
      this.#periodicLogTimer = this.dispatcher.timerPool.take(this);
      this.#periodicLogTimer.enable(config.accessLogFlushIntervalMs);
    }
    this.touch();
    this.#enter();
    this.#requestWalk.headersFrom(0, end);
    this.#leave();
  }

  onData(data: ByteBuffer, end: boolean): void {
    if (this.#destroyed) return;
    this.info.bytesReceived += data.length;
    if (end) this.#markRequestComplete();
    this.touch();
    if (this.#requestWalk.halted) {
      data.clear();
      return;
    }
    this.#enter();
    this.#requestWalk.dataFrom(0, data, end);
    this.#leave();
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.#destroyed) return;
    this.requestTrailers = trailers;
    this.#markRequestComplete();
    this.touch();
    if (this.#requestWalk.halted) return;
    this.#enter();
    this.#requestWalk.trailersFrom(0);
    this.#leave();
  }

  #markRequestComplete(): void {
    this.requestComplete = true;
    this.info.lastRxByteMs = this.dispatcher.clock.monotonicMs();
    this.#requestTimer = this.#drop(this.#requestTimer);
  }

  // --- route ---

  /** The request's route, picked when first asked for and kept until `clearRouteCache`. */
  route(): Route | null {
    if (!this.#routePicked) this.pickRoute();
    return this.#route;
  }

  pickRoute(): void {
    this.#routePicked = true;
    const table = this.manager.routeTable();
    const headers = this.requestHeaders;
    this.#route = table === null || headers === null ? null : table.route(headers, this.info);
    this.info.route = this.#route;
    this.info.routeResolutionCount++;
    if (this.#route !== null) {
      const limit = this.#route.requestBodyBufferLimit;
      if (limit !== null) this.requestBufferLimit = limit;
      if (this.#route.action.kind === ActionKind.Forward) this.#noteCluster(this.#route.cluster);
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

  #applyRouteTimeouts(): void {
    const route = this.#route;
    let durationMs = this.config.maxStreamDurationMs;
    if (route !== null && route.action.kind === ActionKind.Forward) {
      const action = route.action;
      if (action.idleTimeoutMs !== null) {
        this.#idleTimeoutMs = action.idleTimeoutMs;
        if (action.idleTimeoutMs === 0) this.#idleTimer = this.#drop(this.#idleTimer);
        else this.#idleTimer ??= this.dispatcher.timerPool.take(this);
      }
      const duration = action.streamDuration;
      if (duration.maxStreamDurationMs !== null) durationMs = duration.maxStreamDurationMs;
      const grpcMs = duration.grpcTimeoutHeaderMaxMs === null ? null : readGrpcTimeout(this.requestHeaders!);
      if (grpcMs !== null) {
        this.#startDuration(this.#limitGrpcTimeout(grpcMs, duration));
        return;
      }
    }
    if (durationMs > 0) this.#startDuration(durationMs);
  }

  /** Caps `grpc-timeout`, tells the upstream, and leaves some for the way back. Source: Envoy, refreshDurationTimeout. */
  #limitGrpcTimeout(grpcMs: number, duration: StreamDuration): number {
    const maxMs = duration.grpcTimeoutHeaderMaxMs!;
    let timeoutMs = maxMs !== 0 && grpcMs > maxMs ? maxMs : grpcMs;
    const offsetMs = duration.grpcTimeoutHeaderOffsetMs;
    if (timeoutMs !== 0 && offsetMs !== null) timeoutMs = Math.max(0, timeoutMs - offsetMs);
    this.requestHeaders!.set('grpc-timeout', formatGrpcTimeout(timeoutMs));
    return timeoutMs;
  }

  /** @param durationMs of the whole stream, from its beginning */
  #startDuration(durationMs: number): void {
    this.#durationTimer ??= this.dispatcher.timerPool.take(this);
    this.#durationTimer.enable(Math.max(0, durationMs - (this.dispatcher.nowMs - this.info.startMs)));
  }

  // --- filters ---

  #createChain(headers: RequestHeaders): boolean {
    this.#chainCreated = true;
    let entries = this.config.filters;
    const upgrade = upgradeType(headers);
    if (upgrade !== null) {
      const chosen = this.#upgradeFilters(upgrade);
      if (chosen === null) {
        this.#instantiate(entries);
        return false;
      }
      entries = chosen;
      this.isTunnel = true;
    }
    this.#instantiate(entries);
    return true;
  }

  /** Null: this upgrade is not allowed here. */
  #upgradeFilters(type: string): readonly FilterEntry[] | null {
    const route = this.#route;
    const ofRoute = route !== null && route.action.kind === ActionKind.Forward ? route.action.upgrade(type) : null;
    if (ofRoute !== null && !ofRoute.enabled) return null;
    for (const entry of this.config.upgrades) {
      if (entry.type !== type) continue;
      if (!entry.enabled && ofRoute === null) return null;
      return entry.filters ?? this.config.filters;
    }
    return ofRoute === null ? null : this.config.filters;
  }

  #instantiate(entries: readonly FilterEntry[]): void {
    const context = this.manager.context;
    const route = this.#route;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      const ofRoute = route === null || route.filterConfigs.isEmpty ? null : route.filterConfigs.disabled(entry.name);
      if (ofRoute === null ? entry.disabled : ofRoute) continue;
      const filter = entry.builder.createFilter(context);
      if (filter === null) continue;
      const slot = new FilterSlot(this, filter, entry.name, this.manager.hooks(filter, hooksOf));
      this.#slots.push(slot);
      this.#requestWalk.add(slot, entry.builder.isTerminal);
    }
    for (let i = this.#slots.length - 1; i >= 0; i--) this.#responseWalk.add(this.#slots[i]!);
  }

  #enter(): void {
    this.#depth++;
  }

  #leave(): void {
    this.#depth--;
    if (this.#depth > 0) return;
    while (this.#queue.length > 0 && !this.#destroyed) {
      const slot = this.#queue.shift()!;
      this.#depth++;
      // Not set any more: the hook that asked, or a later one, went on by itself.
      if (slot.requestResumed) {
        slot.requestResumed = false;
        this.#requestWalk.release(slot.requestIndex);
      }
      if (slot.responseResumed) {
        slot.responseResumed = false;
        this.#responseWalk.release(slot.responseIndex);
      }
      this.#depth--;
    }
  }

  continueRequest(slot: FilterSlot): void {
    if (this.#destroyed || slot.requestIndex < 0) return;
    if (this.#depth > 0) {
      slot.requestResumed = true;
      this.#queue.push(slot);
      return;
    }
    this.#enter();
    this.#requestWalk.release(slot.requestIndex);
    this.#leave();
  }

  continueResponse(slot: FilterSlot): void {
    if (this.#destroyed || slot.responseIndex < 0) return;
    if (this.#depth > 0) {
      slot.responseResumed = true;
      this.#queue.push(slot);
      return;
    }
    this.#enter();
    this.#responseWalk.release(slot.responseIndex);
    this.#leave();
  }

  injectResponseData(slot: FilterSlot, data: ByteBuffer): void {
    assert(this.#depth === 0, 'data injected inside a hook');
    if (this.#destroyed) {
      data.clear();
      return;
    }
    this.touch();
    this.#enter();
    this.#responseWalk.inject(slot.responseIndex, data);
    this.#leave();
  }

  addRequestTrailers(): HeaderMap {
    this.requestTrailers = new HeaderMap();
    this.#requestWalk.markTrailersAdded();
    return this.requestTrailers;
  }

  addResponseTrailers(): HeaderMap {
    this.responseTrailers = new HeaderMap();
    this.#responseWalk.markTrailersAdded();
    return this.responseTrailers;
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
    this.config.stats.downstreamRqTooLarge.inc();
    if (this.responseHeaders !== null) {
      this.resetByFilter(ResetReason.LocalReset, 'request_payload_exceeded_retry_buffer_limit');
      return;
    }
    this.sendLocalReply({
      status: 413,
      body: 'Payload Too Large',
      details: 'request_payload_too_large',
      grpcStatus: null,
      modifyHeaders: null,
    });
  }

  onResponseTooLarge(): void {
    this.config.stats.rsTooLarge.inc();
    if (this.responseStarted) {
      this.resetByFilter(ResetReason.LocalReset, 'response_payload_too_large');
      return;
    }
    this.sendLocalReply({
      status: 500,
      body: 'Internal Server Error',
      details: 'response_payload_too_large',
      grpcStatus: null,
      modifyHeaders: null,
    });
  }

  // --- response, from the terminal filter ---

  on1xxHeaders(headers: ResponseHeaders): void {
    if (this.#destroyed || this.responseHeaders !== null || !this.config.proxy100Continue) return;
    this.#enter();
    this.#responseWalk.informational(headers);
    this.#leave();
    if (this.#destroyed) return;
    finishResponseHeaders(this, headers, false, true);
    this.encoder.encode1xxHeaders(headers);
  }

  onResponseHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.#destroyed) return;
    this.responseHeaders = headers;
    this.touch();
    this.#enter();
    this.#responseWalk.headersFrom(0, end);
    this.#leave();
  }

  onResponseData(data: ByteBuffer, end: boolean): void {
    if (this.#destroyed || this.#responseWalk.halted) {
      data.clear();
      return;
    }
    this.touch();
    this.#enter();
    this.#responseWalk.dataFrom(0, data, end);
    this.#leave();
  }

  onResponseTrailers(trailers: HeaderMap): void {
    if (this.#destroyed || this.#responseWalk.halted) return;
    this.responseTrailers = trailers;
    this.touch();
    this.#enter();
    this.#responseWalk.trailersFrom(0);
    this.#leave();
  }

  // --- response, to the codec ---

  encodeHeadersToCodec(end: boolean): void {
    if (this.#destroyed || this.responseStarted) return;
    const headers = this.responseHeaders!;
    this.info.responseCode = headers.status;
    this.info.firstTxByteMs = this.dispatcher.clock.monotonicMs();
    finishResponseHeaders(this, headers, end, false);
    this.manager.chargeResponse(this, headers.status);
    this.responseStarted = true;
    if (this.isTunnel && this.config.accessLogOnTunnelEstablished && headers.status < 300) {
      this.#log(AccessLogType.DownstreamTunnelSuccessfullyEstablished);
    }
    this.encoder.encodeHeaders(headers, end);
    if (end) this.#onResponseEnd();
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
    this.responseComplete = true;
    this.info.lastTxByteMs = this.dispatcher.clock.monotonicMs();
    this.manager.endStream(this);
  }

  // --- local replies ---

  /** Answers from here, through the response filters where they exist. A response that has begun is reset instead. */
  sendLocalReply(reply: LocalReply): void {
    if (this.#destroyed) return;
    this.info.responseCodeDetails = reply.details;
    if (this.responseStarted || this.responseComplete) {
      this.resetByFilter(ResetReason.LocalReset, reply.details);
      return;
    }
    this.#requestWalk.halted = true;
    this.localReplySent = true;
    // A bad message leaves doubt about where the next one begins (Envoy: ActiveStream::onLocalReply).
    if (reply.status === 400 && !this.encoder.streamErrorOnInvalidHttpMessage) this.sawConnectionClose = true;
    if (!this.#chainCreated && this.requestHeaders !== null) {
      this.#chainCreated = true;
      this.#instantiate(this.config.filters);
    }
    // A response on its way through the filters is given up: its filters do not see a second one.
    const bypass = this.responseHeaders !== null;
    if (bypass) this.#responseWalk.halted = true;
    const message = formatLocalReply(this, reply);
    this.responseHeaders = message.headers;
    const body = message.body;
    const end = body === '' || this.isHeadRequest;
    if (bypass) {
      this.encodeHeadersToCodec(end);
      if (!end && !this.#destroyed) this.encodeDataToCodec(ByteBuffer.from(Buffer.from(body, 'utf8')), true);
      return;
    }
    this.#enter();
    this.#responseWalk.headersFrom(0, end);
    if (!end && !this.#destroyed && !this.#responseWalk.halted) {
      this.#responseWalk.dataFrom(0, ByteBuffer.from(Buffer.from(body, 'utf8')), true);
    }
    this.#leave();
  }

  // --- ends ---

  /** A filter (or the router) gives the stream up. */
  resetByFilter(_reason: ResetReason, details: string): void {
    if (this.#destroyed) return;
    if (details !== '') this.info.responseCodeDetails = details;
    this.config.stats.downstreamRqTxReset.inc();
    this.manager.endStream(this);
  }

  onStreamReset(reason: ResetReason, details: string): void {
    if (this.#destroyed) return;
    if (details !== '') this.info.responseCodeDetails = details;
    if (reason === ResetReason.RemoteReset || reason === ResetReason.RemoteRefusedStreamReset) {
      this.info.setFlag(ResponseFlag.DownstreamRemoteReset);
      if (this.info.responseCodeDetails === '') this.info.responseCodeDetails = 'downstream_remote_reset';
    }
    this.config.stats.downstreamRqRxReset.inc();
    this.manager.onStreamGone(this);
  }

  /** The downstream connection is gone; flags and details are set by the manager. */
  onConnectionGone(): void {
    if (!this.#destroyed) this.manager.onStreamGone(this);
  }

  onTimer(timer: Timer): void {
    if (this.#destroyed) return;
    const stats = this.config.stats;
    if (timer === this.#idleTimer) {
      stats.downstreamRqIdleTimeout.inc();
      this.info.setFlag(ResponseFlag.StreamIdleTimeout);
      if (this.responseHeaders !== null && this.responseStarted) {
        this.info.responseCodeDetails = 'stream_idle_timeout';
        this.manager.endStream(this);
        return;
      }
      this.sendLocalReply(
        timeoutReply(
          this.requestHeaders === null || !this.requestComplete ? 408 : 504,
          'stream timeout',
          'stream_idle_timeout',
        ),
      );
    } else if (timer === this.#requestTimer) {
      stats.downstreamRqTimeout.inc();
      this.sendLocalReply(timeoutReply(408, 'request timeout', 'request_overall_timeout'));
    } else if (timer === this.#headerTimer) {
      stats.downstreamRqHeaderTimeout.inc();
      this.sendLocalReply(timeoutReply(408, 'request header timeout', 'request_header_timeout'));
    } else if (timer === this.#durationTimer) {
      stats.downstreamRqMaxDurationReached.inc();
      this.sendLocalReply({
        ...timeoutReply(this.requestComplete ? 504 : 408, 'downstream duration timeout', 'max_duration_timeout'),
        grpcStatus: 4,
      });
    } else if (timer === this.#periodicLogTimer) {
      this.#log(AccessLogType.DownstreamPeriodic);
      timer.enable(this.config.accessLogFlushIntervalMs);
    }
  }

  /** Something moved: the idle timeout begins anew. */
  touch(): void {
    if (this.#idleTimer !== null) this.#idleTimer.enable(this.#idleTimeoutMs);
  }

  get destroyed(): boolean {
    return this.#destroyed;
  }

  /** Ends filters and timers and writes the access log. Once. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#requestWalk.halted = true;
    this.#responseWalk.halted = true;
    this.#idleTimer = this.#drop(this.#idleTimer);
    this.#requestTimer = this.#drop(this.#requestTimer);
    this.#headerTimer = this.#drop(this.#headerTimer);
    this.#durationTimer = this.#drop(this.#durationTimer);
    this.#periodicLogTimer = this.#drop(this.#periodicLogTimer);
    this.info.endMs = this.dispatcher.clock.monotonicMs();
    const slots = this.#slots;
    for (let i = 0; i < slots.length; i++) slots[i]!.filter.onStreamComplete();
    if (this.#upgradeCounted) this.config.stats.downstreamCxUpgradesActive.dec();
    this.#log(AccessLogType.DownstreamEnd);
    for (let i = 0; i < slots.length; i++) slots[i]!.filter.onDestroy();
    this.#requestWalk.dropHeld();
    this.#responseWalk.dropHeld();
    this.#queue.length = 0;
  }

  #log(type: AccessLogType): void {
    const loggers = this.config.accessLoggers;
    if (loggers.length === 0) return;
    this.logType = type;
    for (let i = 0; i < loggers.length; i++) loggers[i]!.log(this);
  }

  #drop(timer: Timer | null): null {
    if (timer !== null) this.dispatcher.timerPool.give(timer);
    return null;
  }
}

function timeoutReply(status: number, body: string, details: string): LocalReply {
  return { status, body, details, grpcStatus: null, modifyHeaders: null };
}

/** `application/grpc` and `application/grpc+...` (Envoy: Grpc::Common::hasGrpcContentType). */
function isGrpcContentType(value: string | null): boolean {
  if (value === null || !value.startsWith('application/grpc')) return false;
  return value.length === 16 || value.charCodeAt(16) === 43;
}

/** What `Connection` and `Proxy-Connection` say about the connection's life. */
function wantsClose(headers: RequestHeaders, protocol: Protocol): boolean {
  const list = headers.list;
  let keepAlive = false;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (name !== 'connection' && name !== 'proxy-connection') continue;
    const value = list[i + 1]!.toLowerCase();
    if (hasToken(value, 'close')) return true;
    if (name === 'connection' && hasToken(value, 'keep-alive')) keepAlive = true;
  }
  return protocol === Protocol.Http10 && !keepAlive;
}

function hasToken(value: string, token: string): boolean {
  if (value === token) return true;
  if (!value.includes(',')) return false;
  for (const part of value.split(',')) if (part.trim() === token) return true;
  return false;
}

/** `websocket` and the like, `connect`; null: no upgrade. Lower case. */
export function upgradeType(headers: RequestHeaders): string | null {
  if (headers.method === 'CONNECT') return (headers.protocol ?? 'connect').toLowerCase();
  const upgrade = headers.get('upgrade');
  if (upgrade === null) return null;
  const connection = headers.get('connection');
  return connection !== null && hasToken(connection.toLowerCase(), 'upgrade') ? upgrade.toLowerCase() : null;
}
