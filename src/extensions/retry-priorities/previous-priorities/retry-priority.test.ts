import { expect, test } from 'bun:test';
import { FakeUpstream, hostAddress, hostUpdate } from '../../../../test/support/fake-upstream.ts';
import { HealthFlag, hostSpec } from '../../../upstream/host.ts';
import { PreviousPriorities } from './retry-priority.ts';

test('priorities that were tried lose their load; when all were, all have it again', () => {
  const initialHosts = [0, 1, 2].map((priority) =>
    hostUpdate('up', priority, [hostSpec(hostAddress(priority), { priority })]),
  );
  const cluster = new FakeUpstream().cluster({ initialHosts });
  const hosts = [...cluster.priorities.allHosts()];
  const original = { healthy: [100, 0, 0], degraded: [0, 0, 0] };
  const retry = new PreviousPriorities(1);
  expect(retry.priorityLoad(cluster.priorities, original)).toBe(original);
  retry.onHostAttempted(hosts[0]!);
  expect(retry.priorityLoad(cluster.priorities, original).healthy).toEqual([0, 100, 0]);
  retry.onHostAttempted(hosts[1]!);
  expect(retry.priorityLoad(cluster.priorities, original).healthy).toEqual([0, 0, 100]);
  retry.onHostAttempted(hosts[2]!);
  expect(retry.priorityLoad(cluster.priorities, original).healthy).toEqual([100, 0, 0]);
  for (const host of hosts) host.setFlag(HealthFlag.FailedActiveHc, true);
  retry.onHostAttempted(hosts[0]!);
  expect(retry.priorityLoad(cluster.priorities, original)).toBe(original);
});

test('every second attempt', () => {
  const initialHosts = [0, 1].map((priority) =>
    hostUpdate('up', priority, [hostSpec(hostAddress(priority), { priority })]),
  );
  const cluster = new FakeUpstream().cluster({ initialHosts });
  const first = cluster.priorities.hostSets[0]!.hosts[0]!;
  const original = { healthy: [100, 0], degraded: [0, 0] };
  const retry = new PreviousPriorities(2);
  retry.onHostAttempted(first);
  expect(retry.priorityLoad(cluster.priorities, original)).toBe(original);
  retry.onHostAttempted(first);
  expect(retry.priorityLoad(cluster.priorities, original).healthy).toEqual([0, 100]);
});
