import { expect, test } from 'bun:test';
import { TestBuild } from '../../../test/support/build-messages.ts';
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import { ipAddress, pipeAddress } from '../../net/address.ts';
import { type AcceptedSocket, ListenerFilter, PeekStatus } from '../../net/filter.ts';
import type { WorkerEnvironment } from '../../pipeline/environment.ts';
import type { ExtensionFactory } from '../extension-registry.ts';
import { buildListenerFilters } from './listener-filters.ts';

const TYPE = 'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector';

class Closing extends ListenerFilter {
  readonly maxPeekBytes = 7;
  override onAccept(): PeekStatus {
    return PeekStatus.Close;
  }
}

const closing: ExtensionFactory<'listener-filter'> = {
  kind: 'listener-filter',
  name: 'closing',
  configType: TYPE,
  support: [],
  build: () => () => ({ createFilter: () => new Closing() }),
};

function build(filter: string) {
  const on = new TestBuild([closing]);
  const listener = on.message<Listener>(
    'envoy.config.listener.v3.Listener',
    `listener_filters: [{ name: x, typed_config: { "@type": type.googleapis.com/${TYPE} }, ${filter} }]`,
  );
  return { on, makers: buildListenerFilters(on.context, 'listener_filters', listener.listenerFilters) };
}

function isDisabled(predicate: string, port: number): boolean {
  const { on, makers } = build(`filter_disabled: ${predicate}`);
  expect(on.errors).toEqual([]);
  const filter = makers[0]!({} as WorkerEnvironment).createFilter();
  expect(filter.maxPeekBytes).toBe(7);
  const localAddress = port < 0 ? pipeAddress('/x') : ipAddress('1.2.3.4', port);
  return filter.onAccept({ localAddress } as AcceptedSocket) === PeekStatus.Continue;
}

const range = '{ destination_port_range: { start: 10, end: 20 } }';

test.each([
  [range, [10, 19], [9, 20, -1]],
  ['{ any_match: true }', [1], []],
  [`{ not_match: ${range} }`, [9, 20, -1], [10]],
  [`{ or_match: { rules: [${range}, { destination_port_range: { start: 30, end: 31 } }] } }`, [10, 30], [29]],
  [
    `{ and_match: { rules: [${range}, { not_match: { destination_port_range: { start: 12, end: 13 } } }] } }`,
    [11],
    [12],
  ],
])('filter_disabled: %s', (predicate, disabled, enabled) => {
  for (const port of disabled) expect(isDisabled(predicate, port)).toBe(true);
  for (const port of enabled) expect(isDisabled(predicate, port)).toBe(false);
});

test('what is wrong is said where it is', () => {
  expect(build('filter_disabled: {}').on.errors).toEqual(['listener_filters[0].filter_disabled: a rule is missing']);
  const on = new TestBuild([closing]);
  const listener = on.message<Listener>(
    'envoy.config.listener.v3.Listener',
    'listener_filters: [{ name: closing }, { name: y, config_discovery: { type_urls: [x] } }]',
  );
  expect(buildListenerFilters(on.context, 'listener_filters', listener.listenerFilters)).toEqual([]);
  expect(on.errors).toEqual([
    "listener_filters[0].typed_config: Didn't find a registered implementation for 'closing' with type URL: ''",
    'listener_filters[1].config_discovery.type_urls[0]: Error: no factory found for a required type URL x.',
    'listener_filters[1].config_discovery.config_source: a configuration source is missing',
  ]);
});
