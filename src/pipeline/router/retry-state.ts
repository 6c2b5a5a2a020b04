import type { Random } from '../../base/random.ts';
import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import { ResetReason } from '../../http/codec.ts';
import { GrpcStatus, grpcStatusIn } from '../../http/grpc-headers.ts';
import type { RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import {
  parseRetryGrpcOn,
  parseRetryOn,
  type ResetHeader,
  ResetHeaderFormat,
  RetryOn,
  type RetryPolicy,
} from '../../routing/retry-policy.ts';
import type { RoutingPriority } from '../../routing/route-action.ts';
import type { RuntimeReader } from '../../routing/runtime-fraction.ts';
import type { Cluster } from '../../upstream/cluster.ts';
import type { Host } from '../../upstream/host.ts';
import type { PriorityLoads } from '../../upstream/load-balancer.ts';
import type { PrioritySet } from '../../upstream/priority-set.ts';
import { EnvoyHeader } from './envoy-headers.ts';
import type { RequestGroup } from './response-charging.ts';
import type {
  RetryHostPredicate,
  RetryHostPredicateFactory,
  RetryPriority,
  RetryPriorityFactory,
} from './retry-plugins.ts';
import { parseUint64 } from './unsigned.ts';

const RETRY_HEADERS =
  EnvoyHeader.RetryOn |
  EnvoyHeader.RetryGrpcOn |
  EnvoyHeader.MaxRetries |
  EnvoyHeader.RetriableStatusCodes |
  EnvoyHeader.RetriableHeaderNames |
  EnvoyHeader.HedgeOnPerTryTimeout;
const CONSUMED = [
  'x-envoy-retry-on',
  'x-envoy-retry-grpc-on',
  'x-envoy-max-retries',
  'x-envoy-hedge-on-per-try-timeout',
  'x-envoy-retriable-header-names',
  'x-envoy-retriable-status-codes',
];
const GRPC_BITS =
  RetryOn.GrpcCancelled |
  RetryOn.GrpcDeadlineExceeded |
  RetryOn.GrpcResourceExhausted |
  RetryOn.GrpcUnavailable |
  RetryOn.GrpcInternal;

/** What became of the wish to retry. */
export const RetryVerdict = {
  /** Nothing calls for a retry. */
  No: 0,
  /** The back-off timer runs: `onTimer` of the owner starts the retry. */
  Yes: 1,
  /** The breaker for retries is open. */
  Overflow: 2,
  LimitExceeded: 3,
} as const;
export type RetryVerdict = (typeof RetryVerdict)[keyof typeof RetryVerdict];

/** Who counts a request's retries beside its cluster. */
export interface RetryOwner extends TimerTarget {
  readonly virtualCluster: RequestGroup | null;
  readonly routeGroup: RequestGroup | null;
}

type RetryCount =
  | 'upstream_rq_retry'
  | 'upstream_rq_retry_limit_exceeded'
  | 'upstream_rq_retry_overflow'
  | 'upstream_rq_retry_success';

/** Takes the retry headers off the request. @returns null when this request is never retried */
export function createRetryState(
  policy: RetryPolicy,
  headers: RequestHeaders,
  present: number,
  cluster: Cluster,
  priority: RoutingPriority,
  dispatcher: Dispatcher,
  runtime: RuntimeReader,
  owner: RetryOwner,
): RetryState | null {
  const asked = (present & (EnvoyHeader.RetryOn | EnvoyHeader.RetryGrpcOn)) !== 0;
  const state =
    policy.retryOn === 0 && !asked
      ? null
      : new RetryState(policy, headers, cluster, priority, dispatcher, runtime, owner);
  if ((present & RETRY_HEADERS) !== 0) for (const name of CONSUMED) headers.remove(name);
  return state;
}

/**
 * Whether, and when, one request is tried again. Made only for requests with a retry policy. Source: Envoy, RetryStateImpl and
 * the router's documentation of x-envoy-retry-on, x-envoy-retry-grpc-on and back-off.
 */
export class RetryState {
  readonly #policy: RetryPolicy;
  readonly #cluster: Cluster;
  readonly #priority: RoutingPriority;
  readonly #dispatcher: Dispatcher;
  readonly #runtime: RuntimeReader;
  readonly #owner: RetryOwner;
  readonly #on: number;
  readonly #statusCodes: readonly number[];
  readonly #headerNames: readonly string[];
  readonly #hostPredicates: readonly RetryHostPredicate[];
  readonly #retryPriority: RetryPriority | null;
  #left: number;
  /** The next back-off is drawn below this. */
  #intervalMs: number;
  readonly #maxIntervalMs: number;
  /** A retry is waiting, or under way: it holds a place in the breaker. */
  #holding = false;
  #timer: Timer | null = null;

  constructor(
    policy: RetryPolicy,
    headers: RequestHeaders,
    cluster: Cluster,
    priority: RoutingPriority,
    dispatcher: Dispatcher,
    runtime: RuntimeReader,
    owner: RetryOwner,
  ) {
    this.#policy = policy;
    this.#cluster = cluster;
    this.#priority = priority;
    this.#dispatcher = dispatcher;
    this.#runtime = runtime;
    this.#owner = owner;
    this.#intervalMs = policy.baseIntervalMs ?? runtime.integer('upstream.base_retry_backoff_ms', 25);
    this.#maxIntervalMs = policy.maxIntervalMs ?? this.#intervalMs * 10;
    let on = policy.retryOn;
    const onHeader = headers.get('x-envoy-retry-on');
    if (onHeader !== null) on |= parseRetryOn(onHeader);
    const grpcOnHeader = headers.get('x-envoy-retry-grpc-on');
    if (grpcOnHeader !== null) on |= parseRetryGrpcOn(grpcOnHeader);
    const wanted = policy.retriableRequestHeaders;
    if (wanted.length > 0 && !wanted.some((matcher) => matcher.matches(headers))) on = 0;
    this.#on = on;
    this.#left = policy.numRetries;
    const max = headers.get('x-envoy-max-retries');
    if (on !== 0 && max !== null) this.#left = parseUint64(max) ?? this.#left;
    const codes = headers.get('x-envoy-retriable-status-codes');
    this.#statusCodes =
      codes === null
        ? policy.retriableStatusCodes
        : [...policy.retriableStatusCodes, ...codes.split(',').map((code) => parseUint64(code) ?? -1)];
    const names = headers.get('x-envoy-retriable-header-names');
    this.#headerNames =
      names === null
        ? NO_NAMES
        : names
            .split(',')
            .map((name) => name.trim().toLowerCase())
            .filter((name) => name !== '');
    this.#hostPredicates =
      policy.hostPredicates.length === 0
        ? NO_PREDICATES
        : policy.hostPredicates.map((predicate) => (predicate.config as RetryHostPredicateFactory).create());
    this.#retryPriority = policy.priority === null ? null : (policy.priority.config as RetryPriorityFactory).create();
  }

  /** False when no outcome leads to a retry: the request's body need not be kept. */
  get enabled(): boolean {
    return this.#on !== 0;
  }

  get hostSelectionMaxAttempts(): number {
    return this.#policy.hostSelectionMaxAttempts;
  }

  get timer(): Timer | null {
    return this.#timer;
  }

  // --- decisions ---

  onResponse(headers: ResponseHeaders): RetryVerdict {
    const wanted = this.#wantsByHeaders(headers);
    const lowerBoundMs = wanted ? this.#resetInterval(headers) : 0;
    return this.#decide(wanted, lowerBoundMs);
  }

  /** @param requestStarted the request's head had been sent */
  onReset(reason: ResetReason, requestStarted: boolean): RetryVerdict {
    return this.#decide(this.#wantsByReset(reason, requestStarted), 0);
  }

  #decide(wanted: boolean, lowerBoundMs: number): RetryVerdict {
    const { stats } = this.#cluster;
    if (this.#holding && !wanted) this.#count('upstream_rq_retry_success');
    this.#release();
    if (!wanted) return RetryVerdict.No;
    if (this.#left === 0) {
      this.#count('upstream_rq_retry_limit_exceeded');
      return RetryVerdict.LimitExceeded;
    }
    this.#left--;
    const breaker = this.#cluster.resources(this.#priority).retries;
    if (!breaker.canCreate()) {
      this.#count('upstream_rq_retry_overflow');
      return RetryVerdict.Overflow;
    }
    const { random } = this.#dispatcher;
    if (random.uint32() % 100 >= this.#runtime.integer('upstream.use_retry', 100)) return RetryVerdict.No;
    breaker.inc();
    this.#holding = true;
    this.#count('upstream_rq_retry');
    this.#timer ??= this.#dispatcher.timerPool.take(this.#owner);
    if (lowerBoundMs > 1) {
      stats.upstream_rq_retry_backoff_ratelimited.inc();
      this.#timer.enable(lowerBoundMs + drawBelow(random, Math.floor(lowerBoundMs / 2)));
    } else {
      stats.upstream_rq_retry_backoff_exponential.inc();
      this.#timer.enable(this.#nextBackoff(random));
    }
    return RetryVerdict.Yes;
  }

  /** Fully jittered, doubling up to the maximum (Envoy: JitteredExponentialBackOffStrategy). */
  #nextBackoff(random: Random): number {
    const interval = this.#intervalMs;
    this.#intervalMs = interval < this.#maxIntervalMs / 2 ? interval * 2 : this.#maxIntervalMs;
    return drawBelow(random, interval);
  }

  #wantsByHeaders(headers: ResponseHeaders): boolean {
    const on = this.#on;
    // Another Envoy has limited this request: retried only where the policy says so.
    if (headers.has('x-envoy-ratelimited')) return (on & RetryOn.EnvoyRateLimited) !== 0;
    const { status } = headers;
    if ((on & RetryOn.FiveXx) !== 0 && status >= 500 && status < 600) return true;
    if ((on & RetryOn.GatewayError) !== 0 && status >= 502 && status <= 504) return true;
    if ((on & RetryOn.Retriable4xx) !== 0 && status === 409) return true;
    if ((on & RetryOn.RetriableStatusCodes) !== 0 && this.#statusCodes.includes(status)) return true;
    if ((on & RetryOn.RetriableHeaders) !== 0) {
      for (const matcher of this.#policy.retriableHeaders) if (matcher.matches(headers)) return true;
      for (const name of this.#headerNames) if (headers.lookup(name) !== null) return true;
    }
    if ((on & GRPC_BITS) === 0) return false;
    switch (grpcStatusIn(headers)) {
      case GrpcStatus.Cancelled:
        return (on & RetryOn.GrpcCancelled) !== 0;
      case GrpcStatus.DeadlineExceeded:
        return (on & RetryOn.GrpcDeadlineExceeded) !== 0;
      case GrpcStatus.ResourceExhausted:
        return (on & RetryOn.GrpcResourceExhausted) !== 0;
      case GrpcStatus.Internal:
        return (on & RetryOn.GrpcInternal) !== 0;
      case GrpcStatus.Unavailable:
        return (on & RetryOn.GrpcUnavailable) !== 0;
      default:
        return false;
    }
  }

  #wantsByReset(reason: ResetReason, requestStarted: boolean): boolean {
    const on = this.#on;
    if (reason === ResetReason.Overflow) return false;
    if ((on & RetryOn.ResetBeforeRequest) !== 0 && !requestStarted) return true;
    if ((on & (RetryOn.Reset | RetryOn.FiveXx | RetryOn.GatewayError)) !== 0) return true;
    if ((on & RetryOn.RefusedStream) !== 0 && reason === ResetReason.RemoteRefusedStreamReset) return true;
    return (
      (on & RetryOn.ConnectFailure) !== 0 &&
      (reason === ResetReason.LocalConnectionFailure ||
        reason === ResetReason.RemoteConnectionFailure ||
        reason === ResetReason.ConnectionTimeout)
    );
  }

  /** Ms until the upstream's rate limit lifts; 0: not said, or longer than is waited for. */
  #resetInterval(headers: ResponseHeaders): number {
    for (const header of this.#policy.rateLimitedResetHeaders) {
      const ms = readResetHeader(header, headers, this.#dispatcher.wallMs);
      if (ms !== null && ms <= this.#policy.rateLimitedMaxIntervalMs) return ms;
    }
    return 0;
  }

  #count(name: RetryCount): void {
    this.#cluster.stats[name].inc();
    this.#owner.virtualCluster?.stats[name].inc();
    this.#owner.routeGroup?.stats[name].inc();
  }

  #release(): void {
    if (!this.#holding) return;
    this.#holding = false;
    this.#cluster.resources(this.#priority).retries.dec();
  }

  // --- hosts ---

  onHostAttempted(host: Host): void {
    for (const predicate of this.#hostPredicates) predicate.onHostAttempted(host);
    this.#retryPriority?.onHostAttempted(host);
  }

  shouldSelectAnotherHost(host: Host): boolean {
    for (const predicate of this.#hostPredicates) if (predicate.shouldSelectAnotherHost(host)) return true;
    return false;
  }

  priorityLoad(priorities: PrioritySet, loads: PriorityLoads): PriorityLoads {
    return this.#retryPriority === null ? loads : this.#retryPriority.priorityLoad(priorities, loads);
  }

  /** No further retry: gives timer and breaker place back. */
  dispose(): void {
    this.#release();
    if (this.#timer !== null) this.#dispatcher.timerPool.give(this.#timer);
    this.#timer = null;
  }
}

const NO_NAMES: readonly string[] = [];
const NO_PREDICATES: readonly RetryHostPredicate[] = [];

function drawBelow(random: Random, limitMs: number): number {
  const limit = Math.floor(limitMs);
  return limit <= 0 ? 0 : random.uint32() % limit;
}

function readResetHeader(header: ResetHeader, headers: ResponseHeaders, wallMs: number): number | null {
  const text = headers.get(header.name);
  const value = text === null ? null : parseUint64(text);
  if (value === null) return null;
  if (header.format === ResetHeaderFormat.Seconds) return value * 1000;
  const now = Math.floor(wallMs / 1000);
  return value < now ? null : (value - now) * 1000;
}
