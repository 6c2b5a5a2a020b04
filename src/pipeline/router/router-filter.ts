import type { ByteBuffer } from '../../base/byte-buffer.ts';
import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import { RESET_REASON_TEXT, ResetReason } from '../../http/codec.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import type { Connection } from '../../net/connection.ts';
import { rewritePath } from '../../routing/path-rewrite.ts';
import type { Route } from '../../routing/route.ts';
import {
  ActionKind,
  type DirectResponseAction,
  type ForwardAction,
  type RedirectAction,
  type RoutingPriority,
} from '../../routing/route-action.ts';
import type { FormatContext } from '../../routing/stream-view.ts';
import type { Cluster } from '../../upstream/cluster.ts';
import type { Host } from '../../upstream/host.ts';
import type { LoadBalancerContext } from '../../upstream/load-balancer.ts';
import type { WorkerEnvironment } from '../environment.ts';
import { Flow, HttpFilter, type ResponseWatermarks } from '../http-filter.ts';
import { ResponseFlag } from '../response-flag.ts';
import { UpstreamInfo } from '../stream-info.ts';
import type { RouterConfig } from './router-config.ts';
import { UpstreamRequest } from './upstream-request.ts';

/** The terminal filter: finds cluster and host, sends the request there, and brings the answer back. */
export class RouterFilter extends HttpFilter implements LoadBalancerContext, ResponseWatermarks, TimerTarget {
  readonly config: RouterConfig;
  readonly environment: WorkerEnvironment;
  #route: Route | null = null;
  #action: ForwardAction | null = null;
  #cluster: Cluster | null = null;
  #request: UpstreamRequest | null = null;
  #requestEnded = false;
  #responseStarted = false;
  #timeoutTimer: Timer | null = null;
  #timeoutMs = 0;
  #startMs = 0;
  #requestEndMs = -1;

  constructor(config: RouterConfig, environment: WorkerEnvironment) {
    super();
    this.config = config;
    this.environment = environment;
  }

  get requestEnded(): boolean {
    return this.#requestEnded;
  }

  get routingPriority(): RoutingPriority {
    return this.#action!.priority;
  }

  override onRequestHeaders(headers: RequestHeaders, end: boolean): Flow {
    const { stream, config } = this;
    this.#startMs = stream.dispatcher.nowMs;
    const route = stream.route;
    if (route === null) {
      config.stats.no_route.inc();
      stream.info.setFlag(ResponseFlag.NoRouteFound);
      this.#reply(404, '', 'route_not_found');
      return Flow.Pause;
    }
    this.#route = route;
    switch (route.action.kind) {
      case ActionKind.Redirect:
        this.#redirect(route, route.action, headers);
        return Flow.Pause;
      case ActionKind.DirectResponse:
        this.#respondDirectly(route, route.action, headers);
        return Flow.Pause;
      case ActionKind.NonForwarding:
        stream.info.setFlag(ResponseFlag.NoRouteFound);
        this.#reply(404, '', 'route_not_found');
        return Flow.Pause;
      default:
        this.#forward(route, route.action, headers, end);
        return Flow.Pause;
    }
  }

  override onRequestData(data: ByteBuffer, end: boolean): Flow {
    if (end) this.#onRequestEnd();
    if (this.#request === null) data.clear();
    else this.#request.sendData(data, end);
    return Flow.Pause;
  }

  override onRequestTrailers(trailers: HeaderMap): Flow {
    this.#onRequestEnd();
    this.#request?.sendTrailers(trailers);
    return Flow.Pause;
  }

  override onDestroy(): void {
    this.#dropTimer();
    const request = this.#request;
    this.#request = null;
    request?.abandon();
  }

  #onRequestEnd(): void {
    this.#requestEnded = true;
    this.#requestEndMs = this.stream.dispatcher.nowMs;
    if (this.#timeoutMs > 0 && this.#timeoutTimer === null && !this.#responseStarted) {
      this.#timeoutTimer = this.stream.dispatcher.timerPool.take(this);
      this.#timeoutTimer.enable(this.#timeoutMs);
    }
  }

  // --- answers of our own ---

  #reply(status: number, body: string, details: string): void {
    this.stream.sendLocalReply({ status, body, details, grpcStatus: null, modifyHeaders: null });
  }

  #redirect(route: Route, action: RedirectAction, headers: RequestHeaders): void {
    this.config.stats.rq_redirect.inc();
    const location = action.target.url(headers, route.match.path, this.#formatContext());
    this.stream.sendLocalReply({
      status: action.status,
      body: '',
      details: 'direct_response',
      grpcStatus: null,
      modifyHeaders: (response) => {
        response.set('location', location);
        route.responseMutations.apply(response, this.#formatContext(response));
      },
    });
  }

  #respondDirectly(route: Route, action: DirectResponseAction, _headers: RequestHeaders): void {
    this.config.stats.rq_direct_response.inc();
    const body = action.bodyFormat === null ? action.body : action.bodyFormat.format(this.#formatContext());
    this.stream.sendLocalReply({
      status: action.status,
      body: Buffer.from(body, 'latin1').toString('utf8'),
      details: 'direct_response',
      grpcStatus: null,
      modifyHeaders: (response) => {
        if (action.contentType !== null) response.set('content-type', action.contentType);
        route.responseMutations.apply(response, this.#formatContext(response));
      },
    });
  }

  #formatContext(response: ResponseHeaders | null = this.stream.responseHeaders): FormatContext {
    const { stream } = this;
    return {
      stream: stream.info,
      requestHeaders: stream.requestHeaders,
      responseHeaders: response,
      responseTrailers: stream.responseTrailers,
    };
  }

  // --- forwarding ---

  #forward(route: Route, action: ForwardAction, headers: RequestHeaders, end: boolean): void {
    const { stream, config } = this;
    const cluster = this.environment.clusters.get(route.cluster);
    if (cluster === null) {
      config.stats.no_cluster.inc();
      stream.info.setFlag(ResponseFlag.NoClusterFound);
      this.#reply(action.clusterNotFoundStatus, '', 'cluster_not_found');
      return;
    }
    this.#action = action;
    this.#cluster = cluster;
    const upstream = new UpstreamInfo();
    upstream.clusterName = cluster.spec.name;
    upstream.attemptCount = 1;
    stream.info.upstream = upstream;
    const host = cluster.chooseHost(this);
    if (host === null) {
      this.#noHealthyUpstream();
      return;
    }
    this.#timeoutMs = action.timeoutMs;
    if (!config.suppressEnvoyHeaders && this.#timeoutMs > 0) {
      headers.set('x-envoy-expected-rq-timeout-ms', String(this.#timeoutMs));
    }
    this.#rewrite(route, action, headers);
    this.#request = new UpstreamRequest(this, cluster, host);
    stream.setResponseWatermarks(this);
    this.#request.start(headers, end);
    if (end) this.#onRequestEnd();
  }

  /** What the route changes of the request (Envoy: RouteEntry::finalizeRequestHeaders). */
  #rewrite(route: Route, action: ForwardAction, headers: RequestHeaders): void {
    if (!route.weightedRequestMutations.isEmpty) route.weightedRequestMutations.apply(headers, this.#formatContext());
    if (!route.requestMutations.isEmpty) route.requestMutations.apply(headers, this.#formatContext());
    const before = headers.authority;
    if (action.hostRewrite.kind === 'literal') headers.authority = action.hostRewrite.host;
    else if (action.hostRewrite.kind === 'header') {
      headers.authority = headers.get(action.hostRewrite.header) ?? headers.authority;
    }
    if (action.appendXForwardedHost && before !== headers.authority && before !== null) {
      headers.append('x-forwarded-host', before);
    }
    if (action.pathRewrite !== null) {
      rewritePath(
        action.pathRewrite,
        route.match.path,
        headers,
        this.#formatContext(),
        !this.config.suppressEnvoyHeaders,
      );
    }
  }

  #noHealthyUpstream(): void {
    this.stream.info.setFlag(ResponseFlag.NoHealthyUpstream);
    this.#cluster!.stats.upstream_cx_none_healthy.inc();
    this.#reply(503, 'no healthy upstream', 'no_healthy_upstream');
  }

  // --- from the upstream request ---

  onUpstream1xx(headers: ResponseHeaders): void {
    this.stream.encode1xxHeaders(headers);
  }

  onUpstreamHeaders(_request: UpstreamRequest, headers: ResponseHeaders, end: boolean): void {
    const { stream } = this;
    if (!this.config.suppressEnvoyHeaders && this.#requestEnded) {
      const ms = Math.max(0, Math.round(stream.dispatcher.nowMs - this.#requestEndMs));
      headers.set('x-envoy-upstream-service-time', String(ms));
    }
    stream.info.responseCodeDetails = 'via_upstream';
    const route = this.#route!;
    if (!route.responseMutations.isEmpty) route.responseMutations.apply(headers, this.#formatContext(headers));
    this.#responseStarted = true;
    this.#chargeResponse(headers);
    if (end) this.#onUpstreamComplete();
    stream.encodeHeaders(headers, end);
  }

  onUpstreamData(_request: UpstreamRequest, data: ByteBuffer, end: boolean): void {
    if (end) this.#onUpstreamComplete();
    this.stream.encodeData(data, end);
  }

  onUpstreamTrailers(_request: UpstreamRequest, trailers: HeaderMap): void {
    this.#onUpstreamComplete();
    this.stream.encodeTrailers(trailers);
  }

  #chargeResponse(headers: ResponseHeaders): void {
    const { responses } = this.#cluster!;
    responses.all.charge(headers.status);
    const internal = this.stream.requestHeaders!.get('x-envoy-internal') === 'true';
    (internal ? responses.internal : responses.external).charge(headers.status);
  }

  #onUpstreamComplete(): void {
    this.#dropTimer();
    const ms = this.stream.dispatcher.nowMs - this.#startMs;
    this.#cluster!.responses.all.recordTime(ms);
    this.#cluster!.responses.external.recordTime(ms);
  }

  onUpstreamReset(request: UpstreamRequest, reason: ResetReason, transportFailure: string): void {
    const { stream } = this;
    if (this.#request !== request) return;
    this.#request = null;
    stream.info.setFlag(flagOfReset(reason));
    const text = RESET_REASON_TEXT[reason]!;
    const failure = transportFailure === '' ? '' : `|${transportFailure}`;
    if (this.#responseStarted) {
      stream.resetStream(reason, `upstream_reset_after_response_started{${text.replaceAll(' ', '_')}${failure}}`);
      return;
    }
    const suffix = transportFailure === '' ? '' : `, transport failure reason: ${transportFailure}`;
    const status = reason === ResetReason.ProtocolError ? 502 : 503;
    this.#dropTimer();
    this.#cluster!.responses.all.charge(status);
    this.#cluster!.responses.external.charge(status);
    this.#reply(
      status,
      `upstream connect error or disconnect/reset before headers. reset reason: ${text}${suffix}`,
      `upstream_reset_before_response_started{${text.replaceAll(' ', '_')}${failure}}`,
    );
  }

  onTimer(timer: Timer): void {
    if (timer !== this.#timeoutTimer) return;
    this.stream.info.setFlag(ResponseFlag.UpstreamRequestTimeout);
    this.#cluster!.stats.upstream_rq_timeout.inc();
    const request = this.#request;
    this.#request = null;
    request?.abandon();
    if (this.#responseStarted) {
      this.stream.resetStream(ResetReason.LocalReset, 'response_timeout');
      return;
    }
    this.#cluster!.responses.all.charge(504);
    this.#cluster!.responses.external.charge(504);
    this.#reply(504, 'upstream request timeout', 'response_timeout');
  }

  #dropTimer(): void {
    if (this.#timeoutTimer !== null) this.stream.dispatcher.timerPool.give(this.#timeoutTimer);
    this.#timeoutTimer = null;
  }

  // --- backpressure ---

  onResponseSinkFull(): void {
    this.#request?.pauseReads();
  }

  onResponseSinkReady(): void {
    this.#request?.resumeReads();
  }

  // --- LoadBalancerContext ---

  requestHeaders(): HeaderMap | null {
    return this.stream.requestHeaders;
  }

  hashKey(): bigint | null {
    return null;
  }

  metadataMatch(): ReadonlyMap<string, unknown> | null {
    return null;
  }

  downstreamConnection(): Connection | null {
    return this.stream.connection;
  }

  shouldSelectAnotherHost(_host: Host): boolean {
    return false;
  }

  get hostSelectionRetryCount(): number {
    return 1;
  }

  priorityLoad(_healthy: readonly number[], _degraded: readonly number[]): readonly number[] | null {
    return null;
  }

  overrideHost(): { readonly address: string; readonly strict: boolean } | null {
    return null;
  }
}

/** Envoy: Filter::streamResetReasonToResponseFlag. */
export function flagOfReset(reason: ResetReason): number {
  switch (reason) {
    case ResetReason.LocalConnectionFailure:
    case ResetReason.RemoteConnectionFailure:
    case ResetReason.ConnectionTimeout:
      return ResponseFlag.UpstreamConnectionFailure;
    case ResetReason.ConnectionTermination:
      return ResponseFlag.UpstreamConnectionTermination;
    case ResetReason.LocalReset:
    case ResetReason.LocalRefusedStreamReset:
    case ResetReason.Http1PrematureUpstreamHalfClose:
      return ResponseFlag.LocalReset;
    case ResetReason.Overflow:
      return ResponseFlag.UpstreamOverflow;
    case ResetReason.RemoteReset:
    case ResetReason.RemoteRefusedStreamReset:
    case ResetReason.ConnectError:
      return ResponseFlag.UpstreamRemoteReset;
    case ResetReason.ProtocolError:
      return ResponseFlag.UpstreamProtocolError;
    default:
      return ResponseFlag.OverloadManager;
  }
}
