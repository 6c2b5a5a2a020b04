import { type Fields, http, httpListener, networkFilter, router, tcpListener, typed } from './configs.ts';
import {
  ADS,
  adsBootstrap,
  answer,
  answered,
  apiType,
  asked,
  dumpStates,
  LISTENER,
  listenerResource,
  planeApi,
  publish,
  publishListeners,
  says,
  source,
  tell,
} from './discovery.ts';
import type { Exchange } from './exchange.ts';
import { type Case, refused, steps, suite, validateSuite } from './harness.ts';

const EXTENSION = 'envoy.config.core.v3.TypedExtensionConfig';
const FAULT = 'envoy.extensions.filters.http.fault.v3.HTTPFault';
const BUFFER = 'envoy.extensions.filters.http.buffer.v3.Buffer';
const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';
const LIMIT = 'envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit';
const DIRECT = 'envoy.extensions.filters.network.direct_response.v3.Config';
const INSPECTOR = 'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector';
const PROXY = 'envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol';
const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const node: Fields = { id: 'node-1', cluster: 'tests' };
/** A bootstrap; discovery asks for a node. */
const bootstrap = (listeners: readonly Fields[]): Fields => ({ node, static_resources: { listeners } });
const url = (type: string): string => `type.googleapis.com/${type}`;

const stats = [
  /^extension_config_discovery\.(?!.*(update_time|\.version$|update_duration))/,
  /^listener\..*extension_config_missing$/,
  /^listener_manager\.(?!.*(update_time|\.version$|reload_time|update_duration|workers_started))/,
  /^http\.ingress\.fault\./,
];
const get = http('GET /');

/** A filter that answers with a status of its own. */
const abort = (status: number): Fields =>
  typed(FAULT, { abort: { http_status: status, percentage: { numerator: 100 } } });
const extension = (name: string, config: Fields): Fields => typed(EXTENSION, { name, typed_config: config });

/** A filter entry that is discovered. */
function discovered(name: string, types: readonly string[], more: Fields = {}, filter: Fields = {}): Fields {
  const discovery = { config_source: source(`${name}.json`), type_urls: types.map(url), ...more };
  return { name, config_discovery: discovery, ...filter };
}

const oneAnswer = (filters: readonly Fields[], more: Fields = {}): Fields =>
  bootstrap([
    httpListener({
      routes: [says('served')],
      filters,
      log: '%RESPONSE_CODE% %RESPONSE_FLAGS%',
      ...more,
    }),
  ]);

const scope = (name: string, kind = 'http_filter'): string => `extension_config_discovery.${kind}.${name}`;
const say = (
  exchange: Exchange,
  name: string,
  version: string,
  resources: readonly Fields[],
  kind?: string,
): Promise<void> => publish(exchange, `${name}.json`, scope(name, kind), answer(version, resources));

/** `/config_dump` of discovered extensions, times aside. */
async function dumpExtensions(exchange: Exchange): Promise<void> {
  const { body } = await exchange.proxy.admin('/config_dump');
  const dumps = (JSON.parse(body) as { configs: Fields[] }).configs.filter((each) =>
    /Ecds/.test(String(each['@type'])),
  );
  const lines = dumps.map((dump) => {
    const list = (dump.ecds_filters as Fields[] | undefined) ?? [];
    return list
      .map(({ last_updated: _time, ...rest }) => JSON.stringify(sorted(rest)))
      .sort()
      .join('\n');
  });
  exchange.note('discovered extensions', lines.join('\n--\n'));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, member]) => [name, sorted(member)]));
}

const files: Readonly<Record<string, Fields>> = { 'f.json': answer('1', [extension('f', abort(418))]) };

suite(
  'an HTTP filter from a file',
  { config: oneAnswer([discovered('f', [FAULT])]), files, stats, fresh: true, log: 'access.log' },
  [
    steps('it serves from the start', async (exchange) => {
      await exchange.request(get);
      await dumpExtensions(exchange);
      exchange.expectLog('access.log', 1);
    }),
    steps('another version', async (exchange) => {
      await exchange.request(get);
      await say(exchange, 'f', '2', [extension('f', abort(451))]);
      await exchange.request(get);
      await dumpExtensions(exchange);
      exchange.expectLog('access.log', 2);
    }),
    steps('the same again, under another version', async (exchange) => {
      await say(exchange, 'f', '2', [extension('f', abort(418))]);
      await exchange.request(get);
      await dumpExtensions(exchange);
      exchange.expectLog('access.log', 1);
    }),
    steps('a type that it may not have', async (exchange) => {
      await say(exchange, 'f', '2', [extension('f', typed(BUFFER, { max_request_bytes: 1 }))]);
      await exchange.request(get);
      await dumpExtensions(exchange);
      exchange.expectLog('access.log', 1);
    }),
    steps('a field that breaks a rule', async (exchange) => {
      await say(exchange, 'f', '2', [extension('f', abort(7))]);
      await exchange.request(get);
      await dumpExtensions(exchange);
      exchange.expectLog('access.log', 1);
    }),
    steps('another name', async (exchange) => {
      await say(exchange, 'f', '2', [extension('g', abort(451))]);
      await exchange.request(get);
      await dumpExtensions(exchange);
      exchange.expectLog('access.log', 1);
    }),
    steps('two at once', async (exchange) => {
      await say(exchange, 'f', '2', [extension('f', abort(451)), extension('g', abort(451))]);
      await exchange.request(get);
      exchange.expectLog('access.log', 1);
    }),
    steps('none at all', async (exchange) => {
      await say(exchange, 'f', '2', []);
      await exchange.request(get);
      await dumpExtensions(exchange);
      exchange.expectLog('access.log', 1);
    }),
    steps('refused, then a good one', async (exchange) => {
      await say(exchange, 'f', '2', [extension('f', abort(7))]);
      await say(exchange, 'f', '3', [extension('f', abort(451))]);
      await exchange.request(get);
      await dumpExtensions(exchange);
      exchange.expectLog('access.log', 1);
    }),
    steps('a stream keeps the filter that it began with', async (exchange) => {
      await say(exchange, 'f', '2', [
        extension('f', typed(FAULT, { delay: { fixed_delay: '0.4s', percentage: { numerator: 100 } } })),
      ]);
      const client = await exchange.connect();
      client.send(get);
      await exchange.expectStat('http.ingress.fault.delays_injected', 1);
      await say(exchange, 'f', '3', [extension('f', abort(451))]);
      await exchange.expectResponse(client);
      client.send(get);
      await exchange.expectResponse(client);
      exchange.expectLog('access.log', 2);
    }),
  ],
);

const empty = answer('0', []);

suite(
  'an HTTP filter without a configuration',
  { config: oneAnswer([discovered('f', [FAULT])]), files: { 'f.json': empty }, stats, fresh: true, log: 'access.log' },
  [
    steps('every request is answered by 500', async (exchange) => {
      await exchange.request(get);
      await exchange.request(http('HEAD /'));
      await dumpExtensions(exchange);
      exchange.expectLog('access.log', 2);
    }),
    steps('until one comes', async (exchange) => {
      await exchange.request(get);
      await say(exchange, 'f', '1', [extension('f', abort(418))]);
      await exchange.request(get);
      exchange.expectLog('access.log', 2);
    }),
  ],
);

suite(
  'an HTTP filter with a default',
  {
    config: oneAnswer([discovered('f', [FAULT, BUFFER], { default_config: abort(404) })]),
    files: { 'f.json': empty },
    stats,
    fresh: true,
  },
  [
    steps('the default serves when nothing good came', async (exchange) => {
      await exchange.request(get);
      await dumpExtensions(exchange);
    }),
    steps('and gives way', async (exchange) => {
      await say(exchange, 'f', '1', [extension('f', abort(418))]);
      await exchange.request(get);
      await say(exchange, 'f', '2', [extension('f', typed(BUFFER, { max_request_bytes: 10 }))]);
      await exchange.request(get);
      await dumpExtensions(exchange);
    }),
  ],
);

suite(
  'HTTP filters in several places',
  {
    config: bootstrap([
      httpListener({ routes: [says('a')], filters: [discovered('f', [FAULT])] }),
      httpListener({ name: 'b', routes: [says('b')], filters: [discovered('f', [FAULT, BUFFER])] }),
      httpListener({
        name: 'c',
        routes: [
          says('c'),
          {
            ...says('off', '/on'),
            typed_per_filter_config: { f: typed('envoy.config.route.v3.FilterConfig', { config: {} }) },
          },
        ],
        filters: [discovered('f', [FAULT], {}, { disabled: true })],
      }),
      httpListener({ name: 'd', hcm: { http_filters: [discovered('r', [ROUTER])] }, routes: [says('d')] }),
    ]),
    files: { ...files, 'r.json': answer('1', [extension('r', typed(ROUTER))]) },
    stats,
    fresh: true,
  },
  [
    steps('one update for all of them', async (exchange) => {
      for (const name of ['a', 'b', 'c', 'd']) await exchange.request(get, { listener: name });
      await exchange.request(http('GET /on'), { listener: 'c' });
      await say(exchange, 'f', '2', [extension('f', abort(451))]);
      for (const name of ['a', 'b', 'c']) await exchange.request(get, { listener: name });
      await dumpExtensions(exchange);
    }),
    steps('what one place may not have none gets', async (exchange) => {
      await say(exchange, 'f', '2', [extension('f', typed(BUFFER, { max_request_bytes: 10 }))]);
      for (const name of ['a', 'b']) await exchange.request(get, { listener: name });
    }),
    steps('the last filter must be terminal, and no other', async (exchange) => {
      await say(exchange, 'r', '2', [extension('r', typed(ROUTER, { dynamic_stats: false }))]);
      await exchange.request(get, { listener: 'd' });
      await say(exchange, 'r', '3', [extension('r', abort(418))]);
      await exchange.request(get, { listener: 'd' });
    }),
  ],
);

const echoed: Fields = { response: { inline_string: 'one\n' } };

suite(
  'network filters from files',
  {
    config: bootstrap([
      tcpListener([discovered('l', [LIMIT]), networkFilter('direct_response', 'Config', echoed)]),
      tcpListener([discovered('d', [DIRECT, HCM])], { name: 'b' }),
      tcpListener([discovered('m', [DIRECT])], { name: 'c' }),
    ]),
    files: {
      'l.json': answer('1', [extension('l', typed(LIMIT, { stat_prefix: 'l', max_connections: 10 }))]),
      'd.json': answer('1', [extension('d', typed(DIRECT, echoed))]),
      'm.json': empty,
    },
    stats,
    fresh: true,
  },
  [
    steps('they serve; a missing one closes', async (exchange) => {
      for (const name of ['a', 'b', 'c']) await exchange.expectClose(await exchange.connect(name));
      await dumpExtensions(exchange);
    }),
    steps('other versions', async (exchange) => {
      await say(
        exchange,
        'd',
        '2',
        [extension('d', typed(DIRECT, { response: { inline_string: 'two\n' } }))],
        'network_filter',
      );
      await exchange.expectClose(await exchange.connect('b'));
      await say(
        exchange,
        'm',
        '1',
        [extension('m', typed(DIRECT, { response: { inline_string: 'm\n' } }))],
        'network_filter',
      );
      await exchange.expectClose(await exchange.connect('c'));
      await dumpExtensions(exchange);
    }),
    steps('one that is not for its place', async (exchange) => {
      await say(
        exchange,
        'd',
        '2',
        [extension('d', typed(LIMIT, { stat_prefix: 'l', max_connections: 10 }))],
        'network_filter',
      );
      await exchange.expectClose(await exchange.connect('b'));
    }),
    steps('a connection manager', async (exchange) => {
      const hcm = typed(HCM, {
        stat_prefix: 'inner',
        route_config: { virtual_hosts: [{ name: 'v', domains: ['*'], routes: [says('inner')] }] },
        http_filters: [router()],
      });
      await say(exchange, 'd', '2', [extension('d', hcm)], 'network_filter');
      await exchange.request(get, { listener: 'b' });
    }),
  ],
);

suite(
  'listener filters from files',
  {
    config: bootstrap([
      httpListener({ routes: [says('a')], listener: { listener_filters: [discovered('i', [INSPECTOR, PROXY])] } }),
      httpListener({
        name: 'b',
        routes: [says('b')],
        listener: { listener_filters: [discovered('m', [INSPECTOR])] },
      }),
      httpListener({
        name: 'c',
        routes: [says('c')],
        listener: { listener_filters: [discovered('n', [PROXY], { default_config: typed(PROXY) })] },
      }),
    ]),
    files: { 'i.json': answer('1', [extension('i', typed(INSPECTOR))]), 'm.json': empty, 'n.json': empty },
    stats,
    fresh: true,
  },
  [
    steps('they serve; a missing one closes', async (exchange) => {
      await exchange.request(get);
      await exchange.expectClose(await exchange.connect('b'));
      await exchange.request(`PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n${get}`, { listener: 'c' });
      await dumpExtensions(exchange);
    }),
    steps(
      'another one',
      async (exchange) => {
        await say(exchange, 'i', '2', [extension('i', typed(PROXY))], 'tcp_listener_filter');
        await exchange.request(`PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n${get}`);
        await exchange.expectClose(
          await (async () => {
            const client = await exchange.connect();
            client.send(get);
            return client;
          })(),
        );
        await dumpExtensions(exchange);
      },
      { clientFate: false },
    ),
  ],
);

const dynamic = (lds: readonly Fields[]): Readonly<Record<string, Fields>> => ({
  'lds.json': answer('1', lds),
  ...files,
});

suite(
  'listeners that come and go with discovered filters',
  {
    config: { node: { id: 'n', cluster: 'c' }, dynamic_resources: { lds_config: source('lds.json') } },
    files: dynamic([listenerResource({ routes: [says('one')], filters: [discovered('f', [FAULT])] })]),
    stats,
    fresh: true,
  },
  [
    steps('a second listener takes what is in force', async (exchange) => {
      await say(exchange, 'f', '2', [extension('f', abort(451))]);
      await publishListeners(exchange, '2', [
        listenerResource({ routes: [says('one')], filters: [discovered('f', [FAULT])] }),
        listenerResource({ name: 'b', routes: [says('two')], filters: [discovered('f', [FAULT])] }),
      ]);
      await exchange.request(get);
      await exchange.request(get, { listener: 'b' });
      await dumpStates(exchange);
    }),
    steps('what is in force does not suit it', async (exchange) => {
      await publishListeners(exchange, '2', [
        listenerResource({ routes: [says('one')], filters: [discovered('f', [FAULT])] }),
        listenerResource({
          name: 'b',
          routes: [says('two')],
          filters: [discovered('f', [BUFFER], { default_config: typed(BUFFER, { max_request_bytes: 3 }) })],
        }),
        listenerResource({ name: 'c', routes: [says('three')], filters: [discovered('f', [BUFFER])] }),
      ]);
      await exchange.request(get);
      await exchange.request(get, { listener: 'b' });
      await exchange.request(get, { listener: 'c' });
    }),
    steps('another version of the listener keeps the filter', async (exchange) => {
      await publishListeners(exchange, '2', [
        listenerResource({ routes: [says('changed')], filters: [discovered('f', [FAULT])] }),
      ]);
      await exchange.request(get);
      await say(exchange, 'f', '2', [extension('f', typed(FAULT))]);
      await exchange.request(get);
      await dumpExtensions(exchange);
    }),
    steps('the last user goes', async (exchange) => {
      await publishListeners(exchange, '2', [listenerResource({ routes: [says('plain')] })]);
      await exchange.request(get);
    }),
  ],
);

const byAds = (delta: boolean): Fields => adsBootstrap(planeApi(apiType(delta)), { lds_config: ADS });

const ads = (timeout = '15s'): Fields => ({ ads: {}, resource_api_version: 'V3', initial_fetch_timeout: timeout });
const adsListener = (more: Fields = {}, timeout?: string): Fields =>
  listenerResource({
    routes: [says('served')],
    filters: [{ name: 'f', config_discovery: { config_source: ads(timeout), type_urls: [url(FAULT)], ...more } }],
  });

function cases(delta: boolean): Case[] {
  return [
    steps('the start, and another version', async (exchange) => {
      await answered(exchange, 'ECDS', 2);
      await exchange.request(get);
      tell(exchange.side, EXTENSION, '2', [extension('f', abort(451))]);
      await answered(exchange, 'ECDS', 3);
      await exchange.request(get);
      asked(exchange, 'ECDS');
      await dumpExtensions(exchange);
      await dumpStates(exchange);
    }),
    steps('refused: the last good one stays', async (exchange) => {
      await answered(exchange, 'ECDS', 2);
      tell(exchange.side, EXTENSION, '2', [extension('f', typed(BUFFER, { max_request_bytes: 1 }))]);
      await answered(exchange, 'ECDS', 3);
      await exchange.request(get);
      tell(exchange.side, EXTENSION, '3', [extension('f', abort(451))]);
      await answered(exchange, 'ECDS', 4);
      await exchange.request(get);
      asked(exchange, 'ECDS');
      await dumpExtensions(exchange);
    }),
    steps('removed', async (exchange) => {
      await answered(exchange, 'ECDS', 2);
      tell(exchange.side, EXTENSION, '2', []);
      if (delta) await answered(exchange, 'ECDS', 3);
      await exchange.request(get);
      tell(exchange.side, EXTENSION, '3', [extension('f', abort(451))]);
      await answered(exchange, 'ECDS', delta ? 4 : 3);
      await exchange.request(get);
      asked(exchange, 'ECDS');
    }),
    steps('removed, with a default', async (exchange) => {
      await answered(exchange, 'ECDS', 2);
      tell(exchange.side, LISTENER, '2', [adsListener({ default_config: abort(404) })]);
      await exchange.expectStat('listener_manager.listener_in_place_updated', 1);
      await exchange.expectStat('listener_manager.total_listeners_warming', 0);
      await exchange.request(get);
      tell(exchange.side, EXTENSION, '2', []);
      if (delta) await answered(exchange, 'ECDS', 3);
      await exchange.request(get);
    }),
  ];
}

for (const delta of [false, true]) {
  suite(
    delta ? 'HTTP filters over delta ADS' : 'HTTP filters over ADS',
    {
      config: byAds(delta),
      controlPlane: (_plane, side) => {
        tell(side, EXTENSION, '1', [extension('f', abort(418))]);
        tell(side, LISTENER, '1', [adsListener()]);
      },
      stats,
      fresh: true,
    },
    cases(delta),
  );
}

suite(
  'warming',
  {
    config: byAds(false),
    controlPlane: (_plane, side) => tell(side, LISTENER, '1', [listenerResource({ routes: [says('before')] })]),
    stats,
    fresh: true,
  },
  [
    steps(
      'a listener waits for its filter',
      async (exchange) => {
        await exchange.request(get);
        tell(exchange.side, LISTENER, '2', [adsListener()]);
        await answered(exchange, 'ECDS', 1);
        await exchange.expectStat('listener_manager.total_listeners_warming', 1);
        await exchange.request(get);
        await dumpStates(exchange);
        await exchange.admin('/init_dump', { record: 'json' });
        tell(exchange.side, EXTENSION, '1', [extension('f', abort(418))]);
        await exchange.expectStat('listener_manager.total_listeners_warming', 0);
        await exchange.request(get);
        await dumpStates(exchange);
      },
      { rewrite: [[/default_listener \d+|(?<=manager a )\d+/g, 'HASH']] },
    ),
    steps('but not for ever', async (exchange) => {
      tell(exchange.side, LISTENER, '2', [adsListener({}, '0.3s')]);
      await exchange.expectStat('extension_config_discovery.http_filter.f.init_fetch_timeout', 1);
      await exchange.expectStat('listener_manager.total_listeners_warming', 0);
      await exchange.request(get);
      tell(exchange.side, EXTENSION, '1', [extension('f', abort(418))]);
      await exchange.expectStat('extension_config_discovery.http_filter.f.config_reload', 1);
      await exchange.request(get);
    }),
    steps('with a default it need not wait', async (exchange) => {
      tell(exchange.side, LISTENER, '2', [
        adsListener({ default_config: abort(404), apply_default_config_without_warming: true }),
      ]);
      await answered(exchange, 'ECDS', 1);
      await exchange.expectStat('listener_manager.total_listeners_warming', 0);
      await exchange.request(get);
      tell(exchange.side, EXTENSION, '1', [extension('f', abort(418))]);
      await exchange.expectStat('extension_config_discovery.http_filter.f.config_reload', 1);
      await exchange.request(get);
    }),
    steps('a good one after a refused one', async (exchange) => {
      tell(exchange.side, EXTENSION, '1', [extension('f', abort(7))]);
      tell(exchange.side, LISTENER, '2', [adsListener()]);
      await answered(exchange, 'ECDS', 2);
      await exchange.expectStat('listener_manager.total_listeners_warming', 0);
      await exchange.request(get);
      tell(exchange.side, EXTENSION, '2', [extension('f', abort(418))]);
      await answered(exchange, 'ECDS', 3);
      await exchange.request(get);
      asked(exchange, 'ECDS');
    }),
  ],
);

for (const api of ['GRPC', 'DELTA_GRPC']) {
  const own: Fields = {
    api_config_source: {
      api_type: api,
      transport_api_version: 'V3',
      grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }],
    },
    resource_api_version: 'V3',
  };
  const { static_resources } = byAds(false);
  suite(
    `filters over a stream of their own: ${api}`,
    {
      config: {
        node,
        static_resources: {
          ...(static_resources as Fields),
          listeners: [
            httpListener({
              routes: [says('served')],
              filters: [{ name: 'f', config_discovery: { config_source: own, type_urls: [url(FAULT)] } }],
              listener: {
                listener_filters: [
                  { name: 'i', config_discovery: { config_source: own, type_urls: [url(INSPECTOR)] } },
                ],
              },
            }),
          ],
        },
      },
      controlPlane: (_plane, side) =>
        tell(side, EXTENSION, '1', [extension('f', abort(418)), extension('i', typed(INSPECTOR))]),
      stats: [
        /^extension_config_discovery\.(?!.*(update_time|\.version$|update_duration|pending_requests))/,
        /extension_config_missing$/,
      ],
      fresh: true,
    },
    [
      steps('the start, another version, a refused one', async (exchange) => {
        await answered(exchange, 'ECDS', 4);
        await exchange.request(get);
        tell(exchange.side, EXTENSION, '2', [extension('f', abort(451)), extension('i', typed(INSPECTOR))]);
        await exchange.expectStat(`${scope('f')}.config_reload`, 2);
        await exchange.request(get);
        tell(exchange.side, EXTENSION, '3', [
          extension('f', typed(BUFFER, { max_request_bytes: 1 })),
          extension('i', typed(INSPECTOR)),
        ]);
        await exchange.expectStat(`${scope('f')}.config_fail`, 1);
        await exchange.request(get);
        await dumpExtensions(exchange);
      }),
    ],
  );
}

const withFilter = (filter: Fields): Fields => bootstrap([httpListener({ routes: [says('x')], filters: [filter] })]);

validateSuite('discovered filters: verdicts', [
  refused('no type', withFilter(discovered('f', []))),
  refused('a type that nobody has', withFilter(discovered('f', ['a.b.C']))),
  refused(
    'at once, without a default',
    withFilter(discovered('f', [FAULT], { apply_default_config_without_warming: true })),
  ),
  refused(
    'a default of another type',
    withFilter(discovered('f', [FAULT], { default_config: typed(BUFFER, { max_request_bytes: 1 }) })),
  ),
  refused('a default that breaks a rule', withFilter(discovered('f', [FAULT], { default_config: abort(7) }))),
  refused('a terminal default', withFilter(discovered('f', [ROUTER], { default_config: typed(ROUTER) }))),
  refused('no source', withFilter({ name: 'f', config_discovery: { type_urls: [url(FAULT)] } })),
]);
