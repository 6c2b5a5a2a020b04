import { renderStats } from '../../../stats/render-stats.ts';
import type { Server } from '../../server.ts';
import {
  type AdminEndpoint,
  type AdminParameter,
  type AdminRequest,
  type AdminResponse,
  choice,
  command,
  flag,
  option,
  query,
  text,
} from '../admin-request.ts';

const USED_ONLY = flag('usedonly', 'Only include stats that have been written by system since restart');
const FILTER: readonly AdminParameter[] = [
  option('filter', 'Regular expression (Google re2) for filtering stats'),
  flag('invert_filter', 'Invert the filter regex'),
];
const RECENT_LOOKUPS = 'Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n\ntotal: 0\n';

/** `/stats` and what belongs to it. */
export function statsEndpoints(server: Server): AdminEndpoint[] {
  const show = async (path: '/stats' | '/stats/prometheus', request: AdminRequest): Promise<AdminResponse> => {
    if (server.bootstrap.plan.statsFlushOnAdmin) await server.flushStats();
    else await server.collectStats();
    return renderStats(server.stats, path, request.query);
  };
  const noLookups = (): AdminResponse =>
    text('recording of stat-name lookups is not supported: stats have no shared symbol table here\n', 501);
  return [
    query(
      '/stats',
      'print server stats',
      [
        USED_ONLY,
        ...FILTER,
        choice('format', 'Format to use', ['html', 'active-html', 'text', 'json']),
        choice('type', 'Stat types to include.', ['All', 'Counters', 'Histograms', 'Gauges', 'TextReadouts']),
        choice('histogram_buckets', 'Histogram bucket display mode', ['cumulative', 'disjoint', 'detailed', 'summary']),
      ],
      (request) => show('/stats', request),
    ),
    query(
      '/stats/prometheus',
      'print server stats in prometheus format',
      [
        USED_ONLY,
        flag('text_readouts', 'Render text_readouts as new gaugues with value 0 (increases Prometheus data size)'),
        ...FILTER,
        choice('histogram_buckets', 'Histogram bucket display mode', ['cumulative', 'summary']),
      ],
      (request) => show('/stats/prometheus', request),
    ),
    query('/stats/recentlookups', 'Show recent stat-name lookups', [], () => text(RECENT_LOOKUPS)),
    command('/stats/recentlookups/clear', 'clear list of stat-name lookups and counter', [], () => text('OK\n')),
    command('/stats/recentlookups/disable', 'disable recording of reset stat-name lookup names', [], () =>
      text('OK\n'),
    ),
    command('/stats/recentlookups/enable', 'enable recording of reset stat-name lookup names', [], noLookups),
    command('/reset_counters', 'reset all counters to zero', [], async () => {
      await server.resetCounters();
      return text('OK\n');
    }),
  ];
}
