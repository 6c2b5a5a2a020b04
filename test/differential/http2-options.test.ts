/** HTTP/2: every option of Http2ProtocolOptions that bounds or announces something, at its limit and one beyond, on both sides. */
import {
  dataFrame,
  type Frame,
  FrameType,
  frame,
  type Http2Client,
  type Http2Peer,
  headersFrame,
  http2Upstream,
  respond2,
  rstStream,
  settings,
  windowUpdate,
} from '../support/http2-peer.ts';
import { httpUpstream } from '../support/scripted-upstream.ts';
import { bootstrap, cluster, type Fields, http, httpListener, to, typed } from './configs.ts';
import type { Exchange } from './exchange.ts';
import { type Case, request, steps, suite } from './harness.ts';

const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%';
const ENHANCE_YOUR_CALM = 11;

const LIMITS: Readonly<Record<string, Fields>> = {
  priority: { max_inbound_priority_frames_per_stream: 2 },
  update: { max_inbound_window_update_frames_per_data_frame_sent: 1 },
  empty: { max_consecutive_inbound_frames_with_empty_payload: 3 },
  'no-empty': { max_consecutive_inbound_frames_with_empty_payload: 0 },
  defaults: {},
};

const ANNOUNCED: Fields = {
  hpack_table_size: 100,
  max_concurrent_streams: 7,
  initial_stream_window_size: 70_000,
  initial_connection_window_size: 80_000,
  allow_connect: true,
  custom_settings_parameters: [{ identifier: 0x33, value: 5 }],
};

const of = (name: string, options: Fields, more: Fields = {}): Fields =>
  httpListener({
    name,
    routes: [{ match: { path: '/here' }, direct_response: { status: 200, body: { inline_string: 'here' } } }, to('u1')],
    hcm: { codec_type: 'HTTP2', http2_protocol_options: options, ...more },
    log: LOG,
  });

const priority = frame(FrameType.Priority, 0, 1, Buffer.from([0, 0, 0, 0, 16]));
const times = (count: number, one: Buffer): Buffer => Buffer.concat(Array.from({ length: count }, () => one));

/** Whether the connection has survived what was sent: a last PING is answered, or the end comes. */
async function survives(exchange: Exchange, client: Http2Client): Promise<void> {
  client.send(frame(FrameType.Ping, 0, 0, 'survives'));
  const answered = `PING ACK ${Buffer.from('survives').toString('hex')}`;
  await client.until(() => client.connectionFrames.includes(answered) || client.pipe.fate !== 'open', 4000);
  exchange.note('after it', client.connectionFrames.includes(answered) ? 'goes on' : 'over');
}

const flood = (name: string, listener: string, run: (client: Http2Client) => void | Promise<void>): Case =>
  steps(
    name,
    async (exchange) => {
      const client = await exchange.http2(listener);
      await client.settled();
      await run(client);
      await survives(exchange, client);
      client.pipe.reset();
    },
    { clientFate: false },
  );

const stats = [
  /^http2\.(?!pending|outbound|.*_active|.*deferred)/,
  /^http\.ingress\.downstream_(rq_(total|rx_reset|tx_reset|too_many)|cx_(protocol|destroy))/,
];
/** Not what was on the way when the connection ended. */
const rewrite = [
  [/^(PING ACK|stream|:|server|date|content-|x-envoy|GOAWAY|\[here).*\n?/gm, ''],
  [/^ ?(--|\[here\])\n?/gm, ''],
] as const;

suite(
  'HTTP/2 options: limits of what clients send',
  {
    config: bootstrap(
      Object.entries(LIMITS).map(([name, options]) => of(name, options)),
      [cluster('u1')],
    ),
    upstreams: { u1: httpUpstream(() => undefined) },
    upstreamBytes: false,
    stats,
    rewrite,
  },
  [
    ...[2, 3, 4].map((count) =>
      flood(`${count} PRIORITY frames, 2 for each stream`, 'priority', (client) => client.send(times(count, priority))),
    ),
    ...[2, 3].map((count) =>
      flood(`${count} PRIORITY frames behind a stream`, 'priority', async (client) => {
        await client.over(client.request('GET /here'));
        client.send(times(count, priority));
      }),
    ),
    ...[4, 5].map((count) =>
      flood(`${count} PRIORITY frames beside a stream`, 'priority', (client) => {
        client.request('GET /hold');
        client.send(times(count, priority));
      }),
    ),
    ...[100, 101].map((count) =>
      flood(`${count} PRIORITY frames by default`, 'defaults', (client) => client.send(times(count, priority))),
    ),
    ...[5, 6].map((count) =>
      flood(`${count} WINDOW_UPDATE frames, no stream`, 'update', (client) =>
        client.send(times(count, windowUpdate(0, 1))),
      ),
    ),
    ...[7, 8].map((count) =>
      flood(`${count} WINDOW_UPDATE frames behind an answer`, 'update', async (client) => {
        client.polite = false;
        await client.over(client.request('GET /here'));
        client.send(times(count, windowUpdate(0, 1)));
      }),
    ),
    ...[25, 26].map((count) =>
      flood(`${count} WINDOW_UPDATE frames behind an answer, by default`, 'defaults', async (client) => {
        client.polite = false;
        await client.over(client.request('GET /here'));
        client.send(times(count, windowUpdate(0, 1)));
      }),
    ),
    ...(
      [
        ['no-empty', 0],
        ['no-empty', 1],
        ['defaults', 1],
        ['defaults', 2],
        ['empty', 3],
        ['empty', 4],
      ] as const
    ).map(([listener, count]) =>
      flood(`${count} empty DATA frames: ${listener}`, listener, (client) => {
        const id = client.request('POST /hold', [], null, false);
        client.send(Buffer.concat([times(count, dataFrame(id, '', false)), dataFrame(id, 'x', false)]));
      }),
    ),
  ],
);

/** What the peer announced, and how far it opened the connection's window, before anything else. */
function announced({ frames }: Http2Peer): string {
  const texts = frames
    .filter((each: Frame) => each.type === FrameType.WindowUpdate && each.id === 0)
    .map((each) => `window +${each.payload.readUInt32BE(0)}`);
  return texts.slice(0, 1).join('\n');
}

suite(
  'HTTP/2 options: what is announced to clients',
  {
    config: bootstrap(
      [
        of('announced', ANNOUNCED),
        of('defaults', {}),
        of('lenient', { stream_error_on_invalid_http_messaging: true }),
        of('strict', { stream_error_on_invalid_http_messaging: true }, { stream_error_on_invalid_http_message: false }),
      ],
      [cluster('u1')],
    ),
    upstreams: { u1: httpUpstream(() => undefined) },
    upstreamBytes: false,
    stats,
  },
  [
    ...['announced', 'defaults'].map((listener) =>
      steps(`settings: ${listener}`, async (exchange) => {
        const client = await exchange.http2(listener);
        await client.settled();
        await exchange.expectOver(client, client.request('GET /here'));
        exchange.note('window', announced(client));
      }),
    ),
    ...['defaults', 'lenient', 'strict'].map((listener) =>
      steps(`a malformed field: ${listener}`, async (exchange) => {
        const client = await exchange.http2(listener);
        await client.settled();
        await exchange.expectOver(client, client.request('GET /here', ['X-Upper: a']));
      }),
    ),
    ...[16_384, 16_385, 100_000].map((size) =>
      steps(`frames of at most ${size} bytes`, async (exchange) => {
        const client = await exchange.http2('defaults', [
          [5, size],
          [4, 1_000_000],
        ]);
        await client.settled();
        await exchange.expectOver(client, client.request('GET /here'));
      }),
    ),
    ...[0, 50, 4096, 100_000].map((size) =>
      steps(`an HPACK table of ${size} bytes, then of none`, async (exchange) => {
        const client = await exchange.http2('defaults', [[1, Math.min(size, 4096)]]);
        await client.settled();
        await exchange.expectOver(client, client.request('GET /here'));
        await exchange.expectOver(client, client.request('GET /here'));
        client.send(settings([1, 0]));
        await exchange.expectOver(client, client.request('GET /here'));
      }),
    ),
  ],
);

const upstream = http2Upstream({
  respond: ({ id, path }, peer) => {
    const [, kind = '', count = '0'] = path.split('/');
    const n = Number(count);
    if (kind === 'priority') peer.send(times(n, priority));
    if (kind === 'update') peer.send(times(n, windowUpdate(0, 1)));
    if (kind === 'empty') {
      peer.send(
        Buffer.concat([
          headersFrame(id, [':status: 200'], false),
          times(n, dataFrame(id, '', false)),
          dataFrame(id, 'x', true),
        ]),
      );
      return;
    }
    if (kind === 'refuse') peer.send(rstStream(id, ENHANCE_YOUR_CALM));
    else respond2(peer, id, 200, 'fine');
  },
});
const h2 = (name: string, options: Fields): Fields =>
  cluster(name, ['{{upstream:u1}}'], {
    typed_extension_protocol_options: {
      [OPTIONS]: typed(OPTIONS, { explicit_http_config: { http2_protocol_options: options } }),
    },
  });
const UPSTREAM: Readonly<Record<string, Fields>> = { ...LIMITS, announced: ANNOUNCED };
const at = (name: string, path: string): Case => request(`${name}: ${path}`, http(`GET /${path}`, [`to: ${name}`]));

suite(
  'HTTP/2 options: limits of what upstreams send',
  {
    config: bootstrap(
      [
        httpListener({
          routes: [{ match: { prefix: '/' }, route: { cluster_header: 'to' } }],
          log: LOG,
        }),
      ],
      Object.entries(UPSTREAM).map(([name, options]) => h2(name, options)),
    ),
    upstreams: { u1: upstream },
    stats: [/^cluster\.[^.]*\.(http2\.(?!pending|outbound|.*_active|.*deferred)|upstream_cx_(protocol_error|destroy))/],
    log: 'access.log',
    // A reset where the answer was not read any more.
    rewrite: [[/^\[reset\]$/gm, '[fin]']],
  },
  [
    at('defaults', 'refuse'),
    at('announced', 'plain'),
    at('priority', 'priority/4'),
    at('priority', 'priority/5'),
    at('defaults', 'priority/200'),
    at('defaults', 'priority/201'),
    at('update', 'update/9'),
    at('update', 'update/20'),
    at('defaults', 'empty/1'),
    at('defaults', 'empty/2'),
    at('empty', 'empty/3'),
    at('empty', 'empty/4'),
  ],
);

suite(
  'HTTP/2 options: idle connections are asked',
  {
    config: bootstrap(
      [httpListener({ routes: [to('u1')], log: LOG })],
      [h2('u1', { connection_keepalive: { timeout: '0.3s', connection_idle_interval: '0.1s' } })],
    ),
    upstreams: {
      u1: http2Upstream({
        respond: ({ id, path }, peer) => {
          if (path === '/deaf') peer.polite = false;
          respond2(peer, id, 200, 'fine');
        },
      }),
    },
    stats: [/^cluster\.u1\.(http2\.keepalive|upstream_cx_(total|destroy))/],
    log: 'access.log',
  },
  ['/polite', '/deaf'].map((path) =>
    steps(path, async (exchange) => {
      const client = await exchange.connect();
      client.send(http(`GET ${path}`));
      await exchange.expectResponse(client);
      // The interval is what is looked at: nothing is to be awaited.
      await Bun.sleep(250);
      client.send(http('GET /second'));
      await exchange.expectResponse(client);
      if (path === '/deaf') await exchange.expectStat('cluster.u1.http2.keepalive_timeout', 1);
      exchange.expectLog('access.log', 2);
    }),
  ),
);
