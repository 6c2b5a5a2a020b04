import { expect, test } from 'bun:test';
import { forwardAction as action } from '../../../test/support/forward-action.ts';
import { RequestHeaders } from '../../http/header-map.ts';
import { StreamDuration } from '../../routing/route-policies.ts';
import { presentEnvoyHeaders } from './envoy-headers.ts';
import { announceTimeouts, resolveTimeouts } from './timeouts.ts';
import { parseUint64 } from './unsigned.ts';

function resolve(headers: Record<string, string>, route = action(), grpc = false, respect = false) {
  const map = new RequestHeaders();
  for (const [name, value] of Object.entries(headers)) map.add(name, value);
  const timeouts = resolveTimeouts(route, map, presentEnvoyHeaders(map), grpc, respect);
  announceTimeouts(timeouts, 0, route, map, true, grpc);
  return { timeouts, map };
}

test('the route decides; headers override it and are taken away', () => {
  expect(resolve({}).timeouts.globalMs).toBe(15_000);
  const { timeouts, map } = resolve({
    'x-envoy-upstream-rq-timeout-ms': '300',
    'x-envoy-upstream-rq-per-try-timeout-ms': '100',
  });
  expect([timeouts.globalMs, timeouts.perTryMs]).toEqual([300, 100]);
  expect(map.list).toEqual(['x-envoy-expected-rq-timeout-ms', '100']);
});

test('a try that may take as long as the whole has no timeout of its own', () => {
  const headers = { 'x-envoy-upstream-rq-timeout-ms': '300', 'x-envoy-upstream-rq-per-try-timeout-ms': '300' };
  expect(resolve(headers).timeouts.perTryMs).toBe(0);
  expect(resolve({ ...headers, 'x-envoy-upstream-rq-timeout-ms': '0' }).timeouts.perTryMs).toBe(300);
});

test('what is no number changes nothing, and is taken away all the same', () => {
  const { timeouts, map } = resolve({ 'x-envoy-upstream-rq-timeout-ms': '1s' });
  expect(timeouts.globalMs).toBe(15_000);
  expect(map.has('x-envoy-upstream-rq-timeout-ms')).toBe(false);
});

test('an expected timeout is respected only where it shall be', () => {
  const headers = { 'x-envoy-expected-rq-timeout-ms': '70', 'x-envoy-upstream-rq-timeout-ms': '90' };
  expect(resolve(headers).timeouts.globalMs).toBe(90);
  expect(resolve(headers, action(), false, true).timeouts.globalMs).toBe(70);
});

test('grpc-timeout counts for gRPC up to the maximum, less the offset', () => {
  const route = action({ maxGrpcTimeoutMs: 1000, grpcTimeoutOffsetMs: 100 });
  expect(resolve({ 'grpc-timeout': '500m' }, route, true).timeouts.globalMs).toBe(400);
  expect(resolve({ 'grpc-timeout': '50m' }, route, true).timeouts.globalMs).toBe(50);
  expect(resolve({ 'grpc-timeout': '5S' }, route, true).timeouts.globalMs).toBe(1000);
  expect(resolve({}, route, true).timeouts.globalMs).toBe(1000);
  expect(resolve({ 'grpc-timeout': '500m' }, route, false).timeouts.globalMs).toBe(15_000);
  expect(resolve({ 'grpc-timeout': '5S' }, route, true).map.get('grpc-timeout')).toBe('1000m');
});

test('max_stream_duration turns the timeout of the route off', () => {
  const route = action({ streamDuration: new StreamDuration(true, 5000, null, null) });
  expect(resolve({}, route).timeouts.globalMs).toBe(0);
});

test('what is left is announced, and never zero', () => {
  const map = new RequestHeaders();
  const { timeouts } = resolve({ 'x-envoy-upstream-rq-timeout-ms': '300' });
  announceTimeouts(timeouts, 120, action(), map, true, false);
  expect(map.get('x-envoy-expected-rq-timeout-ms')).toBe('180');
  announceTimeouts(timeouts, 400, action(), map, true, false);
  expect(map.get('x-envoy-expected-rq-timeout-ms')).toBe('1');
});

test('numbers are read as absl::SimpleAtoi reads them', () => {
  expect([' 5 ', '+7', '0', '18446744073709549568'].map(parseUint64)).toEqual([
    5,
    7,
    0,
    Number('18446744073709549568'),
  ]);
  expect(['', '-1', '1.5', '0x1', '18446744073709551616', '1 2'].map(parseUint64)).toEqual(Array(6).fill(null));
});
