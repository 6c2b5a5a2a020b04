import { describe, expect, test } from 'bun:test';
import { HistogramUnit } from './histogram.ts';
import { MergedStore } from './merged-store.ts';
import { renderJson } from './render-json.ts';
import { renderPrometheus } from './render-prometheus.ts';
import { renderStats } from './render-stats.ts';
import { renderText } from './render-text.ts';
import { parseStatsQuery, type StatsQuery } from './stats-query.ts';
import { StatsStore } from './store.ts';
import recorded from './testdata/envoy-stats.json';

/** Rebuilds the store that Envoy had when `testdata/envoy-stats.json` was recorded, from two "workers". */
function rebuild(): MergedStore {
  const merged = new MergedStore({
    histogramBuckets: [{ match: { prefix: 'cluster.other' }, buckets: [1, 5, 10.5, 100] }],
  });
  const workers = [new StatsStore(), new StatsStore()];
  for (const [name, value] of Object.entries(recorded.counters)) {
    workers[0]!.counter(name).add(value);
    workers[1]!.counter(name);
  }
  for (const [name, value] of Object.entries(recorded.gauges)) {
    workers[0]!.gauge(name).set(value - 1);
    workers[1]!.gauge(name).set(1);
  }
  const fill = (name: string, bins: number[][]): void => {
    for (const [lower, count] of bins) {
      for (let i = 0; i < count!; i++) {
        workers[i % 2]!.histogram(name, HistogramUnit.Milliseconds).recordValue(lower!);
      }
    }
  };
  const applyAll = (): void => {
    for (const [i, worker] of workers.entries()) merged.apply(i, structuredClone(worker.takeDelta()));
  };
  for (const histogram of recorded.histograms) {
    const inInterval = new Map(histogram.intervals.map((bin) => [bin[0], bin[1]]));
    fill(
      histogram.name,
      histogram.totals.map(([lower, count]) => [lower!, count! - (inInterval.get(lower) ?? 0)]),
    );
  }
  applyAll();
  merged.mergeHistograms();
  for (const histogram of recorded.histograms) fill(histogram.name, histogram.intervals);
  applyAll();
  merged.mergeHistograms();
  return merged;
}

function query(text: string, path: '/stats' | '/stats/prometheus' = '/stats'): StatsQuery {
  const parsed = parseStatsQuery(new URLSearchParams(text), path);
  if ('error' in parsed) throw new Error(parsed.error);
  return parsed;
}

describe('output equals what Envoy 1.40 printed', () => {
  const store = rebuild();
  for (const [url, expected] of Object.entries(recorded.outputs)) {
    test(url, () => {
      const [path, text] = url.split('?');
      const parsed = query(text!, `/${path}` as '/stats');
      const render =
        path === 'stats/prometheus' ? renderPrometheus : parsed.format === 'json' ? renderJson : renderText;
      expect(render(store, parsed)).toBe(expected);
    });
  }
});

describe('selection', () => {
  function small(): MergedStore {
    const local = new StatsStore();
    local.counter('a.used').inc();
    local.counter('a.unused');
    local.gauge('a.zero').set(0);
    local.gauge('a.hidden', 2).set(4);
    local.gauge('b.unset');
    local.textReadout('control_plane.identifier').set('cp "1"');
    local.histogram('h.empty');
    const merged = new MergedStore();
    merged.apply(0, local.takeDelta());
    return merged;
  }

  test('all stats are reported, sorted, hidden ones excluded', () => {
    expect(renderText(small(), query(''))).toBe(
      'control_plane.identifier: "cp "1""\na.unused: 0\na.used: 1\na.zero: 0\nb.unset: 0\nh.empty: No recorded values\n',
    );
  });
  test('usedonly', () => {
    expect(renderText(small(), query('usedonly&type=Counters'))).toBe('a.used: 1\n');
    expect(renderText(small(), query('usedonly&type=Gauges'))).toBe('a.zero: 0\n');
    expect(renderText(small(), query('usedonly&type=Histograms'))).toBe('');
  });
  test('filter, invert_filter, hidden', () => {
    expect(renderText(small(), query('filter=^a.u'))).toBe('a.unused: 0\na.used: 1\n');
    expect(renderText(small(), query('filter=^a&invert_filter&type=Gauges'))).toBe('b.unset: 0\n');
    expect(renderText(small(), query('filter=(?i)^A.U&usedonly'))).toBe('a.used: 1\n');
    expect(renderText(small(), query('hidden=only'))).toBe('a.hidden: 4\n');
    expect(renderText(small(), query('hidden=include&type=Gauges'))).toContain('a.hidden: 4\n');
  });
  test('text readouts become gauges for Prometheus when asked for', () => {
    expect(renderPrometheus(small(), query('filter=control'))).toBe('');
    expect(renderPrometheus(small(), query('filter=control&text_readouts'))).toBe(
      '# TYPE envoy_control_plane_identifier gauge\nenvoy_control_plane_identifier{text_value="cp \\"1\\""} 1\n',
    );
  });
  test('JSON strings are escaped; without histograms there is no histogram element', () => {
    expect(renderJson(small(), query('type=TextReadouts'))).toBe(
      '{"stats":[{"name":"control_plane.identifier","value":"cp \\"1\\""}]}',
    );
    expect(renderJson(small(), query('type=Histograms&filter=zzz'))).toBe('{"stats":[]}');
  });
});

describe('queries that Envoy refuses, with its bodies', () => {
  const cases: [string, '/stats' | '/stats/prometheus', string][] = [
    ['type=bad', '/stats', 'invalid &type= param'],
    ['format=bad', '/stats', 'usage: /stats?format=(html|active-html|json|prometheus|text)\n\n'],
    ['hidden=bad', '/stats', 'usage: /stats?hidden=(include|only|exclude)\n\n'],
    [
      'histogram_buckets=bad',
      '/stats',
      'usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n',
    ],
    ['histogram_buckets=detailed', '/stats/prometheus', 'unsupported prometheus histogram bucket mode'],
    [
      'histogram_buckets=prometheusnative',
      '/stats/prometheus',
      'unsupported prometheusnative histogram type when not using protobuf exposition format',
    ],
    ['histogram_buckets=prometheusnative', '/stats', 'Invalid histogram_buckets type for non prometheus stats type'],
  ];
  for (const [text, path, error] of cases) {
    test(`${path}?${text}`, () => {
      expect(parseStatsQuery(new URLSearchParams(text), path)).toEqual({ error });
    });
  }
  test('a bad filter', () => {
    const parsed = parseStatsQuery(new URLSearchParams('filter=('));
    expect('error' in parsed && parsed.error).toStartWith('Invalid re2 regex: ');
  });
});

describe('renderStats', () => {
  test('status, content type and body', () => {
    const local = new StatsStore();
    local.textReadout('x').set('<b>');
    const store = new MergedStore();
    store.apply(0, local.takeDelta());
    const ask = (path: '/stats' | '/stats/prometheus', text: string) =>
      renderStats(store, path, new URLSearchParams(text));
    expect(ask('/stats', '')).toEqual({ status: 200, contentType: 'text/plain; charset=UTF-8', body: 'x: "<b>"\n' });
    expect(ask('/stats', 'format=json').contentType).toBe('application/json');
    expect(ask('/stats', 'format=html').body).toContain('x: "&lt;b&gt;"\n');
    expect(ask('/stats', 'format=active-html').body).toContain('not offered');
    expect(ask('/stats', 'format=prometheus&text_readouts').body).toContain('envoy_x{text_value="<b>"} 1');
    expect(ask('/stats', 'type=x').status).toBe(400);
  });
});

test('a 64-bit hash is shown with all of its digits, until another value is set', () => {
  const local = new StatsStore();
  const gauge = local.gauge('version');
  gauge.setWide(17_241_709_254_077_376_921n);
  const store = new MergedStore();
  store.apply(0, local.takeDelta());
  const ask = (path: '/stats' | '/stats/prometheus', text: string): string =>
    renderStats(store, path, new URLSearchParams(text)).body;
  expect(ask('/stats', '')).toBe('version: 17241709254077376921\n');
  expect(ask('/stats', 'format=json')).toContain('"value":17241709254077376921');
  expect(ask('/stats/prometheus', '')).toContain('envoy_version{} 17241709254077376921\n');
  gauge.setWide(7n);
  store.apply(0, local.takeDelta());
  expect(ask('/stats', '')).toBe('version: 7\n');
});
