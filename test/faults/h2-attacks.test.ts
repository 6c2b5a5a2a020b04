/** Attacks on an HTTP/2 listener: what comes of the connection and which counters move, beside Envoy; others are served meanwhile. */
import { bootstrap, cluster, httpListener, to } from '../differential/configs.ts';
import type { Exchange } from '../differential/exchange.ts';
import { type Case, suite } from '../differential/harness.ts';
import {
  data,
  describeFrame,
  END_HEADERS,
  END_STREAM,
  type Field,
  FrameType,
  fields,
  frame,
  headers,
  hpackInteger,
  PADDED,
  PREFACE,
  ping,
  priority,
  readFrames,
  request,
  reset,
  settings,
  settingsAck,
  windowUpdate,
} from '../support/h2-frames.ts';
import type { RawClient } from '../support/raw-client.ts';
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { bystanderCluster, bystanderListener, bystanderUpstream, fault } from './fault-case.ts';

const LARGE = 'y'.repeat(1 << 20);

/** `/wait` is never answered, `/big` gets a megabyte; the rest is answered in short. */
const script = httpUpstream((seen) => {
  if (seen.path === '/wait') return undefined;
  if (seen.path === '/big') return reply(200, LARGE);
  return reply(200, 'fine');
});

const GET = (path = '/fine', more: readonly Field[] = []): Field[] => request('GET', path, more);

/** Stream ids of clients: 1, 3, 5... */
const id = (index: number): number => 2 * index + 1;

function repeat(count: number, make: (index: number) => Uint8Array): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));
}

/** One SETTINGS frame that says the same thing `count` times. */
function manySettings(count: number): Buffer {
  const entry = settings({ 4: 100_000 }).subarray(9);
  return frame(
    FrameType.Settings,
    0,
    0,
    repeat(count, () => entry),
  );
}

interface Attack {
  /** Our SETTINGS. */
  readonly settings?: Readonly<Record<number, number>>;
  readonly bytes: Uint8Array;
  /** What must come of it; default: the connection is closed. */
  readonly until?: (exchange: Exchange, client: RawClient) => Promise<unknown>;
  /** Frames of the peer that are compared, besides the connection's end. Not GOAWAY: Envoy often leaves it out where we say why. */
  readonly shows?: RegExp;
  /** The client reads nothing while it sends. */
  readonly deaf?: boolean;
  /** Whether the order of end and data is chance: FIN or RST are then the same. */
  readonly fate?: boolean;
  /**
   * `tight`: by a listener that reads little at a time: where a limit holds for one read (nghttp2's of 10,000 answers) and another for
   * what waits (Envoy's), it is then not chance which of them is met. `slow`: by one with short timeouts.
   */
  readonly by?: 'tight' | 'slow';
}

/** What the peer sent, as far as it is decided by rule: how often each kind of line came. Bytes of a body are taken together. */
function summary(client: RawClient, shows: RegExp): string {
  const counts = new Map<string, number>();
  const bodies = new Map<number, number>();
  for (const each of readFrames(client.received)) {
    let line = describeFrame(each);
    if (!shows.test(line)) continue;
    if (each.type === FrameType.Data) {
      const length = (bodies.get(each.stream) ?? 0) + each.payload.length;
      bodies.set(each.stream, length);
      if ((each.flags & END_STREAM) === 0) continue;
      line = `DATA ${each.stream} ${length} end`;
    }
    counts.set(line, (counts.get(line) ?? 0) + 1);
  }
  return [...counts].map(([line, count]) => `${line} x${count}`).join('\n');
}

function frames(client: RawClient): string[] {
  return readFrames(client.received).map(describeFrame);
}

function attack(name: string, what: Attack): Case {
  const run = async (exchange: Exchange, meanwhile: () => Promise<void>): Promise<void> => {
    const client = await exchange.connect(what.by ?? 'h2', { recorded: false });
    if (what.deaf === true) client.pause();
    client.send(Buffer.concat([PREFACE, settings(what.settings ?? {}), settingsAck()]));
    client.send(what.bytes);
    await meanwhile();
    if (what.deaf === true) client.resume();
    if (what.until === undefined) await exchange.expectClose(client);
    else await what.until(exchange, client);
    exchange.note('the peer sent', summary(client, what.shows ?? /^$/));
    exchange.note('the connection', what.fate === false && client.fate !== 'open' ? 'closed' : client.fate);
    client.reset();
  };
  return fault(name, run);
}

/** Waits until a stream was reset, or the connection has ended. */
const untilReset =
  (stream: number) =>
  async (exchange: Exchange, client: RawClient): Promise<void> => {
    const isReset = (): boolean => frames(client).some((line) => line.startsWith(`RST_STREAM ${stream} `));
    if (!(await client.until(isReset)) && client.fate === 'open') exchange.disappoint(`stream ${stream} was not reset`);
  };

/** Waits until a stream was answered to its end. */
const untilAnswered =
  (stream: number) =>
  async (exchange: Exchange, client: RawClient): Promise<void> => {
    const isAnswered = (): boolean =>
      frames(client).some((line) => new RegExp(`^(DATA ${stream} \\d+|HEADERS ${stream}) end`).test(line));
    if (!(await client.until(isAnswered)) && client.fate === 'open')
      exchange.disappoint(`stream ${stream} not answered`);
  };

const block = (size: number): Field[] => GET('/fine', [['x-large', 'x'.repeat(size)]]);

/** A header block in a HEADERS frame and CONTINUATION frames of `size` bytes. */
function inPieces(stream: number, bytes: Buffer, size: number, end = true): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    const piece = bytes.subarray(at, at + size);
    const last = at + size >= bytes.length && end ? END_HEADERS : 0;
    pieces.push(
      at === 0
        ? frame(FrameType.Headers, END_STREAM | last, stream, piece)
        : frame(FrameType.Continuation, last, stream, piece),
    );
  }
  return Buffer.concat(pieces);
}

const floods: readonly Case[] = [
  attack('rapid reset: 1,000 requests, each cancelled at once', {
    bytes: repeat(1000, (i) => Buffer.concat([headers(id(i), GET('/wait'), true), reset(id(i), 8)])),
    fate: false,
    shows: /^$/,
  }),
  attack('SETTINGS, and nobody reads the answers', {
    by: 'tight',
    bytes: repeat(600_000, () => settings()),
    deaf: true,
    fate: false,
    shows: /^$/,
  }),
  attack('PING, and nobody reads the answers', {
    by: 'tight',
    bytes: repeat(400_000, () => ping()),
    deaf: true,
    fate: false,
    shows: /^$/,
  }),
  attack('PING, with the answers read', {
    bytes: Buffer.concat([repeat(3000, () => ping()), headers(1, GET(), true)]),
    until: untilAnswered(1),
    shows: /DATA|HEADERS/,
  }),
  attack('PRIORITY on a stream that is not there', {
    bytes: repeat(3000, () => priority(1)),
    shows: /^$/,
    fate: false,
  }),
  attack('WINDOW_UPDATE on the connection', {
    bytes: repeat(3000, () => windowUpdate(0, 1)),
    shows: /^$/,
    fate: false,
  }),
  attack('WINDOW_UPDATE on a stream', {
    bytes: Buffer.concat([headers(1, GET('/wait'), true), repeat(3000, () => windowUpdate(1, 1))]),
    shows: /^$/,
    fate: false,
  }),
  attack('empty DATA frames', {
    bytes: Buffer.concat([headers(1, request('POST', '/wait'), false), repeat(3000, () => data(1, '', false))]),
    shows: /^$/,
    fate: false,
  }),
  attack('empty CONTINUATION frames', {
    bytes: Buffer.concat([
      frame(FrameType.Headers, 0, 1, fields(GET())),
      repeat(3000, () => frame(FrameType.Continuation, 0, 1)),
    ]),
    shows: /^$/,
    fate: false,
  }),
  attack('CONTINUATION without end, 2 MB of it', {
    bytes: Buffer.concat([
      frame(FrameType.Headers, 0, 1, fields(GET())),
      repeat(200, (i) => frame(FrameType.Continuation, 0, 1, fields([[`x-${i}`, 'x'.repeat(10_000)]]))),
    ]),
    until: untilReset(1),
    shows: /RST/,
  }),
  attack('frames of unknown type', {
    bytes: Buffer.concat([repeat(3000, () => frame(0xbb, 0, 0, Buffer.alloc(8))), headers(1, GET(), true)]),
    until: untilAnswered(1),
    shows: /DATA|HEADERS/,
  }),
  attack('RST_STREAM on streams that have ended', {
    bytes: Buffer.concat([headers(1, GET(), true), repeat(300, () => reset(1, 8)), headers(3, GET(), true)]),
    until: untilAnswered(3),
    shows: /HEADERS 3/,
  }),
];

const hpack: readonly Case[] = [
  attack('a bomb: one entry of 4 kB, named 10,000 times', {
    bytes: frame(
      FrameType.Headers,
      END_HEADERS | END_STREAM,
      1,
      Buffer.concat([fields(GET()), fields([['x-bomb', 'x'.repeat(4000)]], true), Buffer.alloc(10_000, 0x80 | 62)]),
    ),
    until: untilReset(1),
    shows: /RST/,
  }),
  attack('an index beyond the tables', {
    bytes: frame(
      FrameType.Headers,
      END_HEADERS | END_STREAM,
      1,
      Buffer.concat([fields(GET()), hpackInteger(70, 7, 0x80)]),
    ),
  }),
  attack('the index 0', {
    bytes: frame(FrameType.Headers, END_HEADERS | END_STREAM, 1, Buffer.concat([fields(GET()), Buffer.from([0x80])])),
  }),
  attack('an integer without end', {
    bytes: frame(FrameType.Headers, END_HEADERS | END_STREAM, 1, Buffer.from([0xff, ...Array(20).fill(0xff), 0x7f])),
  }),
  attack('a string that is longer than its block', {
    bytes: frame(FrameType.Headers, END_HEADERS | END_STREAM, 1, Buffer.from([0x00, 0x7f, 0x00, 0x61])),
  }),
  attack('Huffman with more than seven bits of padding', {
    bytes: frame(
      FrameType.Headers,
      END_HEADERS | END_STREAM,
      1,
      Buffer.concat([fields(GET()), Buffer.from([0x00, 0x01, 0x78, 0x82, 0xff, 0xff])]),
    ),
  }),
  attack('a table larger than allowed', {
    bytes: frame(
      FrameType.Headers,
      END_HEADERS | END_STREAM,
      1,
      Buffer.concat([hpackInteger(100_000, 5, 0x20), fields(GET())]),
    ),
  }),
  attack('a table size update behind a field', {
    bytes: frame(
      FrameType.Headers,
      END_HEADERS | END_STREAM,
      1,
      Buffer.concat([fields(GET()), hpackInteger(100, 5, 0x20)]),
    ),
  }),
];

const headerLists: readonly Case[] = [
  attack('70 kB of headers', {
    bytes: inPieces(1, fields(block(70_000)), 16_000),
    until: untilReset(1),
    shows: /RST|HEADERS/,
  }),
  attack('50 kB of headers in pieces of 100 bytes', {
    bytes: inPieces(1, fields(block(50_000)), 100),
    until: untilAnswered(1),
    shows: /RST|HEADERS/,
  }),
  attack('150 headers', {
    bytes: headers(
      1,
      GET(
        '/fine',
        Array.from({ length: 150 }, (_, i) => [`x-${i}`, 'v'] as const),
      ),
      true,
    ),
    until: untilReset(1),
    shows: /RST|HEADERS/,
  }),
  attack('trailers of 70 kB', {
    bytes: Buffer.concat([
      headers(1, request('POST', '/fine'), false),
      inPieces(1, fields([['x-large', 'x'.repeat(70_000)]]), 16_000),
    ]),
    until: untilReset(1),
    shows: /RST/,
  }),
];

const framing: readonly Case[] = [
  attack('a stream id used twice', {
    bytes: Buffer.concat([headers(1, GET(), true), headers(1, GET(), true)]),
    shows: /RST/,
    fate: false,
  }),
  attack('a stream id that goes back', {
    bytes: Buffer.concat([headers(5, GET('/wait'), true), headers(3, GET(), true), ping()]),
    until: async (_exchange, client) => {
      await client.until(() => frames(client).some((line) => line === 'PING ack' || line.startsWith('GOAWAY')));
    },
    shows: /PING|RST|HEADERS/,
  }),
  attack('an even stream id', { bytes: headers(2, GET(), true) }),
  attack('HEADERS on stream 0', { bytes: headers(0, GET(), true) }),
  attack('DATA on stream 0', { bytes: data(0, 'x', false) }),
  attack('DATA on a stream that is idle', { bytes: data(1, 'x', false) }),
  attack('RST_STREAM on a stream that is idle', { bytes: reset(1, 8) }),
  attack('WINDOW_UPDATE on a stream that is idle', { bytes: windowUpdate(1, 10) }),
  attack('WINDOW_UPDATE by nothing', { bytes: windowUpdate(0, 0) }),
  attack('WINDOW_UPDATE by nothing on a stream', {
    bytes: Buffer.concat([headers(1, GET('/wait'), true), windowUpdate(1, 0)]),
    until: untilReset(1),
    shows: /RST/,
  }),
  attack('a connection window beyond 2^31-1', { bytes: windowUpdate(0, 0x7fffffff) }),
  attack('a stream window beyond 2^31-1', {
    bytes: Buffer.concat([headers(1, GET('/wait'), true), windowUpdate(1, 0x7fffffff)]),
    until: untilReset(1),
    shows: /RST/,
  }),
  attack('SETTINGS of a bad length', { bytes: frame(FrameType.Settings, 0, 0, Buffer.alloc(5)) }),
  attack('32 entries in one SETTINGS frame', {
    bytes: Buffer.concat([manySettings(32), headers(1, GET(), true)]),
    until: untilAnswered(1),
    shows: /HEADERS/,
  }),
  attack('33 entries in one SETTINGS frame', { bytes: manySettings(33) }),
  attack('SETTINGS on a stream', { bytes: frame(FrameType.Settings, 0, 1) }),
  attack('an acknowledgement of SETTINGS with a payload', { bytes: frame(FrameType.Settings, 1, 0, Buffer.alloc(6)) }),
  attack('ENABLE_PUSH of 2', { bytes: settings({ 2: 2 }) }),
  attack('INITIAL_WINDOW_SIZE of 2^31', { bytes: settings({ 4: 0x80000000 }) }),
  attack('MAX_FRAME_SIZE of 100', { bytes: settings({ 5: 100 }) }),
  attack('PING of 7 bytes', { bytes: frame(FrameType.Ping, 0, 0, Buffer.alloc(7)) }),
  attack('PING on a stream', { bytes: frame(FrameType.Ping, 0, 1, Buffer.alloc(8)) }),
  attack('PRIORITY of 4 bytes', {
    bytes: frame(FrameType.Priority, 0, 1, Buffer.alloc(4)),
    shows: /^$/,
  }),
  attack('RST_STREAM of 3 bytes', {
    bytes: Buffer.concat([headers(1, GET('/wait'), true), frame(FrameType.RstStream, 0, 1, Buffer.alloc(3))]),
  }),
  attack('GOAWAY of 7 bytes', { bytes: frame(FrameType.GoAway, 0, 0, Buffer.alloc(7)) }),
  attack('a frame of 20 kB', { bytes: frame(FrameType.Data, 0, 1, Buffer.alloc(20_000)) }),
  attack('padding as long as the frame', {
    bytes: Buffer.concat([
      headers(1, request('POST', '/fine'), false),
      frame(FrameType.Data, PADDED, 1, Buffer.from([5, 1, 2, 3, 4])),
    ]),
  }),
  attack('PUSH_PROMISE from a client', {
    bytes: Buffer.concat([
      headers(1, GET('/wait'), true),
      frame(FrameType.PushPromise, END_HEADERS, 1, Buffer.concat([Buffer.from([0, 0, 0, 2]), fields(GET())])),
    ]),
  }),
  attack('CONTINUATION out of nowhere', { bytes: frame(FrameType.Continuation, END_HEADERS, 1, fields(GET())) }),
  attack('another frame between HEADERS and CONTINUATION', {
    bytes: Buffer.concat([frame(FrameType.Headers, 0, 1, fields(GET())), ping()]),
  }),
  attack('a second HEADERS before the end of the first', {
    bytes: Buffer.concat([frame(FrameType.Headers, 0, 1, fields(GET())), headers(3, GET(), true)]),
  }),
  attack('trailers without END_STREAM', {
    bytes: Buffer.concat([headers(1, request('POST', '/fine'), false), headers(1, [['x-trailer', 'v']], false)]),
    until: untilReset(1),
    shows: /RST/,
  }),
  attack('a stream that depends on itself', {
    bytes: frame(
      FrameType.Headers,
      END_HEADERS | END_STREAM | 0x20,
      1,
      Buffer.concat([Buffer.from([0, 0, 0, 1, 15]), fields(GET())]),
    ),
    until: async (_exchange, client) => {
      await client.until(() => frames(client).some((line) => /RST|HEADERS/.test(line)));
    },
    shows: /RST|HEADERS/,
  }),
];

const stalls: readonly Case[] = [
  attack('more streams than are allowed', {
    bytes: repeat(1200, (i) => headers(id(i), GET('/wait'), true)),
    until: async (exchange, client) => {
      const refusedStreams = (): number => frames(client).filter((line) => line.includes('REFUSED_STREAM')).length;
      if (!(await client.until(() => refusedStreams() > 0)) && client.fate === 'open')
        exchange.disappoint('none was refused');
    },
    shows: /REFUSED_STREAM$/,
    fate: false,
  }),
  attack('a window of nothing: answers wait, and come once there is room', {
    settings: { 4: 0 },
    bytes: headers(1, GET(), true),
    until: async (exchange, client) => {
      await client.until(() => frames(client).some((line) => line === 'HEADERS 1'));
      client.send(windowUpdate(1, 100));
      await untilAnswered(1)(exchange, client);
    },
    shows: /DATA|HEADERS/,
  }),
  attack('a window of one byte at a time', {
    settings: { 4: 1 },
    bytes: headers(1, GET(), true),
    until: async (exchange, client) => {
      for (let byte = 1; byte < 4; byte++) {
        await client.until(() => frames(client).filter((line) => line.startsWith('DATA 1')).length >= byte);
        client.send(windowUpdate(1, 1));
      }
      await untilAnswered(1)(exchange, client);
    },
    shows: /DATA|HEADERS/,
  }),
  attack('an initial window that shrinks below what was sent, then grows', {
    settings: { 4: 1000 },
    bytes: headers(1, GET('/big'), true),
    until: async (exchange, client) => {
      await client.until(() => frames(client).some((line) => line.startsWith('DATA 1')));
      client.send(Buffer.concat([settings({ 4: 0 }), settings({ 4: 1_500_000 }), windowUpdate(0, 1_500_000)]));
      await untilAnswered(1)(exchange, client);
    },
    shows: /HEADERS/,
  }),
  attack('20 large answers that nobody reads for a while', {
    settings: { 4: 0x7fffffff },
    bytes: Buffer.concat([windowUpdate(0, 0x7fff0000), repeat(20, (i) => headers(id(i), GET('/big'), true))]),
    deaf: true,
    until: async (exchange, client) => {
      await untilAnswered(id(19))(exchange, client);
    },
    shows: /HEADERS/,
  }),
];

const beginnings: readonly Case[] = [
  fault('half a preface, then nothing', async (exchange, meanwhile) => {
    const client = await exchange.connect('h2', { recorded: false });
    client.send(PREFACE.subarray(0, 10));
    await meanwhile();
    exchange.note('the connection', client.fate);
    client.reset();
  }),
  fault('a preface that turns into something else', async (exchange, meanwhile) => {
    const client = await exchange.connect('h2', { recorded: false });
    client.send('PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n');
    await meanwhile();
    await exchange.expectClose(client);
    client.reset();
  }),
  fault('HTTP/1 on a listener that speaks HTTP/2 alone', async (exchange, meanwhile) => {
    const client = await exchange.connect('h2', { recorded: false });
    client.send('GET / HTTP/1.1\r\nhost: h\r\n\r\n');
    await meanwhile();
    await exchange.expectClose(client);
    client.reset();
  }),
  fault('a request one byte at a time', async (exchange, meanwhile) => {
    const client = await exchange.connect('h2', { recorded: false });
    for (const byte of Buffer.concat([PREFACE, settings(), settingsAck(), headers(1, GET(), true)])) {
      client.send(Uint8Array.of(byte));
      await Bun.sleep(0);
    }
    await meanwhile();
    await untilAnswered(1)(exchange, client);
    exchange.note('the peer sent', summary(client, /HEADERS|DATA/));
    client.reset();
  }),
];

/** What a client leaves unfinished is ended by time; the counters say by which. */
const slow: readonly Case[] = [
  attack('a head that stops behind its first frame: request_headers_timeout', {
    by: 'slow',
    bytes: frame(FrameType.Headers, END_STREAM, 1, fields(GET())),
    until: ended(1),
    shows: /RST/,
  }),
  attack('a HEADERS frame that stops in its middle: request_headers_timeout', {
    by: 'slow',
    bytes: headers(1, GET(), true).subarray(0, 12),
    until: ended(1),
    shows: /RST/,
  }),
  attack('a body that stops: stream_idle_timeout', {
    by: 'slow',
    bytes: Buffer.concat([headers(1, request('POST', '/wait'), false), data(1, 'some', false)]),
    until: ended(1),
    shows: /HEADERS|RST/,
  }),
  attack('an answer behind a window of nothing: the flush times out', {
    by: 'slow',
    settings: { 4: 0 },
    bytes: headers(1, GET(), true),
    until: ended(1),
    shows: /HEADERS|RST/,
  }),
];

/** Waits until a stream was reset, ended or its connection closed. */
function ended(stream: number): NonNullable<Attack['until']> {
  return async (exchange, client) => {
    const over = (): boolean =>
      frames(client).some((line) =>
        new RegExp(`^(RST_STREAM ${stream} |(DATA ${stream} \\d+|HEADERS ${stream}) end)`).test(line),
      );
    if (!(await client.until(over)) && client.fate === 'open') exchange.disappoint(`stream ${stream} goes on`);
  };
}

const config = bootstrap(
  [
    httpListener({ name: 'h2', routes: [to('u1')], hcm: { codec_type: 'HTTP2', stat_prefix: 'h2' } }),
    {
      ...httpListener({ name: 'tight', routes: [to('u1')], hcm: { codec_type: 'HTTP2', stat_prefix: 'h2' } }),
      per_connection_buffer_limit_bytes: 32_768,
    },
    httpListener({
      name: 'slow',
      routes: [to('u1')],
      hcm: {
        codec_type: 'HTTP2',
        stat_prefix: 'h2',
        request_headers_timeout: '0.2s',
        stream_idle_timeout: '0.4s',
      },
    }),
    bystanderListener,
  ],
  [cluster('u1'), bystanderCluster],
);
const stage = { config, upstreams: { u1: script, good: bystanderUpstream }, upstreamBytes: false };
/** Not which library Envoy uses. */
const COUNTERS = [
  /^http2\.(?!nghttp2)(?!.*_active$).*/,
  /^http\.h2\.downstream_(cx_(destroy_local|protocol_error)|rq_too_many)/,
];

suite(
  'HTTP/2 attacks: floods',
  { ...stage, stats: [/^http2\..*(flood|error|overflow)/, /rq_too_many_premature/] },
  floods,
);
suite('HTTP/2 attacks: HPACK', { ...stage, stats: COUNTERS }, hpack);
suite('HTTP/2 attacks: header lists', { ...stage, stats: COUNTERS }, headerLists);
suite('HTTP/2 attacks: framing', { ...stage, stats: COUNTERS }, framing);
suite('HTTP/2 attacks: stalls', { ...stage, stats: [/^http2\.(rx|stream|outbound)/] }, stalls);
suite('HTTP/2 attacks: beginnings', { ...stage, stats: COUNTERS }, beginnings);
suite(
  'HTTP/2 attacks: slow clients',
  { ...stage, stats: [...COUNTERS, /^http\.h2\.downstream_rq_(idle_timeout|header_timeout|timeout|.xx)/] },
  slow,
);
