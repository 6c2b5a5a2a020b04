import { describe, expect, test } from 'bun:test';
import { ManualClock, SystemClock } from './clock.ts';
import { SeededRandom } from './random.ts';
import { Timer, type TimerTarget, TimerWheel } from './timer-wheel.ts';

const nothing = () => {};

function manual() {
  const clock = new ManualClock();
  const wheel = new TimerWheel(clock, nothing, nothing, true);
  const start = clock.monotonicMs();
  return {
    clock,
    wheel,
    now: () => clock.monotonicMs() - start,
    advance(ms: number) {
      clock.advance(ms);
      wheel.advance();
    },
    timer: (action: (timer: Timer) => void) => new Timer(wheel, { onTimer: action }),
  };
}

describe('TimerWheel', () => {
  test('fires once, not before its delay', () => {
    const w = manual();
    let fired = 0;
    const timer = w.timer(() => fired++);
    timer.enable(10);
    expect(timer.enabled).toBe(true);
    w.advance(9);
    expect(fired).toBe(0);
    w.advance(1);
    expect(fired).toBe(1);
    expect(timer.enabled).toBe(false);
    w.advance(1000);
    expect(fired).toBe(1);
  });

  test('a delay of zero fires in the next millisecond', () => {
    const w = manual();
    let fired = 0;
    w.timer(() => fired++).enable(0);
    w.wheel.advance();
    expect(fired).toBe(0);
    w.advance(1);
    expect(fired).toBe(1);
  });

  test('fractions round up', () => {
    const w = manual();
    w.clock.advance(0.7);
    let fired = 0;
    w.timer(() => fired++).enable(5);
    w.advance(5 - 0.1);
    expect(fired).toBe(0);
    w.advance(0.5);
    expect(fired).toBe(1);
  });

  test('delays over all levels, each at its own millisecond', () => {
    const delays = [
      1,
      255,
      256,
      257,
      511,
      65_535,
      65_536,
      65_537,
      16_777_215,
      16_777_216,
      20_000_000,
      2 ** 31,
      2 ** 32,
      2 ** 33 + 5,
    ];
    for (const offset of [0, 1, 255, 256, 70_001]) {
      const w = manual();
      w.advance(offset);
      for (const delay of delays) {
        let firedAt = -1;
        const timer = w.timer(() => {
          firedAt = w.now();
        });
        const begin = w.now();
        timer.enable(delay);
        w.advance(delay - 1);
        expect(firedAt).toBe(-1);
        w.advance(1);
        expect(firedAt - begin).toBe(delay);
      }
    }
  });

  test('a jump over many slots fires everything in order of time', () => {
    const w = manual();
    const order: number[] = [];
    for (const delay of [70_000, 3, 300, 1, 20_000_000, 256, 4000]) w.timer(() => order.push(delay)).enable(delay);
    w.advance(30_000_000);
    expect(order).toEqual([1, 3, 256, 300, 4000, 70_000, 20_000_000]);
  });

  test('enabling again replaces the deadline, later or earlier', () => {
    const w = manual();
    let fired = 0;
    const timer = w.timer(() => fired++);
    timer.enable(100);
    w.advance(90);
    timer.enable(100);
    w.advance(99);
    expect(fired).toBe(0);
    w.advance(1);
    expect(fired).toBe(1);
    timer.enable(1000);
    timer.enable(10);
    w.advance(10);
    expect(fired).toBe(2);
    w.advance(5000);
    expect(fired).toBe(2);
  });

  test('disable and destroy', () => {
    const w = manual();
    let fired = 0;
    const a = w.timer(() => fired++);
    const b = w.timer(() => fired++);
    a.enable(10);
    b.enable(10);
    a.disable();
    b.destroy();
    b.destroy();
    w.advance(20);
    expect(fired).toBe(0);
    a.enable(5);
    b.enable(5);
    w.advance(5);
    expect(fired).toBe(2);
    a.enable(Number.POSITIVE_INFINITY);
    expect(a.enabled).toBe(false);
    expect(() => a.enable(Number.NaN)).toThrow();
  });

  test('a callback disables, destroys and re-arms its neighbours of the same slot', () => {
    const w = manual();
    const fired: string[] = [];
    const disabled = w.timer(() => fired.push('disabled'));
    const destroyed = w.timer(() => fired.push('destroyed'));
    const moved = w.timer(() => fired.push(`moved ${w.now()}`));
    const first = w.timer((self) => {
      fired.push('first');
      disabled.disable();
      destroyed.destroy();
      moved.enable(7);
      self.enable(300);
    });
    for (const timer of [first, disabled, destroyed, moved]) timer.enable(10);
    w.advance(10);
    expect(fired).toEqual(['first']);
    w.advance(7);
    expect(fired).toEqual(['first', 'moved 17']);
    disabled.destroy();
    w.advance(293);
    expect(fired).toEqual(['first', 'moved 17', 'first']);
  });

  test('a callback that throws does not lose the others', () => {
    const w = manual();
    let fired = 0;
    w.timer(() => {
      throw new Error('broken');
    }).enable(5);
    w.timer(() => fired++).enable(5);
    w.timer(() => fired++).enable(6);
    expect(() => w.advance(10)).toThrow('broken');
    expect(fired).toBe(2);
    const seen: unknown[] = [];
    const clock = new ManualClock();
    const wheel = new TimerWheel(clock, nothing, nothing, true, (error) => seen.push(error));
    new Timer(wheel, {
      onTimer() {
        throw new Error('counted');
      },
    }).enable(1);
    clock.advance(1);
    wheel.advance();
    expect(String(seen[0])).toContain('counted');
  });

  test('a periodic timer does not drift beyond a millisecond per period', () => {
    const w = manual();
    let fired = 0;
    const timer = w.timer((self) => {
      fired++;
      self.enable(10);
    });
    timer.enable(10);
    for (let i = 0; i < 10_000; i++) w.advance(1);
    expect(fired).toBe(1000);
  });

  test('a long pause without timers does not delay the next one', () => {
    const w = manual();
    w.clock.advance(123_456_789);
    let fired = 0;
    w.timer(() => fired++).enable(10);
    w.advance(10);
    expect(fired).toBe(1);
  });

  test('agrees with a sorted list (seeded)', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new SeededRandom(seed);
      const pick = (n: number) => random.below(n);
      const w = manual();
      const due = new Map<number, number>();
      const fired: string[] = [];
      const timers = Array.from({ length: 40 }, (_, id) =>
        w.timer((self) => {
          fired.push(`${id}@${w.now()}`);
          if (pick(4) === 0) {
            const delay = 1 + pick(2000);
            self.enable(delay);
            due.set(id, w.now() + delay);
          }
        }),
      );
      for (let step = 0; step < 400; step++) {
        const id = pick(timers.length);
        const kind = pick(10);
        if (kind < 6) {
          const delay = [1, 10, 300, 5000, 70_000, 300_000, 17_000_000][pick(7)]! + pick(300);
          timers[id]!.enable(delay);
          due.set(id, w.now() + delay);
        } else if (kind === 6) {
          timers[id]!.disable();
          due.delete(id);
        } else if (kind === 7) {
          timers[id]!.destroy();
          due.delete(id);
        }
        // Millisecond by millisecond, or with a jump to just where the model says that something is due.
        const next = Math.min(...due.values());
        const hop =
          pick(3) === 0 && next !== Number.POSITIVE_INFINITY ? next - w.now() : Math.min(pick(50), next - w.now());
        if (hop <= 0) continue;
        const at = w.now() + hop;
        const expected = [...due].filter(([, when]) => when === at).map(([key]) => `${key}@${at}`);
        for (const [key, when] of [...due]) if (when === at) due.delete(key);
        fired.length = 0;
        w.advance(hop);
        expect(fired.slice().sort()).toEqual(expected.sort());
      }
    }
  });

  test('runs on the runtime timer, with its owner told before and after', async () => {
    const calls: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const wheel = new TimerWheel(
      new SystemClock(),
      () => calls.push('before'),
      () => {
        calls.push('after');
        if (calls.includes('fired')) resolve();
      },
    );
    const target: TimerTarget = { onTimer: () => calls.push('fired') };
    const begin = performance.now();
    new Timer(wheel, target).enable(15);
    const later = new Timer(wheel, target);
    later.enable(2000);
    await promise;
    expect(performance.now() - begin).toBeGreaterThanOrEqual(15);
    later.destroy();
    expect(calls.slice(-3)).toEqual(['before', 'fired', 'after']);
  });

  test('behind a stall, what the sockets have by then goes before the timers', async () => {
    const calls: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const said = (what: string): void => {
      calls.push(what);
      if (calls.includes('timer') && calls.includes('late')) resolve();
    };
    const wheel = new TimerWheel(
      new SystemClock(),
      () => {},
      () => {},
    );
    let peer: Bun.Socket | null = null;
    const server = Bun.listen({
      hostname: '127.0.0.1',
      port: 0,
      socket: {
        data: () => {},
        open: (socket) => {
          peer = socket;
          socket.write('stall');
        },
      },
    });
    const client = await Bun.connect({
      hostname: '127.0.0.1',
      port: server.port,
      socket: {
        data: (_, bytes) => {
          if (bytes.toString() !== 'stall') {
            said(bytes.toString());
            return;
          }
          new Timer(wheel, { onTimer: () => said('timer') }).enable(10);
          peer?.write('late');
          for (const end = performance.now() + 60; performance.now() < end; );
        },
      },
    });
    await promise;
    expect(calls).toEqual(['late', 'timer']);
    client.terminate();
    server.stop(true);
    wheel.stop();
  });
});
