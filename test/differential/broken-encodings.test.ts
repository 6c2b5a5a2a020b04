/** Protobuf that no encoder makes, from a control plane: what is refused, what is read, and what of it is an unknown field. */
import { bytesOf, groups, long, number, ODD_CLUSTERS, tag } from '../support/proto-bytes.ts';
import { cluster, type Fields, http } from './configs.ts';
import { answered, CLUSTER, LISTENER, listenerResource, ROUTES, routes, says, tell } from './discovery.ts';
import type { Exchange } from './exchange.ts';
import { type Case, steps, suite } from './harness.ts';

const url = (type: string): string => `type.googleapis.com/${type}`;
const get = http('GET /');
const HTTP2 = {
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    '@type': url('envoy.extensions.upstreams.http.v3.HttpProtocolOptions'),
    explicit_http_config: { http2_protocol_options: {} },
  },
};
const ADS = { ads: {}, resource_api_version: 'V3' };

function config(delta: boolean, resources: Fields): Fields {
  return {
    node: { id: 'node-1', cluster: 'tests' },
    dynamic_resources: {
      ads_config: {
        api_type: delta ? 'DELTA_GRPC' : 'GRPC',
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }],
      },
      ...resources,
    },
    static_resources: { clusters: [{ ...cluster('xds'), typed_extension_protocol_options: HTTP2 }] },
  };
}

/** An answer of one type, around encoded resources. */
function answerOf(exchange: Exchange, type: string, resources: Buffer): Buffer {
  const nonce = exchange.side.controlPlane!.nextNonce(url(type));
  return bytesOf(long(1, 'v'), resources, long(4, url(type)), long(5, nonce));
}

function resourceOf(delta: boolean, type: string, name: string, value: Buffer): Buffer {
  const any = bytesOf(long(1, url(type)), long(2, value));
  return delta ? long(2, long(1, 'v'), long(2, any), long(3, name)) : long(2, any);
}

/** Sends it, and notes what the proxy says to it: it takes it, refuses it, or ends the stream and comes again. */
async function say(exchange: Exchange, short: string, name: string, bytes: Buffer): Promise<void> {
  const plane = exchange.side.controlPlane!;
  const count = plane.requests.get(short)!.length;
  plane.sendRaw(bytes);
  await exchange.expect(`word about ${name}`, () => plane.requests.get(short)!.length > count, 15_000);
  const { nonce, refused } = plane.requests.get(short)![count]!;
  const verdict = nonce === '' ? 'the stream ends' : refused === true ? 'refused' : 'taken';
  exchange.note(name, `${verdict}, unknown fields so far: ${await exchange.stat('server.dynamic_unknown_fields')}`);
}

function encodings(delta: boolean): Case {
  return steps('clusters', async (exchange) => {
    await answered(exchange, 'CDS', 1);
    for (const [name, value] of ODD_CLUSTERS) {
      await say(exchange, 'CDS', name, answerOf(exchange, CLUSTER, resourceOf(delta, CLUSTER, 'c1', value)));
    }
  });
}

const GOOD = bytesOf(long(1, 'c1'), long(4, number(1, 1)));

function envelopes(delta: boolean): Case {
  const any = (...parts: readonly Buffer[]): Buffer =>
    delta ? long(2, long(2, ...parts), long(3, 'c1')) : long(2, ...parts);
  const good = resourceOf(delta, CLUSTER, 'c1', GOOD);
  return steps('what is around them', async (exchange) => {
    await answered(exchange, 'CDS', 1);
    const answers: readonly (readonly [string, Buffer])[] = [
      ['nothing odd', good],
      ['a version that is a number', bytesOf(good, number(1, 3))],
      ['resources that are a number', bytesOf(good, number(2, 1))],
      ['a type that is a group', bytesOf(good, groups(4, 1))],
      ['an unknown field', bytesOf(good, number(77, 1))],
      ['a type beyond its Any', bytesOf(tag(2, 2), 3, 0x0a, 5, 'abcde')],
      ['a value that is a number', any(long(1, url(CLUSTER)), number(2, 3))],
      ['a resource beyond the answer', bytesOf(tag(2, 2), 0xff, 0x7f, 'abc')],
      ['nothing odd', good],
      ['a nonce that is no UTF-8', bytesOf(good, long(5, '\xff'))],
      ['nothing odd', good],
      ['a field without end', bytesOf(good, tag(600, 3))],
      ['nothing odd any more', good],
    ];
    for (const [name, resources] of answers) await say(exchange, 'CDS', name, answerOf(exchange, CLUSTER, resources));
  });
}

for (const delta of [false, true]) {
  const of = delta ? 'delta ADS' : 'ADS';
  for (const flags of [[], ['--reject-unknown-dynamic-fields']]) {
    suite(
      `${of}, odd encodings${flags.length === 0 ? '' : ', unknown fields refused'}`,
      {
        fresh: true,
        flags,
        // Nothing is told of itself: what is sent is all that comes.
        config: config(delta, { cds_config: { ...ADS, initial_fetch_timeout: '0.1s' } }),
        stats: [/^cluster_manager\.cds\.update_(success|rejected)$/, 'server.dynamic_unknown_fields'],
        controlPlane: () => {},
      },
      [encodings(delta), envelopes(delta)],
    );
  }
}

const direct = (body: string): Buffer => long(7, number(1, 200), long(2, long(3, body)));
const route = (body: string): Buffer => bytesOf(long(1, long(1, '/')), direct(body));
const host = (...parts: readonly Buffer[]): Buffer => bytesOf(long(1, 'all'), long(2, '*'), ...parts);

/** Tables are taken apart by their bytes: the pieces say what the whole says. */
const TABLES: readonly (readonly [string, Buffer])[] = [
  ['nothing odd', long(2, host(long(3, route('plain'))))],
  ['a name of the host that is a number', long(2, host(number(1, 5), long(3, route('numbered'))))],
  ['virtual hosts that are a number', bytesOf(number(2, 7), long(2, host(long(3, route('after a number')))))],
  ['routes that are a number', long(2, host(number(3, 7), long(3, route('beside a number'))))],
  ['a group among the routes', long(2, host(groups(3, 2), long(3, route('beside a group'))))],
  ['an unknown group', long(2, host(groups(300, 2), long(3, route('beside an unknown group'))))],
  ['a route beyond its host', bytesOf(tag(2, 2), 12, host(tag(3, 2)), 40, route('beyond'))],
  [
    'a body beyond its route',
    long(2, host(long(3, long(1, long(1, '/')), tag(7, 2), 3, number(1, 200), 0x12, 9, 'abc'))),
  ],
  ['a status that has a length', long(2, host(long(3, long(1, long(1, '/')), long(7, long(1, 'x'), number(1, 201)))))],
  ['a name that has no UTF-8', long(2, host(long(1, '\xff'), long(3, route('x'))))],
  ['nothing odd any more', long(2, host(long(3, route('plain again'))))],
];

for (const delta of [false, true]) {
  suite(
    `${delta ? 'delta ADS' : 'ADS'}, odd encodings of route tables`,
    {
      fresh: true,
      config: config(delta, { lds_config: ADS }),
      stats: [/^http\.ingress\.rds\.r1\.update_(success|rejected)$/, 'server.dynamic_unknown_fields'],
      controlPlane: (_plane, side) => {
        const rds = { route_config_name: 'r1', config_source: ADS };
        tell(side, LISTENER, '1', [listenerResource({ hcm: { route_config: undefined, rds } })]);
        tell(side, ROUTES, '1', [routes('r1', [says('first')])]);
      },
    },
    [
      steps('one after the other', async (exchange) => {
        await answered(exchange, 'RDS', 2);
        await exchange.request(get);
        for (const [name, hosts] of TABLES) {
          const table = bytesOf(long(1, 'r1'), hosts);
          await say(exchange, 'RDS', name, answerOf(exchange, ROUTES, resourceOf(delta, ROUTES, 'r1', table)));
          await exchange.request(get);
        }
      }),
    ],
  );
}
