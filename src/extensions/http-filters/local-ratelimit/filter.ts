import type { RequestHeaders, ResponseHeaders } from '../../../http/header-map.ts';
import type { Connection } from '../../../net/connection.ts';
import type { WorkerEnvironment } from '../../../pipeline/environment.ts';
import { FilterFormatContext } from '../../../pipeline/filter-format-context.ts';
import { Flow, HttpFilter } from '../../../pipeline/http-filter.ts';
import { type RateLimitDescriptor, rateLimitDescriptors } from '../../../pipeline/rate-limit-descriptors.ts';
import { ResponseFlag } from '../../../pipeline/response-flag.ts';
import type { HeaderMutations } from '../../../routing/header-mutation.ts';
import { ActionKind } from '../../../routing/route-action.ts';
import type { RateLimitPolicy } from '../../../routing/route-policies.ts';
import type { RuntimeFraction } from '../../../routing/runtime-fraction.ts';
import { defineStats, type StatsFamily } from '../../../stats/stat-group.ts';
import { type LimitBucket, Limiter, type LimiterSpec, privateBuckets, sharedBuckets } from './limiter.ts';

const DEFINITION = { counters: ['enabled', 'enforced', 'ok', 'rate_limited', 'shadow_mode'] } as const;
/** `<stat_prefix>.http_local_rate_limit.*`. */
export const LIMIT_STATS: StatsFamily<typeof DEFINITION> = defineStats(DEFINITION);

/** `vh_rate_limits`. */
export const HostLimits = { Override: 0, Include: 1, Ignore: 2 } as const;
export type HostLimits = (typeof HostLimits)[keyof typeof HostLimits];

/** The filter's configuration, or a route's. Source: envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit. */
export interface LimitSettings {
  /** Names the buckets among all workers. */
  readonly key: string;
  readonly stats: ReturnType<typeof LIMIT_STATS.create>;
  readonly status: number;
  readonly limits: LimiterSpec;
  readonly perConnection: boolean;
  /** Null: never. */
  readonly enabled: RuntimeFraction | null;
  /** Null: never. */
  readonly enforced: RuntimeFraction | null;
  readonly requestMutations: HeaderMutations;
  readonly responseMutations: HeaderMutations;
  readonly stage: number;
  readonly rateLimitHeaders: boolean;
  readonly retryAfterHeader: boolean;
  readonly hostLimits: HostLimits;
  readonly resourceExhausted: boolean;
  /** `rate_limits` of the filter: instead of those of the route. */
  readonly policies: readonly RateLimitPolicy[];
}

const RESOURCE_EXHAUSTED = 8;
const RANDOM_RANGE = 0x20_0000_0000_0000;

/** What the streams of one filter share in one worker. */
export class LimiterPool {
  readonly environment: WorkerEnvironment;
  readonly #listener: string;
  /** Weak: routes bring settings of their own, and go. */
  readonly #limiters = new WeakMap<LimitSettings, Limiter>();
  /** One per connection, of whichever settings came first, as in Envoy's filter state. */
  readonly #ofConnections = new WeakMap<Connection, Limiter>();

  constructor(environment: WorkerEnvironment, listener: string) {
    this.environment = environment;
    this.#listener = listener;
  }

  limiter(settings: LimitSettings, connection: Connection): Limiter {
    if (settings.perConnection) {
      let limiter = this.#ofConnections.get(connection);
      if (limiter === undefined) {
        limiter = new Limiter(settings.limits, privateBuckets);
        this.#ofConnections.set(connection, limiter);
      }
      return limiter;
    }
    let limiter = this.#limiters.get(settings);
    if (limiter === undefined) {
      const key = `local_ratelimit|${this.#listener}|${settings.key}`;
      limiter = new Limiter(settings.limits, sharedBuckets(this.environment.shared, key));
      this.#limiters.set(settings, limiter);
    }
    return limiter;
  }
}

/** Refuses requests that come faster than token buckets fill. Source: Envoy, LocalRateLimitFilter. */
export class HttpLocalRateLimitFilter extends HttpFilter {
  #settings: LimitSettings;
  readonly #pool: LimiterPool;
  #bucket: LimitBucket | null = null;

  constructor(settings: LimitSettings, pool: LimiterPool) {
    super();
    this.#settings = settings;
    this.#pool = pool;
  }

  get #nowMs(): number {
    return this.stream.dispatcher.nowMs + this.#pool.environment.sharedClockOffsetMs;
  }

  #drawn(fraction: RuntimeFraction | null): boolean {
    return fraction?.enabled(Math.floor(this.stream.dispatcher.random.float() * RANDOM_RANGE)) ?? false;
  }

  override onRequestHeaders(headers: RequestHeaders, _end: boolean): Flow {
    const ofRoute = this.stream.routeConfig() as LimitSettings | undefined;
    if (ofRoute !== undefined) this.#settings = ofRoute;
    const settings = this.#settings;
    if (!this.#drawn(settings.enabled)) return Flow.Continue;
    const { stats } = settings;
    stats.enabled.inc();
    const limiter = this.#pool.limiter(settings, this.stream.connection);
    const result = limiter.take(
      this.#nowMs,
      settings.limits.descriptors.length === 0 ? [] : this.#descriptors(settings),
    );
    this.#bucket = result.bucket;
    if (result.allowed) {
      stats.ok.inc();
      return Flow.Continue;
    }
    stats.rate_limited.inc();
    if (result.bucket?.shadow === true) {
      stats.shadow_mode.inc();
      return Flow.Continue;
    }
    if (!this.#drawn(settings.enforced)) {
      settings.requestMutations.apply(headers, new FilterFormatContext(this.stream));
      return Flow.Continue;
    }
    stats.enforced.inc();
    this.stream.info.setFlag(ResponseFlag.RateLimited);
    this.stream.sendLocalReply({
      status: settings.status,
      body: 'local_rate_limited',
      details: 'local_rate_limited',
      grpcStatus: settings.resourceExhausted ? RESOURCE_EXHAUSTED : null,
      modifyHeaders: (response) => {
        settings.responseMutations.apply(response, new FilterFormatContext(this.stream));
        if (settings.retryAfterHeader && result.bucket !== null) {
          response.set('retry-after', this.#resetSeconds(result.bucket));
        }
      },
    });
    return Flow.Pause;
  }

  #descriptors(settings: LimitSettings): RateLimitDescriptor[] {
    const out: RateLimitDescriptor[] = [];
    const context = new FilterFormatContext(this.stream);
    const { environment } = this.#pool;
    if (settings.policies.length > 0) {
      rateLimitDescriptors(settings.policies, 0, context, environment, out);
      return out;
    }
    const { route } = this.stream;
    if (route === null || route.action.kind !== ActionKind.Forward) return out;
    const { action } = route;
    const add = (policies: readonly RateLimitPolicy[]): void => {
      const usable = policies.filter((policy) => policy.disableKey === '');
      rateLimitDescriptors(usable, settings.stage, context, environment, out, false);
    };
    // Envoy counts one hit for each descriptor of a route; `hits_addend` holds for the filter's own rate_limits alone.
    add(action.rateLimits);
    const include = action.includeVirtualHostRateLimits ? HostLimits.Include : settings.hostLimits;
    if (include === HostLimits.Include || (include === HostLimits.Override && action.rateLimits.length === 0)) {
      add(route.virtualHost.rateLimits);
    }
    return out;
  }

  override onResponseHeaders(headers: ResponseHeaders, _end: boolean): Flow {
    const bucket = this.#bucket;
    if (bucket === null || !this.#settings.rateLimitHeaders) return Flow.Continue;
    headers.add('x-ratelimit-limit', String(bucket.tokens.maxTokens));
    headers.add('x-ratelimit-remaining', String(bucket.tokens.remaining(this.#nowMs)));
    headers.add('x-ratelimit-reset', this.#resetSeconds(bucket));
    return Flow.Continue;
  }

  /** Until the next token. */
  #resetSeconds(bucket: LimitBucket): string {
    return String(Math.ceil(Math.round(bucket.tokens.msUntilToken(this.#nowMs)) / 1000));
  }
}
