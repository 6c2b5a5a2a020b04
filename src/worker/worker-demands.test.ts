import { expect, test } from 'bun:test';
import { type Demand, DemandOutcome } from '../routing/on-demand.ts';
import type { FromWorker } from './messages.ts';
import { WorkerDemands } from './worker-demands.ts';

const demand: Demand = { kind: 'virtual-host', routes: 'r', host: 'h' };

function setUp() {
  const posted: FromWorker[] = [];
  const told: string[] = [];
  const demands = new WorkerDemands((message) => posted.push(message));
  const waiter = (name: string) => ({
    onDemandSettled: (outcome: DemandOutcome) => {
      told.push(`${name} ${outcome}`);
      if (name === 'bad') throw new Error('a bug');
    },
  });
  return { posted, told, demands, waiter };
}

test('main is asked once for each thing, and who has gone is not told', () => {
  const { posted, told, demands, waiter } = setUp();
  const [a, b, c] = [waiter('a'), waiter('b'), waiter('c')];
  demands.ask(demand, a);
  demands.ask(demand, b);
  demands.ask({ ...demand, host: 'other' }, c);
  expect(posted.map((message) => message.kind)).toEqual(['demand', 'demand']);
  demands.forget(a);
  demands.settle(1, DemandOutcome.Found);
  expect(told).toEqual(['b 0']);
  demands.settle(1, DemandOutcome.Found);
  demands.ask(demand, a);
  expect(posted).toHaveLength(3);
});

test('a waiter that fails keeps no other one waiting', () => {
  const { told, demands, waiter } = setUp();
  for (const name of ['bad', 'good']) demands.ask(demand, waiter(name));
  expect(() => demands.settle(1, DemandOutcome.Missing)).toThrow('a bug');
  expect(told).toEqual(['bad 1', 'good 1']);
});
