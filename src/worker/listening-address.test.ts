import { expect, test } from 'bun:test';
import { SystemClock } from '../base/clock.ts';
import { SeededRandom } from '../base/random.ts';
import { Dispatcher } from '../net/dispatcher.ts';
import type { Transport } from '../net/transport.ts';
import type { Histogram } from '../stats/histogram.ts';
import { ListeningAddress } from './listening-address.ts';

test('connections are counted by poll, for the version of the listener that is in force', async () => {
  const dispatcher = new Dispatcher(new SystemClock(), new SeededRandom(1));
  const accepted: Transport[] = [];
  const acceptor = { onAccept: (transport: Transport) => accepted.push(transport), onOutOfDescriptors() {} };
  const recorded: string[] = [];
  const histogram = (name: string): Histogram =>
    ({ recordValue: (value: number) => recorded.push(`${name} ${value}`) }) as unknown as Histogram;
  const address = new ListeningAddress(0, dispatcher, acceptor, histogram('first'));
  const transport = {} as Transport;
  address.onAccept(transport);
  address.onAccept(transport);
  address.onOutOfDescriptors();
  expect(recorded).toEqual([]);
  await new Promise(setImmediate);
  expect(recorded).toEqual(['first 3']);
  address.handOver(acceptor, histogram('second'));
  await new Promise(setImmediate);
  address.onAccept(transport);
  await new Promise(setImmediate);
  expect(recorded).toEqual(['first 3', 'second 1']);
  expect(accepted.length).toBe(3);
});
