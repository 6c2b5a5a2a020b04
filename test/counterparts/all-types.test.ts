/** go-control-plane's other types, all on one stream: secrets, the runtime, scopes, filters. (Its cache cannot serve virtual hosts.) */
import { type Fields, http, router, typed } from '../differential/configs.ts';
import { ADS, clusterResource, listenerResource, routes, says } from '../differential/discovery.ts';
import type { Exchange } from '../differential/exchange.ts';
import { type Case, steps, suite } from '../differential/harness.ts';
import { downstreamTls, pem, tlsExchange } from '../differential/tls-peers.ts';
import { GoControlPlane } from './go-control-plane.ts';
import { change, Follower, judged, NODE, planeOf } from './go-follower.ts';
import {
  CDS,
  followingBootstrap,
  groupsOf,
  LDS,
  noteDump,
  noteStats,
  RDS,
  RTDS,
  RUNTIME,
  rds,
  SDS,
  SECRET,
  upstreams,
  url,
  type World,
} from './resources.ts';

const SCOPE = 'envoy.config.route.v3.ScopedRouteConfiguration';
const EXTENSION = 'envoy.config.core.v3.TypedExtensionConfig';
const FAULT = 'envoy.extensions.filters.http.fault.v3.HTTPFault';
const SRDS = url(SCOPE);
const ECDS = url(EXTENSION);

const secret = (pair: string): Fields =>
  typed(SECRET, {
    name: 'pair',
    tls_certificate: {
      certificate_chain: { inline_string: pem(`${pair}.pem`) },
      private_key: { inline_string: pem(`${pair}.key`) },
    },
  });
const layer = (values: Fields): Fields => typed(RUNTIME, { name: 'layer', layer: values });
const scope = (name: string, key: string, table: string): Fields =>
  typed(SCOPE, { name, route_configuration_name: table, key: { fragments: [{ string_key: key }] } });
const abort = (status: number): Fields =>
  typed(EXTENSION, {
    name: 'fault',
    typed_config: typed(FAULT, {
      abort: { http_status: status, percentage: { numerator: 100 } },
      headers: [{ name: 'x-fault', present_match: true }],
    }),
  });

/** TLS by a secret, behind a filter that is discovered. */
const secure = ((): Fields => {
  const discovery = { config_source: ADS, type_urls: [url(FAULT)] };
  const made = listenerResource({
    hcm: { ...rds(), http_filters: [{ name: 'fault', config_discovery: discovery }, router()] },
  }) as { filter_chains: Fields[] };
  const socket = downstreamTls({ tls_certificate_sds_secret_configs: [{ name: 'pair', sds_config: ADS }] });
  return { ...made, filter_chains: [{ ...made.filter_chains[0], transport_socket: socket }] };
})();

const scoped = listenerResource({
  name: 'b',
  hcm: {
    stat_prefix: 'scoped',
    route_config: undefined,
    scoped_routes: {
      name: 'scopes',
      scope_key_builder: { fragments: [{ header_value_extractor: { name: 'x-scope', index: 0 } }] },
      rds_config_source: ADS,
      scoped_rds: { scoped_rds_config_source: ADS },
    },
  },
});

const world = (changes: World = {}): World => ({
  [CDS]: ['1', [clusterResource('c1', 'u1')]],
  [LDS]: ['1', [secure, scoped]],
  [RDS]: ['1', [routes('r1', [says('r1')]), routes('r2', [says('r2')])]],
  [SDS]: ['1', [secret('server-ec')]],
  [RTDS]: ['1', [layer({ a: 1, 'b.c': 'x' })]],
  [SRDS]: ['1', [scope('s1', 'one', 'r1'), scope('s2', 'two', 'r2')]],
  [ECDS]: ['1', [abort(418)]],
  ...changes,
});

const FIRST = { [LDS]: '1', [RDS]: '1', [SDS]: '1', [RTDS]: '1', [SRDS]: '1', [ECDS]: '1' };
const byScope = (name: string): string => http('GET /', [`x-scope: ${name}`]);

/** Who answers what, and what is held. */
async function outcome(exchange: Exchange): Promise<void> {
  await tlsExchange(exchange, { request: http('GET /', ['connection: close']) });
  await tlsExchange(exchange, { request: http('GET /', ['x-fault: 1', 'connection: close']) });
  for (const name of ['one', 'two', 'three']) await exchange.request(byScope(name), { listener: 'b' });
  await exchange.admin('/runtime', { record: 'json' });
  await noteDump(exchange);
  await noteStats(
    exchange,
    /^(runtime\.(num_keys|num_layers|update_(success|rejected))|extension_config_discovery\..*\.(config_reload|config_fail|config_conflict|update_rejected)|http\.scoped\.scoped_rds\.scopes\.(active_scopes|update_(success|rejected))|listener_manager\.total_listeners_(active|warming)|sds\.pair\.(update_rejected|key_rotation_failed))$/,
  );
}

/** A case: the start, one change, and what stands then. */
const changing = (name: string, changes: World, versions: Readonly<Record<string, string>>): Case =>
  steps(name, async (exchange) => {
    await judged(exchange, FIRST);
    await change(exchange, world(changes), versions);
    // What a verdict says of main, the workers hear a moment later.
    await exchange.expectStat('listener_manager.total_listeners_active', 2);
    await outcome(exchange);
  });

const cases: readonly Case[] = [
  steps('the start', async (exchange) => {
    await judged(exchange, FIRST);
    await outcome(exchange);
  }),
  changing('another certificate', { [SDS]: ['2', [secret('other-ec')]] }, { [SDS]: '2' }),
  changing(
    'a certificate that is none',
    { [SDS]: ['2', [typed(SECRET, { name: 'pair', tls_certificate: {} })]] },
    { [SDS]: '2' },
  ),
  changing('another layer', { [RTDS]: ['2', [layer({ a: 2 })]] }, { [RTDS]: '2' }),
  changing('other scopes', { [SRDS]: ['2', [scope('s1', 'three', 'r1'), scope('s2', 'two', 'r1')]] }, { [SRDS]: '2' }),
  changing(
    'two scopes of one key',
    { [SRDS]: ['2', [scope('s1', 'one', 'r1'), scope('s2', 'one', 'r2')]] },
    { [SRDS]: '2' },
  ),
  changing('another filter', { [ECDS]: ['2', [abort(503)]] }, { [ECDS]: '2' }),
  changing(
    'a filter of another type',
    {
      [ECDS]: [
        '2',
        [
          typed(EXTENSION, {
            name: 'fault',
            typed_config: typed('envoy.extensions.filters.http.buffer.v3.Buffer', { max_request_bytes: 10 }),
          }),
        ],
      ],
    },
    { [ECDS]: '2' },
  ),
  steps('all of them at once, and the server goes and comes', async (exchange) => {
    await judged(exchange, FIRST);
    const plane = planeOf(exchange);
    await plane.silence();
    await exchange.expectStat('control_plane.connected_state', 0);
    const next = world({
      [RDS]: ['2', [routes('r1', [says('new r1')]), routes('r2', [says('new r2')])]],
      [SDS]: ['2', [secret('other-ec')]],
      [RTDS]: ['2', [layer({ a: 3, d: true })]],
      // Not exchanged: Envoy then forgets one of them.
      [SRDS]: ['2', [scope('s1', 'three', 'r1'), scope('s2', 'two', 'r1')]],
      [ECDS]: ['2', [abort(429)]],
    });
    await plane.set(NODE, groupsOf(next, exchange.side));
    await plane.resume();
    await judged(exchange, { [RDS]: '2', [SDS]: '2', [RTDS]: '2', [SRDS]: '2', [ECDS]: '2' });
    await exchange.expectStat('control_plane.connected_state', 1);
    await outcome(exchange);
  }),
];

for (const apiType of ['GRPC', 'DELTA_GRPC']) {
  suite(
    `all types of go-control-plane over ${apiType}`,
    {
      config: followingBootstrap(
        apiType,
        { layered_runtime: { layers: [{ name: 'found', rtds_layer: { name: 'layer', rtds_config: ADS } }] } },
        { rate_limit_settings: { max_tokens: 200, fill_rate: 200 } },
      ),
      upstreams,
      companion: async () => new Follower(await GoControlPlane.start(), world()),
      fresh: true,
      // The state of the world sends what is refused again and again.
      rewrite: [[/(update_rejected|config_fail): [1-9]\d*/g, '$1: some']],
      upstreamBytes: false,
    },
    cases,
  );
}
