import { expect, test } from 'bun:test';
import { ByteBuffer } from '../../base/byte-buffer.ts';
import type { ProtocolError, RequestDecoder, ResponseDecoder, ResponseEncoder } from '../codec.ts';
import { RequestHeaders, ResponseHeaders } from '../header-map.ts';
import { Http1ClientCodec } from './client-codec.ts';
import { http1Options, NO_HTTP1_STATS } from './http1-options.ts';
import { Http1ServerCodec } from './server-codec.ts';

class Wire {
  output = new ByteBuffer();
  pauses = 0;
  written() {}
  pauseReads() {
    this.pauses++;
  }
  resumeReads() {
    this.pauses--;
  }
}

test('a request and its response, both sides', () => {
  const serverWire = new Wire();
  const clientWire = new Wire();
  const log: string[] = [];
  let encoder!: ResponseEncoder;
  const decoder: RequestDecoder = {
    onHeaders(h, end) {
      log.push(`${h.method} ${h.authority} ${h.path} ${JSON.stringify(h.list)} ${end}`);
      if (end) answer();
    },
    onData(d, end) {
      log.push(`data ${d.latin1()} ${end}`);
      if (end) answer();
    },
    onTrailers() {},
  };
  const answer = () => {
    const h = ResponseHeaders.of(200);
    h.add('server', 'x');
    encoder.encodeHeaders(h, false);
    encoder.encodeData(ByteBuffer.from('hello'), true);
  };
  const server = new Http1ServerCodec(
    serverWire,
    {
      onNewStream(e) {
        encoder = e;
        return decoder;
      },
      onGoAway() {},
    },
    http1Options(),
    NO_HTTP1_STATS,
  );
  const client = new Http1ClientCodec(
    clientWire,
    {
      onGoAway() {},
      onStreamsChanged() {
        log.push('changed');
      },
    },
    http1Options(),
    NO_HTTP1_STATS,
  );
  const responses: ResponseDecoder = {
    on1xxHeaders() {},
    onHeaders(h, end) {
      log.push(`${h.status} ${JSON.stringify(h.list)} ${end}`);
    },
    onData(d, end) {
      log.push(`data ${d.latin1()} ${end}`);
    },
    onTrailers() {},
  };
  const request = new RequestHeaders();
  request.method = 'POST';
  request.authority = 'a.b';
  request.path = '/x';
  request.add('x-y', 'z');
  const out = client.newStream(responses);
  expect(out.encodeHeaders(request, false)).toBeNull();
  out.encodeData(ByteBuffer.from('body'), true);
  expect(clientWire.output.latin1()).toBe(
    'POST /x HTTP/1.1\r\nhost: a.b\r\nx-y: z\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n',
  );
  const error: ProtocolError | null = server.dispatch(clientWire.output);
  expect(error).toBeNull();
  expect(serverWire.output.latin1()).toBe(
    'HTTP/1.1 200 OK\r\nserver: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  );
  expect(client.dispatch(serverWire.output)).toBeNull();
  expect(log).toEqual([
    'POST a.b /x ["x-y","z","transfer-encoding","chunked"] false',
    'data body true',
    '200 ["server","x","transfer-encoding","chunked"] false',
    'data hello true',
    'changed',
  ]);
});
