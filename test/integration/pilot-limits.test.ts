/** Clients of `nuncio pilot` that ask for too much, or speak something else: they are turned away, and the others go on. */
import { afterEach, expect, test } from 'bun:test';
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { fromJson, toBinary } from '@bufbuild/protobuf';
import { openApiRegistry } from '../../src/api/api-registry.ts';
import { freePort } from '../support/free-port.ts';
import { cluster, endStages, resources, type Stage, stage, until } from '../support/pilot-stage.ts';

afterEach(endStages);
const api = openApiRegistry();
const CLUSTERS = 'type.googleapis.com/envoy.config.cluster.v3.Cluster';

function message(json: object): Buffer {
  const desc = api.message('envoy.service.discovery.v3.DiscoveryRequest')!;
  const bytes = toBinary(desc, fromJson(desc, json as never, { registry: api.registry }));
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

/** A client of the aggregated stream. */
class Client {
  readonly session: ClientHttp2Session;
  readonly stream: ClientHttp2Stream;
  /** gRPC's status, once the stream has ended. */
  status = '';
  words = '';
  /** Bytes that came. */
  received = 0;
  closed = false;
  goneAway = false;

  /** @param reads false: it takes no response */
  constructor(scene: Stage, port: number, reads = true) {
    this.session = connectHttp2(`http://127.0.0.1:${port}`);
    scene.onEnd(() => this.session.destroy());
    this.session.on('error', () => {});
    this.session.on('close', () => {
      this.closed = true;
    });
    this.session.on('goaway', () => {
      this.goneAway = true;
    });
    this.stream = this.session.request({
      ':method': 'POST',
      ':path': '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const see = (headers: Record<string, unknown>): void => {
      if (headers['grpc-status'] === undefined) return;
      this.status = String(headers['grpc-status']);
      this.words = String(headers['grpc-message'] ?? '');
    };
    this.stream.on('response', see);
    this.stream.on('trailers', see);
    this.stream.on('error', () => {});
    if (!reads) return;
    this.stream.on('data', (data: Buffer) => {
      this.received += data.length;
    });
  }

  ask(json: object = {}): void {
    this.stream.write(message({ node: { id: 'n', cluster: 'c' }, type_url: CLUSTERS, ...json }));
  }
}

test('limits hold, each is counted, and others are served all the while', async () => {
  const scene = stage();
  scene.write('config/web.yaml', resources(cluster('c')));
  const debug = freePort();
  const { port } = await scene.pilot(
    ...['--resources', scene.path('config'), '--debug', `127.0.0.1:${debug}`, '--max-clients', '6'],
    ...['--max-request-bytes', '2000', '--max-subscriptions', '5', '--max-requests-per-second', '10'],
  );
  const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${debug}/metrics`)).text();
  const good = new Client(scene, port);
  good.ask();
  await until('the good one', () => good.received > 0);

  const large = new Client(scene, port);
  large.ask({ node: { id: 'x'.repeat(3000) } });
  await until('the large one to end', () => large.status !== '');
  expect([large.status, large.words]).toEqual([
    '8',
    expect.stringContaining('2000 are permitted') as unknown as string,
  ]);

  const many = new Client(scene, port);
  many.ask({ resource_names: ['a', 'b', 'c', 'd', 'e', 'f'] });
  await until('the one of many names to end', () => many.status !== '');
  expect([many.status, many.words]).toEqual(['8', 'more than 5 names of one type']);

  const fast = new Client(scene, port);
  for (let count = 0; count < 60; count++) fast.ask();
  const requests = async (): Promise<number> => {
    const report = (await (await fetch(`http://127.0.0.1:${debug}/debug/clients`)).json()) as { requests: number }[];
    return Math.max(...report.map((each) => each.requests));
  };
  await until('the first of the fast one', async () => (await requests()) >= 20);
  expect(await requests()).toBeLessThan(55);
  await until('some more', async () => (await requests()) >= 25);
  fast.session.destroy();

  for (const words of [
    'GET / HTTP/1.1\r\nhost: x\r\n\r\n',
    '\x16\x03\x01\x00\x05hello',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrubbish!!',
  ]) {
    const closed = new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.write(words, 'latin1'));
      socket.on('data', () => {});
      socket.on('error', resolve);
      socket.on('close', resolve);
    });
    await closed;
  }
  large.session.destroy();
  many.session.destroy();
  await until('the others to go', async () => /pilot_clients 1\n/.test(await metrics()));
  const crowd = Array.from({ length: 8 }, () => new Client(scene, port));
  for (const each of crowd) each.ask();
  await until('three to be turned away', () => crowd.filter((each) => each.closed).length === 3);
  await until('five to be served', () => crowd.filter((each) => each.received > 0).length === 5);

  const before = good.received;
  scene.write('config/web.yaml', resources(cluster('c'), cluster('d')));
  await until('the change', () => good.received > before);
  const page = await metrics();
  expect(page).toContain('pilot_connections_rejected_total{why="limit"} 3');
  expect(page).toContain('pilot_connections_rejected_total{why="protocol"} 3');
  expect(page).toContain('pilot_streams_limited_total{limit="names"} 1');
  expect(page).toContain('pilot_streams_limited_total{limit="request_bytes"} 1');
  expect(page).toMatch(/pilot_requests_throttled_total [1-9]/);
}, 60_000);

test('an end is told: GOAWAY, then UNAVAILABLE, one after the other', async () => {
  const scene = stage();
  scene.write('config/web.yaml', resources(cluster('c')));
  const pilot = await scene.pilot('--resources', scene.path('config'), '--drain-time-ms', '600');
  const clients = Array.from({ length: 3 }, () => new Client(scene, pilot.port));
  for (const client of clients) client.ask();
  await until('all to be served', () => clients.every((client) => client.received > 0));
  const ended: number[] = [];
  for (const { stream } of clients) stream.on('close', () => ended.push(performance.now()));
  pilot.child.kill('SIGTERM');
  expect(await pilot.child.exited).toBe(0);
  await until('all to end', () => ended.length === 3);
  expect(clients.map(({ status, goneAway }) => [status, goneAway])).toEqual([
    ['14', true],
    ['14', true],
    ['14', true],
  ]);
  expect(ended[2]! - ended[0]!).toBeGreaterThan(200);
}, 30_000);

test('what is no gRPC is turned away at once, whatever it goes on to send', async () => {
  const scene = stage();
  scene.write('config/web.yaml', resources(cluster('c')));
  const { port } = await scene.pilot('--resources', scene.path('config'));
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  scene.onEnd(() => session.destroy());
  const stream = session.request({ ':method': 'POST', ':path': '/upload', 'content-type': 'text/plain' });
  let status = 0;
  stream.on('response', (headers) => {
    status = headers[':status'] ?? 0;
  });
  stream.on('error', () => {});
  stream.resume();
  // Its own end never comes.
  stream.write('and so on');
  await new Promise((resolve) => stream.on('close', resolve));
  expect(status).toBe(415);
});

/** What the page of metrics says of one count; 0: nothing. */
async function count(debug: number, name: string): Promise<number> {
  const page = await (await fetch(`http://127.0.0.1:${debug}/metrics`)).text();
  const line = page.split('\n').find((each) => each.startsWith(`${name} `));
  return line === undefined ? 0 : Number(line.slice(name.length + 1));
}

const limited = (debug: number, limit: string): Promise<number> =>
  count(debug, `pilot_streams_limited_total{limit="${limit}"}`);

test('who is silent, slow or reads nothing loses its stream; who has asked may be silent', async () => {
  const scene = stage();
  const clusters = (mark: string): object =>
    resources(...Array.from({ length: 5000 }, (_, i) => cluster(`cluster-${mark}-${i}-${'x'.repeat(100)}`)));
  scene.write('config/web.yaml', clusters('a'));
  const debug = freePort();
  const { port } = await scene.pilot(
    ...['--resources', scene.path('config'), '--debug', `127.0.0.1:${debug}`],
    ...['--request-timeout-ms', '1500', '--send-timeout-ms', '2500'],
  );
  const good = new Client(scene, port);
  good.ask();
  await until('the good one', () => good.received > 0);

  const silent = new Client(scene, port);
  const half = new Client(scene, port);
  half.stream.write(message({ node: { id: 'n' } }).subarray(0, 7));
  const slow = new Client(scene, port);
  slow.ask();
  slow.stream.write(message({ node: { id: 'n' } }).subarray(0, 3));
  await until('all three to end', () => [silent, half, slow].every(({ status }) => status !== ''));
  expect([silent, half, slow].map(({ status, words }) => [status, words])).toEqual(
    Array(3).fill(['4', 'the request does not come']),
  );
  expect(await limited(debug, 'message_time')).toBe(3);

  // Heads that do not come to their end: HEADERS without END_HEADERS, and nothing behind it.
  const head = connect(port, '127.0.0.1');
  scene.onEnd(() => head.destroy());
  head.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x83', 'latin1');
  await until('the head to be given up', async () => (await limited(debug, 'message_time')) === 4);

  const deaf = new Client(scene, port, false);
  let reset = false;
  deaf.stream.on('close', () => {
    reset = true;
  });
  deaf.ask();
  await until('the deaf one to end', () => limited(debug, 'send_time').then((ended) => ended === 1));
  deaf.stream.resume();
  await until('the end to be heard', () => reset);

  const before = good.received;
  scene.write('config/web.yaml', clusters('b'));
  await until('the change', () => good.received > before);
  expect(good.status).toBe('');
}, 60_000);

test('a connection without streams goes after a while; one with a stream stays', async () => {
  const scene = stage();
  scene.write('config/web.yaml', resources(cluster('c')));
  const debug = freePort();
  const { port } = await scene.pilot(
    ...['--resources', scene.path('config'), '--debug', `127.0.0.1:${debug}`, '--idle-timeout-ms', '1500'],
  );
  const good = new Client(scene, port);
  good.ask();
  await until('the good one', () => good.received > 0);
  const mute = connect(port, '127.0.0.1');
  let muteClosed = false;
  mute.on('close', () => {
    muteClosed = true;
  });
  mute.on('error', () => {});
  mute.resume();
  const done = new Client(scene, port);
  done.ask();
  await until('its answer', () => done.received > 0);
  done.stream.end();
  await until('both to be closed', () => muteClosed && done.closed);
  expect([done.status, done.goneAway]).toEqual(['0', true]);
  expect(await count(debug, 'pilot_connections_rejected_total{why="idle"}')).toBe(2);
  const before = good.received;
  scene.write('config/web.yaml', resources(cluster('c'), cluster('d')));
  await until('the change', () => good.received > before);
}, 60_000);

test('one connection may be kept no more for than is permitted', async () => {
  const scene = stage();
  const all = Array.from({ length: 4000 }, (_, i) => cluster(`cluster-${i}-${'x'.repeat(100)}`));
  scene.write('config/web.yaml', resources(...all));
  const debug = freePort();
  const { port } = await scene.pilot(
    ...['--resources', scene.path('config'), '--debug', `127.0.0.1:${debug}`],
    ...['--max-client-bytes', '200000', '--max-streams', '20'],
  );
  // More than is permitted, as one response.
  const good = new Client(scene, port);
  good.ask();
  await until('the good one', () => good.received > 400_000);

  const namer = new Client(scene, port);
  namer.ask({ resource_names: Array.from({ length: 100 }, (_, i) => `${i}${'n'.repeat(3000)}`) });
  await until('the one of long names to end', () => namer.status !== '');
  expect([namer.status, namer.words]).toEqual(['8', 'the connection holds too much memory']);

  // Requests that are never finished, on many streams of one connection.
  const begun = new Client(scene, port);
  await until('its settings', () => begun.session.remoteSettings?.maxConcurrentStreams === 20);
  const ends: string[] = [];
  for (let i = 0; i < 10; i++) {
    const stream = begun.session.request({
      ':method': 'POST',
      ':path': '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
      'content-type': 'application/grpc',
    });
    stream.on('response', (headers) => ends.push(String(headers['grpc-status'])));
    stream.on('error', () => {});
    stream.write(Buffer.concat([Buffer.from([0, 0, 1, 0x80, 0]), Buffer.alloc(50_000)]));
  }
  await until('most of them to end', () => ends.length >= 6);
  expect(new Set(ends)).toEqual(new Set(['8']));

  // Responses that are not read, on several streams of one connection: the first may be of any size.
  const before = await limited(debug, 'connection_bytes');
  expect(before).toBeGreaterThanOrEqual(7);
  const deaf = new Client(scene, port, false);
  deaf.ask();
  for (let i = 0; i < 5; i++) {
    const stream = deaf.session.request({
      ':method': 'POST',
      ':path': '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
      'content-type': 'application/grpc',
    });
    stream.on('error', () => {});
    stream.write(message({ node: { id: 'n', cluster: 'c' }, type_url: CLUSTERS }));
  }
  await until('further ones to end', async () => (await limited(debug, 'connection_bytes')) >= before + 3);

  const received = good.received;
  scene.write('config/web.yaml', resources(...all, cluster('another')));
  await until('the change', () => good.received > received);
}, 60_000);
