import { ByteBuffer } from '../base/byte-buffer.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import {
  RESET_REASON_TEXT,
  type RequestEncoder,
  ResetReason,
  type ResponseDecoder,
  type StreamEvents,
} from '../http/codec.ts';
import { type HeaderMap, RequestHeaders, type ResponseHeaders } from '../http/header-map.ts';
import type { Dispatcher, TurnTask } from '../net/dispatcher.ts';
import type { Cluster } from './cluster.ts';
import type { Host } from './host.ts';
import type { PendingStream, PoolFailure, PoolWaiter, UpstreamConnectionInfo } from './pool.ts';

/** A request that is sent as a whole, to a cluster, by the process itself. */
export interface HttpCallRequest {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  /** Lower-case names. `content-length` is added. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
  /** From the request's last byte to the answer's last, ms; 0: none. */
  readonly timeoutMs: number;
  /** A longer answer is a failure, bytes. */
  readonly maxAnswerBytes: number;
  /** Of the process, for `x-forwarded-for`, which goes with `x-envoy-internal`; empty: neither is sent. */
  readonly localAddress: string;
}

/** Told of the end of one call: one of the two, once, and never inside the constructor. */
export interface HttpCallHandler {
  onAnswer(status: number, headers: ResponseHeaders, body: Uint8Array): void;
  /** No whole answer came. @param reason for people @param begun the answer's head has come */
  onFailure(reason: string, begun: boolean): void;
}

/** One unary request over a cluster's pool. Source: Envoy, Http::AsyncRequestImpl. */
export class HttpCall implements PoolWaiter, ResponseDecoder, StreamEvents, TimerTarget, TurnTask {
  readonly #dispatcher: Dispatcher;
  readonly #request: HttpCallRequest;
  readonly #handler: HttpCallHandler;
  #cluster: Cluster | null;
  #host: Host | null = null;
  #pending: PendingStream | null = null;
  #encoder: RequestEncoder | null = null;
  #timer: Timer | null = null;
  #headers: ResponseHeaders | null = null;
  readonly #body = new ByteBuffer();
  #answered = false;
  #charged = false;
  #over = false;
  /** Why there is no answer; empty: there is one. */
  #failure = '';

  /** @param cluster null: there is none, the call fails */
  constructor(dispatcher: Dispatcher, cluster: Cluster | null, request: HttpCallRequest, handler: HttpCallHandler) {
    this.#dispatcher = dispatcher;
    this.#cluster = cluster;
    this.#request = request;
    this.#handler = handler;
    if (cluster === null) {
      this.#end('there is no such cluster');
      return;
    }
    if (cluster.inMaintenance) {
      cluster.stats.upstream_rq_maintenance_mode.inc();
      this.#charge(503);
      this.#end('the cluster is under maintenance');
      return;
    }
    const host = cluster.chooseHost(null);
    const pool = host === null ? null : cluster.httpPool(host, 0);
    if (pool === null) {
      if (host === null) cluster.stats.upstream_cx_none_healthy.inc();
      this.#charge(503);
      this.#end('no healthy upstream');
      return;
    }
    this.#host = host;
    if (request.timeoutMs > 0) {
      this.#timer = dispatcher.timerPool.take(this);
      this.#timer.enable(request.timeoutMs);
    }
    const pending = pool.newStream(this, this);
    if (this.#encoder === null && !this.#over) this.#pending = pending;
  }

  /** Gives the call up; the handler hears nothing more. */
  cancel(): void {
    this.#over = true;
    this.#failure = 'cancelled';
    this.#cluster = null;
    this.#release();
  }

  // --- PoolWaiter ---

  onPoolReady(encoder: RequestEncoder, _host: Host, info: UpstreamConnectionInfo): void {
    this.#pending = null;
    if (this.#over) {
      encoder.stream.reset(ResetReason.LocalReset);
      return;
    }
    this.#encoder = encoder;
    encoder.stream.setEvents(this);
    const { body } = this.#request;
    const problem = encoder.encodeHeaders(this.#requestHeaders(info), body.length === 0);
    if (problem !== null) {
      this.#end(problem);
      return;
    }
    if (body.length === 0 || this.#over) return;
    const data = new ByteBuffer();
    data.append(body);
    encoder.encodeData(data, true);
  }

  /** Source: Envoy, AsyncStreamImpl and the router behind it. */
  #requestHeaders(info: UpstreamConnectionInfo): RequestHeaders {
    const { method, path, authority, headers: more, body, timeoutMs, localAddress } = this.#request;
    const headers = new RequestHeaders();
    headers.method = method;
    headers.path = path;
    headers.authority = authority;
    headers.scheme = info.connection.security === null ? 'http' : 'https';
    for (const [name, value] of more) headers.add(name, value);
    if (body.length > 0) headers.set('content-length', String(body.length));
    if (localAddress !== '') {
      headers.set('x-envoy-internal', 'true');
      headers.append('x-forwarded-for', localAddress);
    }
    if (timeoutMs > 0) headers.set('x-envoy-expected-rq-timeout-ms', String(timeoutMs));
    return headers;
  }

  onPoolFailure(_reason: PoolFailure, transportFailureReason: string, host: Host): void {
    this.#pending = null;
    this.#host = host;
    this.#charge(503);
    this.#end(transportFailureReason === '' ? 'no connection' : transportFailureReason);
  }

  // --- ResponseDecoder ---

  on1xxHeaders(_headers: ResponseHeaders): void {}

  onHeaders(headers: ResponseHeaders, end: boolean): void {
    if (this.#over) return;
    this.#headers = headers;
    this.#charge(headers.status);
    if (end) this.#complete();
  }

  onData(data: ByteBuffer, end: boolean): void {
    if (this.#over) {
      data.clear();
      return;
    }
    this.#body.moveFrom(data);
    if (this.#body.length > this.#request.maxAnswerBytes) this.#end('the answer is too large');
    else if (end) this.#complete();
  }

  onTrailers(_trailers: HeaderMap): void {
    if (!this.#over) this.#complete();
  }

  #complete(): void {
    this.#answered = true;
    this.#end('');
  }

  // --- StreamEvents ---

  onStreamReset(reason: ResetReason, details: string): void {
    this.#encoder = null;
    if (this.#over) return;
    this.#charge(503);
    const text = RESET_REASON_TEXT[reason];
    this.#end(details === '' ? text : `${text}, ${details}`);
  }

  onAboveWriteHighWatermark(): void {}

  onBelowWriteLowWatermark(): void {}

  onTimer(_timer: Timer): void {
    if (this.#over) return;
    this.#cluster?.stats.upstream_rq_timeout.inc();
    if (this.#host !== null) this.#host.stats.rqTimeout++;
    this.#charge(504);
    this.#end('the request has timed out');
  }

  // --- the end ---

  #charge(status: number): void {
    const cluster = this.#cluster;
    if (cluster === null || this.#charged) return;
    this.#charged = true;
    cluster.responses.all.charge(status);
    (this.#request.localAddress === '' ? cluster.responses.external : cluster.responses.internal).charge(status);
    const host = this.#host;
    if (host === null) return;
    if (status < 500) host.stats.rqSuccess++;
    else host.stats.rqError++;
  }

  #end(failure: string): void {
    this.#over = true;
    this.#failure = failure;
    this.#release();
    this.#dispatcher.defer(this);
  }

  onTurnEnd(): void {
    if (this.#failure === 'cancelled') return;
    if (this.#failure === '') this.#handler.onAnswer(this.#headers!.status, this.#headers!, this.#body.toBytes());
    else this.#handler.onFailure(this.#failure, this.#headers !== null);
  }

  #release(): void {
    if (this.#timer !== null) this.#dispatcher.timerPool.give(this.#timer);
    this.#timer = null;
    this.#pending?.cancel();
    this.#pending = null;
    const encoder = this.#encoder;
    this.#encoder = null;
    // A stream that is complete on both sides has ended by itself.
    if (encoder !== null && !this.#answered) encoder.stream.reset(ResetReason.LocalReset);
  }
}
