import { describe, expect, test } from 'bun:test';
import { SeededRandom } from '../base/random.ts';
import { ResponseHeaders } from '../http/header-map.ts';
import { LoadMetrics, type OrcaReport, readOrcaReport } from './orca-report.ts';

function read(value: string, name = 'endpoint-load-metrics'): OrcaReport | null {
  const headers = new ResponseHeaders();
  headers.add(name, value);
  return readOrcaReport(headers);
}

function shown(report: OrcaReport | null): unknown {
  if (report === null) return null;
  const maps = Object.entries(report.maps).flatMap(([map, values]) =>
    [...values].map(([key, value]) => [`${map}.${key}`, value] as const),
  );
  return Object.fromEntries([...report.values, ...maps]);
}

const double = (value: number): Buffer => Buffer.from(new Float64Array([value]).buffer);
const WIRE = Buffer.concat([
  Buffer.from([0x09]),
  double(0.5),
  Buffer.from([0x18, 0x96, 0x01]),
  Buffer.from([0x42, 12, 0x0a, 1, 0x61, 0x11]),
  double(2),
]);

describe('a host’s load', () => {
  test('as text', () => {
    expect(shown(read('TEXT cpu_utilization=0.25, named_metrics.a.b:2 ,eps=1e2'))).toEqual({
      cpu_utilization: 0.25,
      'named_metrics.a.b': 2,
      eps: 100,
    });
    for (const bad of [
      'TEXT ',
      'TEXT a',
      'TEXT eps=',
      'TEXT eps=1,eps=2',
      'TEXT eps=NaN',
      'TEXT named_metrics.=1',
      'x',
    ]) {
      expect(read(bad)).toBeNull();
    }
  });

  test('as JSON', () => {
    expect(shown(read('JSON {"memUtilization": "0.5", "rps": 3, "eps": null, "request_cost": {"r": 1}}'))).toEqual({
      mem_utilization: 0.5,
      'request_cost.r': 1,
    });
    for (const bad of ['JSON', 'JSON []', 'JSON {"eps": true}', 'JSON {"utilization": {"u": "x"}}', 'JSON {"x": 1}']) {
      expect(read(bad)).toBeNull();
    }
  });

  test('as bytes', () => {
    const text = WIRE.toString('base64');
    for (const report of [read(`BIN ${text}`), read(text, 'endpoint-load-metrics-bin')]) {
      expect(shown(report)).toEqual({ cpu_utilization: 0.5, 'named_metrics.a': 2 });
    }
    for (let length = 1; length < WIRE.length; length++) {
      const report = read(WIRE.toString('base64', 0, length), 'endpoint-load-metrics-bin');
      expect(report === null || [9, 12].includes(length)).toBe(true);
    }
  });

  test('bytes of any kind never throw, nor take long', () => {
    const random = new SeededRandom(7);
    for (let round = 0; round < 2000; round++) {
      const bytes = Buffer.from(Array.from({ length: random.below(40) }, () => random.uint32() & 0xff));
      read(bytes.toString('base64'), 'endpoint-load-metrics-bin');
      read(`TEXT ${bytes.toString('latin1')}`);
      read(`JSON ${bytes.toString('latin1')}`);
    }
  });

  test('is added up by what is asked for, and only so many names are kept', () => {
    const metrics = new LoadMetrics();
    const names = ['cpu_utilization', 'named_metrics.*', 'utilization.u', 'nothing'];
    metrics.add(names, read('TEXT cpu_utilization=0.25,named_metrics.a=1')!);
    metrics.add(names, read('JSON {"utilization": {"u": 2, "v": 3}, "named_metrics": {"a": 4}}')!);
    expect(Object.fromEntries(metrics.take())).toEqual({
      cpu_utilization: { count: 2, total: 0.25 },
      'named_metrics.a': { count: 2, total: 5 },
      'utilization.u': { count: 1, total: 2 },
    });
    expect(metrics.take().size).toBe(0);
    for (let i = 0; i < 5000; i++) metrics.add(names, read(`TEXT named_metrics.n${i}=1`)!);
    expect(metrics.take().size).toBe(1000);
  });
});
