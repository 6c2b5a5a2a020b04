import { describe, expect, test } from 'bun:test';
import { ByteBuffer } from '../../base/byte-buffer.ts';
import { SeededRandom } from '../../base/random.ts';
import { ResetReason } from '../codec.ts';
import { HeaderMap, RequestHeaders, ResponseHeaders } from '../header-map.ts';
import { Http1ClientCodec } from './client-codec.ts';
import { http1Options, NO_HTTP1_STATS, PROPER_CASE_WORDS, preserveCase } from './http1-options.ts';
import { bytesOf, ClientPeer, ServerPeer, TestTransport } from './test-peers.ts';

const GET = 'GET / HTTP/1.1\r\nHost: h\r\n\r\n';

function get(method = 'GET'): RequestHeaders {
  const headers = new RequestHeaders();
  headers.method = method;
  headers.authority = 'h';
  headers.path = '/';
  return headers;
}

describe('server', () => {
  test('a pipelined request waits for the response and pauses the reads meanwhile', () => {
    const peer = new ServerPeer(http1Options());
    peer.answer = false;
    peer.feed(GET);
    expect(peer.transport.pauses).toBe(0);
    peer.feed(GET + GET);
    expect(peer.requests.length).toBe(1);
    expect(peer.transport.pauses).toBe(1);
    expect(peer.input.length).toBe(2 * GET.length);
    peer.respond(peer.requests[0]!);
    expect(peer.transport.pauses).toBe(0);
    peer.feed('');
    expect(peer.requests.length).toBe(2);
    expect(peer.transport.pauses).toBe(1);
    peer.respond(peer.requests[1]!);
    peer.feed('');
    peer.respond(peer.requests[2]!);
    expect(peer.input.length).toBe(0);
    expect(peer.transport.pauses).toBe(0);
  });

  test('a request begins with its first byte, a blank line included', () => {
    const peer = new ServerPeer(http1Options());
    peer.feed('\r');
    expect(peer.requests.length).toBe(1);
    peer.feed('\n\r\n');
    peer.feed(GET);
    expect(peer.requests.length).toBe(1);
    expect(peer.requests[0]!.ends).toBe(1);
    peer.feed('\n');
    expect(peer.requests.length).toBe(2);
    peer.feed(' ');
    expect(peer.error?.message).toEndWith('NO_REQUEST_LINE_IN_REQUEST');
    expect(peer.requests.length).toBe(2);
  });

  test('what comes together counts for each request that it is looked at for, errors or not', () => {
    const counted = (...pieces: string[]): number[] => {
      const peer = new ServerPeer(http1Options());
      for (const piece of pieces) peer.feed(piece);
      return peer.requests.map((request) => request.encoder.stream.meter.wireBytesReceived);
    };
    const size = GET.length;
    expect(counted(GET, GET)).toEqual([size, size]);
    expect(counted(GET + GET)).toEqual([2 * size, size]);
    expect(counted('\r', '\n', GET)).toEqual([size + 2]);
    expect(counted('GET / HTTP/1.1\r\na b: c\r\n\r\nand more')).toEqual([34]);
    const chunks = 'POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n';
    expect(counted(chunks, '3\r\nabc\r\n', 'x and more')).toEqual([chunks.length + 18]);
    expect(counted(...chunks)).toEqual([chunks.length]);
  });

  test('a head without fields counts three bytes of headers', () => {
    const peer = new ServerPeer(http1Options());
    peer.feed('GET / HTTP/1.1\r\n\r\n');
    expect(peer.requests[0]!.encoder.stream.meter.headerBytesReceived).toBe(3);
  });

  test('dispatch from within an event is left to the outer one', () => {
    const peer = new ServerPeer(http1Options());
    const respond = peer.respond.bind(peer);
    peer.respond = (request) => {
      respond(request);
      expect(peer.codec.dispatch(peer.input)).toBeNull();
    };
    peer.feed(GET + GET + GET);
    expect(peer.requests.length).toBe(3);
  });

  test('a response before the end of its request leaves the request open until it ends', () => {
    const peer = new ServerPeer(http1Options());
    peer.answer = false;
    peer.feed('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab');
    peer.respond(peer.requests[0]!);
    peer.feed(`cd${GET}`);
    expect(peer.requests[0]!.body).toBe('abcd');
    expect(peer.requests[0]!.ends).toBe(1);
    expect(peer.requests.length).toBe(2);
  });

  test('a stream that is over cannot pause the connection any more', () => {
    const peer = new ServerPeer(http1Options());
    peer.feed(GET);
    peer.requests[0]!.encoder.stream.pauseReads();
    expect(peer.transport.pauses).toBe(0);
    peer.requests[0]!.encoder.stream.resumeReads();
    expect(peer.transport.pauses).toBe(0);
  });

  test('behind a reset nothing is told and nothing written', () => {
    const peer = new ServerPeer(http1Options());
    peer.answer = false;
    peer.feed('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab');
    const { encoder } = peer.requests[0]!;
    encoder.stream.pauseReads();
    encoder.stream.reset(ResetReason.LocalReset);
    expect(peer.transport.pauses).toBe(0);
    peer.feed(`cd${GET}`);
    encoder.encodeHeaders(ResponseHeaders.of(200), true);
    expect(peer.requests[0]!.ends).toBe(0);
    expect(peer.requests.length).toBe(1);
    expect(peer.transport.output.length).toBe(0);
  });

  test('watermarks reach the stream, also one that asks later', () => {
    const peer = new ServerPeer(http1Options());
    peer.answer = false;
    const log: string[] = [];
    const events = {
      onStreamReset() {},
      onAboveWriteHighWatermark: () => log.push('above'),
      onBelowWriteLowWatermark: () => log.push('below'),
    };
    peer.feed(GET);
    peer.codec.onUnderlyingAboveWriteHighWatermark();
    peer.requests[0]!.encoder.stream.setEvents(events);
    peer.codec.onUnderlyingBelowWriteLowWatermark();
    peer.codec.onUnderlyingAboveWriteHighWatermark();
    expect(log).toEqual(['above', 'below', 'above']);
  });

  test('no request begins while too much output waits', () => {
    const peer = new ServerPeer(http1Options());
    peer.codec.onUnderlyingAboveWriteHighWatermark();
    peer.feed(GET);
    expect([peer.requests.length, peer.transport.pauses]).toEqual([0, 1]);
    peer.codec.onUnderlyingBelowWriteLowWatermark();
    expect(peer.transport.pauses).toBe(0);
    peer.feed('');
    expect(peer.requests.length).toBe(1);
  });

  test('an upgraded stream carries raw bytes both ways until the peer ends', () => {
    const peer = new ServerPeer(http1Options());
    peer.answer = false;
    peer.feed('GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly');
    const request = peer.requests[0]!;
    const headers = ResponseHeaders.of(101);
    headers.add('connection', 'Upgrade');
    headers.add('upgrade', 'websocket');
    request.encoder.encodeHeaders(headers, false);
    request.encoder.encodeData(bytesOf('GET / HTTP/1.1\r\n'), false);
    peer.feed('\r\n\r\n0\r\n');
    expect(request.body).toBe('early\r\n\r\n0\r\n');
    expect(peer.codec.onPeerEnd()).toBeNull();
    expect(request.ends).toBe(1);
    request.encoder.encodeData(bytesOf('bye'), true);
    expect(peer.transport.output.latin1()).toBe(
      'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nGET / HTTP/1.1\r\nbye',
    );
  });

  test('FIN in the middle of a message is an error that needs no answer; between messages it is none', () => {
    const idle = new ServerPeer(http1Options());
    idle.feed(GET);
    expect(idle.codec.onPeerEnd()).toBeNull();
    for (const cut of ['G', 'GET / HTTP/1.1\r\nHo', 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na']) {
      const peer = new ServerPeer(http1Options());
      peer.feed(cut);
      expect(peer.codec.onPeerEnd()?.status).toBe(0);
    }
  });

  test('an error behind the start of the response is not answered', () => {
    const peer = new ServerPeer(http1Options());
    peer.answer = false;
    peer.feed('POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n');
    peer.requests[0]!.encoder.encodeHeaders(ResponseHeaders.of(200), false);
    peer.feed('zz\r\n');
    expect(peer.error).toMatchObject({ status: 0, details: 'http1.codec_error', scope: 'connection' });
  });

  test('what is held of a head never passes the limit', () => {
    const peer = new ServerPeer(http1Options({ maxHeadersBytes: 1000 }));
    peer.feed(`GET / HTTP/1.1\r\nHost: h\r\na: ${'x'.repeat(900)}`);
    expect(peer.error).toBeNull();
    peer.feed('x'.repeat(1000));
    expect(peer.error).toMatchObject({ status: 431, details: 'http1.headers_too_large' });
  });

  test('framing of responses', () => {
    const cases: [string, number, boolean, string][] = [
      ['GET', 200, true, 'content-length: 0\r\n'],
      ['GET', 200, false, 'transfer-encoding: chunked\r\n'],
      ['HEAD', 200, true, 'transfer-encoding: chunked\r\n'],
      ['GET', 204, true, ''],
      ['GET', 304, true, ''],
    ];
    for (const [method, status, end, framing] of cases) {
      const peer = new ServerPeer(http1Options());
      peer.answer = false;
      peer.feed(`${method} / HTTP/1.1\r\nHost: h\r\n\r\n`);
      peer.requests[0]!.encoder.encodeHeaders(ResponseHeaders.of(status), end);
      expect(peer.transport.output.latin1().split('\r\n').slice(1).join('\r\n')).toBe(`${framing}\r\n`);
    }
  });

  test('header case: proper words, and as the client wrote them', () => {
    const peer = new ServerPeer(http1Options({ headerKeyFormat: PROPER_CASE_WORDS }));
    peer.feed(GET);
    expect(peer.transport.output.latin1()).toContain('\r\nContent-Length: 2\r\n');
    const keep = new ServerPeer(http1Options({ headerKeyFormat: preserveCase(false, false) }));
    keep.answer = false;
    keep.feed('GET / HTTP/1.1\r\nHOST: h\r\nX-fOO: 1\r\nx-b: 2\r\n\r\n');
    const { headers } = keep.requests[0]!;
    const wire = new TestTransport();
    const client = new Http1ClientCodec(
      wire,
      { onGoAway() {}, onMaxStreamsChanged() {}, onCodecFailure() {}, onStreamsChanged() {} },
      // The side that received it decides.
      http1Options({ headerKeyFormat: PROPER_CASE_WORDS }),
      NO_HTTP1_STATS,
    );
    headers.add('x-new', '3');
    client.newStream({ on1xxHeaders() {}, onHeaders() {}, onData() {}, onTrailers() {} }).encodeHeaders(headers, true);
    expect(wire.output.latin1()).toBe('GET / HTTP/1.1\r\nHOST: h\r\nX-fOO: 1\r\nx-b: 2\r\nx-new: 3\r\n\r\n');
  });

  test('bytes are metered', () => {
    const peer = new ServerPeer(http1Options());
    peer.feed(GET);
    const { meter } = peer.requests[0]!.encoder.stream;
    expect(meter.wireBytesReceived).toBe(GET.length);
    expect(meter.wireBytesSent).toBe(peer.transport.output.length);
    // As Envoy counts: `Host`, `h` and three bytes; `content-length: 2` and its line end.
    expect([meter.headerBytesReceived, meter.headerBytesSent]).toEqual([8, 19]);
  });
});

describe('client', () => {
  test('keeps the connection, or says why not', () => {
    const kept = new ClientPeer(http1Options(), get());
    kept.feed('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    expect([kept.end, kept.codec.mustClose, kept.codec.busy]).toEqual([1, false, false]);
    for (const head of ['HTTP/1.1 200 OK\r\nConnection: close\r\n', 'HTTP/1.0 200 OK\r\n']) {
      const peer = new ClientPeer(http1Options(), get());
      peer.feed(`${head}Content-Length: 0\r\n\r\n`);
      expect([peer.end, peer.codec.mustClose]).toEqual([1, true]);
    }
  });

  test('a body until close ends with the FIN; a cut one is an error', () => {
    const peer = new ClientPeer(http1Options(), get());
    peer.feed('HTTP/1.1 200 OK\r\n\r\nabc');
    expect([peer.body, peer.end]).toEqual(['abc', 0]);
    expect(peer.codec.onPeerEnd()).toBeNull();
    expect(peer.end).toBe(1);
    const cut = new ClientPeer(http1Options(), get());
    cut.feed('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc');
    expect(cut.codec.onPeerEnd()).not.toBeNull();
  });

  test('interim responses come apart from the final one', () => {
    const peer = new ClientPeer(http1Options(), get());
    peer.feed(
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    );
    expect(peer.heads).toBe('1xx 100 []\n1xx 103 ["link","x"]\n200 ["content-length","0"] true\n');
  });

  test('a response nobody asked for closes the connection', () => {
    const peer = new ClientPeer(http1Options(), get());
    peer.feed('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    peer.feed('H');
    expect(peer.codec.mustClose).toBe(true);
    peer.feed('TTP/1.1 408 Request Timeout\r\n\r\n');
    expect(peer.error?.message).toContain('premature response 408');
  });

  test('a response that is complete before its request forbids another one', () => {
    const wire = new TestTransport();
    const codec = new Http1ClientCodec(
      wire,
      { onGoAway() {}, onMaxStreamsChanged() {}, onCodecFailure() {}, onStreamsChanged() {} },
      http1Options(),
      NO_HTTP1_STATS,
    );
    const encoder = codec.newStream({ on1xxHeaders() {}, onHeaders() {}, onData() {}, onTrailers() {} });
    encoder.encodeHeaders(get('POST'), false);
    codec.dispatch(bytesOf('HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n'));
    expect(codec.mustClose).toBe(true);
    const sent = wire.output.length;
    encoder.encodeData(bytesOf('late'), true);
    expect(wire.output.length).toBe(sent);
  });

  test('full target, CONNECT and missing fields', () => {
    const head = (headers: RequestHeaders, full = false): string | null => {
      const wire = new TestTransport();
      const codec = new Http1ClientCodec(
        wire,
        { onGoAway() {}, onMaxStreamsChanged() {}, onCodecFailure() {}, onStreamsChanged() {} },
        http1Options({ sendFullyQualifiedUrl: full }),
        NO_HTTP1_STATS,
      );
      const error = codec
        .newStream({ on1xxHeaders() {}, onHeaders() {}, onData() {}, onTrailers() {} })
        .encodeHeaders(headers, headers.method !== 'CONNECT');
      return error ?? wire.output.latin1();
    };
    const headers = get();
    headers.scheme = 'http';
    expect(head(headers, true)).toBe('GET http://h/ HTTP/1.1\r\nhost: h\r\n\r\n');
    const connect = get('CONNECT');
    connect.path = null;
    connect.authority = 'h:443';
    expect(head(connect)).toBe('CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n');
    expect(head(new RequestHeaders())).toBe('missing required header: :method');
    headers.path = null;
    expect(head(headers)).toBe('missing required header: :path');
  });
});

test('what a client encodes a server decodes, and back', () => {
  const random = new SeededRandom(7);
  const text = (size: number): string => {
    let out = '';
    for (let i = 0; i < size; i++)
      out += String.fromCharCode(33 + random.below(90) + (random.below(9) === 0 ? 100 : 0));
    return out.replaceAll('\x7f', 'x');
  };
  for (let round = 0; round < 500; round++) {
    const server = new ServerPeer(http1Options({ enableTrailers: true }));
    server.answer = false;
    const wire = new TestTransport();
    const client = new Http1ClientCodec(
      wire,
      { onGoAway() {}, onMaxStreamsChanged() {}, onCodecFailure() {}, onStreamsChanged() {} },
      http1Options({ enableTrailers: true }),
      NO_HTTP1_STATS,
    );
    const headers = get(random.below(2) === 0 ? 'POST' : 'PUT');
    headers.path = `/${encodeURIComponent(text(random.below(30)))}`;
    for (let i = random.below(20); i > 0; i--) headers.add(`x-${i}-${random.below(1000)}`, text(random.below(60)));
    const body = text(random.below(300));
    const trailers = new HeaderMap();
    for (let i = random.below(3); i > 0; i--) trailers.add(`t-${i}`, text(random.below(20)));
    const encoder = client.newStream({ on1xxHeaders() {}, onHeaders() {}, onData() {}, onTrailers() {} });
    encoder.encodeHeaders(headers, false);
    for (let at = 0; at < body.length; ) {
      const size = 1 + random.below(100);
      encoder.encodeData(bytesOf(body.substring(at, at + size)), false);
      at += size;
    }
    if (trailers.size > 0) encoder.encodeTrailers(trailers);
    else encoder.encodeData(new ByteBuffer(), true);
    server.feed(wire.output.latin1());
    const request = server.requests[0]!;
    expect(server.error).toBeNull();
    expect(request.headers.path).toBe(headers.path);
    expect(request.headers.list).toEqual([...headers.list, 'transfer-encoding', 'chunked']);
    expect(request.body).toBe(body);
    expect(request.ends).toBe(1);
    expect(request.trailers?.list ?? []).toEqual(trailers.list);
  }
});
