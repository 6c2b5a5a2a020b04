import { expect, test } from 'bun:test';
import { SeededRandom } from '../base/random.ts';
import {
  decodeGrpcMessage,
  encodeGrpcMessage,
  formatGrpcTimeout,
  grpcStatusIn,
  isGrpcContentType,
  readGrpcTimeout,
} from './grpc-headers.ts';
import { HeaderMap } from './header-map.ts';

function headers(name: string, value: string): HeaderMap {
  const map = new HeaderMap();
  map.add(name, value);
  return map;
}

test('content types of gRPC', () => {
  for (const type of ['application/grpc', 'application/grpc+proto']) expect(isGrpcContentType(type)).toBe(true);
  for (const type of [null, 'application/grpc-web', 'text/plain']) expect(isGrpcContentType(type)).toBe(false);
});

test('grpc-timeout is read and written by its units', () => {
  const read = (value: string): number | null => readGrpcTimeout(headers('grpc-timeout', value));
  expect(['1H', '2M', '3S', '4m', '1500u', '1n', '0S'].map(read)).toEqual([3_600_000, 120_000, 3000, 4, 2, 1, 0]);
  // As absl::SimpleAtoi.
  expect(['5 S', ' 5S', '+5S', '-0S'].map(read)).toEqual([5000, 5000, 5000, 0]);
  expect(['', 'm', '1', '1s', '-1m', '1 1m', '+ 1m'].map(read)).toEqual(Array(7).fill(null));
  expect([0, 99_999_999, 100_000_000, 1e12].map(formatGrpcTimeout)).toEqual([
    '0m',
    '99999999m',
    '100000S',
    '16666666M',
  ]);
});

test('messages of any bytes survive', () => {
  const random = new SeededRandom(9);
  for (let round = 0; round < 200; round++) {
    const text = Array.from({ length: random.below(20) }, () => String.fromCodePoint(random.below(0xd7ff))).join('');
    const encoded = encodeGrpcMessage(Buffer.from(text).toString('latin1'));
    expect(encoded).toMatch(/^[ -}]*$/);
    expect(decodeGrpcMessage(encoded)).toBe(text);
  }
  expect(encodeGrpcMessage('a~%\n')).toBe('a%7E%25%0A');
  expect(['%', '%4', '%zz', '100%25', '%41%'].map(decodeGrpcMessage)).toEqual(['%', '%4', '%zz', '100%', 'A%']);
});

test('a status is a number', () => {
  expect(['0', '014', '17'].map((value) => grpcStatusIn(headers('grpc-status', value)))).toEqual([0, 14, 17]);
  for (const value of ['', 'x', '-1', '1.5']) expect(grpcStatusIn(headers('grpc-status', value))).toBe(-1);
});
