import { ROUTER_STATS } from '../pipeline/router/router-config.ts';
import type { Gauge } from '../stats/gauge.ts';
import { HistogramUnit } from '../stats/histogram.ts';
import { defineStats } from '../stats/stat-group.ts';
import type { Scope } from '../stats/store.ts';

/** `server.*` as Envoy has it. */
export const SERVER_STATS = defineStats({
  counters: [
    'debug_assertion_failures',
    'dropped_stat_flushes',
    'dynamic_unknown_fields',
    'envoy_bug_failures',
    'envoy_notifications',
    'main_thread.watchdog_mega_miss',
    'main_thread.watchdog_miss',
    'static_unknown_fields',
    'wip_protos',
  ],
  neverImportGauges: [
    'compilation_settings.fips_mode',
    'concurrency',
    'days_until_first_cert_expiring',
    'hot_restart_epoch',
    'hot_restart_generation',
    'live',
    'memory_allocated',
    'memory_heap_size',
    'memory_physical_size',
    'parent_connections',
    'seconds_until_first_ocsp_response_expiring',
    'state',
    'stats_recent_lookups',
    'total_connections',
    'uptime',
    'version',
  ],
  histograms: { initialization_time_ms: HistogramUnit.Milliseconds },
} as const);

export const LISTENER_MANAGER_STATS = defineStats({
  counters: [
    'listener_added',
    'listener_create_failure',
    'listener_create_success',
    'listener_in_place_updated',
    'listener_modified',
    'listener_removed',
    'listener_stopped',
  ],
  neverImportGauges: [
    'total_filter_chains_draining',
    'total_listeners_active',
    'total_listeners_draining',
    'total_listeners_warming',
    'workers_pinned',
    'workers_started',
  ],
} as const);

/** Under `main_thread`, `workers` and `server.worker_<n>`. */
const WATCHDOG_STATS = defineStats({ counters: ['watchdog_mega_miss', 'watchdog_miss'] } as const);

/** Under `dns.cares`, with the first cluster that needs names. */
export const DNS_STATS = defineStats({
  counters: ['get_addr_failure', 'not_found', 'reinits', 'resolve_total', 'timeouts'],
  neverImportGauges: ['pending_resolutions'],
} as const);

/** Envoy: envoy.admin.v3.ServerInfo.State. */
export const ServerState = { Live: 0, Draining: 1, PreInitializing: 2, Initializing: 3 } as const;
export type ServerState = (typeof ServerState)[keyof typeof ServerState];
export const SERVER_STATE_NAMES = ['LIVE', 'DRAINING', 'PRE_INITIALIZING', 'INITIALIZING'] as const;

/** `server.days_until_first_cert_expiring` without certificates. */
export const NO_CERTIFICATE_DAYS = 0xffff_ffff;

/**
 * Stats that every worker counts alike for the same process-wide event: they are taken from the first one alone. Envoy counts
 * them on its main thread.
 */
function isProcessWide(name: string): boolean {
  if (name.endsWith('_ssl_socket_factory.ssl_context_update_by_sds')) return true;
  return name.startsWith('cluster_manager.') || (name.startsWith('cluster.') && OF_CLUSTERS.test(name));
}

const OF_CLUSTERS = /\.(?:membership_change|default\.total_match_count|warming_state)$/;

/** Main has clusters of its own, by which it reaches control planes: workers have them, too, and tell this of them. */
const OF_WORKERS = /\.(?:membership_change|total_match_count)$/;

/** Whether what one thread says of a stat is left out. @param source 0: main; else the worker, from 1 */
export function isToldElsewhere(source: number, name: string): boolean {
  return source === 0 ? OF_WORKERS.test(name) : source > 1 && isProcessWide(name);
}

/** What is known of a server before it starts. */
export interface FixedFacts {
  readonly concurrency: number;
  readonly restartEpoch: number;
  readonly version: number;
  readonly unknownFieldCount: number;
}

/** Announces the stats that Envoy has from its start whatever is configured, and sets those that never change. */
export function announceFixedStats(
  root: Scope,
  server: ReturnType<typeof SERVER_STATS.create>,
  manager: ReturnType<typeof LISTENER_MANAGER_STATS.create>,
  facts: FixedFacts,
): void {
  const workers = Array.from({ length: facts.concurrency }, (_none, index) => `worker_${index}`);
  for (const name of ['main_thread', 'workers', ...workers.map((worker) => `server.${worker}`)]) {
    WATCHDOG_STATS.create(root, name);
  }
  // Of requests that the proxy itself would make, whatever there is to be asked.
  ROUTER_STATS.create(root, 'http.async-client');
  root.counter('envoy.overload_actions.reset_high_memory_stream.count');
  root.histogram('overload.refresh_interval_delay');
  server.concurrency.set(facts.concurrency);
  server.days_until_first_cert_expiring.set(NO_CERTIFICATE_DAYS);
  server.hot_restart_epoch.set(facts.restartEpoch);
  server.hot_restart_generation.set(1);
  server.version.set(facts.version);
  server.static_unknown_fields.add(facts.unknownFieldCount);
  for (const name of [
    'compilation_settings.fips_mode',
    'parent_connections',
    'seconds_until_first_ocsp_response_expiring',
    'stats_recent_lookups',
  ] as const) {
    server[name].set(0);
  }
  for (const name of [
    'total_filter_chains_draining',
    'total_listeners_draining',
    'workers_pinned',
    'workers_started',
  ] as const) {
    manager[name].set(0);
  }
}

/** `thread_local_cluster_manager.<thread>.clusters_inflated`: no cluster's creation is put off here. */
export class InflatedClusters {
  readonly #gauges: readonly Gauge[];

  constructor(root: Scope, concurrency: number) {
    const threads = ['main_thread', ...Array.from({ length: concurrency }, (_none, index) => `worker_${index}`)];
    this.#gauges = threads.map((thread) => root.gauge(`thread_local_cluster_manager.${thread}.clusters_inflated`));
    this.set(0);
  }

  set(count: number): void {
    for (const gauge of this.#gauges) gauge.set(count);
  }
}

/** Downstream connections of all workers, for `server.total_connections`. */
export function connectionCount(gauges: Iterable<{ readonly name: string; readonly value: number }>): number {
  let count = 0;
  for (const gauge of gauges) {
    if (/^listener\..*\.worker_\d+\.downstream_cx_active$/.test(gauge.name)) count += gauge.value;
  }
  return count;
}
