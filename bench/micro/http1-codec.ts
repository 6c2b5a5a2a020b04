/**
 * Cost of the codecs alone, in microseconds per message: `bun bench/micro/http1-codec.ts`.
 * Nothing but parsing and encoding: no sockets, no connection manager.
 */

import { ByteBuffer } from '../../src/base/byte-buffer.ts';
import type { RequestDecoder, ResponseDecoder, ResponseEncoder } from '../../src/http/codec.ts';
import { Http1ClientCodec } from '../../src/http/h1/client-codec.ts';
import { http1Options, NO_HTTP1_STATS } from '../../src/http/h1/http1-options.ts';
import { Http1ServerCodec } from '../../src/http/h1/server-codec.ts';
import { type RequestHeaders, ResponseHeaders } from '../../src/http/header-map.ts';
import { measure, Output, sixHeaders } from './codec-parts.ts';

const REQUEST = Buffer.from(
  'GET /api/v1/items?page=2&size=50 HTTP/1.1\r\nHost: service.example.com:8080\r\n' +
    'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36\r\n' +
    'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n' +
    'Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n' +
    'Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nCache-Control: max-age=0\r\n' +
    'X-Request-Id: 7f1b2c3d-4e5f-6789-abcd-ef0123456789\r\n\r\n',
);
const RESPONSE = Buffer.from(
  'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 48\r\nDate: Sun, 22 Nov 2026 18:31:18 GMT\r\n' +
    'Server: upstream\r\nCache-Control: no-cache\r\n\r\n' +
    'x'.repeat(48),
);

const transport = new Output();
let encoder!: ResponseEncoder;
let seen!: RequestHeaders;
const decoder: RequestDecoder = {
  onHeaders(headers) {
    seen = headers;
  },
  onData() {},
  onTrailers() {},
};
const server = new Http1ServerCodec(
  transport,
  {
    onLastStreamGone() {},
    onNewStream(e) {
      encoder = e;
      return decoder;
    },
    onGoAway() {},
    onCodecFailure() {},
  },
  http1Options(),
  NO_HTTP1_STATS,
);
const clientTransport = new Output();
const client = new Http1ClientCodec(
  clientTransport,
  { onGoAway() {}, onMaxStreamsChanged() {}, onCodecFailure() {}, onStreamsChanged() {} },
  http1Options(),
  NO_HTTP1_STATS,
);
let answered = 0;
const responses: ResponseDecoder = {
  on1xxHeaders() {},
  onHeaders() {},
  onData(_data, end) {
    if (end) answered++;
  },
  onTrailers() {},
};

const response = sixHeaders();
const EMPTY = ResponseHeaders.of(204);
const input = new ByteBuffer();
const body = Buffer.from('x'.repeat(48));
const data = new ByteBuffer();
const ROUNDS = 5000;
const short = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n');

function serve(request: Buffer, head: ResponseHeaders, withBody: boolean): void {
  input.append(request);
  server.dispatch(input);
  encoder.encodeHeaders(head, !withBody);
  if (withBody) {
    data.append(body);
    encoder.encodeData(data, true);
  }
  transport.output.clear();
}

const cases: [string, () => void][] = [
  ['9-header request, 6-header response with a body', () => serve(REQUEST, response, true)],
  ['9-header request, bare 204', () => serve(REQUEST, EMPTY, false)],
  ['1-header request, 6-header response', () => serve(short, response, false)],
  ['1-header request, bare 204', () => serve(short, EMPTY, false)],
  [
    'client: 8-header request, 5-header response',
    () => {
      seen.list.length = 16;
      client.newStream(responses).encodeHeaders(seen, true);
      clientTransport.output.clear();
      input.append(RESPONSE);
      client.dispatch(input);
    },
  ],
];

for (const [name, run] of cases) {
  if (name.startsWith('client')) serve(REQUEST, EMPTY, false);
  measure(name, ROUNDS, 1, run);
}
console.log(`${answered} responses read`);
