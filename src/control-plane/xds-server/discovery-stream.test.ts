import { describe, expect, test } from 'bun:test';
import { fromBinary, fromJson, type JsonValue, toBinary, toJson } from '@bufbuild/protobuf';
import { openApiRegistry } from '../../api/api-registry.ts';
import { ManualClock } from '../../base/clock.ts';
import { SeededRandom } from '../../base/random.ts';
import type { GrpcServerCall, GrpcServerCallHandler } from '../../grpc/grpc-server-call.ts';
import { RequestHeaders } from '../../http/header-map.ts';
import { Dispatcher } from '../../net/dispatcher.ts';
import { Metrics } from '../metrics.ts';
import { type ClientLimits, DEFAULT_LIMITS } from './client-limits.ts';
import { DiscoveryCounts } from './discovery-counts.ts';
import { DiscoveryServices } from './discovery-services.ts';
import { ResponseEncodings } from './response-encodings.ts';
import { resourceOfJson, Snapshot, type SnapshotResource, SnapshotType } from './snapshot.ts';
import { SnapshotCache } from './snapshot-cache.ts';

const api = openApiRegistry();
const TYPES = {
  cluster: 'envoy.config.cluster.v3.Cluster',
  endpoint: 'envoy.config.endpoint.v3.ClusterLoadAssignment',
  listener: 'envoy.config.listener.v3.Listener',
  route: 'envoy.config.route.v3.RouteConfiguration',
} as const;
type Kind = keyof typeof TYPES;
const url = (kind: Kind): string => `type.googleapis.com/${TYPES[kind]}`;

function markOf(kind: Kind, mark: string): Record<string, string> {
  return kind === 'cluster' ? { alt_stat_name: mark } : kind === 'listener' ? { stat_prefix: mark } : {};
}

/** Names of resources by kind; `name=x` is `name` with another content. */
function snapshot(content: Partial<Record<Kind, readonly string[]>>): Snapshot {
  return new Snapshot(
    Object.entries(content).map(([kind, names]) => {
      const typeName = TYPES[kind as Kind];
      const resources = names.map((text) => {
        const [name = '', mark = ''] = text.split('=');
        const json =
          kind === 'endpoint'
            ? { cluster_name: name, policy: mark === '' ? {} : { overprovisioning_factor: Number(mark) } }
            : { name, ...(mark === '' ? {} : markOf(kind as Kind, mark)) };
        return resourceOfJson(api, typeName, name, json);
      });
      return new SnapshotType(`type.googleapis.com/${typeName}`, resources);
    }),
  );
}

interface Answer {
  readonly type: Kind;
  readonly names: readonly string[];
  readonly removed: readonly string[];
  readonly nonce: string;
  readonly version: string;
}

/** A client of one server, which answers nothing by itself. */
class Client implements GrpcServerCall {
  readonly headers = new RequestHeaders();
  readonly peer = '127.0.0.1:1';
  readonly security = null;
  isFull = false;
  isOver = false;
  status = -1;
  words = '';
  readonly #delta: boolean;
  readonly #sent: Uint8Array[] = [];
  readonly handler: GrpcServerCallHandler;
  readonly #run: () => void;

  constructor(server: Server, delta: boolean, method = '') {
    this.#delta = delta;
    this.#run = () => server.runTasks();
    const what = delta ? 'DeltaAggregatedResources' : 'StreamAggregatedResources';
    const path = method === '' ? `/envoy.service.discovery.v3.AggregatedDiscoveryService/${what}` : method;
    const handler = server.services.open(path, this);
    if (handler === null) throw new Error(`no ${path}`);
    this.handler = handler;
  }

  send(message: Uint8Array): boolean {
    this.#sent.push(message);
    return !this.isFull;
  }

  pauses = 0;

  pauseReads(): void {
    this.pauses++;
  }

  resumeReads(): void {
    this.pauses--;
  }

  held = 0;
  /** What its connection may cost. */
  budget = Number.POSITIVE_INFINITY;

  hold(bytes: number): boolean {
    if (this.held + bytes > this.budget) return false;
    this.held += bytes;
    return true;
  }

  release(bytes: number): void {
    this.held -= bytes;
  }

  finish(status: number, message: string): void {
    this.isOver = true;
    this.status = status;
    this.words = message;
  }

  /** A request in proto3 JSON; `node` unless told otherwise. */
  request(fields: object, node: object | null = { id: 'n', cluster: 'c' }): void {
    const typeName = `envoy.service.discovery.v3.${this.#delta ? 'Delta' : ''}DiscoveryRequest`;
    const json = { ...(node === null ? {} : { node }), ...fields } as unknown as JsonValue;
    const desc = api.message(typeName)!;
    this.handler.onMessage(toBinary(desc, fromJson(desc, json, { registry: api.registry })));
    this.#run();
  }

  /** What came since the last look. */
  answers(): Answer[] {
    this.#run();
    const typeName = `envoy.service.discovery.v3.${this.#delta ? 'Delta' : ''}DiscoveryResponse`;
    const desc = api.message(typeName)!;
    return this.#sent.splice(0).map((bytes) => {
      const json = toJson(desc, fromBinary(desc, bytes), { registry: api.registry }) as Record<string, unknown>;
      const resources = (json.resources ?? []) as Record<string, unknown>[];
      const inner = resources.map((each) => (this.#delta ? (each.resource ?? {}) : each) as Record<string, string>);
      const kind = (Object.keys(TYPES) as Kind[]).find((each) => url(each) === json.typeUrl)!;
      return {
        type: kind,
        names: inner.map((each) => each.name ?? each.clusterName ?? ''),
        removed: (json.removedResources ?? []) as string[],
        nonce: json.nonce as string,
        version: (json.versionInfo ?? json.systemVersionInfo) as string,
      };
    });
  }

  /** Types and names of what came. */
  brief(): string[] {
    return this.answers().map(({ type, names, removed }) =>
      [type, ...names, ...removed.map((name) => `-${name}`)].join(' '),
    );
  }

  ack(answer: Answer, more: object = {}): void {
    const nonce = { type_url: url(answer.type), response_nonce: answer.nonce };
    this.request(this.#delta ? { ...nonce, ...more } : { ...nonce, version_info: answer.version, ...more }, null);
  }

  /** Takes everything, again and again, until nothing comes. @returns what came */
  settle(names: Partial<Record<Kind, readonly string[]>> = {}): string[] {
    const seen: string[] = [];
    for (;;) {
      const list = this.answers();
      if (list.length === 0) return seen;
      for (const answer of list) {
        seen.push([answer.type, ...answer.names, ...answer.removed.map((name) => `-${name}`)].join(' '));
        const wanted = names[answer.type];
        this.ack(answer, this.#delta || wanted === undefined ? {} : { resource_names: wanted });
      }
    }
  }
}

class Server {
  readonly clock = new ManualClock();
  readonly dispatcher = new Dispatcher(this.clock, new SeededRandom(3), true);
  readonly metrics = new Metrics();
  readonly cache = new SnapshotCache();
  readonly refusals: string[] = [];
  /** Which group the nodes of a cluster are of. */
  move: (cluster: string) => string = (cluster) => cluster;
  readonly services: DiscoveryServices;

  constructor(limits: Partial<ClientLimits> = {}) {
    this.services = new DiscoveryServices({
      api,
      cache: this.cache,
      encodings: new ResponseEncodings('test'),
      groupOf: (node) => (node.cluster === 'stranger' ? null : this.move(node.cluster)),
      dispatcher: this.dispatcher,
      limits: { ...DEFAULT_LIMITS, ...limits },
      counts: new DiscoveryCounts(this.metrics),
      onRefusal: (_stream, { refusal }) => this.refusals.push(refusal?.reason ?? ''),
    });
  }

  runTasks(): void {
    this.dispatcher.enter();
    this.dispatcher.leave();
  }

  pass(ms: number): void {
    this.clock.advance(ms);
    this.dispatcher.enter();
    this.dispatcher.timers.advance();
    this.dispatcher.leave();
  }

  set(content: Partial<Record<Kind, readonly string[]>>): void {
    this.cache.set('c', snapshot(content));
    this.runTasks();
  }
}

describe('state of the world', () => {
  test('a wildcard is answered at once, then with each change, whole', () => {
    const server = new Server();
    server.set({ cluster: ['a', 'b'] });
    const client = new Client(server, false);
    client.request({ type_url: url('cluster') });
    const [first] = client.answers();
    expect(first).toMatchObject({ type: 'cluster', names: ['a', 'b'] });
    client.ack(first!);
    expect(client.brief()).toEqual([]);
    server.set({ cluster: ['a', 'b', 'c'] });
    expect(client.settle()).toEqual(['cluster a b c']);
    server.set({ cluster: ['a', 'b', 'c'] });
    expect(client.brief()).toEqual([]);
  });

  test('what is refused is not sent again until it is another', () => {
    const server = new Server();
    server.set({ cluster: ['a'] });
    const client = new Client(server, false);
    client.request({ type_url: url('cluster') });
    const [first] = client.answers();
    client.ack(first!, { error_detail: { code: 13, message: 'no' } });
    expect(server.refusals).toEqual(['no']);
    expect(client.brief()).toEqual([]);
    server.set({ cluster: ['a=other'] });
    expect(client.brief()).toEqual(['cluster a']);
  });

  test('an answer to an earlier response says nothing', () => {
    const server = new Server();
    server.set({ route: ['a', 'b'] });
    const client = new Client(server, false);
    client.request({ type_url: url('route'), resource_names: ['a'] });
    const [first] = client.answers();
    client.ack({ ...first!, nonce: 'old' }, { resource_names: ['a', 'b'] });
    expect(client.brief()).toEqual([]);
    client.ack(first!, { resource_names: ['a', 'b'] });
    expect(client.brief()).toEqual(['route b']);
  });

  test('by name only what is named, and only what changes', () => {
    const server = new Server();
    server.set({ endpoint: ['a', 'b', 'c'] });
    const client = new Client(server, false);
    client.request({ type_url: url('endpoint'), resource_names: ['a', 'b', 'nobody'] });
    expect(client.settle({ endpoint: ['a', 'b', 'nobody'] })).toEqual(['endpoint a b']);
    server.set({ endpoint: ['a', 'b=2', 'c=2'] });
    expect(client.settle({ endpoint: ['a', 'b', 'nobody'] })).toEqual(['endpoint b']);
  });

  test('names that are taken back and asked for again are sent again', () => {
    const server = new Server();
    server.set({ endpoint: ['a', 'b'] });
    const client = new Client(server, false);
    client.request({ type_url: url('endpoint'), resource_names: ['a', 'b'] });
    const [first] = client.answers();
    client.ack(first!, { resource_names: ['a'] });
    client.ack(first!, { resource_names: ['a', 'b'] });
    expect(client.brief()).toEqual(['endpoint b']);
  });
});

describe('delta', () => {
  test('changes and removals alone', () => {
    const server = new Server();
    server.set({ listener: ['a', 'b'] });
    const client = new Client(server, true);
    client.request({ type_url: url('listener') });
    expect(client.settle()).toEqual(['listener a b']);
    server.set({ listener: ['b', 'c'] });
    expect(client.settle()).toEqual(['listener c -a']);
  });

  test('who comes back with versions is sent what differs', () => {
    const server = new Server();
    server.set({ listener: ['a', 'b'] });
    const [version] = [
      ...snapshot({ listener: ['a'] })
        .type(url('listener'))
        .resources.values(),
    ].map((each) => each.version);
    const client = new Client(server, true);
    client.request({ type_url: url('listener'), initial_resource_versions: { a: version, gone: 'x' } });
    expect(client.settle()).toEqual(['listener b -gone']);
  });

  test('a first answer comes even when there is nothing', () => {
    const server = new Server();
    server.set({});
    const client = new Client(server, true);
    client.request({ type_url: url('listener') });
    expect(client.settle()).toEqual(['listener']);
  });

  test('a name that is not there is said to be removed, once', () => {
    const server = new Server();
    server.set({ endpoint: ['a'] });
    const client = new Client(server, true);
    client.request({ type_url: url('endpoint'), resource_names_subscribe: ['a', 'nobody'] });
    expect(client.settle()).toEqual(['endpoint a -nobody']);
    server.set({ endpoint: ['a=2'] });
    expect(client.settle()).toEqual(['endpoint a']);
    server.set({ endpoint: ['a=2', 'nobody'] });
    expect(client.settle()).toEqual(['endpoint nobody']);
  });

  test('what is asked for again is sent again, what is given up is not', () => {
    const server = new Server();
    server.set({ endpoint: ['a', 'b'] });
    const client = new Client(server, true);
    client.request({ type_url: url('endpoint'), resource_names_subscribe: ['a', 'b'] });
    expect(client.settle()).toEqual(['endpoint a b']);
    client.request({ type_url: url('endpoint'), resource_names_unsubscribe: ['b'] }, null);
    server.set({ endpoint: ['a', 'b=2'] });
    expect(client.settle()).toEqual([]);
    client.request({ type_url: url('endpoint'), resource_names_subscribe: ['a', 'b'] }, null);
    expect(client.settle()).toEqual(['endpoint a b']);
  });

  test('a refusal is noted, and the others go on', () => {
    const server = new Server();
    server.set({ cluster: ['a'] });
    const client = new Client(server, true);
    client.request({ type_url: url('cluster') });
    const [first] = client.answers();
    client.ack(first!, { error_detail: { code: 13 } });
    expect(server.refusals).toEqual(['code 13']);
    server.set({ cluster: ['a', 'b'] });
    expect(client.settle()).toEqual(['cluster b']);
  });
});

describe.each([false, true])('make before break (delta: %p)', (delta) => {
  test('a cluster comes before what names it, and goes after it', () => {
    const server = new Server();
    server.set({ cluster: ['a'], route: ['r'], listener: ['l'] });
    const client = new Client(server, delta);
    const named = delta ? { resource_names_subscribe: ['r'] } : { resource_names: ['r'] };
    client.request({ type_url: url('cluster') });
    client.request({ type_url: url('route'), ...named }, null);
    client.settle({ route: ['r'] });

    server.set({ cluster: ['b'], route: ['r', 'unused'], listener: ['l'] });
    const [made, ...more] = client.answers();
    expect(more).toEqual([]);
    expect(made!.type).toBe('cluster');
    expect(made!.names).toContain('b');
    expect(made!.removed).toEqual([]);
    client.ack(made!);
    // Nothing names `a` any more.
    const rest = client.settle({ route: ['r'] });
    expect(rest).toEqual(delta ? ['cluster -a'] : ['cluster b']);
  });
});

describe('strangers and rubbish', () => {
  test.each([false, true])('end the stream (delta: %p)', (delta) => {
    const server = new Server();
    const bad = new Client(server, delta);
    bad.handler.onMessage(Uint8Array.of(0xff, 0xff));
    expect([bad.status, bad.isOver]).toEqual([3, true]);
    const nobody = new Client(server, delta);
    nobody.request({ type_url: url('cluster') }, null);
    expect(nobody.status).toBe(3);
    const stranger = new Client(server, delta);
    stranger.request({ type_url: url('cluster') }, { id: 'x', cluster: 'stranger' });
    expect(stranger.status).toBe(7);
    const untyped = new Client(server, delta);
    untyped.request({});
    expect(untyped.status).toBe(3);
    expect(server.services.streams.size).toBe(0);
  });

  test('a stream of one type carries no other', () => {
    const server = new Server();
    const client = new Client(server, false, '/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters');
    client.request({});
    expect(client.isOver).toBe(false);
    client.request({ type_url: url('listener') }, null);
    expect(client.status).toBe(3);
  });

  test('random requests never throw, and leave nothing behind', () => {
    const random = new SeededRandom(7);
    const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
    for (let round = 0; round < 200; round++) {
      const server = new Server();
      const delta = round % 2 === 0;
      const client = new Client(server, delta);
      for (let step = 0; step < 20; step++) {
        const type_url = url(pick(['cluster', 'endpoint', 'listener', 'route']));
        const names = [pick(['a', 'b', '*']), pick(['a', 'c'])];
        const nonce = pick(['', '1', '2', '3', 'x']);
        const fields = delta
          ? { resource_names_subscribe: names, resource_names_unsubscribe: [pick(['a', '*'])] }
          : { resource_names: names };
        client.request({ type_url, response_nonce: nonce, ...fields });
        if (step % 5 === 0) server.set({ cluster: [pick(['a', 'b=1', 'c'])], endpoint: [pick(['a', 'a=1'])] });
      }
      client.handler.onCancelled();
      expect(server.services.streams.size).toBe(0);
      server.set({ cluster: ['z'] });
    }
  });
});

test('a client that does not read is sent nothing more, and the latest once it does', () => {
  const server = new Server();
  server.set({ cluster: ['a'] });
  const client = new Client(server, false);
  client.request({ type_url: url('cluster') });
  client.settle();
  client.isFull = true;
  for (const mark of ['1', '2', '3']) server.set({ cluster: [`a=${mark}`] });
  expect(client.brief()).toEqual([]);
  client.isFull = false;
  client.handler.onReady();
  expect(client.brief()).toEqual(['cluster a']);
});

test('versions are of the content: another process gives the same', () => {
  expect(snapshot({ cluster: ['a', 'b'] }).type(url('cluster')).version).toBe(
    snapshot({ cluster: ['b', 'a'] }).type(url('cluster')).version,
  );
});

test('names that are added before anything was sent are heard', () => {
  const server = new Server();
  server.set({ endpoint: ['b'] });
  const client = new Client(server, false);
  client.request({ type_url: url('endpoint'), resource_names: ['a'] });
  expect(client.brief()).toEqual([]);
  client.request({ type_url: url('endpoint'), resource_names: ['a', 'b'] }, null);
  expect(client.brief()).toEqual(['endpoint b']);
});

test('a refused listener may name a cluster that was removed: the cluster stays until another listener is taken', () => {
  const server = new Server();
  server.set({ cluster: ['old'], listener: ['l'] });
  const client = new Client(server, false);
  client.request({ type_url: url('cluster') });
  client.request({ type_url: url('listener') });
  client.settle();
  server.set({ cluster: [], listener: ['m'] });
  const refuse = (): string[] => {
    const seen: string[] = [];
    for (let list = client.answers(); list.length > 0; list = client.answers()) {
      for (const answer of list) {
        seen.push([answer.type, ...answer.names].join(' '));
        client.ack(answer, answer.type === 'listener' ? { error_detail: { code: 13, message: 'no' } } : {});
      }
    }
    return seen;
  };
  const seen = refuse();
  expect(seen).toContain('listener m');
  expect(seen).not.toContain('cluster');
  server.set({ cluster: [], listener: ['n'] });
  expect(client.settle().at(-1)).toBe('cluster');
});

test('a node that a change of groups moves is given the configuration of its new group', () => {
  const server = new Server();
  server.set({ cluster: ['a'] });
  const client = new Client(server, true);
  client.request({ type_url: url('cluster') });
  expect(client.settle()).toEqual(['cluster a']);
  server.move = () => 'nowhere';
  server.services.regroup();
  expect(client.brief()).toEqual([]);
  server.cache.set('d', snapshot({ cluster: ['b'] }));
  server.move = () => 'd';
  server.services.regroup();
  expect(client.settle()).toEqual(['cluster b -a']);
  server.set({ cluster: ['c'] });
  expect(client.brief()).toEqual([]);
});

test('very many names that do not exist are answered in no time', () => {
  const server = new Server();
  server.set({ endpoint: ['b'] });
  const client = new Client(server, true);
  const names = Array.from({ length: 50_000 }, (_, i) => `n${i}`);
  const startMs = performance.now();
  client.request({ type_url: url('endpoint'), resource_names_subscribe: names });
  const [answer] = client.answers();
  expect(answer!.removed).toHaveLength(50_000);
  expect(performance.now() - startMs).toBeLessThan(3000);
});

describe.each([false, true])('a restart (delta: %p)', (delta) => {
  const content = { cluster: ['a', 'b'], endpoint: ['x', 'y'], listener: ['l'], route: ['r', 's'] };

  /** What a client has that has taken everything. */
  function held(server: Server): Record<Kind, { version: string; resources: Record<string, string> }> {
    const out = {} as Record<Kind, { version: string; resources: Record<string, string> }>;
    const client = new Client(server, false);
    for (const kind of Object.keys(content) as Kind[]) {
      const names = kind === 'endpoint' || kind === 'route' ? { resource_names: content[kind] } : {};
      client.request({ type_url: url(kind), ...names });
    }
    for (let list = client.answers(); list.length > 0; list = client.answers()) {
      for (const answer of list) {
        const versions = [...server.cache.get('c').type(url(answer.type)).resources.values()];
        const resources = Object.fromEntries(versions.map(({ name, version }) => [name, version]));
        out[answer.type] = { version: answer.version, resources };
        client.ack(answer, ['route', 'endpoint'].includes(answer.type) ? { resource_names: content[answer.type] } : {});
      }
    }
    client.handler.onCancelled();
    return out;
  }

  function comeBack(client: Client, has: ReturnType<typeof held>): void {
    for (const kind of Object.keys(content) as Kind[]) {
      const byName = kind === 'endpoint' || kind === 'route' ? content[kind] : [];
      const { version, resources } = has[kind];
      client.request(
        delta
          ? {
              type_url: url(kind),
              initial_resource_versions: resources,
              resource_names_subscribe: byName.length === 0 ? ['*'] : byName,
            }
          : { type_url: url(kind), version_info: version, resource_names: byName },
      );
    }
  }

  test('nothing is sent that the clients hold', () => {
    const first = new Server();
    first.set(content);
    const has = held(first);
    const second = new Server();
    second.set(content);
    const client = new Client(second, delta);
    comeBack(client, has);
    expect(client.brief()).toEqual([]);
    second.set({ ...content, endpoint: ['x', 'y=2'] });
    expect(client.settle({ endpoint: content.endpoint })).toEqual(['endpoint y']);
    second.set({ ...content, endpoint: ['x', 'y=2'], listener: ['l', 'm'] });
    expect(client.settle({})).toEqual([delta ? 'listener m' : 'listener l m']);
  });

  test('what has changed meanwhile is sent', () => {
    const first = new Server();
    first.set(content);
    const has = held(first);
    const second = new Server();
    second.set({ ...content, route: ['r', 's', 't'], endpoint: ['x=2', 'y'], listener: ['m'] });
    const client = new Client(second, delta);
    comeBack(client, has);
    const seen = client.settle({ endpoint: content.endpoint, route: content.route });
    // In state of the world routes that are asked for behind a listener that was sent may be new to the client.
    const whole = ['endpoint x y', 'listener m', 'route r s'];
    expect(seen).toEqual(delta ? ['endpoint x', 'listener m -l'] : whole);
  });
});

describe.each([false, true])('clusters and their endpoints (delta: %p)', (delta) => {
  const eds = (name: string, mark: string): SnapshotResource =>
    resourceOfJson(api, TYPES.cluster, name, {
      name,
      alt_stat_name: mark,
      type: 'EDS',
      eds_cluster_config: { eds_config: { ads: {} }, service_name: name === 'b' ? 'service-b' : '' },
    });

  test('a cluster that is changed gets its endpoints again, which the proxy waits for', () => {
    const server = new Server();
    const put = (...clusters: SnapshotResource[]): void => {
      const endpoint = ['a', 'service-b', 'c'].map((name) =>
        resourceOfJson(api, TYPES.endpoint, name, { cluster_name: name }),
      );
      server.cache.set(
        'c',
        new Snapshot([new SnapshotType(url('cluster'), clusters), new SnapshotType(url('endpoint'), endpoint)]),
      );
      server.runTasks();
    };
    put(eds('a', '1'), eds('b', '1'), eds('c', '1'));
    const client = new Client(server, delta);
    const names = ['a', 'service-b', 'c'];
    client.request({ type_url: url('cluster') });
    client.request({ type_url: url('endpoint'), [delta ? 'resource_names_subscribe' : 'resource_names']: names });
    client.settle({ endpoint: names });
    put(eds('a', '1'), eds('b', '2'), eds('c', '1'));
    const clusters = delta ? 'cluster b' : 'cluster a b c';
    expect(client.settle({ endpoint: names })).toEqual([clusters, 'endpoint service-b']);
    put(eds('a', '1'), eds('b', '2'), eds('c', '1'));
    expect(client.brief()).toEqual([]);
  });
});

describe.each([false, true])('limits (delta: %p)', (delta) => {
  test('what was refused is sent again, ever later, and not once it is taken', () => {
    const server = new Server();
    server.set({ listener: ['a', 'b'], endpoint: ['x'] });
    const client = new Client(server, delta);
    client.request({ type_url: url('listener') });
    const refuse = (answer: Answer): void => client.ack(answer, { error_detail: { code: 13, message: 'in use' } });
    refuse(client.answers()[0]!);
    server.pass(7900);
    expect(client.brief()).toEqual([]);
    server.pass(4200);
    const [again] = client.answers();
    expect(again!.names).toEqual(['a', 'b']);
    refuse(again!);
    server.pass(15_900);
    expect(client.brief()).toEqual([]);
    server.pass(8200);
    client.ack(client.answers()[0]!);
    server.pass(10_000_000);
    expect(client.brief()).toEqual([]);
    expect(server.metrics.render()).toContain('pilot_nacks_total{type="Listener"} 2');
    expect(server.metrics.render()).toContain('pilot_retries_total{type="Listener"} 2');
  });

  test('a client that acknowledges nothing is sent no more than it may leave open, then the latest', () => {
    const server = new Server({ maxPendingResponses: 3 });
    server.set({ endpoint: ['a'] });
    const client = new Client(server, delta);
    client.request({ type_url: url('endpoint'), [delta ? 'resource_names_subscribe' : 'resource_names']: ['a'] });
    const seen: Answer[] = [];
    for (let mark = 1; mark < 10; mark++) {
      server.set({ endpoint: [`a=${mark}`] });
      seen.push(...client.answers());
    }
    expect(seen).toHaveLength(3);
    client.ack(seen[0]!, delta ? {} : { resource_names: ['a'] });
    expect(client.brief()).toEqual(['endpoint a']);
    expect(client.brief()).toEqual([]);
    expect(server.metrics.render()).toMatch(/pilot_responses_held_total [1-9]/);
  });

  test('who asks too fast is read later', () => {
    const server = new Server({ requestsPerSecond: 5 });
    server.set({ route: ['r'] });
    const client = new Client(server, delta);
    const ask = (): void =>
      client.request(
        delta
          ? { type_url: url('route'), resource_names_subscribe: ['r'] }
          : { type_url: url('route'), resource_names: [`r${client.pauses}`] },
        { id: 'n', cluster: 'c' },
      );
    for (let count = 0; count < 25; count++) ask();
    const [stream] = server.services.streams;
    expect(stream!.requests).toBe(10);
    expect(client.pauses).toBe(1);
    server.pass(1000);
    expect(stream!.requests).toBeGreaterThan(13);
    expect(stream!.requests).toBeLessThan(17);
    server.pass(1000);
    server.pass(1000);
    expect(stream!.requests).toBe(25);
    expect(client.pauses).toBe(0);
    expect(server.metrics.render()).toContain('pilot_requests_throttled_total 15');
  });

  test('too many names end the stream', () => {
    const server = new Server({ maxNames: 3 });
    const client = new Client(server, delta);
    const names = ['a', 'b', 'c', 'd'];
    client.request({ type_url: url('route'), [delta ? 'resource_names_subscribe' : 'resource_names']: names });
    expect([client.status, client.words]).toEqual([8, 'more than 3 names of one type']);
    expect(server.metrics.render()).toContain('pilot_streams_limited_total{limit="names"} 1');
  });
});

describe.each([
  ['envoy.config.cluster.v3.Cluster', 'cluster', 'ClusterDiscoveryService', 'Clusters'],
  ['envoy.config.endpoint.v3.ClusterLoadAssignment', 'endpoint', 'EndpointDiscoveryService', 'Endpoints'],
  ['envoy.config.listener.v3.Listener', 'listener', 'ListenerDiscoveryService', 'Listeners'],
  ['envoy.config.route.v3.RouteConfiguration', 'route', 'RouteDiscoveryService', 'Routes'],
  ['envoy.config.route.v3.ScopedRouteConfiguration', 'route', 'ScopedRoutesDiscoveryService', 'ScopedRoutes'],
  ['envoy.config.route.v3.VirtualHost', 'route', 'VirtualHostDiscoveryService', 'VirtualHosts'],
  ['envoy.extensions.transport_sockets.tls.v3.Secret', 'secret', 'SecretDiscoveryService', 'Secrets'],
  ['envoy.service.runtime.v3.Runtime', 'runtime', 'RuntimeDiscoveryService', 'Runtime'],
  ['envoy.config.core.v3.TypedExtensionConfig', 'extension', 'ExtensionConfigDiscoveryService', 'ExtensionConfigs'],
])('%s', (typeName, folder, service, what) => {
  const type_url = `type.googleapis.com/${typeName}`;
  const ways = [true, false].flatMap((delta) =>
    [
      `/envoy.service.discovery.v3.AggregatedDiscoveryService/${delta ? 'Delta' : 'Stream'}AggregatedResources`,
      `/envoy.service.${folder}.v3.${service}/${delta ? 'Delta' : 'Stream'}${what}`,
    ].flatMap((method) => [true, false].map((wildcard) => [delta, method, wildcard] as const)),
  );

  test.each(ways)('is served (delta: %p, %s, wildcard: %p)', (delta, method, wildcard) => {
    const server = new Server();
    const field = typeName.endsWith('ClusterLoadAssignment') ? 'cluster_name' : 'name';
    const named = (name: string): SnapshotResource => resourceOfJson(api, typeName, name, { [field]: name });
    const put = (...names: string[]): void => {
      server.cache.set('c', new Snapshot([new SnapshotType(type_url, names.map(named))]));
      server.runTasks();
    };
    put('a', 'b');
    const client = new Client(server, delta, method);
    const names = wildcard ? ['*'] : ['b', 'c'];
    client.request({ type_url, [delta ? 'resource_names_subscribe' : 'resource_names']: names });
    const got = (): string[] => client.answers().flatMap((answer) => answer.names);
    expect(got()).toEqual(wildcard ? ['a', 'b'] : ['b']);
    put('a', 'b', 'c');
    const isWhole = !delta && /\.(Cluster|Listener|ScopedRouteConfiguration)$/.test(typeName);
    expect(got()).toEqual(isWhole ? (wildcard ? ['a', 'b', 'c'] : ['b', 'c']) : ['c']);
  });
});

test.each(['web', '*'])('a domain that is asked for on demand is answered each time, beside %p', (name) => {
  const server = new Server();
  const typeName = 'envoy.config.route.v3.VirtualHost';
  const type_url = `type.googleapis.com/${typeName}`;
  const put = (...names: string[]): void => {
    const hosts = names.map((name) =>
      resourceOfJson(api, typeName, `web/${name}`, { name: `web/${name}`, domains: [`${name}.test`] }),
    );
    server.cache.set('c', new Snapshot([new SnapshotType(type_url, hosts)]));
    server.runTasks();
  };
  put('one');
  const client = new Client(server, true);
  const ask = (...names: string[]): void => client.request({ type_url, resource_names_subscribe: names });
  const got = (): string[] => client.answers().flatMap(({ names, removed }) => [...names, ...removed]);
  ask(name);
  expect(got()).toEqual(['web/one']);
  for (let round = 0; round < 2; round++) {
    ask('web/one.test');
    expect(got()).toEqual(['web/one']);
  }
  const empty = (): number => client.answers().length;
  for (let round = 0; round < 2; round++) {
    ask('web/two.test');
    expect(empty()).toBe(1);
  }
  put('one', 'two');
  expect(got()).toEqual(['web/two']);
  ask('web/two.test');
  expect(got()).toEqual(['web/two']);
  put('one', 'two');
  expect(got()).toEqual([]);
});

describe.each([false, true])('a client that gives a type up answers nothing more (delta: %p)', (delta) => {
  test('and hears of the other types all the same', () => {
    const server = new Server();
    server.set({ cluster: ['c'], listener: ['l'] });
    const client = new Client(server, delta);
    const ask = (kind: Kind, names: readonly string[]): void =>
      client.request({
        type_url: url(kind),
        ...(delta ? { resource_names_subscribe: names } : { resource_names: names }),
      });
    ask('cluster', ['c']);
    ask('listener', ['l']);
    expect(client.settle({ cluster: ['c'], listener: ['l'] })).toEqual(['cluster c', 'listener l']);
    server.set({ cluster: ['c=2'], listener: ['l'] });
    const [open] = client.answers();
    expect(open?.names).toEqual(['c']);
    // Instead of the answer that it owes.
    if (delta) client.request({ type_url: url('cluster'), resource_names_unsubscribe: ['c'] }, null);
    else client.request({ type_url: url('cluster'), resource_names: [], response_nonce: '1' }, null);
    server.set({ cluster: ['c=3'], listener: ['l=2'] });
    expect(client.brief()).toEqual(['listener l']);
    ask('cluster', ['c']);
    expect(client.brief()).toEqual(['cluster c']);
  });
});

describe('what is wanted changes, state of the world', () => {
  test('from names to everything, and from everything by its star to nothing', () => {
    const server = new Server();
    server.set({ cluster: ['a', 'b'] });
    const client = new Client(server, false);
    client.request({ type_url: url('cluster'), resource_names: ['a'] });
    const [named] = client.answers();
    expect(named?.names).toEqual(['a']);
    client.ack(named!, { resource_names: ['a', '*'] });
    const [all] = client.answers();
    expect(all?.names).toEqual(['a', 'b']);
    // Its star was taken back: this is no wildcard of old.
    client.ack(all!, { resource_names: [] });
    server.set({ cluster: ['a', 'b', 'c'] });
    expect(client.answers().flatMap(({ names }) => names)).toEqual([]);
  });

  test('other names after a refusal are no acknowledgement, and a refusal that is said again is one', () => {
    const server = new Server();
    server.set({ route: ['r'], listener: [] });
    const client = new Client(server, false);
    client.request({ type_url: url('route'), resource_names: ['r'] });
    const [bad] = client.answers();
    const refusal = { type_url: url('route'), response_nonce: bad!.nonce, version_info: '' };
    for (let times = 0; times < 3; times++) {
      client.request({ ...refusal, resource_names: ['r'], error_detail: { code: 3, message: 'no' } }, null);
    }
    expect(server.refusals).toEqual(['no']);
    client.request({ ...refusal, resource_names: ['r', 's'] }, null);
    const [stream] = server.services.streams;
    const subscription = stream!.subscriptions.get(url('route'))!;
    expect(subscription.refusal?.reason).toBe('no');
    expect(subscription.ackedVersion).toBe('');
  });

  test('a cluster that was refused and is sent once more gets its endpoints again, which the proxy waits for', () => {
    for (const delta of [false, true]) {
      const server = new Server();
      const eds = (mark: string): SnapshotResource =>
        resourceOfJson(api, TYPES.cluster, 'a', {
          name: 'a',
          type: 'EDS',
          alt_stat_name: mark,
          eds_cluster_config: {},
        });
      const set = (mark: string): void => {
        const endpoints = snapshot({ endpoint: ['a'] }).type(url('endpoint'));
        server.cache.set('c', new Snapshot([new SnapshotType(url('cluster'), [eds(mark)]), endpoints]));
      };
      set('1');
      const client = new Client(server, delta);
      client.request({ type_url: url('cluster') });
      client.request({
        type_url: url('endpoint'),
        ...(delta ? { resource_names_subscribe: ['a'] } : { resource_names: ['a'] }),
      });
      client.settle({ endpoint: ['a'] });
      set('2');
      for (const answer of client.answers()) {
        const isCluster = answer.type === 'cluster';
        const detail = isCluster ? { error_detail: { code: 3, message: 'no' } } : {};
        client.ack(answer, { ...detail, ...(delta || isCluster ? {} : { resource_names: ['a'] }) });
      }
      expect(client.settle({ endpoint: ['a'] })).toEqual([]);
      server.pass(15_000);
      expect(client.settle({ endpoint: ['a'] })).toEqual(['cluster a', 'endpoint a']);
    }
  });
});

describe('a node whose group has no resources yet', () => {
  test('is sent nothing, and keeps what it holds, until they are there', () => {
    for (const delta of [false, true]) {
      const server = new Server();
      const client = new Client(server, delta);
      const held = delta ? { initial_resource_versions: { a: '1' } } : { version_info: '1' };
      client.request({ type_url: url('cluster'), ...held });
      expect(client.brief()).toEqual([]);
      server.set({ cluster: ['b'] });
      expect(client.brief()).toEqual([delta ? 'cluster b -a' : 'cluster b']);
    }
  });
});

test('a version from before says nothing of routes that are asked for after a listener was sent', () => {
  const server = new Server();
  server.set({ listener: ['l'], route: ['r'] });
  const before = new Client(server, false);
  before.request({ type_url: url('route'), resource_names: ['r'] });
  const [{ version }] = before.answers() as [Answer];
  const client = new Client(server, false);
  client.request({ type_url: url('listener') });
  const [listener] = client.answers();
  client.ack(listener!);
  client.request({ type_url: url('route'), resource_names: ['r'], version_info: version }, null);
  expect(client.brief()).toEqual(['route r']);
});

test('types that clients invent take no counters from those that there are', () => {
  const server = new Server();
  server.set({ cluster: ['a'] });
  const client = new Client(server, false);
  for (let i = 0; i < 40; i++) client.request({ type_url: `type.googleapis.com/made.Up${i}` });
  client.request({ type_url: url('cluster') });
  expect(server.metrics.render()).toContain('pilot_requests_total{type="Cluster"} 1');
  expect(server.metrics.render()).not.toContain('Up0');
});

test('what is held from before counts among the names', () => {
  const server = new Server({ maxNames: 3 });
  server.set({ cluster: ['a'] });
  const client = new Client(server, true);
  const held = Object.fromEntries(['a', 'b', 'c', 'd'].map((name) => [name, '1']));
  client.request({ type_url: url('cluster'), initial_resource_versions: held });
  expect(client.status).toBe(8);
});

describe.each([false, true])('what a client makes us keep is counted to its connection (delta: %p)', (delta) => {
  const names = (count: number, length = 8): string[] =>
    Array.from({ length: count }, (_, i) => String(i).padStart(length, 'n'));
  const ask = (client: Client, list: readonly string[], less: readonly string[] = []): void =>
    client.request(
      delta
        ? { type_url: url('route'), resource_names_subscribe: list, resource_names_unsubscribe: less }
        : { type_url: url('route'), resource_names: list },
    );

  test('its names, until it gives them up', () => {
    const server = new Server();
    server.set({ route: ['r'] });
    const client = new Client(server, delta);
    ask(client, names(1));
    const { held } = client;
    ask(client, names(1000, 50));
    expect(client.held).toBeGreaterThan(held + 1000 * 50);
    expect(client.held).toBeLessThan(held + 1000 * 200);
    // In state of the world those that are not named any more are given up.
    ask(client, ['a'], [...names(1), ...names(1000, 50)]);
    expect(client.held).toBeLessThan(held + 200);
    expect(client.held).toBeGreaterThan(100);
  });

  test('names beyond it end the stream', () => {
    const server = new Server();
    const client = new Client(server, delta);
    client.budget = 50_000;
    for (let i = 0; i < 1000 && !client.isOver; i++) ask(client, names(i + 1, 1000));
    expect([client.status, client.words]).toEqual([8, 'the connection holds too much memory']);
    expect(server.metrics.render()).toContain('pilot_streams_limited_total{limit="connection_bytes"} 1');
  });

  test('where it is used up there is no response', () => {
    const server = new Server();
    server.set({ route: ['a'] });
    const client = new Client(server, delta);
    ask(client, ['a']);
    client.answers();
    client.budget = 0;
    server.set({ route: ['a=other'] });
    expect([client.status, client.answers()]).toEqual([8, []]);
  });

  test('a node, and requests that wait', () => {
    const server = new Server({ requestsPerSecond: 1 });
    const client = new Client(server, delta);
    const node = { id: 'n', cluster: 'c', metadata: { large: 'x'.repeat(5000) } };
    const request = { type_url: url('cluster') };
    client.request(request, node);
    expect(client.held).toBeGreaterThan(5000);
    client.request(request, node);
    const { held } = client;
    client.request(request, node);
    expect(client.held).toBeGreaterThan(held + 5000);
    server.pass(10_000);
    expect(client.held).toBe(held);
    client.budget = held + 12_000;
    for (let i = 0; i < 5; i++) client.request(request, node);
    expect(client.status).toBe(8);
  });
});

test('requests that come too fast are not kept without end', () => {
  const server = new Server({ requestsPerSecond: 1 });
  server.set({ cluster: ['a'] });
  const client = new Client(server, false);
  for (let i = 0; i < 20_000 && !client.isOver; i++) client.request({ type_url: url('cluster') });
  expect(client.status).toBe(8);
});

test('very many domains that are asked for behind very many others are answered in no time', () => {
  const server = new Server();
  server.set({});
  const client = new Client(server, true);
  const virtualHosts = 'type.googleapis.com/envoy.config.route.v3.VirtualHost';
  const ask = (from: number): void => {
    const names = Array.from({ length: 10_000 }, (_, i) => `r/d${from + i}`);
    client.request({ type_url: virtualHosts, resource_names_subscribe: names });
  };
  ask(0);
  const begun = performance.now();
  ask(10_000);
  // A look at each that was sent for each that is asked for took two seconds.
  expect(performance.now() - begun).toBeLessThan(1000);
  expect(client.isOver).toBe(false);
});
