import { describe, expect, test } from 'bun:test';
import { GaugeImportMode } from './gauge.ts';
import { HistogramUnit } from './histogram.ts';
import { MergedStore } from './merged-store.ts';
import { defineStats } from './stat-group.ts';
import { compareTokenwise, sanitizeStatName } from './stat-names.ts';
import { StatsMatcher } from './stats-matcher.ts';
import type { MetricSnapshot } from './stats-sink.ts';
import { StatsStore } from './store.ts';

function move(merged: MergedStore, source: number, store: StatsStore): void {
  merged.apply(source, structuredClone(store.takeDelta()));
}

const HttpStats = defineStats({
  counters: ['downstream_cx_total', 'downstream_rq_total'],
  gauges: ['downstream_cx_active'],
  neverImportGauges: ['version'],
  hiddenGauges: ['secret'],
  textReadouts: ['id'],
  histograms: { downstream_rq_time: HistogramUnit.Milliseconds },
} as const);

describe('names', () => {
  test('sanitising, as Envoy', () => {
    const cases: [string, string][] = [
      ['other:with:colon', 'other_with_colon'],
      ['http://host:80/', 'http_host_80/'],
      ['unix:/tmp/x', 'unix_tmp/x'],
      ['.http.ingress.', 'http.ingress'],
      ['a\0b', 'a_b'],
      ['.', ''],
      ['', ''],
    ];
    for (const [name, clean] of cases) expect(sanitizeStatName(name)).toBe(clean);
  });
  test('a dot sorts first, token by token', () => {
    expect(['http_local.a', 'http2.x', 'http', 'http.z', 'a-b'].sort(compareTokenwise)).toEqual([
      'a-b',
      'http',
      'http.z',
      'http2.x',
      'http_local.a',
    ]);
  });
  test('scopes join with dots', () => {
    const store = new StatsStore();
    store.createScope('cluster.a:b.').createScope('ssl').counter('handshake').inc();
    expect(store.valueOf('cluster.a_b.ssl.handshake')).toBe(1);
    expect(store.valueOf('nothing')).toBeUndefined();
  });
});

describe('a name that comes back', () => {
  const value = (merged: MergedStore): number | undefined => merged.counters.get('a.downstream_cx_total')?.value;
  for (const flushed of [true, false]) {
    test(`counts from zero once nobody had it${flushed ? '' : ', though nobody looked in between'}`, () => {
      const store = new StatsStore();
      const merged = new MergedStore();
      const first = store.createScope('a');
      HttpStats.create(first).downstream_cx_total.add(5);
      first.counter('single').add(3);
      move(merged, 0, store);
      HttpStats.create(first);
      first.close();
      if (flushed) move(merged, 0, store);
      const second = store.createScope('a');
      HttpStats.create(second).downstream_cx_total.add(2);
      second.counter('single').inc();
      move(merged, 0, store);
      expect([value(merged), merged.counters.get('a.single')?.value]).toEqual([2, 1]);
    });
  }

  test('goes on where somebody has it still', () => {
    const store = new StatsStore();
    const merged = new MergedStore();
    const scopes = [store.createScope('a'), store.createScope('a')];
    for (const scope of scopes) HttpStats.create(scope).downstream_cx_total.inc();
    scopes[0]!.close();
    HttpStats.create(store.createScope('a')).downstream_cx_total.inc();
    move(merged, 0, store);
    expect(value(merged)).toBe(3);
  });

  test('however often', () => {
    const store = new StatsStore();
    const merged = new MergedStore();
    for (let i = 0; i < 1000; i++) {
      const scope = store.createScope('a');
      HttpStats.create(scope).downstream_cx_total.inc();
      scope.close();
    }
    move(merged, 0, store);
    expect(merged.counters.size).toBe(0);
  });
});

describe('groups', () => {
  test('are reported whole with zero, and only what is touched is made', () => {
    const store = new StatsStore();
    const stats = HttpStats.create(store.createScope('http.ingress.'));
    const merged = new MergedStore();
    move(merged, 0, store);
    expect([...merged.counters.keys()]).toEqual([
      'http.ingress.downstream_cx_total',
      'http.ingress.downstream_rq_total',
    ]);
    expect([...merged.gauges.values()].map((g) => [g.name, g.mode])).toEqual([
      ['http.ingress.downstream_cx_active', GaugeImportMode.Accumulate],
      ['http.ingress.version', GaugeImportMode.NeverImport],
      ['http.ingress.secret', GaugeImportMode.HiddenAccumulate],
    ]);
    expect(merged.counters.get('http.ingress.downstream_cx_total')!.used).toBe(false);
    expect(stats.downstream_cx_total).toBe(stats.downstream_cx_total);
    stats.downstream_cx_total.add(3);
    stats.downstream_cx_active.inc();
    stats.id.set('x');
    stats.downstream_rq_time.recordValue(17);
    expect(store.valueOf('http.ingress.downstream_cx_total')).toBe(3);
    expect(store.valueOf('http.ingress.downstream_rq_total')).toBe(0);
    move(merged, 0, store);
    merged.mergeHistograms();
    expect(merged.counters.get('http.ingress.downstream_cx_total')!.value).toBe(3);
    expect(merged.gauges.get('http.ingress.downstream_cx_active')!.value).toBe(1);
    expect(merged.textReadouts.get('http.ingress.id')!.value).toBe('x');
    expect(merged.histograms.get('http.ingress.downstream_rq_time')!.cumulativeStatistics.quantiles()[0]).toBe(17.5);
  });
  test('a second group of the family sends its names no more', () => {
    const store = new StatsStore();
    HttpStats.create(store.root, 'a');
    expect(store.takeDelta().shapeLists).toHaveLength(1);
    HttpStats.create(store.root, 'b').downstream_cx_total.inc();
    const delta = store.takeDelta();
    expect(delta.shapeLists).toHaveLength(0);
    expect(delta.groups).toEqual([{ firstId: 7, prefix: 'b', shapeList: 0 }]);
    expect([...delta.counters]).toEqual([7, 1]);
  });
  test('a name twice is a programming error', () => {
    expect(() => defineStats({ counters: ['a'], gauges: ['a'] } as const)).toThrow("'a'");
  });
});

describe('deltas and merging', () => {
  test('counters of workers add up; a delta without changes is empty', () => {
    const merged = new MergedStore();
    const workers = [new StatsStore(), new StatsStore()];
    for (const worker of workers) worker.counter('c').add(2);
    for (const [i, worker] of workers.entries()) move(merged, i, worker);
    expect(merged.counters.get('c')!.value).toBe(4);
    const empty = workers[0]!.takeDelta();
    expect([empty.counters.length, empty.created.length, empty.gauges.length]).toEqual([0, 0, 0]);
    workers[1]!.counter('c').inc();
    for (const [i, worker] of workers.entries()) move(merged, i, worker);
    expect(merged.counters.get('c')!.value).toBe(5);
  });
  test('accumulating gauges add up, process-wide ones take the last value', () => {
    const merged = new MergedStore();
    const [a, b] = [new StatsStore(), new StatsStore()];
    a.gauge('active').set(3);
    b.gauge('active').set(4);
    a.gauge('total', GaugeImportMode.NeverImport).set(10);
    b.gauge('total', GaugeImportMode.NeverImport).set(11);
    move(merged, 0, a);
    move(merged, 1, b);
    expect(merged.gauges.get('active')!.value).toBe(7);
    expect(merged.gauges.get('total')!.value).toBe(11);
    a.gauge('active').dec();
    b.gauge('active').sub(4);
    move(merged, 0, a);
    move(merged, 1, b);
    expect(merged.gauges.get('active')!.value).toBe(2);
    merged.removeSource(1);
    expect(merged.gauges.get('active')!.value).toBe(2);
    expect(merged.gauges.get('total')!.value).toBe(10);
    merged.removeSource(0);
    expect(merged.gauges.size).toBe(0);
  });
  test('a gauge set to zero is used', () => {
    const merged = new MergedStore();
    const store = new StatsStore();
    const gauge = store.gauge('g');
    move(merged, 0, store);
    expect(merged.gauges.get('g')!.used).toBe(false);
    gauge.set(0);
    move(merged, 0, store);
    expect(merged.gauges.get('g')!.used).toBe(true);
  });
  test('counters latch per flush, histograms have an interval and a cumulative view', () => {
    const merged = new MergedStore();
    const store = new StatsStore();
    const seen: [number, number, number][] = [];
    const sink = {
      flush(snapshot: MetricSnapshot): void {
        const histogram = snapshot.histograms[0]!;
        seen.push([
          snapshot.counters[0]!.delta,
          histogram.intervalStatistics.sampleCount(),
          histogram.cumulativeStatistics.sampleCount(),
        ]);
      },
    };
    for (const count of [2, 0, 5]) {
      store.counter('c').add(count);
      for (let i = 0; i < count; i++) store.histogram('h').recordValue(i);
      move(merged, 0, store);
      merged.flush([sink]);
    }
    expect(seen).toEqual([
      [2, 2, 2],
      [0, 0, 2],
      [5, 5, 7],
    ]);
    merged.resetCounters();
    expect(merged.counters.get('c')!.value).toBe(0);
  });
});

describe('lifetime', () => {
  test('a closed scope drops its stats when the last user is gone, last counts included', () => {
    const merged = new MergedStore();
    const [a, b] = [new StatsStore(), new StatsStore()];
    const scopes = [a, b].map((store) => store.createScope('cluster.x.'));
    const groups = scopes.map((scope) => HttpStats.create(scope.createScope('inner')));
    scopes[0]!.counter('c').inc();
    move(merged, 0, a);
    move(merged, 1, b);
    scopes[0]!.counter('c').inc();
    groups[0]!.downstream_cx_total.inc();
    scopes[0]!.close();
    scopes[0]!.close();
    scopes[1]!.counter('c');
    move(merged, 1, b);
    move(merged, 0, a);
    expect(merged.counters.get('cluster.x.c')!.value).toBe(2);
    expect(merged.counters.get('cluster.x.inner.downstream_cx_total')!.value).toBe(1);
    expect(a.statCount).toBe(0);
    scopes[1]!.close();
    move(merged, 1, b);
    expect([merged.counters.size, merged.gauges.size, merged.textReadouts.size, merged.histograms.size]).toEqual([
      0, 0, 0, 0,
    ]);
    // What is still held keeps working, unreported; new stats of a closed scope too.
    groups[0]!.downstream_cx_total.inc();
    scopes[0]!.counter('late').inc();
    expect([...a.takeDelta().counters]).toEqual([]);
  });
  test('two scopes of one name in one thread: one close leaves the other', () => {
    const merged = new MergedStore();
    const store = new StatsStore();
    const [one, two] = [store.createScope('s'), store.createScope('s')];
    one.counter('c').inc();
    two.counter('c').inc();
    move(merged, 0, store);
    expect(store.valueOf('s.c')).toBe(2);
    one.close();
    move(merged, 0, store);
    expect(merged.counters.get('s.c')!.value).toBe(2);
    expect(merged.counters.get('s.c')!.references).toBe(1);
  });
  test('remaking a scope many times leaks nothing', () => {
    const merged = new MergedStore();
    const store = new StatsStore();
    for (let i = 0; i < 500; i++) {
      const scope = store.createScope('cluster.x');
      HttpStats.create(scope).downstream_cx_total.inc();
      scope.counter('c').inc();
      if (i % 3 === 0) move(merged, 0, store);
      scope.close();
    }
    move(merged, 0, store);
    expect(store.statCount).toBe(0);
    expect(merged.counters.size).toBe(0);
  });
  test('the store is bounded and says how many it refused', () => {
    const store = new StatsStore({ maxStats: 3 });
    const merged = new MergedStore();
    for (let i = 0; i < 5; i++) store.counter(`c${i}`).inc();
    expect(HttpStats.create(store.root).downstream_cx_total.id).toBe(-1);
    move(merged, 0, store);
    expect(merged.counters.size).toBe(3);
    expect(merged.overflowCount).toBe(2 + 7);
  });
});

describe('StatsMatcher', () => {
  const all = ['cluster.a.x', 'cluster.a.y', 'http.b.x', 'Server.live'];
  const kept = (matcher: StatsMatcher): string[] => all.filter((name) => matcher.accepts(name));
  test('every kind of pattern', () => {
    expect(kept(new StatsMatcher())).toEqual(all);
    expect(kept(new StatsMatcher({ rejectAll: true }))).toEqual([]);
    expect(kept(new StatsMatcher({ rejectAll: false }))).toEqual(all);
    expect(kept(new StatsMatcher({ inclusionList: [{ exact: 'cluster.a.x' }, { prefix: 'http' }] }))).toEqual([
      'cluster.a.x',
      'http.b.x',
    ]);
    expect(kept(new StatsMatcher({ exclusionList: [{ suffix: '.x' }, { contains: 'live' }] }))).toEqual([
      'cluster.a.y',
    ]);
    expect(kept(new StatsMatcher({ inclusionList: [{ safeRegex: /cluster\.\w/ }] }))).toEqual([]);
    expect(kept(new StatsMatcher({ inclusionList: [{ safeRegex: /cluster\..*/ }] }))).toEqual(all.slice(0, 2));
    expect(kept(new StatsMatcher({ inclusionList: [{ prefix: 'server', ignoreCase: true }] }))).toEqual([
      'Server.live',
    ]);
  });
  test('refused stats are not merged, single or in a group', () => {
    const merged = new MergedStore({ matcher: new StatsMatcher({ exclusionList: [{ suffix: '_total' }] }) });
    const store = new StatsStore();
    store.counter('x_total').inc();
    const stats = HttpStats.create(store.root, 'h');
    stats.downstream_cx_total.inc();
    stats.downstream_cx_active.inc();
    move(merged, 0, store);
    expect(merged.counters.size).toBe(0);
    expect(merged.gauges.get('h.downstream_cx_active')!.value).toBe(1);
    store.root.close();
    move(merged, 0, store);
    expect(merged.gauges.size).toBe(0);
  });
});

describe('stats of which nothing is said', () => {
  const Other = defineStats({ counters: ['downstream_cx_total', 'other'] } as const);

  test('have entries only while all are asked for', () => {
    const merged = new MergedStore();
    const store = new StatsStore();
    const group = HttpStats.create(store.root, 'http.a');
    HttpStats.create(store.root, 'http.b');
    group.downstream_cx_total.inc();
    move(merged, 0, store);
    expect([...merged.touched.counters.keys()]).toEqual(['http.a.downstream_cx_total']);
    expect(merged.counters.size).toBe(4);
    expect(merged.histograms.size).toBe(2);
    expect(merged.touched.counters.size).toBe(4);
    merged.flush([]);
    expect([...merged.touched.counters.keys()]).toEqual(['http.a.downstream_cx_total']);
    expect(merged.touched.histograms.size).toBe(0);
    group.downstream_rq_time.recordValue(5);
    group.downstream_cx_total.inc();
    move(merged, 0, store);
    // Samples wait for the flush: they must not be folded away before it.
    expect(merged.histograms.size).toBe(2);
    merged.flush([]);
    expect([...merged.touched.histograms.keys()]).toEqual(['http.a.downstream_rq_time']);
    expect(merged.counters.get('http.a.downstream_cx_total')!.value).toBe(2);
  });

  test('keep their value as long as any source has them, in whichever group', () => {
    const merged = new MergedStore();
    const [a, b, c] = [new StatsStore(), new StatsStore(), new StatsStore()];
    const scopes = [a, b, c].map((store) => store.createScope('http.x'));
    const first = HttpStats.create(scopes[0]!);
    HttpStats.create(scopes[1]!);
    Other.create(scopes[2]!);
    first.downstream_cx_total.add(3);
    first.downstream_cx_active.set(2);
    for (const [source, store] of [a, b, c].entries()) move(merged, source, store);
    const total = (): number | undefined => merged.counters.get('http.x.downstream_cx_total')?.value;
    scopes[0]!.close();
    move(merged, 0, a);
    expect(total()).toBe(3);
    expect(merged.gauges.get('http.x.downstream_cx_active')!.value).toBe(0);
    merged.flush([]);
    scopes[1]!.close();
    move(merged, 1, b);
    expect(total()).toBe(3);
    expect(merged.gauges.size).toBe(0);
    merged.removeSource(2);
    expect(merged.counters.size).toBe(0);
  });

  test('belong to a source that has announced and taken back many others', () => {
    const merged = new MergedStore();
    const store = new StatsStore();
    for (let i = 0; i < 300; i++) {
      const scope = store.createScope(`s${i}`);
      HttpStats.create(scope).downstream_cx_total.inc();
      if (i % 3 !== 0) scope.close();
      if (i % 7 === 0) move(merged, 0, store);
    }
    move(merged, 0, store);
    const names = [...merged.touched.counters.values()].filter((each) => each.value === 1).map((each) => each.name);
    expect(names).toEqual(Array.from({ length: 100 }, (_, i) => `s${i * 3}.downstream_cx_total`));
    expect(merged.counters.size).toBe(200);
  });
});
