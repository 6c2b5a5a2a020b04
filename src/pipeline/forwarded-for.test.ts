import { describe, expect, test } from 'bun:test';
import { RequestHeaders } from '../http/header-map.ts';
import { isPrivateIp, lastAddressOfXff } from './forwarded-for.ts';

function xff(value: string, skip = 0): string {
  const headers = new RequestHeaders();
  headers.add('x-forwarded-for', value);
  const found = lastAddressOfXff(headers, skip);
  const ip = found.address?.kind === 'ip' ? found.address.ip : '-';
  return found.single ? `${ip} alone` : ip;
}

describe('lastAddressOfXff', () => {
  test('counts from the right', () => {
    expect(xff('1.1.1.1')).toBe('1.1.1.1 alone');
    expect(xff('1.1.1.1, 2.2.2.2')).toBe('2.2.2.2');
    expect(xff('1.1.1.1,2.2.2.2', 1)).toBe('1.1.1.1');
    expect(xff('1.1.1.1,2.2.2.2', 2)).toBe('-');
  });

  test('what is no address is none', () => {
    for (const value of ['', 'x', '1.2.3', '1.2.3.4:5', '[::1]', '1.2.3.4,', ',,']) expect(xff(value)).toBe('-');
    expect(xff(',1.2.3.4')).toBe('1.2.3.4');
    expect(lastAddressOfXff(new RequestHeaders(), 0).address).toBeNull();
  });

  test('any number of hops over any commas', () => {
    for (let skip = 0; skip < 6; skip++) {
      for (const value of [',', ',,', ',,,1.1.1.1', '1.1.1.1,,,']) expect(() => xff(value, skip)).not.toThrow();
    }
  });
});

test('private addresses', () => {
  for (const ip of ['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', '127.0.0.1', '::1', 'fd00::1']) {
    expect(isPrivateIp(ip)).toBe(true);
  }
  for (const ip of ['11.0.0.1', '172.15.0.1', '172.32.0.1', '192.169.0.1', '127.0.0.2', 'fc00::1', 'fe80::1']) {
    expect(isPrivateIp(ip)).toBe(false);
  }
});
