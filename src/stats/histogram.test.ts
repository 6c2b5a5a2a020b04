import { describe, expect, test } from 'bun:test';
import { SeededRandom } from '../base/random.ts';
import { Histogram, HistogramUnit, PERCENT_SCALE } from './histogram.ts';
import { binKey, binLowerBound, binMidpoint, binWidth, HistogramBins } from './histogram-bins.ts';
import { HistogramStatistics } from './histogram-statistics.ts';

function statistics(values: readonly number[], buckets: readonly number[] = [1, 10, 100], unit: HistogramUnit = 0) {
  const bins = new HistogramBins();
  for (const value of values) bins.insert(value);
  return new HistogramStatistics(bins, unit, buckets);
}

describe('bins', () => {
  test('two significant digits, edges belong to the upper bin', () => {
    const cases: [number, number, number][] = [
      [0, 0, 0],
      [1, 1, 0.1],
      [9, 9, 0.1],
      [10, 10, 1],
      [99, 99, 1],
      [100, 100, 10],
      [109, 100, 10],
      [110, 110, 10],
      [999, 990, 10],
      [1000, 1000, 100],
      [123456789, 120000000, 10000000],
    ];
    for (const [value, lower, width] of cases) {
      expect(binLowerBound(binKey(value))).toBeCloseTo(lower, 6);
      expect(binWidth(binKey(value))).toBeCloseTo(width, 9);
    }
  });
  test('every power of ten and its neighbours fall into the right bin', () => {
    for (let exponent = 1; exponent <= 15; exponent++) {
      const power = 10 ** exponent;
      expect(binLowerBound(binKey(power))).toBe(power);
      expect(binLowerBound(binKey(power - 1))).toBeLessThan(power);
      // Above 2^53 the neighbour of an edge is not a number of its own.
      for (const mantissa of exponent < 15 ? [11, 37, 50, 93, 99] : []) {
        const edge = (power / 10) * mantissa;
        expect(binKey(edge) - binKey(edge - 1)).toBe(1);
        expect(binLowerBound(binKey(edge))).toBeCloseTo(edge, 0);
      }
    }
  });
  test('insert and binKey agree; nothing is lost (seeded)', () => {
    const random = new SeededRandom(12345);
    const bins = new HistogramBins();
    const expected = new Map<number, number>();
    for (let i = 0; i < 5000; i++) {
      const value = Math.floor(10 ** (random.float() * 15.9));
      bins.insert(value);
      const key = binKey(value);
      expected.set(key, (expected.get(key) ?? 0) + 1);
      // Edges carry the rounding of circllhist: 9.3 * 100 is 930.0000000000001.
      expect(binLowerBound(key)).toBeLessThanOrEqual(value * (1 + 1e-15));
      expect(binLowerBound(key) + binWidth(key)).toBeGreaterThan(value);
    }
    const seen = new Map<number, number>();
    bins.forEach((key, count) => {
      seen.set(key, count);
    });
    expect([...seen].sort((a, b) => a[0] - b[0])).toEqual([...expected].sort((a, b) => a[0] - b[0]));
    expect(bins.count).toBe(5000);
  });
  test('odd input: negative, NaN, fraction, beyond 2^53', () => {
    const bins = new HistogramBins();
    bins.insert(-5);
    bins.insert(Number.NaN);
    bins.insert(3.9);
    bins.insert(1e30);
    const seen: [number, number][] = [];
    bins.forEach((key, count) => {
      seen.push([binLowerBound(key), count]);
    });
    expect(seen).toEqual([
      [0, 2],
      [3, 1],
      [9.9e15, 1],
    ]);
    bins.clear();
    expect(bins.count).toBe(0);
    bins.forEach(() => {
      throw new Error('not empty');
    });
  });
});

describe('quantiles: rank ceil(qn), the k samples of a bin at i/(k+1) of its width', () => {
  test('one sample is shown at the middle of its bin', () => {
    expect(statistics([17]).quantiles()).toEqual(new Array(10).fill(17.5));
  });
  test('none', () => {
    expect(statistics([]).quantiles()).toEqual(new Array(10).fill(Number.NaN));
  });
  test('zeros have no width', () => {
    expect(statistics([0, 0, 0]).quantiles()).toEqual(new Array(10).fill(0));
  });
  test('twenty-two samples, as recorded from Envoy', () => {
    const values = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 6];
    expect(statistics(values).quantiles()).toEqual([0, 1.025, 1.0875, 2.075, 3.05, 3.075, 6.05, 6.05, 6.05, 6.05]);
  });
  test('order of samples does not matter, quantiles never fall', () => {
    const values = Array.from({ length: 1000 }, (_, i) => (i * 7919) % 1000);
    const quantiles = statistics(values).quantiles();
    expect(statistics([...values].reverse()).quantiles()).toEqual(quantiles);
    for (let i = 1; i < quantiles.length; i++) expect(quantiles[i]!).toBeGreaterThanOrEqual(quantiles[i - 1]!);
    expect(quantiles[2]!).toBeCloseTo(500, -1);
  });
});

test('buckets count bins whose lower edge is at or below the bound', () => {
  const s = statistics([0, 1, 1, 5, 10, 11, 100, 101, 200], [1, 10, 100]);
  expect(s.cumulativeCounts()).toEqual([3, 5, 8]);
  expect(s.disjointCounts()).toEqual([3, 2, 3]);
});

test('sums use the midpoint of circllhist', () => {
  expect(binMidpoint(binKey(1))).toBeCloseTo(1.0476190476, 9);
  expect(statistics([0, 0, 0, 1, 1, 1, 5]).sampleSum()).toBe(8.192362093352193);
});

test('percent histograms are scaled back', () => {
  const s = statistics([0.5 * PERCENT_SCALE], [0.1, 0.5, 1], HistogramUnit.Percent);
  expect(s.cumulativeCounts()).toEqual([0, 1, 1]);
  expect(s.quantiles()[2]).toBeCloseTo(0.505, 6);
  expect(s.detailed()).toEqual([{ lowerBound: 0.5, width: 0.01, count: 1 }]);
});

test('a detached histogram counts', () => {
  const histogram = new Histogram();
  histogram.recordValue(3);
  expect(histogram.sampleCount).toBe(1);
});
