import { describe, expect, test } from 'bun:test';
import { ByteBuffer } from '../../base/byte-buffer.ts';
import { SeededRandom } from '../../base/random.ts';
import { ResetReason } from '../codec.ts';
import { ErrorCode, FrameType, PREFACE } from './frame/frame-types.ts';
import { type Http2Options, http2Options } from './http2-options.ts';
import { ClientSide, Pair, requestHeaders, responseHeaders, ServerSide, TestTimers } from './test-peers.ts';

function frame(type: number, flags: number, id: number, payload: string | Buffer = ''): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload, 'hex') : payload;
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, body]);
}

const SETTINGS = frame(FrameType.Settings, 0, 0);
const OPENING = Buffer.concat([PREFACE, SETTINGS]);
/** GET / of http://a */
const GET = '828684410161';
const POST = '838684410161';

interface Wire {
  goAway: number | null;
  resets: [number, number][];
  types: number[];
}

function written(side: { transport: { output: { toBytes(): Buffer } } }): Wire {
  const wire = side.transport.output.toBytes();
  const out: Wire = { goAway: null, resets: [], types: [] };
  let at = wire.latin1Slice(0, 3) === 'PRI' ? 24 : 0;
  for (; at + 9 <= wire.length; at += 9 + wire.readUIntBE(at, 3)) {
    const type = wire[at + 3]!;
    out.types.push(type);
    if (type === FrameType.GoAway) out.goAway = wire.readUInt32BE(at + 13);
    if (type === FrameType.RstStream) out.resets.push([wire.readUInt32BE(at + 5), wire.readUInt32BE(at + 9)]);
  }
  return out;
}

/** Feeds a server in one piece and byte by byte; both must come to the same. */
function serve(parts: Buffer[], options: Partial<Http2Options> = {}): ServerSide {
  const wire = Buffer.concat([OPENING, ...parts]);
  const sides = [wire.length, 1].map((step) => {
    const side = new ServerSide(new TestTimers(), http2Options({ streamErrorOnInvalidHttpMessage: true, ...options }));
    for (let at = 0; at < wire.length; at += step) side.feed(wire.subarray(at, at + step));
    return side;
  });
  expect(written(sides[1]!)).toEqual(written(sides[0]!));
  expect(sides[1]!.streams.map((s) => [s.body, s.ended, s.resetReason])).toEqual(
    sides[0]!.streams.map((s) => [s.body, s.ended, s.resetReason]),
  );
  return sides[0]!;
}

describe('connection errors', () => {
  const cases: [string, number, Buffer[]][] = [
    ['a frame larger than 16 KiB', ErrorCode.FrameSizeError, [frame(FrameType.Ping, 0, 0, Buffer.alloc(16_385))]],
    ['PING of 7 bytes', ErrorCode.FrameSizeError, [frame(FrameType.Ping, 0, 0, '00000000000000')]],
    ['PING on a stream', ErrorCode.ProtocolError, [frame(FrameType.Ping, 0, 1, '0000000000000000')]],
    ['SETTINGS of 5 bytes', ErrorCode.FrameSizeError, [frame(FrameType.Settings, 0, 0, '0000000000')]],
    ['an acknowledgement with a payload', ErrorCode.FrameSizeError, [frame(FrameType.Settings, 1, 0, '000000000000')]],
    ['SETTINGS on a stream', ErrorCode.ProtocolError, [frame(FrameType.Settings, 0, 1)]],
    ['ENABLE_PUSH 2', ErrorCode.ProtocolError, [frame(FrameType.Settings, 0, 0, '000200000002')]],
    ['an initial window of 2^31', ErrorCode.FlowControlError, [frame(FrameType.Settings, 0, 0, '000480000000')]],
    ['a maximum frame size of 1', ErrorCode.ProtocolError, [frame(FrameType.Settings, 0, 0, '000500000001')]],
    ['DATA on stream 0', ErrorCode.ProtocolError, [frame(FrameType.Data, 0, 0, '00')]],
    ['DATA on an idle stream', ErrorCode.ProtocolError, [frame(FrameType.Data, 0, 1, '00')]],
    ['HEADERS on stream 0', ErrorCode.ProtocolError, [frame(FrameType.Headers, 5, 0, GET)]],
    ['HEADERS on an even stream', ErrorCode.ProtocolError, [frame(FrameType.Headers, 5, 2, GET)]],
    ['padding as long as the frame', ErrorCode.ProtocolError, [frame(FrameType.Headers, 13, 1, `07${GET}`)]],
    ['padded HEADERS of 0 bytes', ErrorCode.FrameSizeError, [frame(FrameType.Headers, 13, 1)]],
    ['a priority of 4 bytes', ErrorCode.FrameSizeError, [frame(FrameType.Headers, 0x25, 1, '00000000')]],
    ['PUSH_PROMISE', ErrorCode.ProtocolError, [frame(FrameType.PushPromise, 4, 1, `00000002${GET}`)]],
    ['CONTINUATION alone', ErrorCode.ProtocolError, [frame(FrameType.Continuation, 4, 1, GET)]],
    [
      'another frame inside of a header block',
      ErrorCode.ProtocolError,
      [frame(FrameType.Headers, 1, 1, GET), frame(FrameType.Ping, 0, 0, '0000000000000000')],
    ],
    ['an unknown frame inside of one', ErrorCode.ProtocolError, [frame(FrameType.Headers, 1, 1, GET), frame(77, 0, 0)]],
    ['RST_STREAM on an idle stream', ErrorCode.ProtocolError, [frame(FrameType.RstStream, 0, 1, '00000000')]],
    ['WINDOW_UPDATE of 0', ErrorCode.ProtocolError, [frame(FrameType.WindowUpdate, 0, 0, '00000000')]],
    ['a window of more than 2^31-1', ErrorCode.FlowControlError, [frame(FrameType.WindowUpdate, 0, 0, '7fffffff')]],
    ['GOAWAY of 7 bytes', ErrorCode.FrameSizeError, [frame(FrameType.GoAway, 0, 0, '00000000000000')]],
    ['a header block that is none', ErrorCode.CompressionError, [frame(FrameType.Headers, 5, 1, 'ffff')]],
    [
      'DATA behind the end',
      ErrorCode.StreamClosed,
      [frame(FrameType.Headers, 5, 1, GET), frame(FrameType.Data, 0, 1, '00')],
    ],
    [
      'HEADERS behind the end',
      ErrorCode.StreamClosed,
      [frame(FrameType.Headers, 5, 1, GET), frame(FrameType.Headers, 5, 1, GET)],
    ],
    [
      'ids that go back',
      ErrorCode.ProtocolError,
      [frame(FrameType.Headers, 5, 5, GET), frame(FrameType.Headers, 5, 3, GET)],
    ],
  ];
  for (const [name, code, parts] of cases) {
    test(name, () => {
      const side = serve(parts);
      expect(side.error?.scope).toBe('connection');
      expect(written(side).goAway).toBe(code);
    });
  }

  test('something else than a preface, something else than SETTINGS', () => {
    const side = new ServerSide(new TestTimers());
    side.feed(Buffer.from('GET / HTTP/1.1\r\n'));
    expect(side.error?.details).toBe('codec_error:Received_bad_client_magic_byte_string');
    const second = new ServerSide(new TestTimers());
    second.feed(Buffer.concat([PREFACE, frame(FrameType.Ping, 0, 0, '0000000000000000')]));
    expect(written(second).goAway).toBe(ErrorCode.ProtocolError);
  });
});

describe('what is ignored or answered', () => {
  test('unknown frames, unknown settings, priorities, padding', () => {
    const side = serve([
      frame(0x4d, 4, 0, '00'),
      frame(0xfe, 255, 1, '0102'),
      frame(FrameType.Settings, 0, 0, '00ff00000001'),
      frame(FrameType.Priority, 0, 9, '0000000310'),
      frame(FrameType.Headers, 0x2c, 1, `03${'0000000010'}${POST}000000`),
      frame(FrameType.Data, 8, 1, '02616200'.concat('00')),
      frame(FrameType.Data, 9, 1, '0063'),
    ]);
    expect(side.error).toBeNull();
    expect(side.streams[0]?.body).toBe('abc');
    expect(side.streams[0]?.ended).toBe(true);
  });

  test('PING and SETTINGS are answered', () => {
    const side = serve([frame(FrameType.Ping, 0, 0, '0102030405060708')]);
    expect(written(side).types).toEqual([4, 8, 4, 6]);
    expect(side.transport.output.toBytes().subarray(-17).toString('hex')).toBe(
      `0000080601${'00000000'}0102030405060708`,
    );
  });

  test('a stream that overruns its window ends alone', () => {
    const side = serve(
      [
        frame(FrameType.Headers, 4, 1, POST),
        ...Array.from({ length: 5 }, () => frame(FrameType.Data, 0, 1, Buffer.alloc(16_384))),
      ].slice(0, 6),
      { initialStreamWindowSize: 65_535 },
    );
    // Everything was used up, so that the window was given back in time.
    expect(side.error).toBeNull();
    const paused = new ServerSide(new TestTimers(), http2Options({ initialStreamWindowSize: 65_535 }));
    paused.feed(Buffer.concat([OPENING, frame(FrameType.Headers, 4, 1, POST)]));
    paused.encoders[0]!.stream.pauseReads();
    for (let i = 0; i < 5; i++) paused.feed(frame(FrameType.Data, 0, 1, Buffer.alloc(16_384)));
    expect(written(paused).resets).toEqual([[1, ErrorCode.FlowControlError]]);
    expect(paused.streams[0]?.resetReason).toBe(ResetReason.ProtocolError);
    expect(paused.error).toBeNull();
  });

  test('frames for a stream that we have reset were only on their way', () => {
    const side = new ServerSide(new TestTimers());
    side.feed(Buffer.concat([OPENING, frame(FrameType.Headers, 4, 1, POST)]));
    side.encoders[0]!.stream.reset(ResetReason.LocalReset);
    side.feed(
      Buffer.concat([
        frame(FrameType.Data, 0, 1, '00'),
        frame(FrameType.WindowUpdate, 0, 1, '00000001'),
        frame(FrameType.Headers, 5, 1, '4001610162'),
        frame(FrameType.RstStream, 0, 1, '00000000'),
        // The table followed although nobody wanted the fields.
        frame(FrameType.Headers, 5, 3, `${GET}bf`),
      ]),
    );
    expect(side.error).toBeNull();
    expect(side.streams[1]?.request.list).toEqual(['a', 'b']);
  });

  test('a window that SETTINGS make smaller may fall below 0 and comes back', () => {
    const side = new ServerSide(new TestTimers());
    side.answer = (encoder) => {
      encoder.encodeHeaders(responseHeaders(200), false);
      encoder.encodeData(new ByteBuffer(), false);
    };
    side.feed(Buffer.concat([OPENING, frame(FrameType.Headers, 5, 1, GET)]));
    const data = new ByteBuffer();
    data.append(Buffer.alloc(10));
    side.encoders[0]!.encodeData(data, false);
    side.feed(frame(FrameType.Settings, 0, 0, '000400000005'));
    side.transport.output.clear();
    data.append(Buffer.alloc(10));
    side.encoders[0]!.encodeData(data, true);
    expect(side.transport.output.length).toBe(0);
    side.feed(frame(FrameType.WindowUpdate, 0, 1, '00000006'));
    // 5 - 10 + 6: one byte.
    expect(side.transport.output.toBytes().toString('hex')).toBe(`000001000000000001${'00'}`);
    side.transport.output.clear();
    side.feed(frame(FrameType.Settings, 0, 0, '00040000ffff'));
    expect(written(side).types).toContain(FrameType.Data);
    expect(side.codec.activeStreams).toBe(0);
  });
});

describe('a request begins with its first byte', () => {
  test('HEADERS of which a part has come, and a block that goes on', () => {
    for (const part of [
      frame(FrameType.Headers, 5, 1, GET).subarray(0, 10),
      frame(FrameType.Headers, 0x2d, 1, `01000000030f${GET}00`).subarray(0, 15),
      frame(FrameType.Headers, 1, 1, GET),
    ]) {
      const side = new ServerSide(new TestTimers());
      side.feed(Buffer.concat([OPENING, part]));
      expect(side.streams.length).toBe(1);
      expect(side.streams[0]!.heads).toEqual([]);
      expect(side.codec.activeStreams).toBe(1);
    }
    const whole = new ServerSide(new TestTimers());
    whole.feed(Buffer.concat([OPENING, frame(FrameType.Headers, 1, 1, GET.slice(0, 4))]));
    whole.feed(frame(FrameType.Continuation, 4, 1, GET.slice(4)));
    expect(whole.streams.map((stream) => stream.ended)).toEqual([true]);
  });

  test('one that its owner gave up on meanwhile is read to its end for the sake of the table', () => {
    const side = new ServerSide(new TestTimers());
    side.feed(Buffer.concat([OPENING, frame(FrameType.Headers, 1, 1, GET)]));
    side.encoders[0]!.stream.reset(ResetReason.LocalReset);
    side.feed(frame(FrameType.Continuation, 4, 1, '4001610162'));
    side.feed(frame(FrameType.Headers, 5, 3, `${GET}bf`));
    expect(side.error).toBeNull();
    expect(side.streams[0]!.heads).toEqual([]);
    expect(side.streams[1]!.request.list).toEqual(['a', 'b']);
  });

  test('not one that is refused anyway', () => {
    for (const options of [{ maxConcurrentStreams: 1 }, {}]) {
      const side = new ServerSide(new TestTimers(), http2Options(options));
      side.feed(Buffer.concat([OPENING, frame(FrameType.Headers, 4, 1, POST)]));
      if (options.maxConcurrentStreams === undefined) side.codec.goAway();
      side.feed(frame(FrameType.Headers, 1, 3, GET));
      expect(side.streams.length).toBe(1);
      side.feed(frame(FrameType.Continuation, 4, 3));
      expect(side.streams.length).toBe(1);
      expect(side.error).toBeNull();
    }
  });
});

describe('a body and its length', () => {
  const post = frame(FrameType.Headers, 4, 1, POST);
  const abc = frame(FrameType.Data, 0, 1, '616263');
  /** content-length as a literal with the static name. */
  const lengthTrailer = (value: string) =>
    frame(FrameType.Headers, 5, 1, `0f0d01${Buffer.from(value).toString('hex')}`);

  test('Content-Length in the trailers counts (as in nghttp2)', () => {
    expect(serve([post, abc, lengthTrailer('3')]).streams[0]!.ended).toBe(true);
    const wrong = serve([post, abc, lengthTrailer('1')]);
    expect(written(wrong).resets).toEqual([[1, ErrorCode.ProtocolError]]);
    expect(wrong.streams[0]!.resetDetails).toBe('http2.violation.of.messaging.rule');
    const head = frame(FrameType.Headers, 4, 1, `${POST}0f0d0133`);
    expect(serve([head, abc, lengthTrailer('3')]).streams[0]!.resetDetails).toBe('http2.invalid.header.field');
  });
});

test("what is dropped comes back to the connection's window", () => {
  const side = new ClientSide(new TestTimers(), http2Options({ streamErrorOnInvalidHttpMessage: true }));
  side.feed(SETTINGS);
  // DATA in front of the response's head, until half a window of 24 MiB is used up.
  for (let id = 1; id < 2 * 800; id += 2) {
    side.request(requestHeaders(), true);
    side.feed(frame(FrameType.Data, 0, id, Buffer.alloc(16_384)));
  }
  expect(written(side).resets.length).toBe(800);
  expect(written(side).types.filter((type) => type === FrameType.WindowUpdate).length).toBe(2);
  expect(side.error).toBeNull();
});

describe('floods', () => {
  const flood = (options: Partial<Http2Options>, ...parts: Buffer[]) => {
    const side = new ServerSide(new TestTimers(), http2Options(options));
    side.feed(Buffer.concat([OPENING, ...parts]));
    return side;
  };
  const many = (count: number, part: Buffer) => Array.from({ length: count }, () => part);

  test('PING: at most so many answers wait', () => {
    const ping = frame(FrameType.Ping, 0, 0, '0000000000000000');
    expect(flood({}, ...many(900, ping)).error).toBeNull();
    expect(flood({}, ...many(1100, ping)).error?.details).toBe(
      'codec_error:Too_many_control_frames_in_the_outbound_queue.',
    );
  });

  test('a peer that reads is not held for a flood', () => {
    const side = new ServerSide(new TestTimers());
    side.feed(OPENING);
    for (let i = 0; i < 5000; i++) {
      side.feed(frame(FrameType.Ping, 0, 0, '0000000000000000'));
      // One behind.
      if (side.transport.output.length > 34) side.transport.output.drain(side.transport.output.length - 17);
    }
    expect(side.error).toBeNull();
  });

  test('SETTINGS, RST_STREAM, empty frames, priorities, WINDOW_UPDATE', () => {
    expect(flood({}, ...many(1100, SETTINGS)).error?.details).toContain('control_frames');
    const empty = frame(FrameType.Data, 0, 1);
    const post = frame(FrameType.Headers, 4, 1, POST);
    expect(flood({}, post, empty).error).toBeNull();
    expect(flood({}, post, empty, empty).error?.details).toContain('empty_payload');
    const priority = frame(FrameType.Priority, 0, 3, '0000000010');
    expect(flood({}, ...many(100, priority)).error).toBeNull();
    expect(flood({}, ...many(101, priority)).error?.details).toContain('PRIORITY');
    const update = frame(FrameType.WindowUpdate, 0, 0, '00000001');
    expect(flood({}, ...many(5, update)).error).toBeNull();
    expect(flood({}, ...many(6, update)).error?.details).toContain('WINDOW_UPDATE');
  });

  test('frames of all kinds, outside of a dispatch: told by the event, not under the encoder', () => {
    const timers = new TestTimers();
    const side = new ServerSide(timers, http2Options({ maxOutboundFrames: 20 }));
    side.feed(Buffer.concat([OPENING, frame(FrameType.Headers, 5, 1, GET)]));
    side.encoders[0]!.encodeHeaders(responseHeaders(200), false);
    for (let i = 0; i < 30; i++) {
      const data = new ByteBuffer();
      data.append(Buffer.from('x'));
      side.encoders[0]!.encodeData(data, false);
    }
    expect(side.error).toBeNull();
    timers.advance(2);
    expect(side.error?.details).toBe('codec_error:Too_many_frames_in_the_outbound_queue.');
  });

  test('entries of SETTINGS', () => {
    const settings = (count: number) => frame(FrameType.Settings, 0, 0, '000400001000'.repeat(count));
    expect(flood({}, settings(32)).error).toBeNull();
    expect(written(flood({}, settings(33))).goAway).toBe(ErrorCode.EnhanceYourCalm);
  });

  test('one header of more than 64 KiB', () => {
    const block = (size: number) => {
      const length = Buffer.from([0x00, 0x01, 0x61, 0x7f, 0, 0, 0]);
      const rest = size - 127;
      length[4] = (rest & 0x7f) | 0x80;
      length[5] = ((rest >> 7) & 0x7f) | 0x80;
      length[6] = rest >> 14;
      const bytes = Buffer.concat([Buffer.from(GET, 'hex'), length, Buffer.alloc(size, 'v')]);
      const parts = [frame(FrameType.Headers, 1, 1, bytes.subarray(0, 16_000))];
      for (let at = 16_000; at < bytes.length; at += 16_000) {
        const last = at + 16_000 >= bytes.length ? 4 : 0;
        parts.push(frame(FrameType.Continuation, last, 1, bytes.subarray(at, at + 16_000)));
      }
      return flood({ maxHeadersBytes: 200_000 }, ...parts);
    };
    expect(block(65_536).streams[0]!.ended).toBe(true);
    expect(written(block(65_537)).goAway).toBe(ErrorCode.CompressionError);
  });

  test('a header block without end', () => {
    const part = frame(FrameType.Continuation, 0, 1, Buffer.alloc(16_384, 0x82));
    const side = flood({}, frame(FrameType.Headers, 1, 1, GET), ...many(20, part));
    expect(written(side).goAway).toBe(ErrorCode.EnhanceYourCalm);
  });

  test('a small block that stands for a large list', () => {
    // One entry of 4000 bytes, then thousands of references to it.
    const value = Buffer.alloc(3900, 'v');
    const head = Buffer.concat([
      Buffer.from(GET, 'hex'),
      Buffer.from('400178', 'hex'),
      Buffer.from([0x7f, 0xbd, 0x1d]),
      value,
    ]);
    const side = flood(
      { maxHeadersCount: 100_000 },
      frame(FrameType.Headers, 5, 1, Buffer.concat([head, Buffer.alloc(12_000, 0xbe)])),
      frame(FrameType.Headers, 5, 3, GET),
    );
    expect(side.error).toBeNull();
    expect(written(side).resets).toEqual([[1, ErrorCode.InternalError]]);
    expect(side.streams[0]?.resetDetails).toBe('http2.header_list_size_too_large');
    expect(side.streams[1]?.ended).toBe(true);
  });
});

describe('client', () => {
  function client(...parts: Buffer[]) {
    const side = new ClientSide(new TestTimers());
    const { stream } = side.request(requestHeaders(), true);
    side.feed(Buffer.concat([SETTINGS, ...parts]));
    return { side, stream };
  }

  test('what a server must not send', () => {
    for (const part of [
      frame(FrameType.PushPromise, 4, 1, '0000000288'),
      frame(FrameType.Settings, 0, 0, '000200000001'),
      frame(FrameType.Headers, 5, 2, '88'),
      frame(FrameType.Headers, 5, 3, '88'),
      frame(FrameType.Data, 0, 1, '00'),
    ]) {
      expect(client(part).side.error?.scope).toBe('connection');
    }
  });

  test('malformed responses end their stream with a protocol error', () => {
    for (const block of [
      '',
      '8882',
      `0807${Buffer.from('2000000').toString('hex')}`,
      '88400158' + '0161',
      '0803313031',
    ]) {
      const { side, stream } = client(frame(FrameType.Headers, 5, 1, block));
      expect(stream.resetReason).toBe(ResetReason.ProtocolError);
      expect(side.error).not.toBeNull();
    }
  });

  test('a body of another length than was said', () => {
    const head = frame(FrameType.Headers, 4, 1, '880f0d0135');
    for (const data of [frame(FrameType.Data, 1, 1, '616263'), frame(FrameType.Data, 0, 1, '616263616263')]) {
      const { side, stream } = client(head, data);
      expect(stream.resetReason).toBe(ResetReason.ProtocolError);
      expect(side.error).toBeNull();
      expect(written(side).resets).toEqual([[1, ErrorCode.ProtocolError]]);
    }
  });

  test('streams above the last id of a GOAWAY may be tried elsewhere', () => {
    const { side, stream } = client(frame(FrameType.GoAway, 0, 0, '0000000000000002'));
    expect(stream.resetReason).toBe(ResetReason.RemoteRefusedStreamReset);
    expect([side.goAways, side.codec.mustClose, side.codec.activeStreams]).toEqual([1, true, 0]);
  });
});

describe('fuzz', () => {
  /** Whatever comes, one end per stream, no throw, output in bounds. */
  test('conversations with wrong bytes in them', () => {
    const random = new SeededRandom(5);
    const pair = new Pair();
    for (let i = 0; i < 4; i++) {
      const { encoder } = pair.client.request(requestHeaders('POST', `/${i}`, ['x-a', 'b', 'cookie', 'c=d']), false);
      const data = new ByteBuffer();
      data.append(Buffer.alloc(100));
      encoder.encodeData(data, true);
    }
    const wire = pair.client.transport.output.toBytes();
    let errors = 0;
    for (let round = 0; round < 4000; round++) {
      const bytes = Buffer.from(wire);
      const changes = 1 + Math.floor(random.float() * 4);
      for (let i = 0; i < changes; i++) bytes[24 + Math.floor(random.float() * (bytes.length - 24))] = random.uint32();
      const side = new ServerSide(
        new TestTimers(),
        http2Options({ streamErrorOnInvalidHttpMessage: round % 2 === 0, allowConnect: true }),
      );
      side.answer = (encoder) => encoder.encodeHeaders(responseHeaders(200, ['x', 'y']), true);
      const step = round % 3 === 0 ? 7 : bytes.length;
      for (let at = 0; at < bytes.length; at += step) side.feed(bytes.subarray(at, at + step));
      if (side.error !== null) errors++;
      expect(side.transport.output.length).toBeLessThan(20_000);
    }
    expect(errors).toBeGreaterThan(500);
    expect(errors).toBeLessThan(4000);
  });

  test('frames of random kinds to a client', () => {
    const random = new SeededRandom(9);
    for (let round = 0; round < 3000; round++) {
      const side = new ClientSide(new TestTimers(), http2Options({ streamErrorOnInvalidHttpMessage: true }));
      for (let i = 0; i < 3; i++) side.request(requestHeaders(), true);
      const parts = [SETTINGS];
      for (let i = 0; i < 8; i++) {
        const type = Math.floor(random.float() * 11);
        const id = Math.floor(random.float() * 4) * 2 - 1;
        const size = [0, 4, 5, 6, 8, 20][Math.floor(random.float() * 6)]!;
        const payload = Buffer.alloc(size);
        for (let k = 0; k < size; k++) payload[k] = random.float() < 0.5 ? 0x88 : random.uint32();
        parts.push(frame(type, random.uint32() & 0x2d, Math.max(id, 0), payload));
      }
      side.feed(Buffer.concat(parts));
      side.codec.onConnectionClosed();
      expect(side.codec.activeStreams).toBe(0);
    }
  });
});
