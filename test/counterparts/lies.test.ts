/** Control planes that say what they should not: Nuncio comes out of it as Envoy does. */
import { create, type JsonObject, toBinary } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type {
  DeltaDiscoveryResponse,
  DiscoveryResponse,
  Resource,
} from '../../src/api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { type Fields, http, to, typed } from '../differential/configs.ts';
import { clusterResource, endpoints, listenerResource, routes, says } from '../differential/discovery.ts';
import type { Exchange } from '../differential/exchange.ts';
import { type Case, type CaseOptions, steps, suite } from '../differential/harness.ts';
import { fillIn, type Side } from '../differential/side.ts';
import { packResource, type ScriptedControlPlane } from '../support/scripted-control-plane.ts';
import {
  CDS,
  EDS,
  eds,
  followingBootstrap,
  LDS,
  noteDump,
  noteStats,
  OUTCOMES,
  RDS,
  rds,
  SDS,
  SECRET,
  upstreams,
  usual,
  type World,
} from './resources.ts';

const get = http('GET /');
const planeOf = (exchange: Exchange): ScriptedControlPlane => exchange.side.controlPlane!;

function filled(side: Side, resources: readonly Fields[]): Fields[] {
  return JSON.parse(fillIn(resources, side.tmp, side.ports)) as Fields[];
}

function tell(side: Side, world: World): void {
  for (const [type, [version, resources]] of Object.entries(world)) {
    side.controlPlane!.set(type, version, filled(side, resources));
  }
}

/** One answer as it stands; what a resource holds is JSON with `@type`, or an Any made by hand. */
interface Answer {
  readonly type: string;
  readonly version?: string;
  readonly nonce?: string;
  readonly resources?: readonly (Fields | Any)[];
  /** Delta alone: names of the wrappers in the place of the resources' own. */
  readonly names?: readonly string[];
  readonly removed?: readonly string[];
}

const any = (typeUrl: string, value: Uint8Array): Any => ({ $typeName: 'google.protobuf.Any', typeUrl, value });
const isAny = (resource: Fields | Any): resource is Any => '$typeName' in resource;
const GARBAGE = Uint8Array.of(0x0a, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3);

/** Sends an answer on every stream, whatever was asked for. */
function say(exchange: Exchange, answer: Answer): void {
  const plane = planeOf(exchange);
  const { type, version = 'lie', nonce = 'lie', resources = [], names = [], removed = [] } = answer;
  const packed = resources.map((each) => (isAny(each) ? each : packResource(filled(exchange.side, [each])[0]!)));
  for (const stream of plane.streams) {
    if (!stream.isDelta) {
      const response = create(plane.desc('DiscoveryResponse')) as DiscoveryResponse;
      Object.assign(response, { versionInfo: version, typeUrl: type, nonce, resources: packed });
      stream.call.send(toBinary(plane.desc('DiscoveryResponse'), response));
      continue;
    }
    const response = create(plane.desc('DeltaDiscoveryResponse')) as DeltaDiscoveryResponse;
    Object.assign(response, { systemVersionInfo: version, typeUrl: type, nonce, removedResources: removed });
    response.resources = packed.map((resource, index) => {
      const wrapper = create(plane.desc('Resource')) as Resource;
      const own = resources[index] as Fields;
      Object.assign(wrapper, { name: names[index] ?? String(own.name ?? own.cluster_name ?? 'c1'), version, resource });
      return wrapper;
    });
    stream.call.send(toBinary(plane.desc('DeltaDiscoveryResponse'), response));
  }
}

/** Good routes behind the lie: once they serve, all before them was heard. */
async function truth(exchange: Exchange, body = 'truth'): Promise<void> {
  tell(exchange.side, { [RDS]: [body, [routes('r1', [says(body, '/truth'), to('c1')])]] });
  const heard = async (): Promise<boolean> => {
    await exchange.refreshListeners();
    const answer = await fetch(`http://127.0.0.1:${exchange.port('a')}/truth`).catch(() => null);
    return answer !== null && (await answer.text()) === body;
  };
  await exchange.expect('the truth', heard, 8000);
}

async function started(exchange: Exchange): Promise<void> {
  await exchange.expect('routes', () => (planeOf(exchange).requests.get('RDS')?.length ?? 0) >= 2);
  await exchange.refreshListeners();
}

function noteRequests(exchange: Exchange): void {
  for (const [short, requests] of [...planeOf(exchange).requests].sort(([a], [b]) => (a < b ? -1 : 1))) {
    exchange.note(`requests ${short}`, requests.map((each: JsonObject) => JSON.stringify(each)).join('\n'));
  }
}

async function outcome(exchange: Exchange): Promise<void> {
  await exchange.refreshListeners();
  await exchange.request(get);
  noteRequests(exchange);
  await noteDump(exchange);
  await noteStats(exchange, OUTCOMES);
}

/** A case: the usual start, a lie, the truth behind it, and what stands then. */
function lie(name: string, tellIt: (exchange: Exchange) => void | Promise<void>, options: CaseOptions = {}): Case {
  return steps(
    name,
    async (exchange) => {
      await started(exchange);
      await exchange.request(get);
      await tellIt(exchange);
      await truth(exchange);
      await outcome(exchange);
    },
    options,
  );
}

const simple = (name: string, ...answers: readonly Answer[]): Case =>
  lie(name, (exchange) => {
    for (const answer of answers) say(exchange, answer);
    // A state of the world without the listener takes it away.
    if (answers.some(({ type }) => type === LDS)) tell(exchange.side, { [LDS]: ['again', [listener]] });
  });

const listener = listenerResource({ hcm: rds() });
const other = (type: string): Fields =>
  ({
    // Not of type EDS: Envoy would wait for its endpoints.
    [CDS]: clusterResource('c2', 'u2'),
    [LDS]: listenerResource({ hcm: { ...rds(), stat_prefix: 'ingress', max_request_headers_kb: 50 } }),
    [RDS]: routes('r1', [says('lied')]),
    [EDS]: endpoints('c1', ['u2']),
  })[type]!;
const TYPES = { CDS, EDS, LDS, RDS };

const cases: readonly Case[] = [
  simple('no nonce', { type: RDS, nonce: '', resources: [routes('r1', [says('lied')])] }),
  simple('no version', { type: RDS, version: '', resources: [routes('r1', [says('lied')])] }),
  simple(
    'the same nonce twice',
    { type: RDS, version: '2', resources: [routes('r1', [says('second')])] },
    { type: RDS, version: '3', resources: [routes('r1', [says('third')])] },
  ),
  simple(
    'an older version, then the same with another content',
    { type: EDS, version: '0', nonce: 'a', resources: [endpoints('c1', ['u1', 'u2'])] },
    { type: EDS, version: '0', nonce: 'b', resources: [endpoints('c1', ['u2'])] },
  ),
  simple('a type that nobody knows', { type: 'type.googleapis.com/nobody.Knows' }),
  simple('a type that nobody knows, with resources', {
    type: 'type.googleapis.com/nobody.Knows',
    resources: [any('type.googleapis.com/nobody.Knows', GARBAGE)],
  }),
  simple('no type', { type: '', resources: [routes('r1', [says('lied')])] }),
  simple('a type that was not asked for', {
    type: SDS,
    resources: [typed(SECRET, { name: 's', generic_secret: { secret: { inline_string: 'x' } } })],
  }),
  ...Object.entries(TYPES).flatMap(([short, type]) => [
    simple(`garbage in a resource of ${short}`, { type, resources: [any(type, GARBAGE)], names: ['c1'] }),
    simple(`garbage beside a good resource of ${short}`, {
      type,
      resources: [other(type), any(type, GARBAGE)],
    }),
    simple(`a resource of another type in ${short}`, {
      type,
      resources: [type === LDS ? eds('c9') : listenerResource({ name: 'stranger', routes: [says('x')] })],
    }),
    simple(`an Any of no type in ${short}`, { type, resources: [any('', new Uint8Array())], names: ['x'] }),
    simple(`an empty message in ${short}`, { type, resources: [any(type, new Uint8Array())], names: ['x'] }),
    simple(`one name twice in ${short}`, { type, resources: [other(type), other(type)] }),
  ]),
  // Of listeners Envoy takes such a field for no change, here it is one.
  ...[CDS, EDS, RDS].map((type) =>
    simple(`a field that nobody knows in ${type.replace(/.*\./, '')}`, {
      type,
      // Field 999 of type string.
      resources: [withField(type, Uint8Array.of(0xba, 0x3e, 1, 0x61))],
      names: [String(other(type).name ?? other(type).cluster_name)],
    }),
  ),
  simple('nothing in RDS', { type: RDS }),
  simple('nothing in EDS', { type: EDS }),
  simple('routes that nobody asked for', { type: RDS, resources: [routes('strangers', [says('x')])] }),
  simple('endpoints that nobody asked for', { type: EDS, resources: [endpoints('c9', ['u2'])] }),
  lie('nothing in CDS: the clusters go, and come back', async (exchange) => {
    tell(exchange.side, { [CDS]: ['2', []] });
    await exchange.expectStat('cluster_manager.active_clusters', 1);
    await exchange.request(get);
    tell(exchange.side, { [CDS]: ['3', [eds('c1')]] });
    await exchange.expectStat('cluster_manager.active_clusters', 2);
  }),
  lie('a listener whose routes never come', async (exchange) => {
    const half = listenerResource({ name: 'half', hcm: rds('nowhere') });
    tell(exchange.side, { [LDS]: ['2', [listener, half]] });
    await exchange.expectStat('listener_manager.total_listeners_warming', 1);
  }),
  lie('a cluster whose endpoints never come', async (exchange) => {
    tell(exchange.side, { [CDS]: ['2', [eds('c1'), eds('half')]] });
    await exchange.expectStat('cluster_manager.warming_clusters', 1);
  }),
  lie('routes to a cluster that is not there', (exchange) => {
    tell(exchange.side, { [RDS]: ['2', [routes('r1', [to('nowhere')])]] });
  }),
  simple('a listener and a cluster under one name, each in the place of the other', {
    type: CDS,
    resources: [clusterResource('a', 'u2'), eds('c1')],
  }),
  simple('a version of 100 kB', {
    type: RDS,
    version: 'v'.repeat(100_000),
    resources: [routes('r1', [says('long')])],
  }),
  lie('a message of two megabytes', (exchange) => {
    const body = 'x'.repeat(2_000_000);
    say(exchange, {
      type: RDS,
      version: '2',
      resources: [routes('r1', [says('lied')], { request_headers_to_add: [{ header: { key: 'x', value: body } }] })],
    });
  }),
  lie('a message that is no answer', (exchange) => planeOf(exchange).sendRaw(GARBAGE)),
  lie('an empty message', (exchange) => planeOf(exchange).sendRaw(new Uint8Array())),
  lie('streams ended with every status', async (exchange) => {
    for (let status = 0; status <= 17; status++) {
      const { requests, streams } = planeOf(exchange);
      const isDelta = [...streams].some((stream) => stream.isDelta);
      const before = new Map([...requests].map(([type, list]) => [type, list.length]));
      planeOf(exchange).cut(status);
      // All is asked for again; a state of the world is sent again, and taken.
      const isBack = ([type, list]: [string, JsonObject[]]): boolean =>
        list.length > before.get(type)! && (isDelta || list.at(-1)!.nonce !== '');
      await exchange.expect('a new stream', () => [...requests].every(isBack));
    }
  }),
];

/** The usual other resource with more bytes behind it. */
function withField(type: string, more: Uint8Array): Any {
  const resource = other(type);
  const plain = JSON.parse(
    JSON.stringify(resource)
      .replace(/"\{\{listen:\w+\}\}"/g, '{"socket_address":{"address":"127.0.0.1","port_value":0}}')
      .replace(/"\{\{upstream:\w+\}\}"/g, '{"socket_address":{"address":"127.0.0.1","port_value":1}}'),
  ) as Fields;
  const packed = packResource(plain);
  return { ...packed, value: Buffer.concat([packed.value, more]) };
}

const deltaCases: readonly Case[] = [
  simple('a name that is not the resource’s own', {
    type: RDS,
    resources: [routes('r1', [says('lied')])],
    names: ['other'],
  }),
  simple('a cluster under another name', { type: CDS, resources: [clusterResource('c2', 'u2')], names: ['c1'] }),
  simple('removal of what is not there', { type: CDS, removed: ['nobody'] }),
  simple('removal of routes in use', { type: RDS, removed: ['r1'] }),
  simple('removal of endpoints in use', { type: EDS, removed: ['c1'] }),
  simple('added and removed at once', {
    type: CDS,
    resources: [eds('c1', { connect_timeout: '7s' })],
    removed: ['c1'],
  }),
  simple('no name', { type: CDS, resources: [clusterResource('c5', 'u2')], names: [''] }),
];

const stage = {
  upstreams,
  fresh: true,
  upstreamBytes: false,
  controlPlane: (_plane: ScriptedControlPlane, side: Side) => tell(side, usual()),
};

suite('a lying server', { ...stage, config: followingBootstrap('GRPC') }, cases);
suite('a lying delta server', { ...stage, config: followingBootstrap('DELTA_GRPC') }, [...cases, ...deltaCases]);

for (const apiType of ['GRPC', 'DELTA_GRPC']) {
  const brief = { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '0.2s' };
  const { dynamic_resources, ...rest } = followingBootstrap(apiType) as Record<string, Fields>;
  suite(
    `a server over ${apiType} that never answers`,
    {
      ...stage,
      config: { ...rest, dynamic_resources: { ...dynamic_resources, lds_config: brief, cds_config: brief } },
      controlPlane: () => {},
    },
    [
      steps('the start comes to its end without it', async (exchange) => {
        noteRequests(exchange);
        await exchange.admin('/ready');
        await noteStats(
          exchange,
          /^(listener_manager\.lds|cluster_manager\.cds)\.(init_fetch_timeout|update_(attempt|failure|success|rejected))$/,
        );
      }),
      steps('it speaks at last', async (exchange) => {
        tell(exchange.side, usual());
        await started(exchange);
        await exchange.request(get);
        await noteDump(exchange);
      }),
    ],
  );
}
