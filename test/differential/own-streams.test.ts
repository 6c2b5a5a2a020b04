/** Scopes of routes and virtual hosts that come over streams of their own, not over ADS. */
import { type Fields, http, httpFilter, httpListener } from './configs.ts';
import {
  answered,
  asked,
  BACK_SOON,
  dumpStates,
  LISTENER,
  planeApi,
  planeCluster,
  ROUTES,
  routes,
  says,
  tell,
} from './discovery.ts';
import { type Exchange, sortedJson } from './exchange.ts';
import { type Case, steps, suite } from './harness.ts';
import type { Side } from './side.ts';

const SCOPE = 'envoy.config.route.v3.ScopedRouteConfiguration';
const HOST = 'envoy.config.route.v3.VirtualHost';
const url = (type: string): string => `type.googleapis.com/${type}`;
const TIMES = /(?!.*(update_time|\.version$|reload_time|update_duration))/.source;
const log = '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %ROUTE_NAME%';

/** A stream of its own. */
const streamOf = (type: string, more: Fields = {}): Fields => ({
  api_config_source: planeApi(type, {}, BACK_SOON),
  resource_api_version: 'V3',
  ...more,
});
const SOTW = streamOf('GRPC');
const DELTA = streamOf('DELTA_GRPC');

const config = (lds: Fields): Fields => ({
  node: { id: 'node-1', cluster: 'tests' },
  dynamic_resources: { lds_config: lds },
  static_resources: { clusters: [planeCluster] },
});

async function serving(exchange: Exchange): Promise<void> {
  await exchange.expectStat('listener_manager.total_listeners_active', 1);
  await exchange.refreshListeners();
}

/** One kind of dump, times aside. */
async function dump(exchange: Exchange, resource: string): Promise<void> {
  const { body, status } = await exchange.proxy.admin(`/config_dump?resource=${resource}`);
  const text = status === 200 ? sortedJson(body) : body;
  exchange.note(resource, text.replace(/"(last_updated|last_update_attempt)": "[^"]+"/g, '"$1": "T"'));
}

// --- scopes ---

const named = (name: string, key: string, table: string, more: Fields = {}): Fields => ({
  name,
  key: { fragments: [{ string_key: key }] },
  route_configuration_name: table,
  ...more,
});
const inline = (name: string, key: string, body: string): Fields => ({
  name,
  key: { fragments: [{ string_key: key }] },
  route_configuration: { name: body, virtual_hosts: [{ name: 'v', domains: ['*'], routes: [says(body)] }] },
});
const one = named('s1', 'one', 'r1');
const two = inline('s2', 'two', '2');

const scoped = (source: Fields): Fields => ({
  route_config: undefined,
  scoped_routes: {
    name: 'scopes',
    scope_key_builder: { fragments: [{ header_value_extractor: { name: 'x-scope', index: 0 } }] },
    rds_config_source: source,
    scoped_rds: { scoped_rds_config_source: source },
  },
});

async function ask(exchange: Exchange, ...scopes: readonly string[]): Promise<void> {
  for (const each of scopes) await exchange.request(http('GET /', [`x-scope: ${each}`]));
}

function scopeCases(delta: boolean): Case[] {
  return [
    steps('the start', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'RDS', 2);
      await answered(exchange, 'SRDS', 2);
      await ask(exchange, 'one', 'two', 'none');
      asked(exchange, 'SRDS', 'RDS', 'LDS');
      await dump(exchange, 'dynamic_scoped_route_configs');
      await dumpStates(exchange);
      await exchange.admin('/stats?filter=control_plane.*(connected_state|identifier)');
      exchange.expectLog('access.log', 3);
    }),
    steps('another scope with routes of its own', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'SRDS', 2);
      tell(exchange.side, ROUTES, '2', [routes('r1', [says('1')]), routes('r3', [says('3')])]);
      tell(exchange.side, SCOPE, '2', [one, two, named('s3', 'three', 'r3')]);
      await exchange.expectStat('http.ingress.rds.r3.update_success', 1);
      await answered(exchange, 'SRDS', 3);
      await ask(exchange, 'one', 'two', 'three');
      asked(exchange, 'SRDS');
      await dump(exchange, 'dynamic_scoped_route_configs');
      exchange.expectLog('access.log', 3);
    }),
    steps('routes change, and are refused', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'RDS', 2);
      tell(exchange.side, ROUTES, '2', [routes('r1', [says('changed')])]);
      await answered(exchange, 'RDS', 3);
      await ask(exchange, 'one');
      tell(exchange.side, ROUTES, '3', [routes('r1', [{ match: { prefix: '/' } }])]);
      await answered(exchange, 'RDS', 4);
      await ask(exchange, 'one');
      asked(exchange, 'RDS');
      await dumpStates(exchange);
      exchange.expectLog('access.log', 2);
    }),
    steps('refused: the last good ones stay', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'SRDS', 2);
      tell(exchange.side, SCOPE, '2', [one, inline('s2', 'one', '2')]);
      await answered(exchange, 'SRDS', 3);
      await ask(exchange, 'one', 'two');
      tell(exchange.side, SCOPE, '3', [one, inline('s2', 'two', 'good')]);
      await answered(exchange, 'SRDS', 4);
      await ask(exchange, 'one', 'two');
      asked(exchange, 'SRDS');
      await dump(exchange, 'dynamic_scoped_route_configs');
      exchange.expectLog('access.log', 4);
    }),
    steps('a field that breaks a rule', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'SRDS', 2);
      tell(exchange.side, SCOPE, '2', [one, { name: 's2', route_configuration_name: 'r1' }]);
      await answered(exchange, 'SRDS', 3);
      await ask(exchange, 'one', 'two');
      asked(exchange, 'SRDS');
      exchange.expectLog('access.log', 2);
    }),
    steps('removed, and there again', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'SRDS', 2);
      tell(exchange.side, SCOPE, '2', [two]);
      await answered(exchange, 'SRDS', 3);
      await ask(exchange, 'one', 'two');
      tell(exchange.side, SCOPE, '3', [two, one]);
      await answered(exchange, 'SRDS', 4);
      await ask(exchange, 'one', 'two');
      asked(exchange, 'SRDS');
      await dump(exchange, 'dynamic_scoped_route_configs');
      exchange.expectLog('access.log', 4);
    }),
    steps('the streams are cut', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'SRDS', 2);
      await answered(exchange, 'RDS', 2);
      exchange.side.controlPlane!.cut();
      // A state of the world is told again, and acknowledged; in delta there is nothing to tell.
      await answered(exchange, 'SRDS', delta ? 3 : 4);
      await answered(exchange, 'RDS', delta ? 3 : 4);
      tell(exchange.side, SCOPE, '2', [one, inline('s2', 'two', 'later')]);
      await answered(exchange, 'SRDS', delta ? 4 : 5);
      await ask(exchange, 'one', 'two');
      asked(exchange, 'SRDS', 'RDS');
      exchange.expectLog('access.log', 2);
    }),
    steps('on demand', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'SRDS', 2);
      tell(exchange.side, SCOPE, '2', [one, two, named('s4', 'four', 'r4', { on_demand: true })]);
      await answered(exchange, 'SRDS', 3);
      tell(exchange.side, ROUTES, '2', [routes('r1', [says('1')]), routes('r4', [says('4')])]);
      await ask(exchange, 'four', 'four');
      await dump(exchange, 'dynamic_scoped_route_configs');
      exchange.expectLog('access.log', 2);
    }),
  ];
}

for (const delta of [false, true]) {
  const source = delta ? DELTA : SOTW;
  suite(
    delta ? 'scopes over a delta stream of their own' : 'scopes over a stream of their own',
    {
      config: config(source),
      controlPlane: (_plane, side) => {
        tell(side, SCOPE, '1', [one, two]);
        tell(side, ROUTES, '1', [routes('r1', [says('1')])]);
        tell(side, LISTENER, '1', [
          httpListener({ hcm: scoped(source), filters: [httpFilter('on_demand', 'OnDemand')], log }),
        ]);
      },
      stats: [new RegExp(`^http\\.ingress\\.(scoped_rds|rds)\\.${TIMES}`)],
      fresh: true,
      log: 'access.log',
    },
    scopeCases(delta),
  );
}

const soon = streamOf('GRPC', { initial_fetch_timeout: '0.3s' });
suite(
  'scopes over a stream of their own: what does not come',
  {
    config: config(SOTW),
    controlPlane: (_plane, side) =>
      tell(side, LISTENER, '1', [httpListener({ hcm: scoped(soon), filters: [httpFilter('on_demand', 'OnDemand')] })]),
    stats: [new RegExp(`^http\\.ingress\\.(scoped_rds|rds)\\.${TIMES}`)],
    fresh: true,
  },
  [
    steps('scopes', async (exchange) => {
      await serving(exchange);
      await ask(exchange, 'one');
      tell(exchange.side, SCOPE, '1', [two]);
      await answered(exchange, 'SRDS', 2);
      await ask(exchange, 'two');
      asked(exchange, 'SRDS');
    }),
    steps('routes of a scope', async (exchange) => {
      tell(exchange.side, SCOPE, '1', [one, two]);
      await serving(exchange);
      await ask(exchange, 'two');
      // It waits for the routes, as long as it takes.
      const client = await exchange.connect();
      client.send(http('GET /', ['x-scope: one']));
      await answered(exchange, 'RDS', 1);
      tell(exchange.side, ROUTES, '1', [routes('r1', [says('1')])]);
      await exchange.expectResponse(client);
      await answered(exchange, 'RDS', 2);
      await ask(exchange, 'one');
      asked(exchange, 'SRDS', 'RDS');
    }),
  ],
);

// --- virtual hosts ---

const host = (name: string, body: string, more: Fields = {}): Fields => ({
  name,
  domains: [name],
  routes: [says(body)],
  ...more,
});
const table = (vhds: Fields, more: readonly Fields[] = []): Fields => ({
  name: 'r',
  virtual_hosts: [host('fixed.com', 'fixed'), ...more],
  vhds: { config_source: vhds },
});

/** Virtual hosts by `<table>/<domain>`, as they are asked for. */
function tellHosts(side: Side, version: string, hosts: readonly Fields[]): void {
  side.controlPlane!.setNamed(
    url(HOST),
    version,
    hosts.map((each) => {
      const name = `r/${(each.domains as string[])[0]}`;
      return [name, { '@type': url(HOST), ...each, name }] as const;
    }),
  );
}

const from = (name: string): string => http('GET /', [`host: ${name}`]);

function hostCases(): Case[] {
  return [
    steps('the first request fetches the host', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'VHDS', 1);
      for (const name of ['fixed.com', 'a.com', 'a.com', 'b.com']) await exchange.request(from(name));
      await answered(exchange, 'VHDS', 5);
      asked(exchange, 'VHDS', 'RDS');
      await dump(exchange, 'dynamic_route_configs');
      await exchange.admin('/stats?filter=control_plane.*(connected_state|identifier)');
      exchange.expectLog('access.log', 4);
    }),
    steps('another version, and removal', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'VHDS', 1);
      await exchange.request(from('a.com'));
      tellHosts(exchange.side, '2', [host('a.com', 'new'), host('b.com', 'b')]);
      await answered(exchange, 'VHDS', 4);
      await exchange.request(from('a.com'));
      tellHosts(exchange.side, '3', [host('b.com', 'b')]);
      await answered(exchange, 'VHDS', 5);
      await dump(exchange, 'dynamic_route_configs');
      asked(exchange, 'VHDS');
      exchange.expectLog('access.log', 2);
    }),
    steps('one that is no good', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'VHDS', 1);
      await exchange.request(from('a.com'));
      tellHosts(exchange.side, '2', [host('a.com', 'x', { routes: [{ match: { prefix: '/' } }] }), host('b.com', 'b')]);
      await exchange.expectStat('http.ingress.rds.vhds.r.update_rejected', 1);
      await exchange.request(from('a.com'));
      await answered(exchange, 'VHDS', 4);
      asked(exchange, 'VHDS');
      exchange.expectLog('access.log', 2);
    }),
    steps(
      'a domain that the table has already',
      async (exchange) => {
        await serving(exchange);
        await answered(exchange, 'VHDS', 1);
        tellHosts(exchange.side, '2', [host('a.com', 'a', { domains: ['a.com', 'fixed.com'] })]);
        const client = await exchange.connect();
        client.send(from('a.com'));
        await answered(exchange, 'VHDS', 3);
        await exchange.request(from('fixed.com'));
        asked(exchange, 'VHDS');
        await dump(exchange, 'dynamic_route_configs');
        client.reset();
      },
      { stats: [], logLines: 0, clientFate: false },
    ),
    steps('the streams are cut', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'VHDS', 1);
      await exchange.request(from('a.com'));
      await answered(exchange, 'VHDS', 3);
      exchange.side.controlPlane!.cut();
      await answered(exchange, 'VHDS', 4);
      await exchange.request(from('a.com'));
      await exchange.request(from('b.com'));
      await answered(exchange, 'VHDS', 6);
      asked(exchange, 'VHDS');
      exchange.expectLog('access.log', 3);
    }),
    steps('the table goes to another source', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'VHDS', 1);
      await exchange.request(from('a.com'));
      tell(exchange.side, ROUTES, '2', [table(streamOf('DELTA_GRPC', { initial_fetch_timeout: '3s' }))]);
      await exchange.expectStat('http.ingress.rds.r.update_success', 2);
      await exchange.request(from('fixed.com'));
      await exchange.request(from('a.com'));
      asked(exchange, 'VHDS', 'RDS');
      exchange.expectLog('access.log', 3);
    }),
    steps('the table has no virtual hosts to discover any more', async (exchange) => {
      await serving(exchange);
      await answered(exchange, 'VHDS', 1);
      await exchange.request(from('a.com'));
      tell(exchange.side, ROUTES, '2', [{ name: 'r', virtual_hosts: [host('fixed.com', 'alone')] }]);
      await exchange.expectStat('http.ingress.rds.r.update_success', 2);
      await exchange.request(from('fixed.com'));
      await exchange.request(from('a.com'));
      await dump(exchange, 'dynamic_route_configs');
      exchange.expectLog('access.log', 3);
    }),
  ];
}

const byRds = (source: Fields): Fields => ({
  route_config: undefined,
  rds: { route_config_name: 'r', config_source: source },
});
const hostStats = [new RegExp(`^http\\.ingress\\.(vhds|rds|downstream_rq_(total|completed))${TIMES}`)];

for (const [what, source] of Object.entries({ 'a stream': SOTW, 'a delta stream': DELTA })) {
  suite(
    `virtual hosts over a stream of their own, routes over ${what}`,
    {
      config: config(source),
      controlPlane: (plane, side) => {
        plane.byNameOnly.add(url(HOST));
        tellHosts(side, '1', [host('a.com', 'a'), host('b.com', 'b')]);
        tell(side, ROUTES, '1', [table(streamOf('DELTA_GRPC', { initial_fetch_timeout: '0.3s' }))]);
        tell(side, LISTENER, '1', [
          httpListener({ hcm: byRds(source), filters: [httpFilter('on_demand', 'OnDemand')], log }),
        ]);
      },
      stats: hostStats,
      fresh: true,
      log: 'access.log',
    },
    hostCases(),
  );
}

suite(
  'virtual hosts from where they cannot come',
  {
    config: config(SOTW),
    controlPlane: (_plane, side) => {
      tell(side, LISTENER, '1', [
        httpListener({ hcm: byRds(streamOf('GRPC', { initial_fetch_timeout: '0.3s' })), filters: [], log }),
      ]);
    },
    stats: hostStats,
    fresh: true,
    log: 'access.log',
  },
  [
    steps('a stream that is not delta', async (exchange) => {
      tell(exchange.side, ROUTES, '1', [table(SOTW)]);
      await exchange.expectStat('http.ingress.rds.r.update_rejected', 1);
      await serving(exchange);
      await exchange.request(from('fixed.com'));
      exchange.expectLog('access.log', 1);
    }),
    steps('a file', async (exchange) => {
      tell(exchange.side, ROUTES, '1', [table({ path_config_source: { path: '/dev/null' } })]);
      await exchange.expectStat('http.ingress.rds.r.update_rejected', 1);
      await serving(exchange);
      await exchange.request(from('fixed.com'));
      exchange.expectLog('access.log', 1);
    }),
  ],
);
