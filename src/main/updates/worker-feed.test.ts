import { expect, test } from 'bun:test';
import { type Deferred, deferred } from '../../base/deferred.ts';
import type { HostUpdate } from '../../upstream/host-update.ts';
import type { ToWorker } from '../../worker/messages.ts';
import type { WorkerHandle } from '../worker-handle.ts';
import { WorkerFeed } from './worker-feed.ts';
import { WorkerOrders } from './worker-orders.ts';

type Order = Parameters<WorkerHandle['request']>[0];
type Reply = Awaited<ReturnType<WorkerHandle['request']>>;

/** Answers when the test says so. */
class BusyWorker implements WorkerHandle {
  readonly index = 0;
  readonly ready = Promise.resolve();
  readonly orders: Order[] = [];
  readonly #gates: Deferred<Reply>[] = [];

  send(_message: ToWorker): void {}

  request(order: Order): Promise<Reply> {
    this.orders.push(order);
    const gate = deferred<Reply>();
    this.#gates.push(gate);
    return gate.promise;
  }

  /** @param fault empty: it went well */
  async answer(fault = ''): Promise<void> {
    const gate = this.#gates.shift()!;
    if (fault === '') gate.resolve({ kind: 'done', id: 0 });
    else gate.reject(new Error(fault));
    await Bun.sleep(0);
  }

  terminate(): void {}
}

function members(cluster: string, weight: number, more: Partial<HostUpdate> = {}): HostUpdate {
  return {
    cluster,
    priority: 0,
    hosts: [],
    localityWeights: [],
    overprovisioningFactor: weight,
    weightedPriorityHealth: false,
    ...more,
  };
}

function hostsOf(order: Order | undefined): string[] {
  if (order?.kind !== 'feed') throw new Error('no feed');
  return order.hosts.map((each) => `${each.cluster}/${each.priority} ${each.overprovisioningFactor}`);
}

test('a blocked worker gets the last word on each, however much was said', async () => {
  const worker = new BusyWorker();
  const feed = new WorkerFeed(worker, () => {});
  for (let round = 1; round <= 10_000; round++) {
    feed.hosts([members('c', round), members('d', round, { priority: round % 2 })]);
    feed.secret('s', new Uint8Array([round & 0xff]));
    feed.runtime({ round });
    expect(feed.waiting).toBeLessThanOrEqual(5);
  }
  expect(worker.orders.length).toBe(1);
  expect(hostsOf(worker.orders[0])).toEqual(['c/0 1', 'd/1 1']);
  await worker.answer();
  expect(worker.orders.length).toBe(2);
  expect(hostsOf(worker.orders[1])).toEqual(['c/0 10000', 'd/0 10000', 'd/1 9999']);
  const [, last] = worker.orders;
  if (last?.kind !== 'feed') throw new Error('no feed');
  expect(last.secrets).toEqual([['s', new Uint8Array([10_000 & 0xff])]]);
  expect(last.runtime).toEqual({ round: 10_000 });
  await worker.answer();
  expect([worker.orders.length, feed.waiting]).toEqual([2, 0]);
});

test('a share to turn away that a newer word leaves alone is not lost', async () => {
  const worker = new BusyWorker();
  const feed = new WorkerFeed(worker, () => {});
  feed.hosts([members('x', 1)]);
  feed.hosts([members('c', 1, { dropOverload: 0.5 })]);
  feed.hosts([members('c', 2)]);
  await worker.answer();
  const order = worker.orders[1];
  expect(order?.kind === 'feed' ? order.hosts.map(({ dropOverload }) => dropOverload) : []).toEqual([0.5]);
});

test('a fault is told, and the next word goes out', async () => {
  const worker = new BusyWorker();
  const faults: string[] = [];
  const feed = new WorkerFeed(worker, (error) => void faults.push(String(error)));
  feed.secret('a', null);
  feed.secret('b', null);
  await worker.answer('no');
  expect(faults).toEqual(['Error: no']);
  expect(worker.orders.length).toBe(2);
  feed.secret('c', null);
  feed.stop();
  await worker.answer('ended');
  expect([faults.length, worker.orders.length]).toEqual([1, 2]);
});

test('an order goes behind what was fed before it, and does not wait for it', async () => {
  const worker = new BusyWorker();
  const mainSide = { applyHosts: () => {}, setSecret: () => {}, removeSecret: () => {}, onFault: () => {} };
  const orders = new WorkerOrders([worker], 0, false, () => ({}) as never, mainSide);
  orders.secret('s', new Uint8Array(1));
  orders.hosts([members('c', 1)]);
  orders.secret('t', new Uint8Array(1));
  void orders.clusters([], ['x'], []);
  expect(worker.orders.map(({ kind }) => kind)).toEqual(['feed', 'feed', 'clusters']);
  const second = worker.orders[1];
  expect(second?.kind === 'feed' ? second.secrets.map(([key]) => key) : []).toEqual(['t']);
});
