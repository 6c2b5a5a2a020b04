import { expect, test } from 'bun:test';
import { openApiRegistry } from '../../api/api-registry.ts';
import { ExtensionRegistry } from '../../config/extension-registry.ts';
import { EXTENSIONS } from '../../extensions/index.ts';
import { type LoadedBootstrap, loadBootstrap } from '../load-bootstrap.ts';
import { planReload, planText } from './reload-plan.ts';

const api = openApiRegistry();
const extensions = new ExtensionRegistry(EXTENSIONS);
const type = api.message('envoy.config.bootstrap.v3.Bootstrap')!;

function load(content: object): LoadedBootstrap {
  const loaded = loadBootstrap(
    [{ name: 'x', format: 'json', content: JSON.stringify(content) }],
    api,
    extensions,
    'reject',
  );
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error));
  return loaded.value;
}

function clusters(...list: readonly object[]): object {
  return { static_resources: { clusters: list } };
}

test('listeners without names are told apart by their addresses', () => {
  const at = (port: number, more: object = {}): object => ({
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [{}],
    ...more,
  });
  const listeners = (...list: readonly object[]): object => ({ static_resources: { listeners: list } });
  const before = load(listeners(at(1), at(0), at(0)));
  expect(new Set(before.plan.listeners.map(({ name }) => name)).size).toBe(3);
  const after = load(listeners(at(2), at(0), at(0), at(1, { stat_prefix: 'x' })));
  const plan = planReload(type, before, before, after);
  const name = (from: LoadedBootstrap, index: number): string => from.plan.listeners[index]!.name;
  expect(plan.listeners).toEqual({ added: [name(after, 0)], changed: [name(before, 0)], removed: [] });
});

test('added, changed, removed, and what counts after a restart', () => {
  const before = load({ ...clusters({ name: 'a' }, { name: 'b' }), stats_flush_interval: '1s' });
  const after = load({
    ...clusters({ name: 'b', lb_policy: 'RANDOM' }, { name: 'c' }),
    stats_flush_interval: '2s',
    node: { id: 'me' },
    layered_runtime: { layers: [{ name: 'l', static_layer: { a: 1 } }] },
  });
  const plan = planReload(type, before, before, after);
  expect(plan.clusters).toEqual({ added: ['c'], changed: ['b'], removed: ['a'] });
  expect(planText(plan)).toBe(
    [
      '+ cluster c',
      '~ cluster b',
      '- cluster a',
      '! node has changed: it counts after a restart',
      '! stats_flush_interval has changed: it counts after a restart',
      '! layered_runtime has changed: it counts after a restart',
      '',
    ].join('\n'),
  );
});

test('the same again is nothing', () => {
  const config = { ...clusters({ name: 'a' }), stats_flush_on_admin: true };
  expect(planText(planReload(type, load(config), load(config), load(config)))).toBe('nothing has changed\n');
});
