import { describe, expect, test } from 'bun:test';
import { ByteBuffer } from './byte-buffer.ts';
import { SeededRandom } from './random.ts';
import { SlabPool } from './slab-pool.ts';

/** A pool that knows which slabs are out, and poisons what comes back, so that a reader of a freed slab sees 0xEE. */
class GuardedPool extends SlabPool {
  readonly out = new Set<Buffer>();

  override take(): Buffer {
    const slab = super.take();
    expect(this.out.has(slab)).toBe(false);
    this.out.add(slab);
    return slab;
  }

  override give(slab: Buffer): void {
    expect(this.out.delete(slab)).toBe(true);
    slab.fill(0xee);
    super.give(slab);
  }
}

function recorder() {
  const calls: string[] = [];
  return {
    calls,
    onAboveHighWatermark: () => calls.push('above'),
    onBelowLowWatermark: () => calls.push('below'),
  };
}

describe('ByteBuffer', () => {
  test('append, read and drain across slices', () => {
    const buffer = new ByteBuffer();
    buffer.append(Buffer.from('hello '));
    buffer.append(Buffer.from('xxworldxx'), 2, 7);
    expect(buffer.length).toBe(11);
    expect(buffer.latin1()).toBe('hello world');
    expect(buffer.byteAt(6)).toBe('w'.charCodeAt(0));
    expect(buffer.byteAt(11)).toBe(-1);
    expect(buffer.byteAt(-1)).toBe(-1);
    expect(buffer.indexOf('o'.charCodeAt(0))).toBe(4);
    expect(buffer.indexOf('o'.charCodeAt(0), 5)).toBe(7);
    expect(buffer.indexOf('x'.charCodeAt(0))).toBe(-1);
    buffer.drain(7);
    expect(buffer.latin1()).toBe('orld');
    buffer.clear();
    expect(buffer.length).toBe(0);
    expect(buffer.firstSlice()).toBeNull();
  });

  test('indexOf does not see the unused rest of a slab', () => {
    const pool = new SlabPool(64);
    const buffer = new ByteBuffer(pool);
    pool.give(Buffer.from('#'.repeat(64)));
    buffer.appendLatin1('abc');
    expect(buffer.indexOf('#'.charCodeAt(0))).toBe(-1);
  });

  test('latin1 text survives byte for byte', () => {
    const text = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i));
    for (const buffer of [new ByteBuffer(), new ByteBuffer(new SlabPool())]) {
      buffer.appendLatin1(text);
      expect(buffer.latin1()).toBe(text);
      expect(buffer.toBytes()).toEqual(Buffer.from(text, 'latin1'));
    }
  });

  test('a large slice moves without being copied', () => {
    const from = new ByteBuffer();
    const bytes = Buffer.alloc(100_000, 7);
    from.append(bytes);
    const to = new ByteBuffer(new SlabPool());
    to.appendLatin1('head');
    to.moveFrom(from);
    expect(from.length).toBe(0);
    expect(to.sliceAt(1).bytes).toBe(bytes);
  });

  test('a small piece is copied behind a pooled tail, and its own slab goes back', () => {
    const pool = new GuardedPool();
    const a = new ByteBuffer(pool);
    const b = new ByteBuffer(pool);
    a.appendLatin1('head ');
    b.appendLatin1('body');
    a.moveFrom(b);
    expect(a.sliceCount).toBe(1);
    expect(pool.out.size).toBe(1);
    expect(a.latin1()).toBe('head body');
    a.clear();
    expect(pool.out.size).toBe(0);
  });

  test('part of a slab is copied when moved, and the slab stays with one owner', () => {
    const pool = new GuardedPool();
    const from = new ByteBuffer(pool);
    const to = new ByteBuffer(pool);
    from.appendLatin1('abcdef');
    to.moveFrom(from, 2);
    from.appendLatin1('ghi');
    to.appendLatin1('XY');
    expect(to.latin1()).toBe('abXY');
    expect(from.latin1()).toBe('cdefghi');
    from.clear();
    expect(to.latin1()).toBe('abXY');
    to.clear();
    expect(pool.out.size).toBe(0);
  });

  test('prepend puts bytes in front, also after drains', () => {
    const buffer = ByteBuffer.from('abc');
    buffer.append(Buffer.from('def'));
    buffer.drain(4);
    buffer.prepend(Buffer.from('12'));
    expect(buffer.latin1()).toBe('12ef');
  });

  test('linearize copies only what is not contiguous and keeps the content', () => {
    const buffer = new ByteBuffer();
    const first = Buffer.alloc(10, 1);
    buffer.append(first);
    buffer.append(Buffer.alloc(10, 2));
    buffer.append(Buffer.alloc(10, 3));
    expect(buffer.linearize(10).bytes).toBe(first);
    const slice = buffer.linearize(15);
    expect(slice.end - slice.start).toBeGreaterThanOrEqual(15);
    expect(slice.bytes[slice.start + 14]).toBe(2);
    expect(buffer.length).toBe(30);
    expect(buffer.toBytes()).toEqual(Buffer.concat([Buffer.alloc(10, 1), Buffer.alloc(10, 2), Buffer.alloc(10, 3)]));
    expect(new ByteBuffer().linearize(0).end).toBe(0);
  });

  test('asking for more than there is, is a bug of the caller', () => {
    const buffer = ByteBuffer.from('abc');
    expect(() => buffer.drain(4)).toThrow();
    expect(() => buffer.linearize(4)).toThrow();
    expect(() => new ByteBuffer().moveFrom(buffer, 4)).toThrow();
    expect(() => buffer.copyTo(Buffer.alloc(9), 0, 1, 3)).toThrow();
    expect(buffer.latin1()).toBe('abc');
  });

  test('watermarks alternate: above when exceeding high, below at half or less', () => {
    const observer = recorder();
    const buffer = new ByteBuffer();
    buffer.setWatermarks(10, observer);
    buffer.append(Buffer.alloc(10));
    expect(observer.calls).toEqual([]);
    buffer.append(Buffer.alloc(1));
    buffer.append(Buffer.alloc(50));
    expect(observer.calls).toEqual(['above']);
    buffer.drain(55);
    expect(observer.calls).toEqual(['above']);
    expect(buffer.isAboveHighWatermark).toBe(true);
    buffer.drain(1);
    expect(observer.calls).toEqual(['above', 'below']);
    buffer.drain(5);
    buffer.appendLatin1('x'.repeat(11));
    expect(observer.calls).toEqual(['above', 'below', 'above']);
  });

  test('setting watermarks acts on what is held, and 0 turns them off', () => {
    const observer = recorder();
    const buffer = ByteBuffer.from('0123456789');
    buffer.setWatermarks(5, observer);
    expect(observer.calls).toEqual(['above']);
    buffer.setWatermarks(40, observer);
    expect(observer.calls).toEqual(['above', 'below']);
    buffer.setWatermarks(5, observer);
    buffer.setWatermarks(0, observer);
    expect(observer.calls).toEqual(['above', 'below', 'above', 'below']);
    buffer.append(Buffer.alloc(1000));
    expect(observer.calls.length).toBe(4);
  });

  test('moving crosses the watermarks of both ends', () => {
    const observer = recorder();
    const from = new ByteBuffer();
    const to = new ByteBuffer();
    from.append(Buffer.alloc(20));
    from.setWatermarks(10, observer);
    const other = recorder();
    to.setWatermarks(10, other);
    to.moveFrom(from);
    expect(observer.calls).toEqual(['above', 'below']);
    expect(other.calls).toEqual(['above']);
  });

  test('behaves as a plain byte string does, and never shares a slab (seeded)', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = new SeededRandom(seed);
      const pool = new GuardedPool(256, 4);
      const buffers = [new ByteBuffer(pool), new ByteBuffer(pool), new ByteBuffer()];
      const models = ['', '', ''];
      const pick = (n: number) => random.below(n);
      const text = (n: number) => {
        let out = '';
        for (let i = 0; i < n; i++) out += String.fromCharCode(pick(256));
        return out;
      };
      for (let step = 0; step < 300; step++) {
        const i = pick(3);
        const j = (i + 1 + pick(2)) % 3;
        const buffer = buffers[i]!;
        switch (pick(8)) {
          case 0:
          case 1: {
            const piece = text(pick(300));
            buffer.appendLatin1(piece);
            models[i] += piece;
            break;
          }
          case 2: {
            const piece = text(pick(40));
            buffer.append(Buffer.from(`##${piece}#`, 'latin1'), 2, 2 + piece.length);
            models[i] += piece;
            break;
          }
          case 3: {
            const size = pick(buffer.length + 1);
            buffer.drain(size);
            models[i] = models[i]!.slice(size);
            break;
          }
          case 4: {
            const size = pick(buffer.length + 1);
            buffers[j]!.moveFrom(buffer, size);
            models[j] += models[i]!.slice(0, size);
            models[i] = models[i]!.slice(size);
            break;
          }
          case 5: {
            const size = pick(buffer.length + 1);
            const slice = buffer.linearize(size);
            expect(slice.bytes.latin1Slice(slice.start, slice.start + size)).toBe(models[i]!.slice(0, size));
            break;
          }
          case 6: {
            const piece = text(pick(5));
            buffer.prepend(Buffer.from(piece, 'latin1'));
            models[i] = piece + models[i];
            break;
          }
          default: {
            const byte = pick(256);
            const from = pick(buffer.length + 1);
            expect(buffer.indexOf(byte, from)).toBe(models[i]!.indexOf(String.fromCharCode(byte), from));
            const at = pick(buffer.length + 1);
            expect(buffer.byteAt(at)).toBe(at < models[i]!.length ? models[i]!.charCodeAt(at) : -1);
          }
        }
        for (let k = 0; k < 3; k++) expect(buffers[k]!.length).toBe(models[k]!.length);
        if (step % 10 === 0) for (let k = 0; k < 3; k++) expect(buffers[k]!.latin1()).toBe(models[k]!);
      }
      for (let k = 0; k < 3; k++) {
        expect(buffers[k]!.latin1()).toBe(models[k]!);
        buffers[k]!.clear();
      }
      expect(pool.out.size).toBe(0);
    }
  });
});

describe('memory in proportion to length', () => {
  /** Bytes of the arrays that a buffer keeps alive. */
  function kept(buffer: ByteBuffer): number {
    const arrays = new Set<Buffer>();
    for (let i = 0; i < buffer.sliceCount; i++) arrays.add(buffer.sliceAt(i).bytes);
    return [...arrays].reduce((sum, bytes) => sum + bytes.length, 0);
  }

  for (const pool of [null, new SlabPool(16 * 1024, 4)]) {
    const where = pool === null ? 'without a pool' : 'with a pool';

    test(`many small pieces become few slices, ${where}`, () => {
      const buffer = new ByteBuffer(pool);
      let expected = '';
      for (let i = 0; i < 50_000; i++) {
        const text = String(i % 10);
        expected += text;
        buffer.append(Buffer.from(text));
      }
      expect(buffer.latin1() === expected).toBe(true);
      expect(buffer.sliceCount).toBeLessThan(12);
      expect(kept(buffer)).toBeLessThan(2 * buffer.length);
    });

    test(`a little out of each of many large arrays does not keep them, ${where}`, () => {
      for (const size of [1, 600, 5000]) {
        const buffer = new ByteBuffer(pool);
        for (let i = 0; i < 50; i++) {
          const input = ByteBuffer.from(Buffer.alloc(256 * 1024, i));
          // One from the middle, one from the end: in part, and whole.
          input.drain(1000);
          buffer.moveFrom(input, size);
          input.drain(input.length - size);
          buffer.moveFrom(input);
        }
        expect(buffer.length).toBe(100 * size);
        expect(kept(buffer)).toBeLessThan(256 * 1024 + 16 * buffer.length + 32 * 1024);
        for (let i = 0; i < 100; i++) expect(buffer.byteAt(i * size)).toBe(i >> 1);
      }
    });
  }

  test('most of an array is taken without a copy', () => {
    const bytes = Buffer.alloc(64 * 1024);
    const input = ByteBuffer.from(bytes);
    const buffer = ByteBuffer.from('x');
    for (let i = 0; i < 16; i++) {
      input.drain(6);
      buffer.moveFrom(input, 4000);
    }
    let own = 0;
    for (let i = 0; i < buffer.sliceCount; i++) if (buffer.sliceAt(i).bytes === bytes) own++;
    expect(own).toBeGreaterThanOrEqual(14);
  });
});

describe('bytes that a socket has handed over', () => {
  const read = (size: number, fill: number): Buffer => Buffer.from(new Uint8Array(size).fill(fill).buffer);
  const isFreed = (bytes: Buffer): boolean => bytes.buffer.byteLength === 0;

  test('are freed with their last part, wherever it went', () => {
    const bytes = read(100_000, 1);
    const input = new ByteBuffer();
    const [one, two] = [new ByteBuffer(), new ByteBuffer()];
    input.appendReceived(bytes);
    one.moveFrom(input, 30_000);
    two.moveFrom(input, 70_000);
    expect(input.length).toBe(0);
    two.drain(69_999);
    one.clear();
    expect(isFreed(bytes)).toBe(false);
    expect(two.byteAt(0)).toBe(1);
    two.clear();
    expect(isFreed(bytes)).toBe(true);
  });

  test('are left alone when they are few, or share their memory', () => {
    const small = read(1000, 1);
    const whole = read(100_000, 2);
    const buffer = new ByteBuffer();
    buffer.appendReceived(small);
    buffer.appendReceived(whole.subarray(0, 50_000));
    buffer.clear();
    expect(isFreed(small)).toBe(false);
    expect(isFreed(whole)).toBe(false);
  });

  test('any cutting, moving and joining keeps what is still held, and frees all in the end', () => {
    const random = new SeededRandom(11);
    const below = (count: number): number => Math.floor(random.float() * count);
    for (let round = 0; round < 40; round++) {
      const buffers = [new ByteBuffer(new SlabPool()), new ByteBuffer(), new ByteBuffer(new SlabPool())];
      const expected: number[][] = [[], [], []];
      const reads: Buffer[] = [];
      for (let step = 0; step < 60; step++) {
        const from = below(3);
        const to = below(3);
        const size = below(buffers[from]!.length + 1);
        switch (below(4)) {
          case 0: {
            const bytes = read(16_384 + below(20_000), below(256));
            reads.push(bytes);
            expected[to]!.push(...bytes);
            buffers[to]!.appendReceived(bytes);
            break;
          }
          case 1:
            if (from === to) break;
            buffers[to]!.moveFrom(buffers[from]!, size);
            expected[to] = [...expected[to]!, ...expected[from]!.splice(0, size)];
            break;
          case 2:
            buffers[from]!.drain(size);
            expected[from]!.splice(0, size);
            break;
          default:
            buffers[from]!.linearize(Math.min(size, 5000));
        }
        for (let i = 0; i < 3; i++) expect(buffers[i]!.length).toBe(expected[i]!.length);
      }
      for (let i = 0; i < 3; i++) {
        expect(buffers[i]!.toBytes().equals(Buffer.from(expected[i]!))).toBe(true);
        buffers[i]!.clear();
      }
      for (const bytes of reads) expect(isFreed(bytes)).toBe(true);
    }
  });
});
