import { expect, test } from 'bun:test';
import { ipAddress, pipeAddress } from './address.ts';
import { headerV1, headerV2, localHeaderV2 } from './proxy-protocol-header.ts';

const V4 = { source: ipAddress('1.2.3.4', 1111), destination: ipAddress('5.6.7.8', 80), tlvs: [] };
const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n';
const tlv = (type: number, value: string) => ({ type, value: Buffer.from(value, 'latin1') });

test('version 1', () => {
  expect(headerV1(V4.source, V4.destination).latin1Slice()).toBe('PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n');
  expect(headerV1(ipAddress('::1', 1), ipAddress('fe80::2', 2)).latin1Slice()).toBe('PROXY TCP6 ::1 fe80::2 1 2\r\n');
  expect(headerV1(pipeAddress('/x'), V4.destination).latin1Slice()).toBe('PROXY UNKNOWN\r\n');
});

test('version 2', () => {
  const none = { added: [], passed: new Set<number>() };
  expect(headerV2(V4, none)!.latin1Slice()).toBe(
    `${SIGNATURE}\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\0\x50`,
  );
  const mixed = headerV2({ ...V4, destination: ipAddress('::1', 80) }, none)!;
  expect([mixed[13], mixed.length, mixed.subarray(26, 32).toString('hex')]).toEqual([0x21, 52, 'ffff01020304']);
  expect(localHeaderV2().latin1Slice()).toBe(`${SIGNATURE}\x20\0\0\0`);
  expect(headerV2({ ...V4, source: pipeAddress('/x') }, none)).toEqual(localHeaderV2());
});

test('TLVs: what is added goes first and replaces; types choose what is passed', () => {
  const tlvs = [tlv(2, 'two'), tlv(3, 'three'), tlv(2, 'again')];
  const tail = (added: { type: number; value: Buffer }[], passed: Set<number> | null) =>
    headerV2({ ...V4, tlvs }, { added, passed })!.latin1Slice(28);
  expect(tail([], null)).toBe('\x02\0\x03two\x03\0\x05three\x02\0\x05again');
  expect(tail([], new Set([3]))).toBe('\x03\0\x05three');
  expect(tail([tlv(9, 'x'), tlv(2, 'y')], null)).toBe('\x09\0\x01x\x02\0\x01y\x03\0\x05three');
});

test('more than a header can hold is none', () => {
  const full = { added: [tlv(1, 'x'.repeat(0xffff - 12 - 3))], passed: null };
  expect(headerV2(V4, full)!.length).toBe(16 + 0xffff);
  expect(headerV2(V4, { ...full, added: [...full.added, tlv(2, '')] })).toBeNull();
});
