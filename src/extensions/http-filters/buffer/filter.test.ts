import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import { Flow } from '../../../pipeline/http-filter.ts';
import { bufferFilter } from './factory.ts';

function harness(): FilterHarness {
  const on = new TestBuild();
  return new FilterHarness(
    bufferFilter.build(on.message(bufferFilter.configType, 'max_request_bytes: 10'), on.context)!,
  );
}
const ofRoute = (yaml: string): unknown => {
  const on = new TestBuild();
  return bufferFilter.buildRoute!(on.message(bufferFilter.routeConfigType!, yaml), on.context);
};

test('holds the request until its end and adds its length', () => {
  const stream = harness();
  expect(stream.sendHeaders({ ':method': 'POST' }, false)).toBe(Flow.PauseAndBuffer);
  expect(stream.requestBufferLimit).toBe(10);
  stream.sendData('abc', false);
  expect(stream.request.passed).toBe('');
  stream.sendData('de', true);
  expect(stream.request.passed).toBe('Habcde$');
  expect(stream.requestHeaders!.get('content-length')).toBe('5');
});

test('trailers end a request; a length that is there stays', () => {
  const stream = harness();
  stream.sendHeaders({ ':method': 'POST', 'content-length': '3' }, false);
  stream.sendData('abc', false);
  stream.sendTrailers({ x: '1' });
  expect(stream.request.passed).toBe('HabcT$');
  expect(stream.requestHeaders!.getAll('content-length')).toEqual(['3']);
});

test('a request without body passes; a route disables or overrides', () => {
  const plain = harness();
  plain.sendHeaders({}, true);
  expect(plain.request.passed).toBe('H$');
  const off = harness();
  off.configs = [ofRoute('disabled: true')];
  off.sendHeaders({}, false);
  off.sendData('abc', false);
  expect(off.request.passed).toBe('Habc');
  const bigger = harness();
  bigger.configs = [ofRoute('buffer: { max_request_bytes: 20 }')];
  bigger.sendHeaders({}, false);
  expect(bigger.requestBufferLimit).toBe(20);
});
