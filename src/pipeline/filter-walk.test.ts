import { describe, expect, test } from 'bun:test';
import { ByteBuffer } from '../base/byte-buffer.ts';
import { SeededRandom } from '../base/random.ts';
import { FilterWalk, type HeldMessage, Hook, type WalkStop } from './filter-walk.ts';
import { Flow } from './http-filter.ts';

/** A stop that answers at random and lets go later. */
class RandomStop implements WalkStop {
  readonly hooks: number;
  readonly index: number;
  heldRequest: HeldMessage | null = null;
  heldResponse: HeldMessage | null = null;
  resumed = false;
  /** What this stop was shown, in order: `H`, `D` and `T`, `$` where it saw the end. */
  seen = '';
  ended = false;

  constructor(index: number, hooks: number) {
    this.index = index;
    this.hooks = hooks;
  }
}

/** One walk whose stops hold and let go by a seeded generator. Records what comes out, and pauses of the source. */
class RandomWalk extends FilterWalk {
  protected readonly headersHook = Hook.RequestHeaders;
  protected readonly dataHook = Hook.RequestData;
  protected readonly trailersHook = Hook.RequestTrailers;
  readonly random: SeededRandom;
  readonly all: RandomStop[] = [];
  out = '';
  outHeaders = 0;
  outTrailers = 0;
  ends = 0;
  pauses = 0;
  pausesTotal = 0;
  overflows = 0;
  depth = 0;
  queue: RandomStop[] = [];
  /** Given by the test: what the source does when it is resumed, at once. */
  onResume: () => void = () => {};
  limit = 0;

  constructor(seed: number, stops: number) {
    super();
    this.random = new SeededRandom(seed);
    for (let i = 0; i < stops; i++) {
      const stop = new RandomStop(i, this.random.below(8));
      this.all.push(stop);
      this.addStop(stop);
    }
  }

  #answer(stop: RandomStop): Flow {
    const pick = this.random.below(6);
    if (pick < 3) return Flow.Continue;
    // Some ask inside the hook to go on, before they say that they stop.
    if (pick === 5) {
      stop.resumed = true;
      this.queue.push(stop);
    }
    return pick === 3 ? Flow.Pause : Flow.PauseAndBuffer;
  }

  #note(stop: RandomStop, what: string, end: boolean): void {
    expect(stop.ended).toBe(false);
    stop.ended = end;
    stop.seen += end ? `${what}$` : what;
  }

  protected callHeaders(stop: RandomStop, end: boolean): Flow {
    expect(stop.seen).toBe('');
    this.#note(stop, 'H', end);
    return this.#answer(stop);
  }

  protected callData(stop: RandomStop, data: ByteBuffer, end: boolean): Flow {
    this.#note(stop, data.length === 0 ? '' : 'D', end);
    return this.#answer(stop);
  }

  protected callTrailers(stop: RandomStop): Flow {
    this.#note(stop, 'T', true);
    return this.#answer(stop);
  }

  protected headersOut(end: boolean): void {
    expect(this.out).toBe('');
    this.outHeaders++;
    if (end) this.ends++;
  }

  protected dataOut(data: ByteBuffer, end: boolean): void {
    expect(this.outHeaders).toBe(1);
    expect(this.ends).toBe(0);
    this.out += data.latin1();
    data.clear();
    if (end) this.ends++;
  }

  protected trailersOut(): void {
    expect(this.ends).toBe(0);
    this.outTrailers++;
    this.ends++;
  }

  pauseSource(): void {
    this.pauses++;
    this.pausesTotal++;
  }

  resumeSource(): void {
    this.pauses--;
    expect(this.pauses).toBeGreaterThanOrEqual(0);
    this.onResume();
  }

  protected get endComesWithData(): boolean {
    return false;
  }

  protected bufferLimit(): number {
    return this.limit;
  }

  protected onOverflow(): void {
    this.overflows++;
    this.halted = true;
  }

  protected held(stop: RandomStop): HeldMessage | null {
    return stop.heldRequest;
  }

  protected setHeld(stop: RandomStop, held: HeldMessage): void {
    stop.heldRequest = held;
  }

  protected takeResumed(stop: RandomStop): boolean {
    const { resumed } = stop;
    stop.resumed = false;
    return resumed;
  }

  run(action: () => void): void {
    this.depth++;
    action();
    this.depth--;
    if (this.depth > 0) return;
    while (this.queue.length > 0) {
      const stop = this.queue.shift()!;
      this.depth++;
      if (this.takeResumed(stop)) this.release(stop.index);
      this.depth--;
    }
  }

  /** Lets go one stop that holds something. @returns false when there is none */
  letGo(): boolean {
    const holding = this.all.filter((stop) => stop.heldRequest !== null && stop.heldRequest.stop !== Flow.Continue);
    if (holding.length === 0) return false;
    const stop = holding[this.random.below(holding.length)]!;
    this.run(() => this.release(stop.index));
    return true;
  }
}

interface Piece {
  readonly text: string;
  readonly end: boolean;
}

/** Sends a whole message through `walk`, letting go in between, and then everything. */
function drive(walk: RandomWalk, pieces: readonly Piece[], trailers: boolean, endWithHeaders: boolean): string {
  let sent = '';
  walk.run(() => walk.headersFrom(0, endWithHeaders));
  if (!endWithHeaders) {
    const queue = [...pieces];
    while (queue.length > 0 && !walk.halted) {
      if (walk.random.below(3) === 0) walk.letGo();
      // A paused source sends nothing until something is let go.
      if (walk.pauses > 0) {
        expect(walk.letGo()).toBe(true);
        continue;
      }
      const piece = queue.shift()!;
      sent += piece.text;
      const data = ByteBuffer.from(Buffer.from(piece.text, 'latin1'));
      walk.run(() => walk.dataFrom(0, data, piece.end));
      expect(data.length).toBe(0);
    }
    if (trailers && !walk.halted) walk.run(() => walk.trailersFrom(0));
  }
  for (let i = 0; i < 200 && walk.letGo(); i++);
  return sent;
}

describe('filter walk', () => {
  test('random filters: order, no loss, one end, balanced pauses', () => {
    let paused = 0;
    let overflowed = 0;
    for (let seed = 1; seed <= 4000; seed++) {
      const setup = new SeededRandom(seed * 7919);
      const walk = new RandomWalk(seed, setup.below(6));
      walk.limit = [0, 4, 40][setup.below(3)]!;
      const count = setup.below(7);
      const trailers = setup.below(3) === 0;
      const endWithHeaders = count === 0 && !trailers;
      const pieces = Array.from({ length: count }, (_, i) => ({
        text: String.fromCharCode(97 + i).repeat(setup.below(6)),
        end: i === count - 1 && !trailers,
      }));
      const sent = drive(walk, pieces, trailers, endWithHeaders);
      paused += walk.pausesTotal;
      if (walk.halted) {
        overflowed++;
        walk.dropHeld();
        expect(walk.pauses).toBe(0);
        continue;
      }
      expect(`${seed}: ${walk.out}`).toBe(`${seed}: ${sent}`);
      expect(walk.outHeaders).toBe(1);
      expect(walk.ends).toBe(1);
      expect(walk.outTrailers).toBe(trailers ? 1 : 0);
      expect(walk.pauses).toBe(0);
      for (const stop of walk.all) {
        const hooks = stop.hooks & 7;
        if ((hooks & Hook.RequestHeaders) !== 0) expect(stop.seen.startsWith('H')).toBe(true);
        expect(stop.seen.indexOf('$')).toBeOneOf([-1, stop.seen.length - 1]);
      }
    }
    // The test is about these: it must have met them.
    expect(paused).toBeGreaterThan(50);
    expect(overflowed).toBeGreaterThan(50);
  });

  test('a source that sends more as soon as it is resumed does not overtake what is let go', () => {
    const walk = new RandomWalk(1, 0);
    const stop = new RandomStop(0, Hook.RequestHeaders);
    walk.all.push(stop);
    Reflect.get(walk, 'addStop').call(walk, stop);
    walk.limit = 4;
    Reflect.set(walk, 'callHeaders', () => Flow.Pause);
    walk.onResume = () => walk.dataFrom(0, ByteBuffer.from('later'), true);
    walk.headersFrom(0, false);
    walk.dataFrom(0, ByteBuffer.from('sooner '), false);
    expect(walk.pauses).toBe(1);
    walk.run(() => walk.release(0));
    expect(walk.out).toBe('sooner later');
    expect(walk.ends).toBe(1);
  });

  test('what is injected goes past the holding stop', () => {
    const walk = new RandomWalk(1, 0);
    const stop = new RandomStop(0, Hook.RequestData);
    walk.all.push(stop);
    Reflect.get(walk, 'addStop').call(walk, stop);
    Reflect.set(walk, 'callData', () => Flow.Pause);
    walk.headersFrom(0, false);
    walk.dataFrom(0, ByteBuffer.from('abcdef'), true);
    const part = new ByteBuffer();
    part.moveFrom(stop.heldRequest!.data, 2);
    walk.inject(0, part);
    expect(walk.out).toBe('ab');
    expect(walk.ends).toBe(0);
    walk.run(() => walk.release(0));
    expect(walk.out).toBe('abcdef');
    expect(walk.ends).toBe(1);
  });
});
