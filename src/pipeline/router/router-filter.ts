import type { ByteBuffer } from '../../base/byte-buffer.ts';
import type { Timer } from '../../base/timer-wheel.ts';
import { RESET_REASON_TEXT, ResetReason } from '../../http/codec.ts';
import { isGrpcContentType } from '../../http/grpc-headers.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import type { Connection } from '../../net/connection.ts';
import { headerV1, headerV2 } from '../../net/proxy-protocol-header.ts';
import { NO_SOCKET_OPTIONS, type TransportSocketOptions } from '../../net/transport-socket.ts';
import { changesRequest, finalizeRequest, updateAuthority } from '../../routing/host-rewrite.ts';
import type { Route } from '../../routing/route.ts';
import { ActionKind, type ForwardAction } from '../../routing/route-action.ts';
import type { Cluster } from '../../upstream/cluster.ts';
import type { Host } from '../../upstream/host.ts';
import { LoadMetrics, readOrcaReport } from '../../upstream/orca-report.ts';
import type { WorkerEnvironment } from '../environment.ts';
import { Flow, HttpFilter, type ResponseWatermarks } from '../http-filter.ts';
import { ResponseFlag } from '../response-flag.ts';
import { UpstreamInfo } from '../stream-info.ts';
import { upstreamSocketOptions } from '../upstream-socket-options.ts';
import { EnvoyHeader, isValidEnvoyHeader, presentEnvoyHeaders } from './envoy-headers.ts';
import { HostSelection } from './host-selection.ts';
import { redirectInternally } from './internal-redirect.ts';
import { MirrorRequest } from './mirror-request.ts';
import { RequestAccount } from './request-account.ts';
import { fillScheme, RouterFormatContext } from './request-finalizing.ts';
import { flagOfReset } from './reset-flags.ts';
import type { RequestGroup } from './response-charging.ts';
import { RetainedBody } from './retained-body.ts';
import { createRetryState, type RetryOwner, type RetryState, RetryVerdict } from './retry-state.ts';
import { redirectClient, respondDirectly } from './route-answers.ts';
import type { RouterConfig } from './router-config.ts';
import { TcpTunnelSource } from './tcp-tunnel.ts';
import { announceTimeouts, RequestTimeouts, resolveTimeouts } from './timeouts.ts';
import { parseUint64 } from './unsigned.ts';
import { UpstreamLog } from './upstream-log.ts';
import { percentOf, type StreamSource, UpstreamRequest } from './upstream-request.ts';

const NO_TIMEOUTS = new RequestTimeouts();

/** What would speak of a body that is not sent. */
const BODY_HEADERS: ReadonlySet<string> = new Set(['content-length', 'content-type', 'transfer-encoding']);

/**
 * The terminal filter: finds cluster and host, sends the request there (again, where a retry policy says so), and brings the
 * answer back. Source: Envoy's documentation of the router filter, and its source/common/router.
 *
 * (Longer than most files: attempts, retries, redirects and timeouts decide together whether there is an answer yet. What each of
 * them decides by stands beside it.)
 */
export class RouterFilter extends HttpFilter implements ResponseWatermarks, RetryOwner {
  readonly config: RouterConfig;
  readonly environment: WorkerEnvironment;
  #route: Route | null = null;
  #action: ForwardAction | null = null;
  #cluster: Cluster | null = null;
  #headers: RequestHeaders | null = null;
  #trailers: HeaderMap | null = null;
  /** The attempt under way; null while a retry waits, and behind the end. */
  #request: UpstreamRequest | null = null;
  #retry: RetryState | null = null;
  #socketOptions: TransportSocketOptions = NO_SOCKET_OPTIONS;
  timeouts: RequestTimeouts = NO_TIMEOUTS;
  /** -1: as the cluster says. */
  maxStreamDurationMs = -1;
  attemptCount = 1;
  #timeoutRetry = false;
  requestEnded = false;
  #requestEndMs = -1;
  /** Something of a response has gone to the client, or is about to: no retry from here on. */
  responseStarted = false;
  /** Copies of the request that get its body too; null: none. */
  #mirrors: MirrorRequest[] | null = null;
  /** Null: no attempt to come will need the body. */
  #retained: RetainedBody | null = null;
  #timeoutTimer: Timer | null = null;
  /** 504, or 204 by `x-envoy-upstream-rq-timeout-alt-response`. */
  #timeoutStatus = 504;
  /** Local replies and responses tell the number of attempts from here on. */
  #tellAttempts = false;
  #context: RouterFormatContext | null = null;
  /** Both are there once the cluster is known. */
  #account: RequestAccount | null = null;
  /** The load that the host tells of was noted. */
  #loadNoted = false;
  #selection: HostSelection | null = null;

  constructor(config: RouterConfig, environment: WorkerEnvironment) {
    super();
    this.config = config;
    this.environment = environment;
  }

  get virtualCluster(): RequestGroup | null {
    return this.#account === null ? null : this.#account.virtualCluster;
  }

  get routeGroup(): RequestGroup | null {
    return this.#account === null ? null : this.#account.routeGroup;
  }

  get requestHeadersSent(): RequestHeaders {
    return this.#headers!;
  }

  // --- the request ---

  override onRequestHeaders(headers: RequestHeaders, end: boolean): Flow {
    const { stream, config } = this;
    this.#headers = headers;
    config.stats.rq_total.inc();
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
        redirectClient(this, route, route.action, headers);
        break;
      case ActionKind.DirectResponse:
        respondDirectly(this, route, route.action, headers);
        break;
      case ActionKind.NonForwarding:
        // Envoy takes it for a route to a cluster without a name.
        config.stats.no_cluster.inc();
        stream.info.setFlag(ResponseFlag.NoClusterFound);
        this.#reply(503, '', 'cluster_not_found');
        break;
      default:
        this.#forward(route, route.action, headers, end);
    }
    return Flow.Pause;
  }

  #forward(route: Route, action: ForwardAction, headers: RequestHeaders, end: boolean): void {
    const { stream, config } = this;
    const { info } = stream;
    const cluster = this.environment.clusters.get(route.cluster);
    if (cluster === null) {
      config.stats.no_cluster.inc();
      info.setFlag(ResponseFlag.NoClusterFound);
      this.#reply(action.clusterNotFoundStatus, '', 'cluster_not_found');
      return;
    }
    this.#action = action;
    this.#cluster = cluster;
    const grpc = isGrpcContentType(headers.get('content-type'));
    const account = new RequestAccount(config, info, cluster, grpc, headers.get('x-envoy-internal') === 'true');
    this.#account = account;
    const upstream = info.upstream ?? new UpstreamInfo();
    upstream.setCluster(cluster.spec);
    info.upstream = upstream;
    account.findGroups(route, headers);
    const present = presentEnvoyHeaders(headers);
    if (config.strictCheckHeaders.length > 0 && this.#refuseInvalidHeaders(headers)) return;
    if ((present & EnvoyHeader.AltStatName) !== 0) {
      account.altStatName = headers.get('x-envoy-upstream-alt-stat-name') ?? '';
      headers.remove('x-envoy-upstream-alt-stat-name');
    }
    if (cluster.inMaintenance) {
      info.setFlag(ResponseFlag.UpstreamOverflow);
      account.charge(503, false, null);
      cluster.stats.upstream_rq_maintenance_mode.inc();
      cluster.dropped.total++;
      this.#reply(503, 'maintenance mode', 'maintenance_mode', 'x-envoy-overloaded');
      return;
    }
    if (cluster.dropOverload > 0 && stream.dispatcher.random.float() < cluster.dropOverload) {
      cluster.dropped.total++;
      cluster.dropped.byOverload++;
      this.#dropOverloaded(account, cluster.dropOverload === 1);
      return;
    }
    upstream.attemptCount = 1;
    const { virtualHost } = route;
    this.#tellAttempts = virtualHost.includeAttemptCountInResponse;
    this.#socketOptions = upstreamSocketOptions(cluster.spec, info, headers);
    this.#selection = new HostSelection(stream, headers, route, action);
    const host = cluster.chooseHost(this.#selection);
    const source = host === null ? null : this.#streamSource(cluster, action, host, headers);
    if (host === null || source === null) {
      this.#noHealthyUpstream();
      return;
    }
    this.timeouts = resolveTimeouts(action, headers, present, grpc, config.respectExpectedTimeout);
    announceTimeouts(this.timeouts, 0, action, headers, !config.suppressEnvoyHeaders, grpc);
    if ((present & EnvoyHeader.StreamDuration) !== 0) {
      this.maxStreamDurationMs = parseUint64(headers.get('x-envoy-upstream-stream-duration-ms') ?? '') ?? -1;
      headers.remove('x-envoy-upstream-stream-duration-ms');
    }
    if ((present & EnvoyHeader.TimeoutAltResponse) !== 0) {
      this.#timeoutStatus = 204;
      headers.remove('x-envoy-upstream-rq-timeout-alt-response');
    }
    if (virtualHost.includeRequestAttemptCount) headers.set('x-envoy-attempt-count', '1');
    if (changesRequest(route, action)) {
      finalizeRequest(route, headers, this.formatContext(null), !config.suppressEnvoyHeaders);
    }
    fillScheme(headers, stream.connection.isSecure);
    this.#retry = createRetryState(
      action.retryPolicy,
      headers,
      present,
      cluster,
      action.priority,
      stream.dispatcher,
      this.environment.runtime,
      this,
    );
    if (this.#retry?.enabled === true || action.internalRedirect !== null) this.#retained = new RetainedBody();
    this.#start(cluster, host, source, end);
    if (action.mirrorPolicies.length > 0) {
      this.#mirrors = MirrorRequest.startAll(this, action.mirrorPolicies, headers, this.timeouts.globalMs, end);
    }
    if (end) this.#onRequestEnd();
  }

  /** The control plane asked for less load. Source: Envoy, Filter::checkDropOverload. */
  #dropOverloaded(account: RequestAccount, all: boolean): void {
    this.stream.info.setFlag(all ? ResponseFlag.UnconditionalDropOverload : ResponseFlag.DropOverload);
    account.charge(503, false, null);
    if (all) {
      this.#reply(
        503,
        'unconditional drop overload',
        'unconditional_drop_overload',
        'x-envoy-unconditional-drop-overload',
      );
    } else {
      this.#reply(503, 'drop overload', 'drop_overload', 'x-envoy-drop-overload');
    }
  }

  #start(cluster: Cluster, host: Host, source: StreamSource, end: boolean): UpstreamRequest {
    const earlier = this.attemptCount > 1 ? this.stream.info.upstream : null;
    const request = new UpstreamRequest(this, cluster, host, source instanceof TcpTunnelSource, earlier);
    this.#request = request;
    request.start(source, this.#headers!, end);
    return request;
  }

  /** @returns null: the breaker for pools is open */
  #streamSource(cluster: Cluster, action: ForwardAction, host: Host, headers: RequestHeaders): StreamSource | null {
    if (action.upgrades.length > 0) {
      const connect = action.upgrade('connect')?.connect ?? null;
      if (connect !== null && (headers.method === 'CONNECT' || (connect.allowPost && headers.method === 'POST'))) {
        const pool = cluster.tcpPool(host, action.priority, this.#socketOptions, this.stream.connection);
        return pool === null
          ? null
          : new TcpTunnelSource(pool, proxyHeader(connect.proxyProtocolVersion, this.stream.connection));
      }
    }
    const { connection, info } = this.stream;
    return cluster.httpPool(host, action.priority, info.protocol, this.#socketOptions, connection);
  }

  override onRequestData(data: ByteBuffer, end: boolean): Flow {
    if (this.#mirrors !== null) for (const mirror of this.#mirrors) mirror.sendData(data, end);
    const retained = this.#retained;
    if (retained !== null && !this.responseStarted && !retained.overflowed) {
      if (!retained.add(data, this.stream.requestBufferLimit)) {
        // More than may be kept: from here on there is one attempt only.
        this.#cluster!.stats.retry_or_shadow_abandoned.inc();
        this.#retry?.dispose();
        this.#retry = null;
        if (this.#request === null) {
          data.clear();
          this.#cleanUp();
          this.#reply(
            507,
            'exceeded request buffer limit while retrying upstream',
            'request_payload_exceeded_retry_buffer_limit',
          );
          return Flow.Pause;
        }
      }
    }
    if (this.#request === null) data.clear();
    else this.#request.sendData(data, end);
    if (end) this.#onRequestEnd();
    return Flow.Pause;
  }

  #dropRetry(): void {
    this.#retry?.dispose();
    this.#retry = null;
    this.#retained?.clear();
    this.#retained = null;
  }

  override onRequestTrailers(trailers: HeaderMap): Flow {
    this.#trailers = trailers;
    if (this.#mirrors !== null) for (const mirror of this.#mirrors) mirror.sendTrailers(trailers);
    this.#request?.sendTrailers(trailers);
    this.#onRequestEnd();
    return Flow.Pause;
  }

  #onRequestEnd(): void {
    if (this.requestEnded) return;
    this.requestEnded = true;
    this.#requestEndMs = this.stream.dispatcher.nowMs;
    const request = this.#request;
    if (request === null) return;
    this.#startTimeout();
    request.onRequestEnd();
  }

  #startTimeout(): void {
    if (this.timeouts.globalMs <= 0 || this.#timeoutTimer !== null) return;
    this.#timeoutTimer = this.stream.dispatcher.timerPool.take(this);
    this.#timeoutTimer.enable(this.timeouts.globalMs);
  }

  /** The body of an upgrade waits for the answer, so the timeout cannot wait for the body. */
  startTimeoutForUpgrade(): void {
    this.#startTimeout();
  }

  /** The upgrade is through: what follows may take any time. */
  stopTimeoutForUpgrade(): void {
    this.#dropTimeout();
  }

  // --- answers of our own ---

  /** @param flagHeader set to `true` in the reply; empty: none */
  #reply(status: number, body: string, details: string, flagHeader = ''): void {
    const flag = this.config.suppressEnvoyHeaders ? '' : flagHeader;
    const modifyHeaders =
      flag === '' && !this.#tellAttempts
        ? null
        : (response: ResponseHeaders): void => {
            if (flag !== '') response.add(flag, 'true');
            this.#addAttempts(response);
          };
    this.stream.sendLocalReply({ status, body, details, grpcStatus: null, modifyHeaders });
  }

  #addAttempts(response: ResponseHeaders): void {
    if (this.#tellAttempts) response.set('x-envoy-attempt-count', String(this.attemptCount));
  }

  /** For format strings; one object per stream, changed in place. */
  formatContext(response: ResponseHeaders | null): RouterFormatContext {
    this.#context ??= new RouterFormatContext(this.stream.info, this.#headers!);
    this.#context.responseHeaders = response;
    return this.#context;
  }

  #noHealthyUpstream(): void {
    this.stream.info.setFlag(ResponseFlag.NoHealthyUpstream);
    this.#account!.charge(503, false, null);
    this.#reply(503, 'no healthy upstream', 'no_healthy_upstream');
  }

  /** `strict_check_headers`. @returns true: refused */
  #refuseInvalidHeaders(headers: RequestHeaders): boolean {
    for (const name of this.config.strictCheckHeaders) {
      const value = headers.get(name);
      if (value === null || isValidEnvoyHeader(name, value)) continue;
      this.stream.info.setFlag(ResponseFlag.InvalidEnvoyRequestHeaders);
      this.#reply(
        400,
        `invalid header '${name}' with value '${value}'`,
        `request_headers_failed_strict_check{${name}}`,
      );
      return true;
    }
    return false;
  }

  // --- from the attempt ---

  onHostAttempted(host: Host): void {
    this.#retry?.onHostAttempted(host);
  }

  onPoolReady(_request: UpstreamRequest, host: Host): void {
    this.onHostAttempted(host);
    this.#account!.count('upstream_rq_total');
    const action = this.#action!;
    if (action.hostRewrite.kind === 'auto' && host.hostname !== '') {
      updateAuthority(this.#headers!, host.hostname, action.appendXForwardedHost, !this.config.suppressEnvoyHeaders);
    }
  }

  /** Filters took away what the codec needs. */
  onUnsendableHeaders(problem: string): void {
    this.stream.info.setFlag(ResponseFlag.DownstreamProtocolError);
    this.#reply(503, problem, `filter_removed_required_request_headers{${problem.replaceAll(' ', '_')}}`);
  }

  onUpstream1xx(request: UpstreamRequest, headers: ResponseHeaders): void {
    this.#account!.chargeInformational(request, headers);
    this.responseStarted = true;
    this.#dropRetry();
    this.stream.encode1xxHeaders(headers);
  }

  /** A WebSocket handshake that was answered by 2xx: status and headers go on, without the body. */
  onHandshakeFailed({ status, list }: ResponseHeaders): void {
    const modifyHeaders = (response: ResponseHeaders): void => {
      for (let i = 0; i < list.length; i += 2) {
        if (!BODY_HEADERS.has(list[i]!)) response.add(list[i]!, list[i + 1]!);
      }
      this.#addAttempts(response);
    };
    const details = 'websocket_handshake_unsuccessful';
    this.stream.sendLocalReply({ status, body: '', details, grpcStatus: null, modifyHeaders });
  }

  onUpstreamHeaders(request: UpstreamRequest, headers: ResponseHeaders, end: boolean): void {
    const { stream, config } = this;
    const account = this.#account!;
    if (request.cluster.spec.reportedMetrics !== null) this.#noteLoad(request, headers);
    if (this.#retry !== null) {
      const verdict = this.#retry.onResponse(headers);
      if (verdict === RetryVerdict.Yes) {
        this.#timeoutRetry = false;
        account.chargeRetried(request, headers.status);
        this.#releaseAttempt(request);
        return;
      }
      this.#noteVerdict(verdict);
    }
    if (this.#followsRedirect(request, headers)) return;
    this.#dropRetry();
    const now = stream.dispatcher.nowMs;
    if (this.#requestEndMs >= 0 && !config.suppressEnvoyHeaders) {
      headers.set('x-envoy-upstream-service-time', String(Math.floor(now - this.#requestEndMs)));
    }
    account.chargeHeaders(request, headers, end);
    stream.info.responseCodeDetails = 'via_upstream';
    stream.info.responseCode = headers.status;
    const route = this.#route!;
    if (!route.responseMutations.isEmpty) route.responseMutations.apply(headers, this.formatContext(headers));
    // Behind the mutations, which do not see it (Envoy: Filter::onUpstreamHeaders).
    this.#addAttempts(headers);
    this.responseStarted = true;
    if (end) this.#onUpstreamComplete(request);
    stream.encodeHeaders(headers, end);
  }

  /** @returns true: this stream is over, its request begins anew */
  #followsRedirect(request: UpstreamRequest, headers: ResponseHeaders): boolean {
    const policy = this.#action!.internalRedirect;
    if (policy === null || !policy.responseCodes.includes(headers.status)) return false;
    const { stats } = request.cluster;
    const retained = this.#retained;
    if (
      this.requestEnded &&
      retained !== null &&
      !retained.overflowed &&
      redirectInternally(
        this.stream,
        policy,
        this.#route!.name,
        this.#headers!,
        headers,
        retained.take(),
        this.config.stats,
      )
    ) {
      stats.upstream_internal_redirect_succeeded_total.inc();
      return true;
    }
    stats.upstream_internal_redirect_failed_total.inc();
    return false;
  }

  onUpstreamData(request: UpstreamRequest, data: ByteBuffer, end: boolean): void {
    if (end) {
      this.#account!.chargeEnd(request, null);
      this.#onUpstreamComplete(request);
    }
    this.stream.encodeData(data, end);
  }

  onUpstreamTrailers(request: UpstreamRequest, trailers: HeaderMap): void {
    if (request.cluster.spec.reportedMetrics !== null) this.#noteLoad(request, trailers);
    this.#account!.chargeEnd(request, trailers);
    this.#onUpstreamComplete(request);
    this.stream.encodeTrailers(trailers);
  }

  /** A host says how busy it is: once for each request. */
  #noteLoad(request: UpstreamRequest, headers: HeaderMap): void {
    if (this.#loadNoted) return;
    const report = readOrcaReport(headers);
    if (report === null) return;
    this.#loadNoted = true;
    const { host } = request;
    host.loadMetrics ??= new LoadMetrics();
    host.loadMetrics.add(request.cluster.spec.reportedMetrics!, report);
  }

  #onUpstreamComplete(request: UpstreamRequest): void {
    const elapsedMs = Math.floor(this.stream.dispatcher.nowMs - this.#requestEndMs);
    const budgets = request.cluster.timeoutBudgets;
    if (budgets !== null) {
      budgets.upstream_rq_timeout_budget_percent_used.recordValue(percentOf(elapsedMs, this.timeouts.globalMs));
    }
    if (this.#requestEndMs >= 0) this.#account!.chargeTime(elapsedMs, request);
    if (this.#request === request) this.#request = null;
    // Resets what is left of the request, if anything.
    request.abandon();
    this.#cleanUp();
  }

  onUpstreamReset(request: UpstreamRequest, reason: ResetReason, transportFailure: string): void {
    if (this.#request !== request) return;
    if (this.#maybeRetryReset(request, reason, false)) return;
    const status = reason === ResetReason.ProtocolError ? 502 : 503;
    this.#account!.chargeAbort(request, status, this.responseStarted);
    this.#request = null;
    const text = RESET_REASON_TEXT[reason]!;
    const failure = transportFailure === '' ? '' : `|${transportFailure}`;
    const moment = this.responseStarted
      ? 'upstream_reset_after_response_started'
      : 'upstream_reset_before_response_started';
    let overloaded = '';
    if (reason === ResetReason.Overflow) {
      request.cluster.dropped.total++;
      overloaded = 'x-envoy-overloaded';
    }
    this.#abort(
      status,
      flagOfReset(reason),
      `upstream connect error or disconnect/reset before headers. ${this.attemptCount > 1 ? 'retried and the latest ' : ''}reset reason: ${text}`,
      `${moment}{${text}${failure}}`.replaceAll(' ', '_'),
      overloaded,
    );
  }

  onPerTryTimeout(request: UpstreamRequest, idle: boolean): void {
    const { stats } = request.cluster;
    (idle ? stats.upstream_rq_per_try_idle_timeout : stats.upstream_rq_per_try_timeout).inc();
    request.host.stats.rqTimeout++;
    if (this.#request === request) {
      if (this.#maybeRetryReset(request, ResetReason.LocalReset, true)) return;
      this.#request = null;
    }
    request.abandon();
    this.#account!.chargeAbort(request, this.#timeoutStatus, this.responseStarted);
    this.#abortByTimeout(idle ? 'upstream_per_try_idle_timeout' : 'upstream_per_try_timeout');
  }

  onMaxStreamDuration(request: UpstreamRequest): void {
    if (this.#maybeRetryReset(request, ResetReason.LocalReset, false)) return;
    this.#request = null;
    request.abandon();
    this.#abort(
      this.requestEnded ? 504 : 408,
      ResponseFlag.UpstreamMaxStreamDurationReached,
      'upstream max stream duration reached',
      'upstream_max_stream_duration_reached',
      '',
    );
  }

  // --- timers ---

  onTimer(timer: Timer): void {
    if (timer === this.#timeoutTimer) this.#onTimeout();
    else if (this.#retry !== null && timer === this.#retry.timer) this.#doRetry();
  }

  #onTimeout(): void {
    const request = this.#request;
    this.#request = null;
    if (request !== null) {
      request.cluster.stats.upstream_rq_timeout.inc();
      this.#account!.count('upstream_rq_timeout');
      request.host.stats.rqTimeout++;
      if (request.awaitingHeaders) {
        request.skipTimeoutBudget();
        this.#account!.chargeAbort(request, this.#timeoutStatus, this.responseStarted);
      }
      request.abandon();
    }
    this.#abortByTimeout('response_timeout');
  }

  #abortByTimeout(details: string): void {
    const budgets = this.#cluster!.timeoutBudgets;
    if (budgets !== null) {
      const elapsedMs = this.stream.dispatcher.nowMs - this.#requestEndMs;
      budgets.upstream_rq_timeout_budget_percent_used.recordValue(percentOf(elapsedMs, this.timeouts.globalMs));
    }
    const status = this.#timeoutStatus;
    const body = status === 504 ? 'upstream request timeout' : '';
    this.#abort(status, ResponseFlag.UpstreamRequestTimeout, body, details, '');
  }

  /** Answers, or resets where the response has begun (`sendLocalReply` sees to that). */
  #abort(status: number, flag: number, body: string, details: string, flagHeader: string): void {
    this.stream.info.setFlag(flag);
    this.#cleanUp();
    this.#reply(status, body, details, flagHeader);
  }

  // --- retries ---

  #maybeRetryReset(request: UpstreamRequest, reason: ResetReason, timeout: boolean): boolean {
    if (this.responseStarted || this.#retry === null) return false;
    const verdict = this.#retry.onReset(reason, request.requestStarted);
    if (verdict !== RetryVerdict.Yes) {
      this.#noteVerdict(verdict);
      return false;
    }
    this.#timeoutRetry = timeout;
    request.host.stats.rqError++;
    this.#releaseAttempt(request);
    return true;
  }

  #releaseAttempt(request: UpstreamRequest): void {
    this.#request = null;
    this.stream.setResponseWatermarks(null);
    request.abandon();
  }

  #noteVerdict(verdict: RetryVerdict): void {
    const { info } = this.stream;
    if (verdict === RetryVerdict.Overflow) info.setFlag(ResponseFlag.UpstreamOverflow);
    else if (verdict === RetryVerdict.LimitExceeded) info.setFlag(ResponseFlag.UpstreamRetryLimitExceeded);
  }

  #doRetry(): void {
    const { stream } = this;
    const headers = this.#headers!;
    const action = this.#action!;
    const route = this.#route!;
    this.attemptCount++;
    if (stream.info.upstream !== null) stream.info.upstream.attemptCount = this.attemptCount;
    const selection = this.#selection!;
    selection.retry = this.#retry;
    // Meanwhile the cluster may have been replaced or removed.
    const cluster = this.environment.clusters.get(route.cluster);
    const host = cluster === null ? null : cluster.chooseHost(selection);
    const source = host === null ? null : this.#streamSource(cluster!, action, host, headers);
    if (cluster !== null) {
      this.#cluster = cluster;
      this.#account!.cluster = cluster;
    }
    if (cluster === null || host === null || source === null) {
      this.#cleanUp();
      this.#noHealthyUpstream();
      return;
    }
    if (route.virtualHost.includeRequestAttemptCount) headers.set('x-envoy-attempt-count', String(this.attemptCount));
    if (route.virtualHost.includeIsTimeoutRetryHeader) {
      headers.set('x-envoy-is-timeout-retry', this.#timeoutRetry ? 'true' : 'false');
    }
    const elapsedMs = this.#requestEndMs < 0 ? 0 : Math.floor(stream.dispatcher.nowMs - this.#requestEndMs);
    const insert = !this.config.suppressEnvoyHeaders;
    announceTimeouts(this.timeouts, elapsedMs, action, headers, insert, this.#account!.isGrpc);
    const retained = this.#retained;
    const trailers = this.#trailers;
    const hasBody = retained !== null && !retained.isEmpty;
    const request = this.#start(cluster, host, source, !hasBody && trailers === null && this.requestEnded);
    if (this.#request !== request) return;
    if (hasBody) request.sendData(retained.copy(), trailers === null && this.requestEnded);
    if (trailers !== null && this.#request === request) request.sendTrailers(trailers);
  }

  createUpstreamLog(upstream: UpstreamInfo): UpstreamLog | null {
    return this.config.upstreamLoggers.length === 0 ? null : new UpstreamLog(this.config, this.stream, upstream);
  }

  // --- the end ---

  #cleanUp(): void {
    this.#dropRetry();
    this.#dropTimeout();
  }

  #dropTimeout(): void {
    if (this.#timeoutTimer !== null) this.stream.dispatcher.timerPool.give(this.#timeoutTimer);
    this.#timeoutTimer = null;
  }

  /** The upstream may not add its answer to one that is on its way, and held up by a filter perhaps. */
  override onLocalReply(): void {
    this.#giveUp();
  }

  override onDestroy(): void {
    if (this.#mirrors !== null) for (const mirror of this.#mirrors) mirror.onOriginalGone();
    this.#giveUp();
  }

  #giveUp(): void {
    const request = this.#request;
    this.#request = null;
    request?.abandon();
    this.#cleanUp();
  }

  // --- backpressure ---

  onResponseSinkFull(): void {
    this.#request?.pauseReads();
  }

  onResponseSinkReady(): void {
    this.#request?.resumeReads();
  }
}

/** `connect_config.proxy_protocol_config`: whose connection it is. Source: Envoy, generateProxyProtoHeader. */
function proxyHeader(version: 0 | 1 | 2, downstream: Connection): Buffer | null {
  if (version === 0) return null;
  const source = downstream.remoteAddress;
  const destination = downstream.localAddress;
  if (version === 1) return headerV1(source, destination);
  return headerV2({ source, destination, tlvs: [] }, { added: [], passed: null });
}
