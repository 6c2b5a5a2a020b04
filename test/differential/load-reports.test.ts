import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpListener, to } from './configs.ts';
import { planeApi, planeCluster } from './discovery.ts';
import type { Exchange } from './exchange.ts';
import { accepted, refused, steps, suite, validateSuite } from './harness.ts';

const upstreams = {
  u1: httpUpstream((request) => reply(request.path.startsWith('/bad') ? 500 : 200, 'one')),
  // Which of several is asked first is left to chance.
  u2: httpUpstream(() => reply(200, 'one')),
  slow: httpUpstream(async () => {
    await Bun.sleep(600);
    return reply(200, 'slow');
  }),
};

const endpoint = (name: string): Fields => ({ endpoint: { address: `{{upstream:${name}}}` } });

/** A cluster in two localities, of two priorities. */
const placed: Fields = {
  name: 'placed',
  connect_timeout: '1s',
  load_assignment: {
    cluster_name: 'placed',
    endpoints: [
      { locality: { region: 'r', zone: 'z1', sub_zone: 's' }, lb_endpoints: [endpoint('u1')] },
      { locality: { region: 'r', zone: 'z2' }, lb_endpoints: [endpoint('u2')] },
      { locality: { zone: 'z3' }, priority: 1, lb_endpoints: [endpoint('u2')] },
    ],
  },
};

const config: Fields = {
  node: { id: 'node-1', cluster: 'tests', locality: { zone: 'here' } },
  cluster_manager: {
    load_stats_config: planeApi('GRPC'),
  },
  static_resources: {
    clusters: [
      planeCluster,
      { ...cluster('u1'), name: 'c1' },
      { ...cluster('slow'), name: 'slow' },
      placed,
      {
        ...cluster('u1'),
        name: 'full',
        circuit_breakers: { thresholds: [{ max_requests: 0, max_pending_requests: 0 }] },
      },
      {
        ...cluster('u1'),
        name: 'dropping',
        load_assignment: {
          cluster_name: 'dropping',
          endpoints: [{ lb_endpoints: [endpoint('u1')] }],
          policy: { drop_overloads: [{ category: 'throttle', drop_percentage: { numerator: 100 } }] },
        },
      },
    ],
    listeners: [
      httpListener({
        routes: [
          to('placed', '/placed'),
          to('full', '/full'),
          to('dropping', '/dropping'),
          to('slow', '/slow'),
          to('c1'),
        ],
      }),
    ],
  },
};

interface Counts {
  readonly total_successful_requests?: string;
  readonly total_error_requests?: string;
  readonly total_requests_in_progress?: string;
  readonly total_issued_requests?: string;
}
interface LocalityStats extends Counts {
  readonly locality?: object;
  readonly priority?: number;
  readonly upstream_endpoint_stats?: readonly (Counts & { readonly address?: object })[];
}
interface ClusterReport {
  readonly cluster_name: string;
  readonly cluster_service_name?: string;
  readonly upstream_locality_stats?: readonly LocalityStats[];
  readonly total_dropped_requests?: string;
  readonly dropped_requests?: readonly { readonly category: string; readonly dropped_count: string }[];
  readonly load_report_interval?: string;
}

function reports(exchange: Exchange): readonly ClusterReport[] {
  return exchange.side.controlPlane!.loadReports.flatMap((report) => (report.cluster_stats ?? []) as never);
}

const plus = (map: Map<string, number>, key: string, text: string | undefined): void => {
  map.set(key, (map.get(key) ?? 0) + Number(text ?? 0));
};

/** With the upstream's name for its port. */
function placeOf(exchange: Exchange, address: string): string {
  let text = address;
  for (const [name, port] of exchange.side.ports) text = text.replace(String(port), name);
  return text;
}

/** All that was reported so far, added up; what is in progress is told apart by the last report alone. */
function sums(exchange: Exchange): Map<string, number> {
  const all = new Map<string, number>();
  for (const cluster of reports(exchange)) {
    const name = `${cluster.cluster_name}${cluster.cluster_service_name ?? ''}`;
    plus(all, `${name} dropped`, cluster.total_dropped_requests);
    for (const { category, dropped_count } of cluster.dropped_requests ?? []) {
      plus(all, `${name} dropped as ${category}`, dropped_count);
    }
    for (const stats of cluster.upstream_locality_stats ?? []) {
      const place = `${name} ${JSON.stringify(stats.locality)} ${stats.priority ?? 0}`;
      plus(all, `${place} ok`, stats.total_successful_requests);
      plus(all, `${place} errors`, stats.total_error_requests);
      plus(all, `${place} issued`, stats.total_issued_requests);
      for (const one of stats.upstream_endpoint_stats ?? []) {
        const where = `${place} ${placeOf(exchange, JSON.stringify(one.address))}`;
        plus(all, `${where} ok`, one.total_successful_requests);
        plus(all, `${where} issued`, one.total_issued_requests);
      }
    }
  }
  return all;
}

function noteSums(exchange: Exchange): void {
  const lines = [...sums(exchange)].filter(([, count]) => count > 0).map(([name, count]) => `${name}: ${count}`);
  exchange.note('reported', lines.sort().join('\n'));
}

async function begin(exchange: Exchange, wish: Fields): Promise<void> {
  const plane = exchange.side.controlPlane!;
  await exchange.expect('a first report', () => plane.loadReports.length > 0);
  plane.askForLoad(wish as never);
  // What is counted before the wish has arrived is not reported.
  await exchange.expectStat('load_reporter.requests', 1);
}

const reported = (exchange: Exchange, name: string, count: number): Promise<void> =>
  exchange.expect(`${name} to be ${count}`, () => (sums(exchange).get(name) ?? 0) >= count);

const every = { load_reporting_interval: '0.05s' };
const get = (path: string): string => http(`GET ${path}`);
const HERE = 'c1 {} 0';

suite(
  'load reports',
  {
    config,
    upstreams,
    controlPlane: () => {},
    fresh: true,
    upstreamBytes: false,
    stats: [/^load_reporter\.(requests|errors|retries)/],
  },
  [
    steps('the first word', async (exchange) => {
      const plane = exchange.side.controlPlane!;
      await exchange.expect('a first report', () => plane.loadReports.length > 0);
      const [report] = plane.loadReports;
      const node = report?.node as Fields;
      const features = (node.client_features as string[]).filter((each) => each.includes('lrs'));
      exchange.note(
        'first',
        JSON.stringify([node.id, node.cluster, node.locality, features, report?.cluster_stats ?? []]),
      );
    }),
    steps('one cluster by name: answers and errors', async (exchange) => {
      await exchange.request(get('/before'));
      await begin(exchange, { ...every, clusters: ['c1'] });
      for (const path of ['/a', '/b', '/bad', '/placed']) await exchange.request(get(path));
      await reported(exchange, `${HERE} issued`, 3);
      await reported(exchange, `${HERE} errors`, 1);
      noteSums(exchange);
      const intervals = reports(exchange).map((each) => Number.parseFloat(each.load_report_interval ?? '0'));
      exchange.note('intervals', String(intervals.every((each) => each > 0.01 && each < 2)));
    }),
    steps('all clusters', async (exchange) => {
      await begin(exchange, { ...every, send_all_clusters: true });
      for (const path of ['/a', '/placed', '/placed', '/placed', '/placed']) await exchange.request(get(path));
      await reported(exchange, `${HERE} issued`, 1);
      await exchange.expect('placed', () => {
        const counts = [...sums(exchange)].filter(([name]) => /^placed .* issued$/.test(name));
        return counts.reduce((sum, [, count]) => sum + count, 0) >= 4;
      });
      noteSums(exchange);
      exchange.note('clusters', [...new Set(reports(exchange).map((each) => each.cluster_name))].sort().join());
    }),
    steps('by endpoint', async (exchange) => {
      await begin(exchange, { ...every, clusters: ['placed', 'nowhere'], report_endpoint_granularity: true });
      for (let i = 0; i < 4; i++) await exchange.request(get('/placed'));
      await exchange.expect('placed', () => {
        const counts = [...sums(exchange)].filter(([name]) => /^placed .*\d issued$/.test(name));
        return counts.reduce((sum, [, count]) => sum + count, 0) >= 4;
      });
      noteSums(exchange);
      exchange.note('clusters', [...new Set(reports(exchange).map((each) => each.cluster_name))].join());
    }),
    steps('what is turned away', async (exchange) => {
      await begin(exchange, { ...every, clusters: ['full', 'dropping'] });
      for (const path of ['/full', '/full', '/dropping', '/dropping', '/dropping']) await exchange.request(get(path));
      await reported(exchange, 'full dropped', 2);
      await reported(exchange, 'dropping dropped as throttle', 3);
      noteSums(exchange);
    }),
    steps('a request that takes longer than a period', async (exchange) => {
      await begin(exchange, { ...every, clusters: ['slow'] });
      const client = await exchange.connect();
      client.send(get('/slow'));
      await reported(exchange, 'slow {} 0 issued', 1);
      const before = reports(exchange).length;
      await exchange.expect('more reports', () => reports(exchange).length >= before + 3);
      const last = reports(exchange).at(-1);
      exchange.note('while it lasts', JSON.stringify({ ...last, load_report_interval: undefined }));
      await exchange.expectResponse(client);
      const later = reports(exchange).length;
      await exchange.expect('more reports', () => reports(exchange).length >= later + 3);
      noteSums(exchange);
    }),
    steps('another wish', async (exchange) => {
      await begin(exchange, { ...every, clusters: ['c1'] });
      await exchange.request(get('/a'));
      await reported(exchange, `${HERE} ok`, 1);
      exchange.side.controlPlane!.askForLoad({ ...every, clusters: ['slow'] } as never);
      await exchange.expectStat('load_reporter.requests', 2);
      await exchange.request(get('/b'));
      const seen = reports(exchange).length;
      await exchange.expect('more reports', () => reports(exchange).length >= seen + 2);
      exchange.note('last', reports(exchange).at(-1)?.cluster_name ?? '');
      noteSums(exchange);
    }),
  ],
);

/** OrcaLoadReport by hand: cpu_utilization 0.5, named_metrics a: 2. */
const ORCA_BYTES = Buffer.concat([
  Buffer.from([0x09]),
  Buffer.from(new Float64Array([0.5]).buffer),
  Buffer.from([0x42, 12, 0x0a, 1, 0x61, 0x11]),
  Buffer.from(new Float64Array([2]).buffer),
]).toString('base64');

/** What hosts say of themselves, and how. */
const sayings: Readonly<Record<string, readonly string[]>> = {
  text: ['endpoint-load-metrics: TEXT cpu_utilization=0.25, mem_utilization=0.5,named_metrics.a=1.5,named_metrics.b=2'],
  'text of all kinds': [
    'endpoint-load-metrics: TEXT application_utilization=1,eps=2,rps_fractional=3,utilization.u=0.5,request_cost.r=4',
  ],
  'text with what is not known': ['endpoint-load-metrics: TEXT cpu_utilization=0.25,what=1'],
  'text with a name twice': ['endpoint-load-metrics: TEXT cpu_utilization=0.25,cpu_utilization=0.5'],
  'text that is no number': ['endpoint-load-metrics: TEXT cpu_utilization=much'],
  'text without a value': ['endpoint-load-metrics: TEXT cpu_utilization'],
  'text without a format': ['endpoint-load-metrics: cpu_utilization=0.25'],
  'text with colons': ['endpoint-load-metrics: TEXT cpu_utilization:0.25'],
  'an empty text': ['endpoint-load-metrics: TEXT '],
  'two lines': ['endpoint-load-metrics: TEXT cpu_utilization=0.25', 'endpoint-load-metrics: TEXT mem_utilization=0.5'],
  JSON: ['endpoint-load-metrics: JSON {"cpu_utilization": 0.75, "named_metrics": {"a": 3}, "utilization": {"u": 1}}'],
  'JSON in camel case': ['endpoint-load-metrics: JSON {"cpuUtilization": 0.75, "requestCost": {"r": 3}}'],
  'JSON with what is not known': ['endpoint-load-metrics: JSON {"cpu_utilization": 0.75, "what": 1}'],
  'JSON that is none': ['endpoint-load-metrics: JSON {"cpu_utilization": '],
  'bytes by their header': [`endpoint-load-metrics-bin: ${ORCA_BYTES}`],
  'bytes by their prefix': [`endpoint-load-metrics: BIN ${ORCA_BYTES}`],
  'bytes that are none': ['endpoint-load-metrics-bin: //////8='],
  'both headers': ['endpoint-load-metrics: TEXT cpu_utilization=0.25', `endpoint-load-metrics-bin: ${ORCA_BYTES}`],
  'the older JSON header': ['endpoint-load-metrics-json: {"cpu_utilization": 0.75}'],
};

interface MetricStats {
  readonly metric_name: string;
  readonly num_requests_finished_with_metric?: string;
  readonly total_metric_value?: number;
}

function noteMetrics(exchange: Exchange): void {
  const all = new Map<string, number>();
  const add = (place: string, list: readonly MetricStats[] | undefined): void => {
    for (const one of list ?? []) {
      plus(all, `${place} ${one.metric_name} count`, one.num_requests_finished_with_metric);
      plus(all, `${place} ${one.metric_name} total`, String(one.total_metric_value ?? 0));
    }
  };
  for (const each of reports(exchange)) {
    for (const stats of each.upstream_locality_stats ?? []) {
      const withMetrics = stats as {
        load_metric_stats?: MetricStats[];
        upstream_endpoint_stats?: { load_metric_stats?: MetricStats[] }[];
      };
      add('locality', withMetrics.load_metric_stats);
      for (const one of withMetrics.upstream_endpoint_stats ?? []) add('endpoint', one.load_metric_stats);
    }
  }
  exchange.note(
    'metrics',
    [...all]
      .map(([name, sum]) => `${name}: ${sum}`)
      .sort()
      .join('\n'),
  );
}

const names = Object.keys(sayings);
const telling = (name: string, metrics: readonly string[] | undefined): Fields => ({
  ...cluster('teller'),
  name,
  ...(metrics === undefined ? {} : { lrs_report_endpoint_metrics: metrics }),
});

suite(
  'load that hosts tell of',
  {
    config: {
      ...config,
      static_resources: {
        clusters: [
          planeCluster,
          telling('some', ['cpu_utilization', 'named_metrics.a', 'mem_utilization', 'nothing']),
          telling('all', [
            'named_metrics.*',
            'utilization.*',
            'request_cost.*',
            'application_utilization',
            'eps',
            'rps_fractional',
          ]),
          telling('none', undefined),
        ],
        listeners: [httpListener({ routes: [to('some', '/some'), to('all', '/all'), to('none', '/none')] })],
      },
    },
    upstreams: {
      teller: httpUpstream((request) =>
        reply(200, '', sayings[names[Number(request.path.replace(/.*\//, ''))] ?? ''] ?? []),
      ),
    },
    controlPlane: () => {},
    fresh: true,
    upstreamBytes: false,
  },
  [
    ...names.map((name, index) =>
      steps(name, async (exchange) => {
        await begin(exchange, { ...every, clusters: ['some', 'all'], report_endpoint_granularity: true });
        await exchange.request(get(`/some/${index}`));
        await exchange.request(get(`/all/${index}`));
        await reported(exchange, 'some {} 0 ok', 1);
        await reported(exchange, 'all {} 0 ok', 1);
        noteMetrics(exchange);
      }),
    ),
    steps('several answers, and clusters that do not ask', async (exchange) => {
      await begin(exchange, { ...every, clusters: ['some', 'none'] });
      for (const index of [0, 0, 10]) await exchange.request(get(`/some/${index}`));
      await exchange.request(get('/none/0'));
      await reported(exchange, 'some {} 0 ok', 3);
      await reported(exchange, 'none {} 0 ok', 1);
      noteMetrics(exchange);
    }),
  ],
);

const reporting = (service: Fields): Fields => ({
  cluster_manager: {
    load_stats_config: { api_type: 'GRPC', transport_api_version: 'V3', grpc_services: [service] },
  },
  static_resources: { clusters: [{ ...cluster('u1'), name: 'plane' }] },
});

validateSuite('load reports', [
  accepted('over a cluster', reporting({ envoy_grpc: { cluster_name: 'plane' } })),
  accepted('to an address', reporting({ google_grpc: { target_uri: '127.0.0.1:1', stat_prefix: 'x' } })),
  accepted('a cluster that names a server, which nobody reads', {
    static_resources: { clusters: [{ ...cluster('u1'), lrs_server: { self: {} } }] },
  }),
  refused('a server that is no source', {
    static_resources: { clusters: [{ ...cluster('u1'), lrs_server: {} }] },
  }),
]);
