import { expect, test } from 'bun:test';
import { FakeUpstream, hostAddress, hostUpdate } from '../../test/support/fake-upstream.ts';
import { hostSpec } from '../upstream/host.ts';
import { LoadCounts } from './load-counts.ts';

test('each asking tells what came since the last one, of those who have anything to tell', () => {
  const cluster = new FakeUpstream().cluster({}, [hostSpec(hostAddress(1)), hostSpec(hostAddress(2))]);
  const lookup = { get: (name: string) => (name === 'up' ? cluster : null) };
  const counts = new LoadCounts();
  const take = () => counts.take(lookup, ['up', 'missing']);
  expect(take()).toEqual([]);
  const [first] = [...cluster.priorities.allHosts()];
  Object.assign(first!.stats, { rqTotal: 3, rqSuccess: 1, rqError: 1, rqActive: 1 });
  const load = { succeeded: 1, failed: 1, issued: 3, active: 1 };
  expect(take()).toMatchObject([{ cluster: 'up', dropped: 0, hosts: [{ address: hostAddress(1), ...load }] }]);
  // What is under way is told as long as it lasts.
  expect(take()).toMatchObject([{ hosts: [{ succeeded: 0, failed: 0, issued: 0, active: 1 }] }]);
  Object.assign(first!.stats, { rqSuccess: 2, rqActive: 0 });
  expect(take()).toMatchObject([{ hosts: [{ succeeded: 1, failed: 0, issued: 0, active: 0 }] }]);
  expect(take()).toEqual([]);
  // Errors of requests that the host was asked for earlier count, those of others do not.
  Object.assign(first!.stats, { rqError: 2 });
  expect(take()).toEqual([]);
  Object.assign(first!.stats, { rqTotal: 4, rqActive: 1 });
  expect(take()).toMatchObject([{ hosts: [{ failed: 0, issued: 1, active: 1 }] }]);
  Object.assign(first!.stats, { rqError: 3, rqActive: 0 });
  expect(take()).toMatchObject([{ hosts: [{ succeeded: 0, failed: 1, issued: 0, active: 0 }] }]);
  expect(take()).toEqual([]);
  cluster.dropped.total += 5;
  cluster.dropped.byOverload += 2;
  expect(take()).toMatchObject([{ dropped: 5, droppedByOverload: 2, hosts: [] }]);
  expect(take()).toEqual([]);
});

test('a host that stays keeps its counts from update to update; one that comes back begins anew', () => {
  const cluster = new FakeUpstream().cluster();
  const lookup = { get: () => cluster };
  const counts = new LoadCounts();
  const host = () => [...cluster.priorities.allHosts()][0]!;
  host().stats.rqTotal = 7;
  expect(counts.take(lookup, ['up'])[0]!.hosts[0]!.issued).toBe(7);
  cluster.applyHosts(hostUpdate('up', 0, [hostSpec(hostAddress(1), { weight: 2 })]));
  host().stats.rqTotal++;
  expect(counts.take(lookup, ['up'])[0]!.hosts[0]!.issued).toBe(1);
  cluster.applyHosts(hostUpdate('up', 0, []));
  cluster.applyHosts(hostUpdate('up', 0, [hostSpec(hostAddress(1))]));
  host().stats.rqTotal = 2;
  expect(counts.take(lookup, ['up'])[0]!.hosts[0]!.issued).toBe(2);
});
