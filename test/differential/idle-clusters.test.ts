/** Clusters that nobody has asked for anything yet: what is said of them, and with which values, where there are two workers. */
import { bootstrap, cluster, type Fields } from './configs.ts';
import { steps, suite } from './harness.ts';

const remaining = { circuit_breakers: { thresholds: [{ track_remaining: true }, { priority: 'HIGH' }] } };
const tracked = { track_cluster_stats: { timeout_budgets: true, request_response_sizes: true } };
const subsets = { lb_subset_config: { fallback_policy: 'ANY_ENDPOINT', subset_selectors: [{ keys: ['a'] }] } };
const idle: Readonly<Record<string, Fields>> = {
  plain: {},
  remaining,
  tracked,
  ring: { lb_policy: 'RING_HASH' },
  maglev: { lb_policy: 'MAGLEV' },
  least: { lb_policy: 'LEAST_REQUEST' },
  subsets,
};

suite(
  'idle clusters',
  {
    config: bootstrap(
      [],
      Object.entries(idle).map(([name, more]) => ({ ...cluster(name, ['{{refused}}']), ...more })),
      { admin: { address: '{{admin}}' } },
    ),
    flags: ['--concurrency', '2'],
  },
  [
    steps('dumps without a connection manager', async (exchange) => {
      const { body } = await exchange.proxy.admin('/config_dump');
      exchange.note('dumps', body.match(/\w+ConfigDump/g)?.join(' ') ?? '');
      await exchange.admin('/config_dump?resource=dynamic_route_configs');
    }),
    ...[
      '/stats?filter=^cluster\\.',
      '/stats?usedonly&filter=^cluster\\.',
      '/stats/prometheus?usedonly&filter=^cluster\\.',
    ].map((path) =>
      steps(path, async (exchange) => {
        // Once to let them be said, once to read them where all of them were asked for.
        await exchange.proxy.admin('/clusters');
        await exchange.expect('warm clusters', async () => {
          return (await exchange.proxy.admin('/stats?usedonly&filter=warming_state')).body.split('\n').length > 7;
        });
        await exchange.admin(path);
      }),
    ),
  ],
);
