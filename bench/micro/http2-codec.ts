/**
 * Cost of the codecs alone, in microseconds per message: `bun bench/micro/http2-codec.ts`.
 * Nothing but parsing and encoding: no sockets, no connection manager.
 */

import { ByteBuffer } from '../../src/base/byte-buffer.ts';
import { ManualClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { TimerWheel } from '../../src/base/timer-wheel.ts';
import type { RequestDecoder, ResponseDecoder, ResponseEncoder, StreamEvents } from '../../src/http/codec.ts';
import { Http2ClientCodec } from '../../src/http/h2/client-codec.ts';
import { http2Options } from '../../src/http/h2/http2-options.ts';
import { NO_HTTP2_STATS } from '../../src/http/h2/http2-stats.ts';
import { Http2ServerCodec } from '../../src/http/h2/server-codec.ts';
import { RequestHeaders, ResponseHeaders } from '../../src/http/header-map.ts';
import { measure, Output, sixHeaders } from './codec-parts.ts';

const timers = new TimerWheel(
  new ManualClock(),
  () => {},
  () => {},
  true,
);
const random = new SeededRandom(1);
const transport = new Output();
const events: StreamEvents = { onStreamReset() {}, onAboveWriteHighWatermark() {}, onBelowWriteLowWatermark() {} };
let encoder!: ResponseEncoder;
let requests = 0;
const decoder: RequestDecoder = {
  onHeaders() {
    requests++;
  },
  onData() {},
  onTrailers() {},
};
const server = new Http2ServerCodec(
  transport,
  {
    onLastStreamGone() {},
    onNewStream(e) {
      encoder = e;
      e.stream.setEvents(events);
      return decoder;
    },
    onGoAway() {},
    onCodecFailure() {},
  },
  http2Options(),
  NO_HTTP2_STATS,
  timers,
  random,
);
const clientTransport = new Output();
const client = new Http2ClientCodec(
  clientTransport,
  { onGoAway() {}, onMaxStreamsChanged() {}, onCodecFailure() {}, onStreamsChanged() {} },
  http2Options(),
  NO_HTTP2_STATS,
  timers,
  random,
);
let answered = 0;
const responses: ResponseDecoder = {
  on1xxHeaders() {},
  onHeaders(_headers, end) {
    if (end) answered++;
  },
  onData(_data, end) {
    if (end) answered++;
  },
  onTrailers() {},
};

function request(list: string[]): RequestHeaders {
  const headers = new RequestHeaders();
  headers.method = 'GET';
  headers.scheme = 'http';
  headers.authority = 'service.example.com:8080';
  headers.path = '/api/v1/items?page=2&size=50';
  headers.list = list;
  return headers;
}
const LONG = request([
  'user-agent',
  'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36',
  'accept',
  'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
  'accept-language',
  'en-US,en;q=0.5',
  'accept-encoding',
  'gzip, deflate, br',
  'cookie',
  'session=0123456789abcdef0123456789abcdef; theme=dark',
  'cache-control',
  'max-age=0',
  'x-request-id',
  '7f1b2c3d-4e5f-6789-abcd-ef0123456789',
]);
const SHORT = request([]);
const response = sixHeaders();
const EMPTY = ResponseHeaders.of(204);
const body = Buffer.from('x'.repeat(48));
const data = new ByteBuffer();
const input = new ByteBuffer();
const BATCH = 10;
let ids = 0;

/** What the wire would carry, each way in one piece, as several streams' frames come in one read. */
function round(head: RequestHeaders): void {
  for (let i = 0; i < BATCH; i++) {
    if (head === LONG) head.list[13] = `7f1b2c3d-4e5f-6789-abcd-ef${1_000_000_000 + ids++}`;
    client.newStream(responses).encodeHeaders(head, true);
  }
  input.append(clientTransport.output.toBytes());
  clientTransport.output.clear();
  server.dispatch(input);
  input.append(transport.output.toBytes());
  transport.output.clear();
  client.dispatch(input);
}

let answering: ResponseHeaders = EMPTY;
let answerBody = false;
decoder.onHeaders = () => {
  requests++;
  encoder.encodeHeaders(answering, !answerBody);
  if (answerBody) {
    data.append(body);
    encoder.encodeData(data, true);
  }
};

const cases: [string, RequestHeaders, ResponseHeaders, boolean][] = [
  ['7-header request, 6-header response with a body', LONG, response, true],
  ['7-header request, bare 204', LONG, EMPTY, false],
  ['bare request, 6-header response with a body', SHORT, response, true],
  ['bare request, bare 204', SHORT, EMPTY, false],
];

console.log('For client and server together:');
const ROUNDS = Number(process.env.ROUNDS ?? 500);
for (const [name, head, answer, withBody] of cases) {
  answering = answer;
  answerBody = withBody;
  measure(name, ROUNDS, BATCH, () => round(head));
}
console.log(`${requests} requests, ${answered} responses read`);
