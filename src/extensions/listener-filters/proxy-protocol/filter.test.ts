import { describe, expect, test } from 'bun:test';
import { type StubSocket, stubSocket } from '../../../../test/support/accepted-socket.ts';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { ByteBuffer } from '../../../base/byte-buffer.ts';
import { SeededRandom } from '../../../base/random.ts';
import { ipAddress } from '../../../net/address.ts';
import { PeekStatus } from '../../../net/filter.ts';
import { PROXY_PROTOCOL_STATE, type ProxyProtocolState } from '../../../net/proxy-protocol-state.ts';
import type { WorkerEnvironment } from '../../../pipeline/environment.ts';
import { proxyProtocolFilter } from './factory.ts';

const TYPE = 'envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol';
const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n';
const REST = 'GET / HTTP/1.1\r\n\r\n';
const V4 = '\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\0\x50';
const V6 = `${'\0'.repeat(15)}\x01\xfe\x80${'\0'.repeat(13)}\x02\x04\x57\0\x50`;

/** A header of version 2. */
function v2(versionCommand: number, familyTransport: number, body: string, length = body.length): string {
  return SIGNATURE + String.fromCharCode(versionCommand, familyTransport, length >> 8, length & 255) + body;
}

function newSocket(): StubSocket {
  return stubSocket({
    directRemoteAddress: ipAddress('127.0.0.1', 1000),
    remoteAddress: ipAddress('127.0.0.1', 1000),
    localAddress: ipAddress('127.0.0.1', 2000),
    detectedTransportProtocol: '',
  });
}

class Outcome {
  status: PeekStatus = PeekStatus.NeedMore;
  rest = '';
  stats: Record<string, number> = {};
  readonly socket = newSocket();
}

/** Feeds `text` in pieces of `size` bytes until the filter has decided. */
function run(yaml: string, text: string, size = text.length): Outcome {
  const on = new TestBuild([proxyProtocolFilter]);
  const maker = proxyProtocolFilter.build(on.message(TYPE, yaml), on.context)!;
  const filter = maker({} as WorkerEnvironment).createFilter();
  const outcome = new Outcome();
  const data = new ByteBuffer();
  expect(filter.onAccept(outcome.socket)).toBe(PeekStatus.NeedMore);
  let at = 0;
  while (at < text.length && outcome.status === PeekStatus.NeedMore) {
    data.append(Buffer.from(text.slice(at, at + size), 'latin1'));
    at += size;
    outcome.status = filter.onPeek(outcome.socket, data, false);
  }
  outcome.rest = data.latin1() + text.slice(at);
  const names = ['found', 'disallowed', 'error'].flatMap((name) => [`versions.v1.${name}`, `versions.v2.${name}`]);
  for (const name of [...names, 'not_found_allowed', 'not_found_disallowed']) {
    const count = on.shared.stats.counter(`proxy_proto.${name}`).value;
    if (count !== 0) outcome.stats[name] = count;
  }
  const legacy = on.shared.stats.counter('downstream_cx_proxy_proto_error').value;
  if (legacy !== 0) outcome.stats.legacy = legacy;
  return outcome;
}

const ADDRESSES: [string, string, string, string][] = [
  ['v1 TCP4', 'PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n', '1.2.3.4:1111', '5.6.7.8:80'],
  ['v1 TCP6', 'PROXY TCP6 1:0:0::2 FE80::A 1111 80\r\n', '[1::2]:1111', '[fe80::a]:80'],
  ['v1 mapped', 'PROXY TCP6 ::ffff:1.2.3.4 5::6 1 2\r\n', '[::ffff:1.2.3.4]:1', '[5::6]:2'],
  ['v1 UNKNOWN', 'PROXY UNKNOWN\r\n', '127.0.0.1:1000', '127.0.0.1:2000'],
  ['v1 UNKNOWN and more', 'PROXY UNKNOWN a b c d e f\r\n', '127.0.0.1:1000', '127.0.0.1:2000'],
  ['v2 IPv4', v2(0x21, 0x11, V4), '1.2.3.4:1111', '5.6.7.8:80'],
  ['v2 datagrams', v2(0x21, 0x12, V4), '1.2.3.4:1111', '5.6.7.8:80'],
  ['v2 IPv6', v2(0x21, 0x21, V6), '[::1]:1111', '[fe80::2]:80'],
  ['v2 with TLVs', v2(0x21, 0x11, `${V4}\x01\0\x02h2\x02\0\0`), '1.2.3.4:1111', '5.6.7.8:80'],
  ['v2 LOCAL', v2(0x20, 0, ''), '127.0.0.1:1000', '127.0.0.1:2000'],
  ['v2 LOCAL with rubbish', v2(0x20, 0x31, 'rubbish'), '127.0.0.1:1000', '127.0.0.1:2000'],
];

describe('headers that are taken', () => {
  test.each(ADDRESSES)('%s', (_name, header, remote, local) => {
    for (const size of [header.length + REST.length, 1, 5]) {
      const { status, socket, rest, stats } = run('{}', header + REST, size);
      expect(status).toBe(PeekStatus.Continue);
      expect(socket.remoteAddress.text).toBe(remote);
      expect(socket.localAddress.text).toBe(local);
      expect(socket.localAddressRestored).toBe(local !== '127.0.0.1:2000');
      expect(socket.directRemoteAddress.text).toBe('127.0.0.1:1000');
      expect(rest).toBe(REST);
      expect(stats).toEqual({ [`versions.${header.startsWith('P') ? 'v1' : 'v2'}.found`]: 1 });
    }
  });

  test('the longest header there is, byte by byte, within what the filter may ask for', () => {
    const tlv = `\xee\xff\xf0${'x'.repeat(0xfff0)}`;
    const header = v2(0x21, 0x11, V4 + tlv);
    expect(header.length).toBe(16 + 65535);
    expect(run('{}', header + REST, 1).rest).toBe(REST);
  });
});

const MALFORMED: [string, string, 'v1' | 'v2' | 'none'][] = [
  ['an address that is none', 'PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n', 'v1'],
  ['families mixed', 'PROXY TCP4 ::1 5.6.7.8 1 2\r\n', 'v1'],
  ['an unspecified address', 'PROXY TCP4 0.0.0.0 5.6.7.8 1 2\r\n', 'v1'],
  ['a broadcast address', 'PROXY TCP4 1.2.3.4 255.255.255.255 1 2\r\n', 'v1'],
  ['a multicast address', 'PROXY TCP6 ff02::1 1::2 1 2\r\n', 'v1'],
  ['a port too high', 'PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n', 'v1'],
  ['no port', 'PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n', 'v1'],
  ['two spaces', 'PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n', 'v1'],
  ['an unknown protocol', 'PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n', 'v1'],
  ['a line that is too long', `PROXY UNKNOWN ${'x'.repeat(93)}\r\n`, 'v1'],
  ['a line without end', `PROXY UNKNOWN ${'x'.repeat(300)}`, 'none'],
  ['no header at all', REST, 'none'],
  ['a version of the future', v2(0x31, 0x11, V4), 'v2'],
  ['a command of the future', v2(0x22, 0x11, V4), 'v2'],
  ['Unix addresses', v2(0x21, 0x31, 'x'.repeat(216)), 'v2'],
  ['no family', v2(0x21, 0, V4), 'v2'],
  ['no transport', v2(0x21, 0x10, V4), 'v2'],
  ['addresses cut short', v2(0x21, 0x11, V4, 11), 'v2'],
  ['a TLV cut short', v2(0x21, 0x11, `${V4}\x01\0`), 'v2'],
  ['a TLV longer than the header', v2(0x21, 0x11, `${V4}\x01\0\x02x`), 'v2'],
];

test.each(MALFORMED)('%s closes the connection', (_name, header, version) => {
  const { status, socket, stats } = run('{}', header + REST);
  expect(status).toBe(PeekStatus.Close);
  expect(socket.remoteAddress.text).toBe('127.0.0.1:1000');
  const name = version === 'none' ? 'not_found_disallowed' : `versions.${version}.error`;
  expect(stats).toEqual({ [name]: 1, legacy: 1 });
  expect(run('{}', header + REST, 1).status).toBe(PeekStatus.Close);
});

describe('allow_requests_without_proxy_protocol', () => {
  const allow = 'allow_requests_without_proxy_protocol: true';
  test('what cannot become a header passes at once', () => {
    const { status, rest, stats } = run(allow, REST, 1);
    expect(status).toBe(PeekStatus.Continue);
    expect(rest).toBe(REST);
    expect(stats).toEqual({ not_found_allowed: 1 });
  });
  test('a header is still taken, and a bad one still refused', () => {
    expect(run(allow, ADDRESSES[0]![1] + REST, 1).stats).toEqual({ 'versions.v1.found': 1 });
    expect(run(allow, v2(0x31, 0x11, V4)).status).toBe(PeekStatus.Close);
  });
  test('a version that is not allowed is no header', () => {
    const { status, rest } = run(`${allow}\ndisallowed_versions: [V2]`, v2(0x21, 0x11, V4));
    expect(status).toBe(PeekStatus.Continue);
    expect(rest).toBe(v2(0x21, 0x11, V4));
  });
});

test('versions that are disallowed', () => {
  expect(run('disallowed_versions: [V1]', 'PROXY UNKNOWN\r\n').stats).toEqual({
    'versions.v1.found': 1,
    'versions.v1.disallowed': 1,
  });
  expect(run('disallowed_versions: [V2]', v2(0x21, 0x11, V4)).status).toBe(PeekStatus.Close);
  expect(run('disallowed_versions: [V2]', 'PROXY UNKNOWN\r\n').status).toBe(PeekStatus.Continue);
  const on = new TestBuild([proxyProtocolFilter]);
  expect(proxyProtocolFilter.build(on.message(TYPE, 'disallowed_versions: [V1, V2]'), on.context)).toBeNull();
  expect(on.errors).toEqual([
    'disallowed_versions: Proxy Protocol filter is misconfigured: all proxy protocol versions are disallowed.',
  ]);
});

test('a stat prefix', () => {
  const on = new TestBuild([proxyProtocolFilter]);
  const maker = proxyProtocolFilter.build(on.message(TYPE, 'stat_prefix: mine'), on.context)!;
  const filter = maker({} as WorkerEnvironment).createFilter();
  filter.onPeek(newSocket(), ByteBuffer.from('PROXY UNKNOWN\r\n'), false);
  expect(on.shared.stats.counter('proxy_proto.mine.versions.v1.found').value).toBe(1);
});

test('whatever is changed in a header, all at once and byte by byte end alike', () => {
  const random = new SeededRandom(7);
  const headers = ADDRESSES.map((each) => each[1]).filter((header) => header.length < 200);
  for (let round = 0; round < 3000; round++) {
    let text = headers[random.below(headers.length)]! + REST;
    for (let edits = random.below(3); edits >= 0; edits--) {
      const at = random.below(text.length);
      text = text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + random.below(3));
    }
    const whole = run('{}', text);
    const pieces = run('{}', text, 1);
    // What is no header may be found out sooner; never may anything else be made of it.
    expect(pieces.status).toBe(whole.status);
    expect(pieces.socket.remoteAddress.text).toBe(whole.socket.remoteAddress.text);
    if (whole.status === PeekStatus.Continue) expect(pieces.rest).toBe(whole.rest);
  }
});

describe('TLVs', () => {
  const tlv = (type: number, value: string) => String.fromCharCode(type, value.length >> 8, value.length & 255) + value;
  const header = v2(0x21, 0x11, V4 + tlv(2, 'tok\xffen') + tlv(3, '\0\xff') + tlv(4, 'four') + tlv(2, 'again'));
  const stateOf = (yaml: string) => run(yaml, header + REST).socket.ownState();

  test('rules fill the metadata; the first of a key stays, the last rule of a type counts', () => {
    const { metadata } = stateOf(`rules:
- { tlv_type: 2, on_tlv_present: { key: lost } }
- { tlv_type: 2, on_tlv_present: { key: auth, metadata_namespace: ns } }
- { tlv_type: 259, on_tlv_present: { key: three, value_string_encoding: BASE64 } }
- { tlv_type: 4, on_tlv_present: { key: three } }`);
    expect(Object.fromEntries(metadata)).toEqual({
      ns: { auth: 'tok!en' },
      'envoy.filters.listener.proxy_protocol': { three: 'AP8=' },
    });
  });

  test('or one object of the filter state, where the last value stays', () => {
    const { metadata, objects } = stateOf(
      'tlv_location: FILTER_STATE\nrules: [{ tlv_type: 2, on_tlv_present: { key: auth } }]',
    );
    const object = objects.get('envoy.network.proxy_protocol.tlv')!;
    expect(metadata.size).toBe(0);
    expect([object.serialize(), object.field!('auth'), object.field!('none')]).toEqual([
      '{"auth":"again"}',
      'again',
      null,
    ]);
  });

  test.each([
    ['{}', []],
    ['pass_through_tlvs: { match_type: INCLUDE, tlv_type: [4] }', [4]],
    ['pass_through_tlvs: {}', [2, 3, 4, 2]],
  ])('what may be passed on: %s', (yaml, types) => {
    const passed = stateOf(yaml).objects.get(PROXY_PROTOCOL_STATE) as ProxyProtocolState;
    expect(passed.data.tlvs.map((each) => each.type)).toEqual(types);
    expect([passed.data.source.kind, passed.data.destination.kind]).toEqual(['ip', 'ip']);
  });
});
