import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { http, to } from './configs.ts';
import {
  answer,
  byRds,
  clusterResource,
  dumpStates,
  dynamicBootstrap,
  edsCluster,
  endpoints,
  listenerResource,
  publish,
  publishClusters,
  publishListeners,
  routes,
  says,
  source,
} from './discovery.ts';
import { steps, suite } from './harness.ts';

const upstreams = {
  u1: httpUpstream(() => reply(200, 'one')),
  u2: httpUpstream(() => reply(200, 'two')),
};
/** Everything that is counted, but times and hashes. */
const stats = [
  /^(listener_manager|cluster_manager)\.(?!.*(update_time|\.version$|reload_time|update_duration|workers_started))/,
  /^http\.ingress\.rds\.(?!.*(update_time|\.version$|reload_time|update_duration))/,
  /^cluster\.(c1|c2)\.(update_(attempt|success|failure|rejected|empty)|membership_(total|healthy|change))$/,
];
const get = http('GET /');
const first = {
  'cds.json': answer('1', [clusterResource('c1', 'u1')]),
  'lds.json': answer('1', [listenerResource({ routes: [to('c1')] })]),
  'rds.json': answer('1', [routes('r1', [says('first')])]),
  'eds.json': answer('1', [endpoints('c1', ['u1'])]),
};
const base = { config: dynamicBootstrap(), upstreams, files: first, stats, fresh: true, upstreamBytes: false };

suite('clusters from a file', base, [
  steps('the first ones serve', async (exchange) => {
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('one is added', async (exchange) => {
    await publishClusters(exchange, '2', [clusterResource('c1', 'u1'), clusterResource('c2', 'u2')]);
    await dumpStates(exchange);
  }),
  steps('other endpoints', async (exchange) => {
    await exchange.request(get);
    await publishClusters(exchange, '2', [clusterResource('c1', 'u2')]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('other settings', async (exchange) => {
    await exchange.request(get);
    await publishClusters(exchange, '2', [clusterResource('c1', 'u2', { lb_policy: 'RANDOM', connect_timeout: '3s' })]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('removed, and there again', async (exchange) => {
    await publishClusters(exchange, '2', []);
    await exchange.request(get);
    await publishClusters(exchange, '3', [clusterResource('c1', 'u2')]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('removed', async (exchange) => {
    await publishClusters(exchange, '2', []);
    await dumpStates(exchange);
  }),
  steps('the same file again', async (exchange) => {
    await publishClusters(exchange, '1', [clusterResource('c1', 'u1')]);
    await dumpStates(exchange);
  }),
  steps('the same content under another version', async (exchange) => {
    await publishClusters(exchange, '2', [clusterResource('c1', 'u1')]);
    await dumpStates(exchange);
  }),
  steps('one is refused, the other is taken', async (exchange) => {
    const bad = clusterResource('c2', 'u2', { type: 'EDS' });
    await publishClusters(exchange, '2', [bad, clusterResource('c1', 'u2')]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('a field that breaks a rule refuses the file', async (exchange) => {
    const bad = clusterResource('c2', 'u2', { connect_timeout: '-1s' });
    await publishClusters(exchange, '2', [bad, clusterResource('c1', 'u2')]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('two of one name', async (exchange) => {
    await publishClusters(exchange, '2', [clusterResource('c1', 'u2'), clusterResource('c1', 'u1')]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('no message at all', async (exchange) => {
    await publish(exchange, 'cds.json', 'cluster_manager.cds', '{ "resources": [');
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('resources of another type', async (exchange) => {
    await publishClusters(exchange, '2', [listenerResource()]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('a field that nobody knows', async (exchange) => {
    await publishClusters(exchange, '2', [clusterResource('c1', 'u2', { no_such_field: 1 })]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
]);

suite('listeners from a file', base, [
  steps('another one', async (exchange) => {
    await publishListeners(exchange, '2', [
      listenerResource({ routes: [to('c1')] }),
      listenerResource({ name: 'b', routes: [says('b')] }),
    ]);
    await exchange.request(get);
    await exchange.request(get, { listener: 'b' });
    await dumpStates(exchange);
  }),
  steps('only its filter chain changes: connections of the old one drain', async (exchange) => {
    const client = await exchange.connect();
    client.send(get);
    await exchange.expectResponse(client);
    await publishListeners(exchange, '2', [listenerResource({ routes: [says('new')] })]);
    client.send(get);
    await exchange.expectResponse(client);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('more than its filter chains changes: the old one drains', async (exchange) => {
    const client = await exchange.connect();
    client.send(get);
    await exchange.expectResponse(client);
    await publishListeners(exchange, '2', [
      listenerResource({ routes: [says('new')], listener: { per_connection_buffer_limit_bytes: 4096 } }),
    ]);
    client.send(get);
    await exchange.expectResponse(client);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('removed', async (exchange) => {
    const client = await exchange.connect();
    client.send(get);
    await exchange.expectResponse(client);
    await publishListeners(exchange, '2', []);
    client.send(get);
    await exchange.expectResponse(client);
    await dumpStates(exchange);
    await exchange.admin('/listeners');
  }),
  steps('one is refused, the other is taken', async (exchange) => {
    const bad = listenerResource({ name: 'b', hcm: { http_filters: [{ name: 'envoy.nothing' }] } });
    await publishListeners(exchange, '2', [bad, listenerResource({ routes: [says('new')] })]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('refused, then good', async (exchange) => {
    await publishListeners(exchange, '2', [listenerResource({ hcm: { http_filters: [{ name: 'envoy.nothing' }] } })]);
    await exchange.request(get);
    await publishListeners(exchange, '3', [listenerResource({ routes: [says('new')] })]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('a route to a cluster that there is not', async (exchange) => {
    await publishListeners(exchange, '2', [listenerResource({ routes: [to('missing')] })]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('two of one name', async (exchange) => {
    await publishListeners(exchange, '2', [
      listenerResource({ routes: [says('x')] }),
      listenerResource({ routes: [says('y')] }),
    ]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('reuse_port may not change', async (exchange) => {
    await publishListeners(exchange, '2', [
      listenerResource({ routes: [says('x')], listener: { enable_reuse_port: false } }),
    ]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('an address that somebody else has', async (exchange) => {
    const busy = listenerResource({ name: 'b', listener: { address: '{{upstream:u1}}' } });
    await publishListeners(exchange, '2', [listenerResource({ routes: [to('c1')] }), busy]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('two of one address', async (exchange) => {
    const address = { socket_address: { address: '127.0.0.77', port_value: 17_077 } };
    await publishListeners(exchange, '2', [
      listenerResource({ name: 'b', routes: [says('b')], listener: { address, bind_to_port: false } }),
      listenerResource({ name: 'c', routes: [says('c')], listener: { address, bind_to_port: false } }),
    ]);
    await dumpStates(exchange);
  }),
  steps('without a filter chain', async (exchange) => {
    await publishListeners(exchange, '2', [listenerResource({ listener: { filter_chains: [] } })]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('a default filter chain comes', async (exchange) => {
    const listener = listenerResource({ routes: [to('c1')] }) as { filter_chains: object[] };
    const [chain] = listener.filter_chains;
    await publishListeners(exchange, '2', [{ ...listener, default_filter_chain: chain } as never]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
]);

suite(
  'routes from a file',
  { ...base, files: { ...first, 'lds.json': answer('1', [listenerResource({ hcm: byRds() })]) } },
  [
    steps('the first ones serve', async (exchange) => {
      await exchange.request(get);
      await dumpStates(exchange);
    }),
    steps('other ones, for connections that there are too', async (exchange) => {
      const client = await exchange.connect();
      client.send(get);
      await exchange.expectResponse(client);
      await publish(exchange, 'rds.json', 'http.ingress.rds.r1', answer('2', [routes('r1', [says('second')])]));
      client.send(get);
      await exchange.expectResponse(client);
      await dumpStates(exchange);
    }),
    steps('refused: the last good ones stay', async (exchange) => {
      const bad = routes('r1', [{ match: { safe_regex: { regex: '(' } }, direct_response: { status: 200 } }]);
      await publish(exchange, 'rds.json', 'http.ingress.rds.r1', answer('2', [bad]));
      await exchange.request(get);
      await dumpStates(exchange);
    }),
    steps('another name', async (exchange) => {
      await publish(exchange, 'rds.json', 'http.ingress.rds.r1', answer('2', [routes('r2', [says('second')])]));
      await exchange.request(get);
      await dumpStates(exchange);
    }),
    steps('two tables', async (exchange) => {
      await publish(
        exchange,
        'rds.json',
        'http.ingress.rds.r1',
        answer('2', [routes('r1', [says('x')]), routes('r2', [])]),
      );
      await exchange.request(get);
      await dumpStates(exchange);
    }),
    steps('none', async (exchange) => {
      await publish(exchange, 'rds.json', 'http.ingress.rds.r1', answer('2', []));
      await exchange.request(get);
      await dumpStates(exchange);
    }),
    steps('to a cluster that comes later', async (exchange) => {
      await publish(exchange, 'rds.json', 'http.ingress.rds.r1', answer('2', [routes('r1', [to('c2')])]));
      await exchange.request(get);
      await publishClusters(exchange, '2', [clusterResource('c1', 'u1'), clusterResource('c2', 'u2')]);
      await exchange.request(get);
      await dumpStates(exchange);
    }),
    steps('clusters that are checked', async (exchange) => {
      const checked = routes('r1', [to('missing')], { validate_clusters: true });
      await publish(exchange, 'rds.json', 'http.ingress.rds.r1', answer('2', [checked]));
      await exchange.request(get);
      await dumpStates(exchange);
    }),
  ],
);

suite(
  'routes from a file that is no good at the start',
  {
    ...base,
    files: {
      ...first,
      'rds.json': answer('1', [routes('r2', [])]),
      'lds.json': answer('1', [listenerResource({ hcm: byRds() })]),
    },
  },
  [
    steps('nothing is found until they come', async (exchange) => {
      await exchange.request(get);
      await publish(exchange, 'rds.json', 'http.ingress.rds.r1', answer('2', [routes('r1', [says('second')])]));
      await exchange.request(get);
      await dumpStates(exchange);
    }),
  ],
);

suite('endpoints from a file', { ...base, files: { ...first, 'cds.json': answer('1', [edsCluster('c1')]) } }, [
  steps('the first ones serve', async (exchange) => {
    await exchange.request(get);
    await dumpStates(exchange);
  }),
  steps('others', async (exchange) => {
    await exchange.request(get);
    await publish(exchange, 'eds.json', 'cluster.c1', answer('2', [endpoints('c1', ['u2'])]));
    await exchange.request(get);
  }),
  steps('the same again', async (exchange) => {
    await publish(exchange, 'eds.json', 'cluster.c1', answer('2', [endpoints('c1', ['u1'])]));
    await exchange.request(get);
  }),
  steps('of no endpoint', async (exchange) => {
    await publish(exchange, 'eds.json', 'cluster.c1', answer('2', [endpoints('c1', [])]));
    await exchange.request(get);
  }),
  steps('of another name', async (exchange) => {
    await publish(exchange, 'eds.json', 'cluster.c1', answer('2', [endpoints('c9', ['u2'])]));
    await exchange.request(get);
  }),
  steps('an answer without any', async (exchange) => {
    await publish(exchange, 'eds.json', 'cluster.c1', answer('2', []));
    await exchange.request(get);
  }),
  steps('refused', async (exchange) => {
    const bad = endpoints('c1', ['u2'], { policy: { overprovisioning_factor: 0 } });
    await publish(exchange, 'eds.json', 'cluster.c1', answer('2', [bad]));
    await exchange.request(get);
  }),
  steps('the cluster changes, its endpoints stay', async (exchange) => {
    await exchange.request(get);
    await publishClusters(exchange, '2', [edsCluster('c1', { connect_timeout: '2s' })]);
    await exchange.request(get);
    await dumpStates(exchange);
  }),
]);

const layer = (values: object) => ({
  '@type': 'type.googleapis.com/envoy.service.runtime.v3.Runtime',
  name: 'r',
  layer: values,
});
suite(
  'the runtime from a file',
  {
    ...base,
    config: dynamicBootstrap({
      layered_runtime: {
        layers: [
          { name: 'base', static_layer: { a: 1, b: { c: 'x' } } },
          { name: 'found', rtds_layer: { name: 'r', rtds_config: source('rtds.json') } },
          { name: 'admin', admin_layer: {} },
        ],
      },
    }),
    files: { ...first, 'rtds.json': answer('1', [layer({ a: 2, d: 7 })]) },
    stats: [/^runtime\.(?!.*(update_time|\.version$|update_duration))/],
  },
  [
    steps('the first values', async (exchange) => {
      await exchange.admin('/runtime', { record: 'json' });
    }),
    steps('other values', async (exchange) => {
      await publish(exchange, 'rtds.json', 'runtime', answer('2', [layer({ a: 3, 'b.c': true })]));
      await exchange.admin('/runtime', { record: 'json' });
    }),
    steps('a layer of another name', async (exchange) => {
      await publish(exchange, 'rtds.json', 'runtime', answer('2', [{ ...layer({ a: 3 }), name: 'other' }]));
      await exchange.admin('/runtime', { record: 'json' });
    }),
    steps('values that are none', async (exchange) => {
      await publish(exchange, 'rtds.json', 'runtime', answer('2', [layer({ a: [3] })]));
      await exchange.admin('/runtime', { record: 'json' });
    }),
  ],
);

/** Where an upstream listens already. */
const taken = { ...listenerResource({ name: 'b', routes: [says('b')] }), address: '{{upstream:u2}}' };
const takenByRds = { ...listenerResource({ name: 'b', hcm: byRds() }), address: '{{upstream:u2}}' };
const lds = (...more: object[]) => answer('1', [listenerResource({ routes: [to('c1')] }), ...(more as [])]);

for (const [what, resource] of Object.entries({ 'an address in use': taken, 'one in use, by RDS': takenByRds })) {
  suite(`listeners from a file: ${what}`, { ...base, files: { ...first, 'lds.json': lds(resource) } }, [
    steps('at the start', async (exchange) => {
      await exchange.request(get);
      await dumpStates(exchange);
      await exchange.admin('/stats?filter=^listener_manager.listener');
    }),
  ]);
  suite(`listeners from a file: ${what}, later`, base, [
    steps('another listener', async (exchange) => {
      await publishListeners(exchange, '2', [listenerResource({ routes: [to('c1')] }), resource]);
      await exchange.request(get);
      await dumpStates(exchange);
    }),
    steps('another address', async (exchange) => {
      await publishListeners(exchange, '2', [{ ...resource, name: 'a' }]);
      await exchange.request(get);
      await dumpStates(exchange);
    }),
  ]);
}
