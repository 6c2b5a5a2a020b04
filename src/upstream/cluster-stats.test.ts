import { expect, test } from 'bun:test';
import { StatsStore } from '../stats/store.ts';
import { ResponseStats } from './cluster-stats.ts';

test('numbers that are no status share one counter, which is looked up once', () => {
  const scope = new StatsStore().createScope('cluster.c');
  const asked: string[] = [];
  const counter = scope.counter.bind(scope);
  scope.counter = (name) => {
    asked.push(name);
    return counter(name);
  };
  const stats = new ResponseStats(scope, '');
  for (const status of [1000, 1001, 999_999_999, 99, 0, 200]) stats.chargeCode(status);
  expect(asked).toEqual(['upstream_rq_unknown', 'upstream_rq_200']);
  expect(scope.counter('upstream_rq_unknown').value).toBe(5);
  expect(scope.counter('upstream_rq_200').value).toBe(1);
});
