/** Connections that the packet filter redirects: where they go, beside Envoy. */
import { expect, test } from 'bun:test';
import { findEnvoy } from '../../tools/envoy.ts';
import { installPacketFilter } from '../../tools/packet-filter.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { runInNamespace } from './namespace.ts';

test('a real REDIRECT: hand-over, filter chains, ORIGINAL_DST clusters and original_src do as Envoy does', async () => {
  await installPacketFilter();
  const envoy = findEnvoy();
  if (envoy === null) throw new Error('Envoy is not installed: run `node_modules/.bin/bun tools/envoy.ts`');
  const run = async (...command: string[]) =>
    JSON.parse(await runInNamespace('10.1.1.1', 'redirect-inside.ts', ...command));
  const [expected, actual] = await Promise.all([run(envoy, '--use-dynamic-base-id'), run(...nuncioCommand())]);
  expect(actual).toEqual(expected);
  expect(actual.seen['to its own destination']).toStartWith('10.1.1.1:80 reached from 10.');
  expect(actual.seen['to a listener of the address']).toBe('exact');
  expect(actual.seen['to a listener of the port']).toBe('wildcard');
  expect(actual.seen['a chain by the original port']).toBe('by port');
  expect(actual.seen['another port of the destination']).toStartWith('10.1.1.3:9000 reached');
  expect(actual.seen['from the address of the client']).toBe('10.1.1.4:9000 reached from 10.7.7.7');
}, 90_000);
