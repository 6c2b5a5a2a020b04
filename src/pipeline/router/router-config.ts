import { defineStats } from '../../stats/stat-group.ts';
import type { AccessLogger } from '../access-logger.ts';
import type { ResponseCharging } from './response-charging.ts';

/** `http.<stat_prefix>.` counters of the router. */
export const ROUTER_STATS = defineStats({
  counters: [
    'no_cluster',
    'no_route',
    'passthrough_internal_redirect_bad_location',
    'passthrough_internal_redirect_no_route',
    'passthrough_internal_redirect_predicate',
    'passthrough_internal_redirect_too_many_redirects',
    'passthrough_internal_redirect_unsafe_scheme',
    'rq_direct_response',
    'rq_overload_local_reply',
    'rq_redirect',
    'rq_reset_after_downstream_response_started',
    'rq_total',
  ],
} as const);
export type RouterStats = ReturnType<typeof ROUTER_STATS.create>;

/** envoy.extensions.filters.http.router.v3.Router at run time, in one worker. */
export interface RouterConfig {
  readonly stats: RouterStats;
  /** Every attempt has a span of its own, where requests are traced. */
  readonly startsChildSpan: boolean;
  readonly suppressEnvoyHeaders: boolean;
  /** Lower-case names of x-envoy-* headers that are checked strictly. */
  readonly strictCheckHeaders: readonly string[];
  readonly respectExpectedTimeout: boolean;
  /** `upstream_rq_<code>` and their like are counted. */
  readonly dynamicStats: boolean;
  /** gRPC requests count only as completed. */
  readonly suppressGrpcFailureCodeStats: boolean;
  readonly upstreamLoggers: readonly AccessLogger[];
  readonly logOnUpstreamStream: boolean;
  /** 0: none. */
  readonly upstreamLogFlushIntervalMs: number;
  readonly charging: ResponseCharging;
}
