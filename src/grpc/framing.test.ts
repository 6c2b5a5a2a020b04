import { describe, expect, test } from 'bun:test';
import { ByteBuffer } from '../base/byte-buffer.ts';
import { SeededRandom } from '../base/random.ts';
import { GrpcStatus } from '../http/grpc-headers.ts';
import { framePrefix, MessageCounter, MessageReader } from './framing.ts';

function frame(text: string, flags = 0): Buffer {
  const prefix = framePrefix(text.length);
  prefix[0] = flags;
  return Buffer.concat([prefix, Buffer.from(text, 'latin1')]);
}

function drain(reader: MessageReader): string[] {
  const out: string[] = [];
  for (let message = reader.next(); message !== null; message = reader.next())
    out.push(Buffer.from(message).toString());
  return out;
}

describe('MessageReader', () => {
  test('whole messages, an empty one among them', () => {
    const reader = new MessageReader(10);
    const input = ByteBuffer.from(Buffer.concat([frame('one'), frame(''), frame('three')]));
    reader.feed(input);
    expect(input.length).toBe(0);
    expect(drain(reader)).toEqual(['one', '', 'three']);
    expect(reader.isAtBoundary).toBe(true);
    expect(reader.problem).toBe(null);
  });

  test('one byte at a time', () => {
    const reader = new MessageReader(1000);
    const got: string[] = [];
    const wire = Buffer.concat([frame('a'), frame(''), frame('x'.repeat(300))]);
    for (let i = 0; i < wire.length; i++) {
      reader.feed(ByteBuffer.from(wire.subarray(i, i + 1)));
      got.push(...drain(reader));
      expect(reader.isAtBoundary).toBe([6, 11, wire.length].includes(i + 1));
    }
    expect(got).toEqual(['a', '', 'x'.repeat(300)]);
  });

  test('the largest message passes, one byte more ends it before its bytes are kept', () => {
    const reader = new MessageReader(4);
    reader.feed(ByteBuffer.from(Buffer.concat([frame('four'), frame('fives')])));
    expect(drain(reader)).toEqual(['four']);
    expect(reader.problem).toEqual({
      status: GrpcStatus.ResourceExhausted,
      message: 'the message has 5 bytes, 4 are permitted',
    });
    const more = ByteBuffer.from('more');
    reader.feed(more);
    expect(more.length).toBe(0);
    expect(reader.next()).toBe(null);
    expect(reader.isAtBoundary).toBe(true);
  });

  test('a length of 4 GiB is refused, not allocated', () => {
    const reader = new MessageReader(4_194_304);
    reader.feed(ByteBuffer.from(Buffer.from([0, 255, 255, 255, 255])));
    expect(reader.next()).toBe(null);
    expect(reader.problem!.status).toBe(GrpcStatus.ResourceExhausted);
  });

  test.each([1, 2, 128, 255])('flags %p are refused', (flags) => {
    const reader = new MessageReader(10);
    reader.feed(ByteBuffer.from(frame('a', flags)));
    expect(reader.next()).toBe(null);
    expect(reader.problem!.status).toBe(GrpcStatus.Internal);
  });

  test('messages are the same however the stream is cut', () => {
    const random = new SeededRandom(7);
    for (let round = 0; round < 200; round++) {
      const texts = Array.from({ length: random.below(8) }, () => 'm'.repeat(random.below(700)));
      const wire = Buffer.concat(texts.map((text) => frame(text)));
      const reader = new MessageReader(700);
      const counter = new MessageCounter();
      const got: string[] = [];
      for (let at = 0; at < wire.length; ) {
        const end = Math.min(wire.length, at + 1 + random.below(600));
        const piece = ByteBuffer.from(Buffer.from(wire.subarray(at, end)));
        counter.inspect(piece);
        reader.feed(piece);
        if (random.below(2) === 0) got.push(...drain(reader));
        at = end;
      }
      got.push(...drain(reader));
      expect(got).toEqual(texts);
      expect(counter.count).toBe(texts.length);
    }
  });

  test('rubbish never throws, and keeps within its bound', () => {
    const random = new SeededRandom(11);
    for (let round = 0; round < 300; round++) {
      const reader = new MessageReader(64);
      const counter = new MessageCounter();
      for (let i = 0; i < 20; i++) {
        const bytes = Buffer.from(Array.from({ length: random.below(40) }, () => random.uint32() & 3));
        const data = ByteBuffer.from(bytes);
        counter.inspect(data);
        expect(data.length).toBe(bytes.length);
        reader.feed(data);
        for (let message = reader.next(); message !== null; message = reader.next()) {
          expect(message.length).toBeLessThanOrEqual(64);
        }
      }
    }
  });
});

test('MessageCounter counts a message with its first byte, compressed ones too', () => {
  const counter = new MessageCounter();
  const wire = Buffer.concat([frame('abc'), frame('', 1), frame('d')]);
  const counts: number[] = [];
  for (let i = 0; i < wire.length; i++) {
    counter.inspect(ByteBuffer.from(wire.subarray(i, i + 1)));
    counts.push(counter.count);
  }
  expect(counts).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3]);
  expect(new MessageCounter().inspect(ByteBuffer.from(Buffer.concat([frame('a'), frame('b', 7), frame('c')])))).toBe(3);
});
