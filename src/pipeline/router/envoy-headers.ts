import type { RequestHeaders } from '../../http/header-map.ts';
import { parseRetryGrpcOn, parseRetryOn } from '../../routing/retry-policy.ts';
import { parseUint64 } from './unsigned.ts';

/** The request headers that steer the router, one bit each. */
export const EnvoyHeader = {
  Timeout: 1 << 0,
  PerTryTimeout: 1 << 1,
  ExpectedTimeout: 1 << 2,
  StreamDuration: 1 << 3,
  TimeoutAltResponse: 1 << 4,
  AltStatName: 1 << 5,
  RetryOn: 1 << 6,
  RetryGrpcOn: 1 << 7,
  MaxRetries: 1 << 8,
  RetriableStatusCodes: 1 << 9,
  RetriableHeaderNames: 1 << 10,
  HedgeOnPerTryTimeout: 1 << 11,
} as const;

const BITS: ReadonlyMap<string, number> = new Map([
  ['x-envoy-upstream-rq-timeout-ms', EnvoyHeader.Timeout],
  ['x-envoy-upstream-rq-per-try-timeout-ms', EnvoyHeader.PerTryTimeout],
  ['x-envoy-expected-rq-timeout-ms', EnvoyHeader.ExpectedTimeout],
  ['x-envoy-upstream-stream-duration-ms', EnvoyHeader.StreamDuration],
  ['x-envoy-upstream-rq-timeout-alt-response', EnvoyHeader.TimeoutAltResponse],
  ['x-envoy-upstream-alt-stat-name', EnvoyHeader.AltStatName],
  ['x-envoy-retry-on', EnvoyHeader.RetryOn],
  ['x-envoy-retry-grpc-on', EnvoyHeader.RetryGrpcOn],
  ['x-envoy-max-retries', EnvoyHeader.MaxRetries],
  ['x-envoy-retriable-status-codes', EnvoyHeader.RetriableStatusCodes],
  ['x-envoy-retriable-header-names', EnvoyHeader.RetriableHeaderNames],
  ['x-envoy-hedge-on-per-try-timeout', EnvoyHeader.HedgeOnPerTryTimeout],
]);

/** Bits of those that are there, found in one pass: nearly every request has none. */
export function presentEnvoyHeaders(headers: RequestHeaders): number {
  const { list } = headers;
  let bits = 0;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    // x-e
    if (name.length > 15 && name.charCodeAt(2) === 101 && name.charCodeAt(1) === 45) bits |= BITS.get(name) ?? 0;
  }
  return bits;
}

/** For `strict_check_headers`: numbers must be numbers, and conditions of retries known ones. */
export function isValidEnvoyHeader(name: string, value: string): boolean {
  switch (name) {
    case 'x-envoy-retry-on':
      return value.split(',').every((word) => parseRetryOn(word) !== 0);
    case 'x-envoy-retry-grpc-on':
      return value.split(',').every((word) => parseRetryGrpcOn(word) !== 0);
    default:
      return parseUint64(value) !== null;
  }
}
