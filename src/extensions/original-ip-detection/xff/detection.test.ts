import { expect, test } from 'bun:test';
import { RequestHeaders } from '../../../http/header-map.ts';
import { ipAddress } from '../../../net/address.ts';
import type { Connection } from '../../../net/connection.ts';
import { XffByHops, XffByTrustedProxies } from './detection.ts';

const from = (ip: string): Connection => ({ remoteAddress: ipAddress(ip, 1) }) as unknown as Connection;
const headers = (value: string): RequestHeaders => {
  const out = new RequestHeaders();
  if (value !== '') out.add('x-forwarded-for', value);
  return out;
};
const found = (address: string | null, trusted: boolean) => ({
  address: address === null ? null : expect.objectContaining({ ip: address }),
  allowTrustedAddressChecks: trusted,
});

test('by hops: the address so many places from the end', () => {
  const detect = (hops: number, value: string) => new XffByHops(hops, true).detect(headers(value), from('127.0.0.1'));
  expect(detect(0, '10.0.0.1')).toMatchObject(found('10.0.0.1', true));
  expect(detect(0, '10.0.0.1, 10.0.0.2')).toMatchObject(found('10.0.0.2', false));
  expect(detect(1, '10.0.0.1, 10.0.0.2')).toMatchObject(found('10.0.0.1', false));
  expect(detect(2, '10.0.0.1, 10.0.0.2')).toMatchObject(found(null, false));
  expect(detect(0, '')).toMatchObject(found(null, false));
});

test('by proxies: the last address that is none of theirs, for their connections alone', () => {
  const detection = new XffByTrustedProxies((ip) => ip.startsWith('10.9.'), true);
  const detect = (value: string, peer = '10.9.0.1') => detection.detect(headers(value), from(peer));
  expect(detect('10.0.0.1, 10.9.0.2, 10.9.0.3')).toMatchObject(found('10.0.0.1', false));
  expect(detect('1.1.1.1, 2.2.2.2, 10.9.0.3')).toMatchObject(found('2.2.2.2', false));
  expect(detect('10.9.0.2, 10.9.0.3')).toMatchObject(found('10.9.0.2', false));
  expect(detect('10.0.0.1')).toMatchObject(found('10.0.0.1', true));
  expect(detect('rubbish, 10.9.0.2')).toMatchObject(found(null, false));
  expect(detect('10.0.0.1', '192.0.2.1')).toMatchObject({ ...found(null, false), skipXffAppend: false });
});
