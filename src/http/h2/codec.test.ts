import { describe, expect, test } from 'bun:test';
import { ByteBuffer } from '../../base/byte-buffer.ts';
import { ResetReason, type ResponseEncoder } from '../codec.ts';
import { HeaderMap } from '../header-map.ts';
import { FrameType } from './frame/frame-types.ts';
import type { Http2Options } from './http2-options.ts';
import { Pair, type RecordedStream, requestHeaders, responseHeaders } from './test-peers.ts';

function bytes(text: string | number): ByteBuffer {
  const buffer = new ByteBuffer();
  buffer.append(typeof text === 'number' ? Buffer.alloc(text, 'x') : Buffer.from(text, 'latin1'));
  return buffer;
}

function trailers(...list: string[]): HeaderMap {
  const map = new HeaderMap();
  map.list = list;
  return map;
}

/** Every test twice: whole, and one byte at a time. */
const STEPS = [Number.POSITIVE_INFINITY, 1];

/** Types of the frames in `wire`. */
function frames(wire: Buffer): { type: number; flags: number; id: number; size: number; payload: Buffer }[] {
  const out = [];
  for (let at = 0; at + 9 <= wire.length; ) {
    const size = wire.readUIntBE(at, 3);
    out.push({
      size,
      type: wire[at + 3]!,
      flags: wire[at + 4]!,
      id: wire.readUInt32BE(at + 5),
      payload: wire.subarray(at + 9, at + 9 + size),
    });
    at += 9 + size;
  }
  return out;
}

for (const step of STEPS) {
  describe(`messages, ${step === 1 ? 'byte by byte' : 'whole'}`, () => {
    test('request and response with bodies and trailers', () => {
      const pair = new Pair({ step });
      pair.server.answer = (encoder, request) => {
        encoder.encodeHeaders(responseHeaders(200, ['content-type', 'text/plain', 'x-echo', request.body]), false);
        encoder.encodeData(bytes('hello '), false);
        encoder.encodeData(bytes('world'), false);
        encoder.encodeTrailers(trailers('grpc-status', '0', 'x-last', 'yes'));
      };
      const { stream, encoder } = pair.client.request(
        requestHeaders('POST', '/a?b', ['x-one', '1', 'cookie', 'a=b']),
        false,
      );
      encoder.encodeData(bytes('body'), false);
      encoder.encodeTrailers(trailers('x-check', 'sum'));
      pair.exchange();
      const seen = pair.server.streams[0]!;
      expect(seen.request.method).toBe('POST');
      expect(seen.request.path).toBe('/a?b');
      expect(seen.request.authority).toBe('example.com');
      expect(seen.request.scheme).toBe('http');
      expect(seen.request.list).toEqual(['x-one', '1', 'cookie', 'a=b']);
      expect(seen.body).toBe('body');
      expect(seen.trailers?.list).toEqual(['x-check', 'sum']);
      expect(stream.response.status).toBe(200);
      expect(stream.response.list).toEqual(['content-type', 'text/plain', 'x-echo', 'body']);
      expect(stream.body).toBe('hello world');
      expect(stream.trailers?.list).toEqual(['grpc-status', '0', 'x-last', 'yes']);
      expect(stream.ended).toBe(true);
      expect(pair.client.codec.activeStreams).toBe(0);
      expect(pair.server.codec.activeStreams).toBe(0);
      expect(pair.client.streamsChanges).toBe(1);
    });

    test('fields count as they come, frames once nothing is wrong with them', () => {
      const pair = new Pair({ step });
      const head = ['content-length', '2'];
      const sound = pair.client.request(requestHeaders('POST', '/', head), false);
      sound.encoder.encodeData(bytes('ab'), true);
      const long = pair.client.request(requestHeaders('POST', '/', head), false);
      long.encoder.encodeData(bytes('abc'), true);
      pair.client.request(requestHeaders('POST', '/', ['content-length', '3']), true);
      pair.exchange();
      const [first, second, third] = pair.server.encoders.map((encoder) => encoder.stream.meter);
      expect(first!.wireBytesReceived).toBe(first!.headerBytesReceived + 9 + 2);
      expect(second!.wireBytesReceived).toBe(second!.headerBytesReceived);
      expect(second!.headerBytesReceived).toBeGreaterThan(0);
      expect([third!.wireBytesReceived, third!.headerBytesReceived]).toEqual([0, 0]);
      expect(third!.decompressedHeaderBytesReceived).toBe(second!.decompressedHeaderBytesReceived);
    });

    test('many streams at once, answered backwards', () => {
      const pair = new Pair({ step });
      const held: [ResponseEncoder, RecordedStream][] = [];
      pair.server.answer = (encoder, request) => held.push([encoder, request]);
      const asked = Array.from({ length: 40 }, (_, i) => pair.client.request(requestHeaders('GET', `/${i}`), true));
      pair.exchange();
      expect(held.length).toBe(40);
      for (const [encoder, request] of held.reverse()) {
        encoder.encodeHeaders(responseHeaders(200, ['x-path', request.request.path!]), false);
        encoder.encodeData(bytes(request.request.path!), true);
      }
      pair.exchange();
      asked.forEach(({ stream }, i) => {
        expect(stream.body).toBe(`/${i}`);
        expect(stream.ended).toBe(true);
      });
      expect(pair.client.codec.activeStreams).toBe(0);
    });

    test('1xx, HEAD, 204, 304 and a head alone', () => {
      const pair = new Pair({ step });
      pair.server.answer = (encoder, request) => {
        switch (request.request.path) {
          case '/1xx':
            encoder.encode1xxHeaders(responseHeaders(103, ['link', '</a>']));
            encoder.encodeHeaders(responseHeaders(200), true);
            break;
          case '/head':
            encoder.encodeHeaders(responseHeaders(200, ['content-length', '12']), true);
            break;
          case '/304':
            encoder.encodeHeaders(responseHeaders(304, ['content-length', '12']), true);
            break;
          default:
            encoder.encodeHeaders(responseHeaders(204), true);
        }
      };
      const informational = pair.client.request(requestHeaders('GET', '/1xx'), true).stream;
      const head = pair.client.request(requestHeaders('HEAD', '/head'), true).stream;
      const unmodified = pair.client.request(requestHeaders('GET', '/304'), true).stream;
      const empty = pair.client.request(requestHeaders('GET', '/204'), true).stream;
      pair.exchange();
      expect(informational.heads.map((h) => 'status' in h && h.status)).toEqual([103, 200]);
      expect(head.response.get('content-length')).toBe('12');
      for (const stream of [informational, head, unmodified, empty]) expect(stream.ended).toBe(true);
      expect(pair.client.error).toBeNull();
    });

    test('heads of many frames', () => {
      const pair = new Pair({ step, server: { maxHeadersBytes: 200_000 }, client: { maxHeadersBytes: 200_000 } });
      const fields: string[] = [];
      for (let i = 0; i < 60; i++) fields.push(`x-field-${i}`, `${i}`.repeat(700));
      pair.server.answer = (encoder) => encoder.encodeHeaders(responseHeaders(200, fields), true);
      const { stream } = pair.client.request(requestHeaders('GET', '/', fields), true);
      const wire = frames(pair.client.transport.output.toBytes().subarray(24));
      expect(wire.some((frame) => frame.type === FrameType.Continuation)).toBe(true);
      pair.exchange();
      expect(pair.server.streams[0]?.request.list).toEqual(fields);
      expect(stream.response.list).toEqual(fields);
    });
  });
}

describe('flow control', () => {
  const small: Partial<Http2Options> = { initialStreamWindowSize: 65_535, initialConnectionWindowSize: 65_535 };

  test('a body larger than the windows arrives whole; watermarks are balanced', () => {
    const pair = new Pair({ server: small, client: small });
    pair.server.answer = (encoder) => {
      encoder.encodeHeaders(responseHeaders(200), false);
      encoder.encodeData(bytes(1_000_000), false);
      encoder.encodeTrailers(trailers('x-end', '1'));
    };
    const { stream } = pair.client.request(requestHeaders(), true);
    pair.exchange();
    expect(stream.body.length).toBe(1_000_000);
    expect(stream.trailers?.get('x-end')).toBe('1');
    expect(pair.server.streams[0]?.above).toBe(0);
    expect(pair.server.codec.activeStreams).toBe(0);
  });

  test('a paused stream is held back alone, and told above its buffer limit', () => {
    const pair = new Pair({ server: small, client: { ...small, initialConnectionWindowSize: 1 << 20 } });
    const encoders: ResponseEncoder[] = [];
    pair.server.answer = (encoder) => {
      encoders.push(encoder);
      encoder.encodeHeaders(responseHeaders(200), false);
      encoder.encodeData(bytes(200_000), true);
    };
    const paused = pair.client.request(requestHeaders('GET', '/paused'), true);
    paused.encoder.stream.pauseReads();
    const free = pair.client.request(requestHeaders('GET', '/free'), true);
    pair.exchange();
    expect(free.stream.body.length).toBe(200_000);
    expect(paused.stream.body.length).toBe(65_535);
    expect(pair.server.streams[0]?.above).toBe(1);
    paused.encoder.stream.resumeReads();
    pair.exchange();
    expect(paused.stream.body.length).toBe(200_000);
    expect(paused.stream.ended).toBe(true);
    expect(pair.server.streams[0]?.above).toBe(0);
  });

  test('streams take turns when the connection window is what is short', () => {
    const pair = new Pair({ client: { ...small, initialStreamWindowSize: 1 << 20 } });
    pair.server.answer = (encoder) => {
      encoder.encodeHeaders(responseHeaders(200), false);
      encoder.encodeData(bytes(150_000), true);
    };
    const streams = [1, 2, 3].map(() => pair.client.request(requestHeaders(), true).stream);
    for (let round = 0; round < 6; round++) {
      const up = pair.client.transport.output.toBytes();
      pair.client.transport.output.clear();
      pair.server.feed(up);
      const down = pair.server.transport.output.toBytes();
      pair.server.transport.output.clear();
      pair.client.feed(down);
    }
    // The first had the whole window to begin with; the others share what came since.
    expect(streams[1]!.body.length).toBeGreaterThan(30_000);
    expect(streams[2]!.body.length).toBeGreaterThan(30_000);
    expect(Math.abs(streams[1]!.body.length - streams[2]!.body.length)).toBeLessThan(33_000);
    pair.exchange();
    for (const stream of streams) expect(stream.body.length).toBe(150_000);
  });

  test('what a paused stream held goes back to the connection when it is reset', () => {
    const pair = new Pair({ client: small });
    pair.server.answer = (encoder) => {
      encoder.encodeHeaders(responseHeaders(200), false);
      encoder.encodeData(bytes(500_000), true);
    };
    const paused = pair.client.request(requestHeaders(), true);
    paused.encoder.stream.pauseReads();
    pair.exchange();
    expect(paused.stream.body.length).toBe(65_535);
    paused.encoder.stream.reset(ResetReason.LocalReset);
    pair.exchange();
    expect(pair.server.streams[0]?.resetReason).toBe(ResetReason.RemoteReset);
    const second = pair.client.request(requestHeaders(), true);
    pair.exchange();
    expect(second.stream.body.length).toBe(500_000);
    expect(pair.server.streams[0]?.above).toBe(0);
  });
});

describe('a response that nobody takes', () => {
  test('is reset when its time is over; one that is taken is not', () => {
    const pair = new Pair({ server: { streamFlushTimeoutMs: 1000 }, client: { initialStreamWindowSize: 65_535 } });
    pair.server.answer = (encoder) => {
      encoder.encodeHeaders(responseHeaders(200), false);
      encoder.encodeData(bytes(100_000), true);
    };
    const held = pair.client.request(requestHeaders(), true);
    held.encoder.stream.pauseReads();
    const taken = pair.client.request(requestHeaders(), true);
    pair.exchange();
    expect(taken.stream.ended).toBe(true);
    pair.timers.advance(999);
    pair.exchange();
    expect(pair.server.codec.activeStreams).toBe(1);
    pair.timers.advance(2);
    pair.exchange();
    expect(pair.server.codec.activeStreams).toBe(0);
    expect(held.stream.resetReason).toBe(ResetReason.RemoteReset);
    expect(pair.timers.wheel.linkedCount).toBe(0);
  });
});

describe('resets and GOAWAY', () => {
  test('reasons cross the wire', () => {
    for (const [reason, expected] of [
      [ResetReason.LocalReset, ResetReason.RemoteReset],
      [ResetReason.LocalRefusedStreamReset, ResetReason.RemoteRefusedStreamReset],
      [ResetReason.ConnectError, ResetReason.ConnectError],
    ] as const) {
      const pair = new Pair();
      pair.server.answer = (encoder) => encoder.stream.reset(reason);
      const { stream } = pair.client.request(requestHeaders(), true);
      pair.exchange();
      expect(stream.resetReason).toBe(expected);
      expect(stream.resetDetails).toMatch(/^http2\.remote_(reset|refuse)$/);
      expect(pair.client.codec.activeStreams).toBe(0);
      expect(pair.server.streams[0]?.resetReason).toBeNull();
    }
  });

  test('a response that ends before its request, then a reset', () => {
    const pair = new Pair();
    const { stream, encoder } = pair.client.request(requestHeaders('POST'), false);
    encoder.encodeData(bytes('part'), false);
    pair.exchange();
    const answer = pair.server.encoders[0]!;
    answer.encodeHeaders(responseHeaders(413), true);
    answer.stream.reset(ResetReason.LocalReset);
    pair.exchange();
    expect(stream.ended).toBe(true);
    expect(stream.response.status).toBe(413);
    expect(stream.resetReason).toBe(ResetReason.RemoteReset);
    expect(pair.server.codec.activeStreams).toBe(0);
    // What was on its way does no harm.
    encoder.encodeData(bytes('more'), true);
    pair.exchange();
    expect(pair.server.error).toBeNull();
  });

  test('more streams than announced are refused', () => {
    const pair = new Pair({ server: { maxConcurrentStreams: 2 } });
    const all = [1, 2, 3].map(() => pair.client.request(requestHeaders(), true).stream);
    pair.exchange();
    expect(all.map((s) => s.resetReason)).toEqual([null, null, ResetReason.RemoteRefusedStreamReset]);
    expect(pair.client.codec.maxStreams).toBe(2);
    expect(pair.client.maxStreamsChanges).toBe(1);
    expect(pair.server.streams.length).toBe(2);
  });

  test('a graceful drain: notice, then the last id; the open streams finish, later ones are refused', () => {
    const pair = new Pair();
    const first = pair.client.request(requestHeaders(), true).stream;
    pair.exchange();
    pair.server.codec.shutdownNotice();
    const racing = pair.client.request(requestHeaders(), true).stream;
    pair.exchange();
    expect(pair.client.goAways).toBe(1);
    expect(pair.client.codec.mustClose).toBe(true);
    expect(pair.server.streams.length).toBe(2);
    pair.server.codec.goAway();
    const late = pair.client.request(requestHeaders(), true).stream;
    pair.exchange();
    expect(late.resetReason).toBe(ResetReason.RemoteRefusedStreamReset);
    expect(pair.server.streams.length).toBe(2);
    for (const encoder of pair.server.encoders) encoder.encodeHeaders(responseHeaders(200), true);
    pair.exchange();
    expect([first.ended, racing.ended]).toEqual([true, true]);
    expect(pair.client.goAways).toBe(1);
  });

  test('what comes behind a GOAWAY is dropped, body and trailers too', () => {
    const pair = new Pair();
    pair.client.request(requestHeaders(), true);
    pair.exchange();
    pair.server.codec.goAway();
    const late = pair.client.request(requestHeaders('POST'), false);
    late.encoder.encodeData(bytes(1000), false);
    late.encoder.encodeTrailers(trailers('x-a', 'b'));
    pair.exchange();
    expect(pair.server.error).toBeNull();
    expect(late.stream.resetReason).toBe(ResetReason.RemoteRefusedStreamReset);
    pair.server.encoders[0]!.encodeHeaders(responseHeaders(200), true);
    pair.exchange();
    expect(pair.client.error).toBeNull();
  });

  test('who passes the limit that it has acknowledged is cut off', () => {
    const pair = new Pair({ server: { maxConcurrentStreams: 2 } });
    for (let i = 0; i < 2; i++) pair.client.request(requestHeaders(), true);
    pair.exchange();
    pair.client.request(requestHeaders(), true);
    pair.exchange();
    expect(pair.server.error?.scope).toBe('connection');
  });

  test('the client says goodbye', () => {
    const pair = new Pair();
    pair.client.request(requestHeaders(), true);
    pair.client.codec.goAway();
    pair.exchange();
    expect(pair.server.goAways).toBe(1);
  });

  test('an owner that lost its connection has every stream reset', () => {
    const pair = new Pair();
    const { stream } = pair.client.request(requestHeaders(), true);
    pair.exchange();
    pair.client.codec.onConnectionClosed(ResetReason.RemoteConnectionFailure, 'x');
    expect(stream.resetReason).toBe(ResetReason.RemoteConnectionFailure);
    expect(pair.client.codec.activeStreams).toBe(0);
  });
});

describe('CONNECT', () => {
  test('extended CONNECT is an upgrade on both ends', () => {
    const pair = new Pair({ server: { allowConnect: true }, client: { allowConnect: true } });
    const headers = requestHeaders('GET', '/chat', ['connection', 'Upgrade', 'upgrade', 'websocket', 'x-a', 'b']);
    const { stream, encoder } = pair.client.request(headers, false);
    pair.exchange();
    const seen = pair.server.streams[0]!;
    expect(seen.request.method).toBe('GET');
    expect(seen.request.get('upgrade')).toBe('websocket');
    expect(seen.request.get('connection')).toBe('upgrade');
    expect(seen.request.protocol).toBeNull();
    const answer = pair.server.encoders[0]!;
    answer.encodeHeaders(responseHeaders(101, ['connection', 'upgrade', 'upgrade', 'websocket']), false);
    answer.encodeData(bytes('pong'), false);
    encoder.encodeData(bytes('ping'), false);
    pair.exchange();
    expect(stream.response.status).toBe(101);
    expect(stream.response.get('upgrade')).toBe('websocket');
    expect(stream.body).toBe('pong');
    expect(seen.body).toBe('ping');
  });

  test('plain CONNECT has neither scheme nor path', () => {
    const pair = new Pair();
    pair.client.request(requestHeaders('CONNECT', '/ignored'), false);
    pair.exchange();
    const { request } = pair.server.streams[0]!;
    expect([request.method, request.authority, request.path, request.scheme]).toEqual([
      'CONNECT',
      'example.com',
      null,
      '',
    ]);
  });

  test('extended CONNECT is malformed unless announced', () => {
    const pair = new Pair({ server: { streamErrorOnInvalidHttpMessage: true } });
    const { stream } = pair.client.request(
      requestHeaders('GET', '/', ['connection', 'upgrade', 'upgrade', 'x']),
      false,
    );
    pair.exchange();
    expect(stream.resetReason).toBe(ResetReason.ProtocolError);
    expect(pair.server.streams[0]?.resetDetails).toBe('http2.invalid.header.field');
  });
});

describe('keepalive', () => {
  const options = { keepaliveIntervalMs: 1000, keepaliveTimeoutMs: 300, keepaliveJitterPercent: 0 };

  test('a PING per interval; an answer keeps the connection', () => {
    const pair = new Pair({ server: options });
    pair.client.request(requestHeaders(), true);
    pair.exchange();
    for (let i = 0; i < 3; i++) {
      pair.timers.advance(1001);
      const sent = frames(pair.server.transport.output.toBytes());
      expect(sent.map((f) => f.type)).toEqual([FrameType.Ping]);
      pair.exchange();
    }
    expect(pair.server.error).toBeNull();
  });

  test('no answer in time ends it', () => {
    const pair = new Pair({ server: options });
    pair.client.request(requestHeaders(), true);
    pair.exchange();
    pair.timers.advance(1001);
    pair.timers.advance(301);
    pair.timers.advance(2);
    expect(pair.server.error?.details).toBe('http2_ping_timeout');
  });

  test('a connection that was idle is pinged before its next stream', () => {
    const pair = new Pair({ client: { keepaliveIdleIntervalMs: 500, keepaliveTimeoutMs: 300 } });
    pair.client.request(requestHeaders(), true);
    pair.exchange();
    pair.client.request(requestHeaders(), true);
    expect(frames(pair.client.transport.output.toBytes()).map((f) => f.type)).toEqual([FrameType.Headers]);
    pair.exchange();
    pair.timers.advance(501);
    pair.client.request(requestHeaders(), true);
    expect(frames(pair.client.transport.output.toBytes()).map((f) => f.type)).toEqual([
      FrameType.Ping,
      FrameType.Headers,
    ]);
  });
});

describe('the wire begins as Envoy writes it', () => {
  test('server', () => {
    const pair = new Pair();
    pair.client.request(requestHeaders(), true);
    pair.server.feed(pair.client.transport.output.toBytes());
    const [settings, update] = frames(pair.server.transport.output.toBytes());
    expect(settings?.payload.toString('hex')).toBe('000100001000000800000000000300000400000401000000');
    expect(update?.payload.readUInt32BE(0)).toBe(25_100_289);
  });

  test('client', () => {
    const pair = new Pair();
    pair.client.request(requestHeaders(), true);
    const wire = pair.client.transport.output.toBytes();
    expect(wire.latin1Slice(0, 24)).toBe('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    const [settings, update, head] = frames(wire.subarray(24));
    expect(settings?.payload.toString('hex')).toBe('000200000000000100001000000800000000000300000400000401000000');
    expect(update?.payload.readUInt32BE(0)).toBe(25_100_289);
    expect(head?.flags).toBe(5);
  });
});
