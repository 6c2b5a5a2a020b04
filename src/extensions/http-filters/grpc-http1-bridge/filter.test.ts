import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import { grpcHttp1BridgeFilter } from './factory.ts';

test('a request passes', () => {
  const on = new TestBuild();
  const builder = grpcHttp1BridgeFilter.build(on.message(grpcHttp1BridgeFilter.configType, '{}'), on.context);
  expect(on.errors).toEqual([]);
  const stream = new FilterHarness(builder!);
  stream.sendHeaders({ ':path': '/' }, false);
  stream.sendData('body', true);
  expect(stream.request.passed).toBe('Hbody$');
});
