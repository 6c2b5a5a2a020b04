import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import { forwardAction } from '../../../../test/support/forward-action.ts';
import { Flow } from '../../../pipeline/http-filter.ts';
import type { Route } from '../../../routing/route.ts';
import { onDemandFilter } from './factory.ts';

function harness(yaml: string): FilterHarness {
  const on = new TestBuild();
  return new FilterHarness(onDemandFilter.build(on.message(onDemandFilter.configType, yaml), on.context)!);
}

function issues(yaml: string): string[] {
  const on = new TestBuild();
  onDemandFilter.build(on.message(onDemandFilter.configType, yaml), on.context);
  return on.context.shared.errors.map(({ path, reason }) => `${path}: ${reason}`);
}

const toCluster = (cluster: string): Route => ({ cluster, action: forwardAction() }) as unknown as Route;

test('without a route and a table that fetches any, a request goes on', () => {
  const stream = harness('{}');
  expect(stream.sendHeaders({})).toBe(Flow.Continue);
});

test('a cluster that nobody knows is asked for, and the request goes on when that is settled', async () => {
  const stream = harness('odcds: { source: { ads: {} } }');
  stream.route = toCluster('c');
  expect(stream.sendHeaders({})).toBe(Flow.Pause);
  expect(stream.request.passed).toBe('');
  await Promise.resolve();
  expect(stream.request.passed).toBe('H$');
});

test('without odcds, or without the name of a cluster, nothing is asked for', () => {
  const off = harness('{}');
  off.route = toCluster('c');
  expect(off.sendHeaders({})).toBe(Flow.Continue);
  const unnamed = harness('odcds: { source: { ads: {} } }');
  unnamed.route = toCluster('');
  expect(unnamed.sendHeaders({})).toBe(Flow.Continue);
});

test('sources that cannot be asked for one cluster are refused', () => {
  expect(issues('odcds: { source: { path_config_source: { path: /x } } }')).toEqual([
    'odcds.source: clusters on demand need a delta source',
  ]);
  expect(issues('odcds: { source: { ads: {} }, resources_locator: "xdstp:///c" }')).toEqual([
    'odcds.resources_locator: xdstp collections are not supported yet',
  ]);
  expect(issues('odcds: {}')).toEqual(['odcds.source: a configuration source is missing']);
});
