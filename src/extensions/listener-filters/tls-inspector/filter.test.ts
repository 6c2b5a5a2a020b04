import { describe, expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { ByteBuffer } from '../../../base/byte-buffer.ts';
import { SeededRandom } from '../../../base/random.ts';
import { type AcceptedSocket, PeekStatus } from '../../../net/filter.ts';
import type { WorkerEnvironment } from '../../../pipeline/environment.ts';
import { tlsInspectorFilter } from './factory.ts';

const TYPE = 'envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector';
const STATS = 'client_hello_too_large tls_found tls_not_found alpn_found alpn_not_found sni_found sni_not_found'.split(
  ' ',
);

const u16 = (value: number): Buffer => Buffer.of(value >> 8, value & 255);
const text = (value: string): Buffer => Buffer.from(value, 'latin1');
const sized = (bytes: Buffer): Buffer => Buffer.concat([u16(bytes.length), bytes]);
const extension = (type: number, body: Buffer): Buffer => Buffer.concat([u16(type), sized(body)]);
const serverName = (name: string): Buffer => extension(0, sized(Buffer.concat([Buffer.of(0), sized(text(name))])));
const alpn = (list: string): Buffer => extension(16, sized(text(list)));

interface HelloParts {
  version?: number;
  ciphers?: Buffer;
  extensions?: readonly Buffer[];
  tail?: Buffer;
}

function handshake({
  version = 0x303,
  ciphers = Buffer.of(0x13, 1, 0xc0, 0x2f),
  extensions = [],
  tail,
}: HelloParts): Buffer {
  const block = extensions.length === 0 ? Buffer.of() : sized(Buffer.concat(extensions));
  const body = Buffer.concat([
    u16(version),
    Buffer.alloc(32),
    Buffer.of(0),
    sized(ciphers),
    Buffer.of(1, 0),
    block,
    tail ?? Buffer.of(),
  ]);
  return Buffer.concat([Buffer.of(1, 0), sized(body)]);
}

function records(message: Buffer, size = 16384): Buffer {
  const out: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    out.push(Buffer.of(22, 3, 1), sized(message.subarray(at, at + size)));
  }
  return Buffer.concat(out);
}

const hello = (parts: HelloParts): Buffer => records(handshake(parts));

function inspect(bytes: Buffer, yaml = '{}', size = Math.max(1, bytes.length)) {
  const on = new TestBuild([tlsInspectorFilter]);
  const filter = tlsInspectorFilter.build(on.message(TYPE, yaml), on.context)!({} as WorkerEnvironment).createFilter();
  const socket = {
    requestedServerName: '',
    applicationProtocols: [],
    detectedTransportProtocol: '',
    ja3: '',
    ja4: '',
  } as unknown as AcceptedSocket;
  const data = new ByteBuffer();
  let status: PeekStatus = PeekStatus.NeedMore;
  for (let at = 0; at < bytes.length && status === PeekStatus.NeedMore; at += size) {
    data.append(Buffer.from(bytes.subarray(at, at + size)));
    status = filter.onPeek(socket, data, false);
    expect(data.length).toBe(Math.min(at + size, bytes.length));
  }
  return {
    status,
    transport: socket.detectedTransportProtocol,
    sni: socket.requestedServerName,
    alpn: socket.applicationProtocols.join(),
    ja3: socket.ja3,
    ja4: socket.ja4,
    stats: STATS.filter((name) => on.shared.stats.counter(`tls_inspector.${name}`).value > 0).join(' '),
  };
}

const full = handshake({ extensions: [serverName('WWW.Example.com'), alpn('\x02h2\x08http/1.1')] });

describe('a ClientHello', () => {
  const expected = {
    status: PeekStatus.Continue,
    transport: 'tls',
    sni: 'www.example.com',
    alpn: 'h2,http/1.1',
    ja3: '',
    ja4: '',
    stats: 'tls_found alpn_found sni_found',
  };

  test('whole, byte by byte, in records of any size, behind warnings and empty records', () => {
    expect(inspect(records(full))).toEqual(expected);
    expect(inspect(records(full), '{}', 1)).toEqual(expected);
    expect(inspect(records(full), 'initial_read_buffer_size: 256', 100)).toEqual(expected);
    for (const size of [1, 2, 3, 4, 5, 50]) expect(inspect(records(full, size))).toEqual(expected);
    const before = Buffer.of(21, 3, 1, 0, 2, 1, 90, 22, 3, 1, 0, 0);
    expect(inspect(Buffer.concat([before, records(full)]), '{}', 1)).toEqual(expected);
  });

  test('without name and protocols', () => {
    const { transport, sni, stats } = inspect(hello({}));
    expect([transport, sni, stats]).toEqual(['tls', '', 'tls_found alpn_not_found sni_not_found']);
  });

  test('in the form of SSL 2', () => {
    const v2 = Buffer.concat([Buffer.of(0x80, 0x1c, 1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 0x2f), Buffer.alloc(16)]);
    expect(inspect(v2, '{}', 1).stats).toBe('tls_found alpn_not_found sni_not_found');
    v2[11] = 1;
    expect(inspect(v2).stats).toBe('tls_not_found');
  });

  test('protocols that are malformed are for the TLS stack to refuse', () => {
    const { transport, alpn: found } = inspect(hello({ extensions: [alpn('\x02h2\0')] }));
    expect([transport, found]).toEqual(['tls', '']);
  });

  test.each([0x300, 0x305, 0x400, 0xfeff])('version %i is spoken by nobody: closed', (version) => {
    const { status, stats } = inspect(hello({ version, extensions: [serverName('a.b')] }));
    expect([status, stats]).toEqual([PeekStatus.Close, 'tls_not_found sni_found']);
  });
});

const NOT_TLS: [string, Buffer][] = [
  ['text', text('GET / HTTP/1.1\r\n\r\n')],
  ['a record of version 2', Buffer.of(22, 2, 1, 0, 1, 0)],
  ['a record that is too long', Buffer.of(22, 3, 1, 0x41, 0x41)],
  ['application data', Buffer.of(23, 3, 1, 0, 1, 0)],
  ['a fatal alert', Buffer.of(21, 3, 1, 0, 2, 2, 40)],
  ['five warnings', Buffer.concat(Array(5).fill(Buffer.of(21, 3, 1, 0, 2, 1, 90)))],
  ['33 empty records', Buffer.concat(Array(33).fill(Buffer.of(22, 3, 1, 0, 0)))],
  ['a message that is too long', Buffer.of(22, 3, 1, 0, 4, 1, 0, 0x40, 1)],
  ['a server hello', Buffer.of(22, 3, 1, 0, 4, 2, 0, 0, 0)],
  ['an empty hello', Buffer.of(22, 3, 1, 0, 4, 1, 0, 0, 0)],
  ['no ciphers', hello({ ciphers: Buffer.of() })],
  ['half a cipher', hello({ ciphers: Buffer.of(1) })],
  ['the same extension twice', hello({ extensions: [alpn('\x02h2'), alpn('\x02h2')] })],
  ['bytes behind the end', hello({ tail: Buffer.of(1) })],
  ['an extension cut short', hello({ tail: Buffer.of(0, 5, 0, 0, 0, 6, 97) })],
  ['an empty name', hello({ extensions: [serverName('')] })],
  ['a name with a zero byte', hello({ extensions: [serverName('a\0b')] })],
  ['a name that is too long', hello({ extensions: [serverName('a'.repeat(256))] })],
  ['an encrypted hello that is empty', hello({ extensions: [extension(0xfe0d, Buffer.of())] })],
];

test.each(NOT_TLS)('%s is not TLS', (_name, bytes) => {
  for (const size of [bytes.length, 1]) {
    const { status, transport, stats } = inspect(bytes, '{}', size);
    expect([status, transport, stats]).toEqual([PeekStatus.Continue, '', 'tls_not_found']);
  }
  const closed = inspect(bytes, 'close_connection_on_client_hello_parsing_errors: true');
  expect([closed.status, closed.stats]).toEqual([PeekStatus.Close, 'tls_not_found']);
});

test('close_notify before anything else closes', () => {
  expect(inspect(Buffer.of(21, 3, 1, 0, 2, 1, 0))).toMatchObject({ status: PeekStatus.Close, stats: '' });
});

describe('limits', () => {
  test('a hello that does not fit', () => {
    const large = hello({ extensions: [extension(21, Buffer.alloc(2000))] });
    for (const size of [1, 700, large.length]) {
      const { status, stats } = inspect(large, 'max_client_hello_size: 1024', size);
      expect([status, stats]).toEqual([PeekStatus.Close, 'client_hello_too_large']);
    }
    expect(inspect(large, 'max_client_hello_size: 3000').transport).toBe('tls');
  });

  test('64 KiB of hello, as one message or in small records', () => {
    const endless = records(Buffer.concat([Buffer.of(1, 0, 0x3f, 0xff), Buffer.alloc(65536)]), 1000);
    expect(inspect(endless, '{}', 1000).status).toBe(PeekStatus.Close);
    expect(inspect(endless).status).toBe(PeekStatus.Close);
  });

  test('a maximum over the maximum is refused', () => {
    const on = new TestBuild([tlsInspectorFilter]);
    expect(tlsInspectorFilter.build(on.message(TYPE, 'max_client_hello_size: 16385'), on.context)).toBeNull();
    expect(on.errors).toEqual([
      'max_client_hello_size: max_client_hello_size of 16385 is greater than maximum of 16384.',
    ]);
  });
});

describe('fingerprints', () => {
  const on = 'enable_ja3_fingerprinting: true\nenable_ja4_fingerprinting: true';
  const grease = hello({
    ciphers: Buffer.of(0x1a, 0x1a, 0x13, 1, 0xc0, 0x2f),
    extensions: [
      extension(0x2a2a, Buffer.of()),
      extension(43, Buffer.of(6, 0x3a, 0x3a, 3, 4, 3, 3)),
      extension(10, sized(Buffer.of(0x4a, 0x4a, 0, 0x1d, 0, 0x17))),
      extension(13, sized(Buffer.of(4, 3, 8, 4))),
      extension(11, Buffer.of(1, 0)),
      alpn('\x04\x0dh\xffz'),
    ],
  });

  // What Envoy 1.40 gives for the same bytes.
  test.each([
    ['GREASE', grease, '2cc7b59d45c0ee787ff9a2e9a943f522', 't13i02050a_c1929292aa6b_fb71836bce29'],
    [
      'nothing',
      hello({ ciphers: Buffer.of(0x1a, 0x1a), extensions: [alpn('\x01A'), extension(43, Buffer.of())] }),
      'fde88d0cb2f8910792befd625c9eab12',
      't00i0002AA_000000000000_b9a491fefe05',
    ],
  ])('%s', (_name, bytes, ja3, ja4) => {
    expect(inspect(bytes, on)).toMatchObject({ ja3, ja4 });
  });
});

test('whatever is changed in a hello, all at once and byte by byte end alike', () => {
  const random = new SeededRandom(11);
  const yaml = 'enable_ja3_fingerprinting: true\nenable_ja4_fingerprinting: true';
  for (let round = 0; round < 1500; round++) {
    const bytes = records(full, 20 + random.below(300));
    for (let edits = random.below(4); edits >= 0; edits--)
      bytes[random.below(bytes.length)] = random.below(3) === 0 ? 0 : random.below(256);
    expect(inspect(bytes, yaml, 1)).toEqual(inspect(bytes, yaml));
  }
});
