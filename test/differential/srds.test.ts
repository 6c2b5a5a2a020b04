import { type Fields, http, httpListener, typed } from './configs.ts';
import {
  ADS,
  adsBootstrap,
  answer,
  answered,
  apiType,
  asked,
  dumpStates,
  listenerResource,
  planeApi,
  publish,
  publishListeners,
  ROUTES,
  routes,
  says,
  source,
  tell,
} from './discovery.ts';
import type { Exchange } from './exchange.ts';
import { accepted, type Case, refused, request, steps, suite, validateSuite } from './harness.ts';

const SCOPE = 'envoy.config.route.v3.ScopedRouteConfiguration';
const LISTENER = 'envoy.config.listener.v3.Listener';
const node: Fields = { id: 'node-1', cluster: 'tests' };

const stats = [
  /^http\.ingress\.(scoped_rds|rds)\.(?!.*(update_time|\.version$|reload_time|update_duration))/,
  /^listener_manager\.(?!.*(update_time|\.version$|reload_time|update_duration|workers_started))/,
];

const scope = (name: string, key: readonly string[], more: Fields): Fields => ({
  name,
  key: { fragments: key.map((part) => ({ string_key: part })) },
  ...more,
});
const inline = (body: string, more: Fields = {}): Fields => ({
  route_configuration: { name: body, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [says(body)] }], ...more },
});
const named = (name: string, more: Fields = {}): Fields => ({ route_configuration_name: name, ...more });
const byIndex = (name: string, more: Fields = { index: 0 }): Fields => ({ header_value_extractor: { name, ...more } });
const byKey = (name: string, key: string, separator = '='): Fields =>
  byIndex(name, { element_separator: ';', element: { key, separator } });

function scoped(builders: readonly Fields[], more: Fields): Fields {
  return {
    route_config: undefined,
    scoped_routes: { name: 'scopes', scope_key_builder: { fragments: builders }, ...more },
  };
}

const fixed = (builders: readonly Fields[], scopes: readonly Fields[]): Fields => ({
  node,
  static_resources: {
    listeners: [
      httpListener({
        hcm: scoped(builders, { scoped_route_configurations_list: { scoped_route_configurations: scopes } }),
        log: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME%',
      }),
    ],
  },
});
const get = (...headers: string[]): string => http('GET /', headers);

suite(
  'scopes by a header',
  {
    config: fixed([byIndex('X-Scope')], [scope('s1', ['one'], inline('1')), scope('s2', ['two'], inline('2'))]),
    stats,
    log: 'access.log',
  },
  [
    request('one', get('x-scope: one')),
    request('another', get('x-scope: two')),
    request('none has it', get('x-scope: three')),
    request('no header', get()),
    request('two headers: the first', get('x-scope: two', 'x-scope: one')),
    request('as it is written', get('x-scope: ONE')),
    steps('two requests on one connection', async (exchange) => {
      const client = await exchange.connect();
      for (const name of ['one', 'two', 'none', 'one']) {
        client.send(get(`x-scope: ${name}`));
        await exchange.expectResponse(client);
      }
      exchange.expectLog('access.log', 4);
    }),
    steps('the dump', async (exchange) => {
      await dumpScopes(exchange);
      await dumpStates(exchange);
    }),
  ],
);

suite(
  'scopes by parts of headers',
  {
    config: fixed(
      [byKey('x-scope', 'vip'), byIndex('x-place', { element_separator: ',', index: 1 })],
      [
        scope('s1', ['a', 'b'], inline('ab')),
        scope('s2', ['ab', ''], inline('ab-')),
        scope('s3', ['', 'b'], inline('-b')),
        scope('s4', ['a=b', 'b'], inline('a=b-b')),
      ],
    ),
    stats,
    log: 'access.log',
  },
  [
    request('both', get('x-scope: x=1;vip=a;y=2', 'x-place: 1,b')),
    request('the second is missing', get('x-scope: vip=a', 'x-place: 1')),
    request('empty', get('x-scope: vip=ab', 'x-place: 1,')),
    request('a key without a value', get('x-scope: vip', 'x-place: 1,b')),
    request('the first key counts', get('x-scope: vip=a;vip=ab', 'x-place: 1,b,c')),
    request('the first separator counts', get('x-scope: vip=a=b', 'x-place: 1,b')),
    request('spaces are part of it', get('x-scope: x=1; vip=a', 'x-place: 1,b')),
    request('another key', get('x-scope: vipp=a', 'x-place: 1,b')),
  ],
);

suite(
  'scopes by the parts of the request that are no headers',
  {
    config: fixed(
      [
        byIndex(':authority'),
        byIndex('host'),
        byIndex(':path', { element_separator: '/', index: 1 }),
        byIndex(':method'),
      ],
      [scope('s1', ['h', 'h', 'a', 'GET'], inline('hit'))],
    ),
    stats,
  },
  [
    request('all of them', http('GET /a/b')),
    request('another path', http('GET /b')),
    request('another method', http('PUT /a')),
  ],
);

/** `/config_dump` of scopes, times aside. */
async function dumpScopes(exchange: Exchange): Promise<void> {
  const { body } = await exchange.proxy.admin('/config_dump');
  const dump = (JSON.parse(body) as { configs: Fields[] }).configs.find((each) =>
    /Scoped/.test(String(each['@type'])),
  )!;
  const lines: string[] = [];
  for (const field of ['inline_scoped_route_configs', 'dynamic_scoped_route_configs']) {
    for (const entry of (dump[field] as Fields[] | undefined) ?? []) {
      const scopes = ((entry.scoped_route_configs as Fields[] | undefined) ?? []).map((each) =>
        JSON.stringify(sorted(each)),
      );
      lines.push(`${field} ${entry.name} ${entry.version_info ?? '-'}`, ...scopes.sort());
    }
  }
  exchange.note('scopes', lines.join('\n'));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, member]) => [name, sorted(member)]));
}

const discovered = (more: Fields = {}): Fields =>
  scoped([byIndex('x-scope')], {
    rds_config_source: source('rds.json'),
    scoped_rds: { scoped_rds_config_source: source('srds.json') },
    ...more,
  });
const say = (exchange: Exchange, version: string, scopes: readonly Fields[]): Promise<void> =>
  publish(
    exchange,
    'srds.json',
    'http.ingress.scoped_rds.scopes',
    answer(
      version,
      scopes.map((each) => typed(SCOPE, each)),
    ),
  );
async function ask(exchange: Exchange, ...names: string[]): Promise<void> {
  for (const name of names) await exchange.request(get(`x-scope: ${name}`));
}

const one = scope('s1', ['one'], named('r1'));
const two = scope('s2', ['two'], inline('2'));

suite(
  'scopes from a file',
  {
    config: { node, static_resources: { listeners: [httpListener({ hcm: discovered() })] } },
    files: {
      'srds.json': answer('1', [typed(SCOPE, one), typed(SCOPE, two)]),
      'rds.json': answer('1', [routes('r1', [says('1')])]),
    },
    stats,
    fresh: true,
  },
  [
    steps('the start', async (exchange) => {
      await ask(exchange, 'one', 'two', 'three');
      await dumpScopes(exchange);
      await dumpStates(exchange);
    }),
    steps('one is added, one changes, one goes', async (exchange) => {
      await say(exchange, '2', [one, scope('s2', ['two'], inline('changed')), scope('s3', ['three'], inline('3'))]);
      await ask(exchange, 'one', 'two', 'three');
      await say(exchange, '3', [scope('s3', ['three'], inline('3'))]);
      await ask(exchange, 'one', 'two', 'three');
      await dumpScopes(exchange);
      await dumpStates(exchange);
    }),
    steps('a key changes', async (exchange) => {
      await say(exchange, '2', [one, scope('s2', ['deux'], inline('2'))]);
      await ask(exchange, 'one', 'two', 'deux');
    }),
    steps('a key goes from one that is removed to another', async (exchange) => {
      await say(exchange, '2', [scope('s9', ['one'], inline('9')), two]);
      await ask(exchange, 'one', 'two');
      await dumpScopes(exchange);
    }),
    steps('two of one key are refused', async (exchange) => {
      await say(exchange, '2', [one, scope('s2', ['two'], inline('new')), scope('s3', ['one'], inline('3'))]);
      await ask(exchange, 'one', 'two');
      await dumpScopes(exchange);
    }),
    steps('two of one name are refused', async (exchange) => {
      await say(exchange, '2', [one, scope('s1', ['three'], inline('3'))]);
      await ask(exchange, 'one', 'two', 'three');
      await dumpScopes(exchange);
    }),
    steps('routes that are no good are refused', async (exchange) => {
      const bad = {
        route_configuration: { virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' } }] }] },
      };
      await say(exchange, '2', [one, scope('s2', ['two'], bad)]);
      await ask(exchange, 'one', 'two');
      await dumpScopes(exchange);
    }),
    steps('a scope without a key is refused', async (exchange) => {
      await say(exchange, '2', [one, { name: 's2', ...inline('2') }]);
      await ask(exchange, 'one', 'two');
    }),
    steps('the same again', async (exchange) => {
      await say(exchange, '2', [one, two]);
      await ask(exchange, 'one', 'two');
      await dumpScopes(exchange);
    }),
    steps('none at all', async (exchange) => {
      await say(exchange, '2', []);
      await ask(exchange, 'one', 'two');
      await dumpScopes(exchange);
      await dumpStates(exchange);
    }),
    steps('routes of a scope change', async (exchange) => {
      await ask(exchange, 'one');
      await publish(exchange, 'rds.json', 'http.ingress.rds.r1', answer('2', [routes('r1', [says('changed')])]));
      await ask(exchange, 'one', 'two');
      await publish(
        exchange,
        'rds.json',
        'http.ingress.rds.r1',
        answer('3', [routes('r1', [{ match: { prefix: '/' } }])]),
      );
      await ask(exchange, 'one');
      await dumpStates(exchange);
    }),
  ],
);

suite(
  'listeners that share scopes',
  {
    config: { node, dynamic_resources: { lds_config: source('lds.json') } },
    files: {
      'lds.json': answer('1', [listenerResource({ hcm: discovered() })]),
      'srds.json': answer('1', [typed(SCOPE, one), typed(SCOPE, two)]),
      'rds.json': answer('1', [routes('r1', [says('1')])]),
    },
    stats,
    fresh: true,
  },
  [
    steps('another listener', async (exchange) => {
      await publishListeners(exchange, '2', [
        listenerResource({ hcm: discovered() }),
        listenerResource({ name: 'b', hcm: discovered({ scope_key_builder: { fragments: [byIndex('x-other')] } }) }),
      ]);
      await ask(exchange, 'one', 'two');
      await exchange.request(get('x-other: one'), { listener: 'b' });
      await exchange.request(get('x-scope: one'), { listener: 'b' });
      await say(exchange, '2', [scope('s1', ['one'], inline('new'))]);
      await ask(exchange, 'one', 'two');
      await exchange.request(get('x-other: one'), { listener: 'b' });
    }),
    steps('the last user goes', async (exchange) => {
      await publishListeners(exchange, '2', [listenerResource({ routes: [says('plain')] })]);
      await ask(exchange, 'one');
      await dumpScopes(exchange);
    }),
  ],
);

const byAds = (delta: boolean): Fields => adsBootstrap(planeApi(apiType(delta)), { lds_config: ADS });

const adsScopes = discovered({ rds_config_source: ADS, scoped_rds: { scoped_rds_config_source: ADS } });

function cases(): Case[] {
  return [
    steps('the start', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      await ask(exchange, 'one', 'two');
      asked(exchange, 'SRDS');
      await dumpScopes(exchange);
      await dumpStates(exchange);
    }),
    steps(
      'another scope with routes of its own',
      async (exchange) => {
        await answered(exchange, 'RDS', 2);
        tell(exchange.side, ROUTES, '2', [routes('r1', [says('1')]), routes('r3', [says('3')])]);
        tell(exchange.side, SCOPE, '2', [one, two, scope('s3', ['three'], named('r3'))]);
        await exchange.expectStat('http.ingress.rds.r3.update_success', 1);
        await ask(exchange, 'one', 'two', 'three');
        await dumpScopes(exchange);
      },
      { stats: [/^http\.ingress\.scoped_rds\.(?!.*(update_time|\.version$|reload_time|update_duration))/] },
    ),
    steps('refused: the last good ones stay', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      tell(exchange.side, SCOPE, '2', [one, scope('s2', ['one'], inline('2'))]);
      await answered(exchange, 'SRDS', 3);
      await ask(exchange, 'one', 'two');
      tell(exchange.side, SCOPE, '3', [one, scope('s2', ['two'], inline('good'))]);
      await answered(exchange, 'SRDS', 4);
      await ask(exchange, 'one', 'two');
      asked(exchange, 'SRDS');
      await dumpScopes(exchange);
    }),
    steps('removed', async (exchange) => {
      await answered(exchange, 'RDS', 2);
      tell(exchange.side, SCOPE, '2', [two]);
      await answered(exchange, 'SRDS', 3);
      await ask(exchange, 'one', 'two');
      asked(exchange, 'SRDS');
      await dumpScopes(exchange);
    }),
  ];
}

for (const delta of [false, true]) {
  suite(
    delta ? 'scopes over delta ADS' : 'scopes over ADS',
    {
      config: byAds(delta),
      controlPlane: (_plane, side) => {
        tell(side, SCOPE, '1', [one, two]);
        tell(side, ROUTES, '1', [routes('r1', [says('1')])]);
        tell(side, LISTENER, '1', [httpListener({ hcm: adsScopes })]);
      },
      stats,
      fresh: true,
    },
    cases(),
  );
}

suite(
  'a listener waits for its scopes and their routes',
  {
    config: byAds(false),
    controlPlane: (_plane, side) => tell(side, LISTENER, '1', [httpListener({ routes: [says('before')] })]),
    stats: [/^listener_manager\.(?!.*(update_time|\.version$|reload_time|update_duration|workers_started))/],
    fresh: true,
  },
  [
    steps(
      'one after the other',
      async (exchange) => {
        tell(exchange.side, LISTENER, '2', [httpListener({ hcm: adsScopes })]);
        await answered(exchange, 'SRDS', 1);
        await exchange.expectStat('listener_manager.total_listeners_warming', 1);
        await ask(exchange, 'one');
        await exchange.admin('/init_dump', { record: 'json' });
        tell(exchange.side, SCOPE, '1', [one]);
        await answered(exchange, 'RDS', 1);
        await exchange.expectStat('listener_manager.total_listeners_warming', 1);
        await ask(exchange, 'one');
        tell(exchange.side, ROUTES, '1', [routes('r1', [says('1')])]);
        await exchange.expectStat('listener_manager.total_listeners_warming', 0);
        await ask(exchange, 'one', 'two');
        await answered(exchange, 'SRDS', 2);
        await answered(exchange, 'RDS', 2);
        asked(exchange, 'SRDS', 'RDS');
      },
      { rewrite: [[/(?<=manager a )\d+/g, 'HASH']] },
    ),
  ],
);

const verdict = (builders: readonly Fields[], scopes: readonly Fields[]): Fields => fixed(builders, scopes);

validateSuite('scopes: verdicts', [
  accepted('sound', verdict([byIndex('a')], [scope('s', ['a'], inline('1'))])),
  refused('no fragment', verdict([], [scope('s', ['a'], inline('1'))])),
  refused('neither index nor element', verdict([byIndex('a', {})], [scope('s', ['a'], inline('1'))])),
  refused('an index without a separator', verdict([byIndex('a', { index: 1 })], [scope('s', ['a'], inline('1'))])),
  refused('routes by name in the list', verdict([byIndex('a')], [scope('s', ['a'], named('r'))])),
  refused('no routes', verdict([byIndex('a')], [scope('s', ['a'], {})])),
  refused('no scopes', verdict([byIndex('a')], [])),
  refused('no key', verdict([byIndex('a')], [{ name: 's', ...inline('1') }])),
  accepted('two of one key', verdict([byIndex('a')], [scope('s', ['a'], inline('1')), scope('t', ['a'], inline('2'))])),
  refused('no element key', verdict([byKey('a', '')], [scope('s', ['a'], inline('1'))])),
  refused('no element separator', verdict([byKey('a', 'a', '')], [scope('s', ['a'], inline('1'))])),
]);
