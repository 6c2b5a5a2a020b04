import { HistogramUnit } from '../stats/histogram.ts';
import { defineStats } from '../stats/stat-group.ts';

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
export const WATCHDOG_STATS = defineStats({ counters: ['watchdog_mega_miss', 'watchdog_miss'] } as const);

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
export function isProcessWide(name: string): boolean {
  return name.startsWith('cluster_manager.') || (name.startsWith('cluster.') && name.endsWith('.membership_change'));
}
