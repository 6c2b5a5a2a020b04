import { describe, expect, test } from 'bun:test';
import { ByteBuffer } from '../../base/byte-buffer.ts';
import { SeededRandom } from '../../base/random.ts';
import { ResetReason, type ResponseEncoder } from '../codec.ts';
import { FrameType } from './frame/frame-types.ts';
import { type Http2CodecStats, type Http2Gauge, NO_HTTP2_STATS } from './http2-stats.ts';
import { Pair, type RecordedStream, requestHeaders, responseHeaders } from './test-peers.ts';

function body(size: number): ByteBuffer {
  return ByteBuffer.from(Buffer.alloc(size, 'x'));
}

/** Answers as soon as the head is there, and gives the stream up, as the connection manager does. */
function answersAtOnce(pair: Pair, size: number): void {
  const { streams, encoders } = pair.server;
  const push = streams.push.bind(streams);
  streams.push = (stream) => {
    const count = push(stream);
    stream.onHeaders = (headers) => {
      stream.heads.push(headers);
      const encoder = encoders[count - 1]!;
      encoder.encodeHeaders(responseHeaders(403), size === 0);
      if (size > 0) encoder.encodeData(body(size), true);
      encoder.stream.reset(ResetReason.LocalReset);
    };
    return count;
  };
}

/** What the server has written: types of its frames, with the code of resets. */
function written(pair: Pair): string[] {
  const wire = pair.server.transport.output.toBytes();
  const out: string[] = [];
  for (let at = 0; at + 9 <= wire.length; at += 9 + wire.readUIntBE(at, 3)) {
    const type = wire[at + 3];
    if (type === FrameType.RstStream) out.push(`reset ${wire.readUInt32BE(at + 9)}`);
    else if (type === FrameType.Data) out.push(`data ${wire.readUIntBE(at, 3)}`);
    else if (type === FrameType.Headers) out.push('headers');
  }
  return out;
}

/** Hands over what the client has written, in one read or several. */
function carryUp(pair: Pair, split = false): void {
  const bytes = pair.client.transport.output.toBytes();
  pair.client.transport.output.clear();
  if (!split) pair.server.feed(bytes);
  else for (const byte of bytes) pair.server.feed(Buffer.from([byte]));
}

describe('an answer before the end of the request', () => {
  test('no reset where the end is in the same read', () => {
    const pair = new Pair();
    answersAtOnce(pair, 5);
    const { encoder } = pair.client.request(requestHeaders('POST'), false);
    encoder.encodeData(body(10), true);
    carryUp(pair);
    expect(written(pair)).toEqual(['headers', 'data 5']);
    expect(pair.server.codec.activeStreams).toBe(0);
  });

  test('a reset without error where it is not', () => {
    const pair = new Pair();
    answersAtOnce(pair, 5);
    const { encoder } = pair.client.request(requestHeaders('POST'), false);
    carryUp(pair);
    expect(written(pair)).toEqual(['headers', 'data 5', 'reset 0']);
    expect(pair.server.codec.activeStreams).toBe(0);
    encoder.encodeData(body(10), true);
    carryUp(pair, true);
    expect(pair.server.error).toBeNull();
  });

  test('byte by byte the reset goes out behind the head', () => {
    const pair = new Pair();
    answersAtOnce(pair, 0);
    pair.client.request(requestHeaders('POST'), false).encoder.encodeData(body(10), true);
    carryUp(pair, true);
    expect(written(pair)).toEqual(['headers', 'reset 0']);
  });

  test('the whole answer goes out though the window is short', () => {
    const pair = new Pair({ client: { initialStreamWindowSize: 65_535 } });
    answersAtOnce(pair, 200_000);
    const { stream, encoder } = pair.client.request(requestHeaders('POST'), false);
    carryUp(pair);
    encoder.encodeData(body(20_000), false);
    pair.exchange();
    expect(stream.body.length).toBe(200_000);
    expect(stream.ended).toBe(true);
    expect(pair.server.codec.activeStreams).toBe(0);
  });

  test('the flush timeout ends one whose window never opens', () => {
    const pair = new Pair({ server: { streamFlushTimeoutMs: 1000 }, client: { initialStreamWindowSize: 65_535 } });
    answersAtOnce(pair, 200_000);
    pair.client.request(requestHeaders('POST'), false);
    carryUp(pair);
    expect(pair.server.codec.activeStreams).toBe(1);
    pair.timers.advance(1001);
    expect(pair.server.codec.activeStreams).toBe(0);
    expect(written(pair).at(-1)).toBe('reset 2');
  });
});

test('the end of a response waits for the window as long as its stream says', () => {
  for (const [ms, left] of [
    [0, 1],
    [50, 0],
  ] as const) {
    const pair = new Pair({ server: { streamFlushTimeoutMs: 1000 }, client: { initialStreamWindowSize: 65_535 } });
    pair.server.answer = (encoder) => {
      encoder.setFlushTimeout(ms);
      encoder.encodeHeaders(responseHeaders(200), false);
      encoder.encodeData(body(200_000), true);
    };
    pair.client.request(requestHeaders('GET'), true);
    carryUp(pair);
    expect(pair.server.codec.activeStreams).toBe(1);
    pair.timers.advance(ms === 0 ? 5000 : 60);
    expect(pair.server.codec.activeStreams).toBe(left);
  }
});

class Sum implements Http2Gauge {
  value = 0;
  highest = 0;
  add(delta: number): void {
    this.value += delta;
    if (this.value < 0) throw new Error('a gauge below 0');
    this.highest = Math.max(this.highest, this.value);
  }
}

/** Random traffic in which nothing is missing: early answers, resets by both sides, pauses, short windows, slow readers. */
test('all gauges are back at zero when nothing is left to do', () => {
  let mostWaiting = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const gauges = {
      outboundControlFramesActive: new Sum(),
      outboundFramesActive: new Sum(),
      pendingSendBytes: new Sum(),
      streamsActive: new Sum(),
    };
    const stats: Http2CodecStats = { ...NO_HTTP2_STATS, ...gauges };
    const random = new SeededRandom(seed);
    const pair = new Pair({ client: { initialStreamWindowSize: 65_535 }, stats });
    const held: [ResponseEncoder, RecordedStream][] = [];
    pair.server.answer = (encoder, request) => held.push([encoder, request]);
    if (seed % 3 === 0) answersAtOnce(pair, 100_000);
    const open = [];
    for (let step = 0; step < 60; step++) {
      switch (random.below(5)) {
        case 0: {
          const asked = pair.client.request(requestHeaders('POST'), false);
          asked.encoder.encodeData(body(random.below(50_000)), random.below(2) === 0);
          open.push(asked);
          break;
        }
        case 1:
          open.pop()?.encoder.stream.reset(ResetReason.LocalReset);
          break;
        case 2: {
          const next = held.pop();
          if (next === undefined || next[1].resetReason !== null) break;
          next[0].encodeHeaders(responseHeaders(200), false);
          next[0].encodeData(body(random.below(150_000)), true);
          break;
        }
        case 3:
          held.pop()?.[0].stream.reset(ResetReason.LocalReset);
          break;
        case 4:
          // The kernel has taken nothing so far, and takes all of it now.
          pair.server.codec.onOutputChanged();
          pair.exchange();
          pair.server.codec.onOutputChanged();
      }
    }
    expect(gauges.streamsActive.highest).toBeGreaterThan(0);
    mostWaiting = Math.max(mostWaiting, gauges.outboundFramesActive.highest);
    for (const { encoder } of open) encoder.stream.reset(ResetReason.LocalReset);
    pair.exchange();
    for (const [encoder, request] of held)
      if (request.resetReason === null) encoder.stream.reset(ResetReason.LocalReset);
    pair.exchange();
    pair.server.codec.onOutputChanged();
    if (seed % 2 === 0) pair.server.codec.onConnectionClosed();
    expect(Object.entries(gauges).map(([name, { value }]) => `${name} ${value}`)).toEqual(
      Object.keys(gauges).map((name) => `${name} 0`),
    );
  }
  expect(mostWaiting).toBeGreaterThan(0);
});
