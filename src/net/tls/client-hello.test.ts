import { describe, expect, test } from 'bun:test';
import { ByteBuffer } from '../../base/byte-buffer.ts';
import { SeededRandom } from '../../base/random.ts';
import { ClientHello } from './client-hello.ts';
import { HelloReader, HelloState } from './hello-reader.ts';

/** A hello of OpenSSL 3: server.test, h2 and http/1.1, X25519, TLS 1.3. */
function hello(): Buffer {
  const extension = (type: number, body: Buffer) =>
    Buffer.concat([Buffer.of(type >> 8, type & 255, body.length >> 8, body.length & 255), body]);
  const name = Buffer.from('server.test');
  const sni = Buffer.concat([Buffer.of(0, name.length + 3, 0, 0, name.length), name]);
  const alpn = Buffer.from('\x00\x0c\x02h2\x08http/1.1', 'latin1');
  const extensions = Buffer.concat([
    extension(0, sni),
    extension(16, alpn),
    extension(10, Buffer.of(0, 4, 0, 29, 0, 23)),
    extension(13, Buffer.of(0, 4, 4, 3, 8, 4)),
    extension(43, Buffer.of(4, 3, 4, 3, 3)),
  ]);
  const body = Buffer.concat([
    Buffer.of(3, 3),
    Buffer.alloc(32, 7),
    Buffer.of(0, 0, 4, 0x13, 1, 0xc0, 0x2b, 1, 0, extensions.length >> 8, extensions.length & 255),
    extensions,
  ]);
  const message = Buffer.concat([Buffer.of(1, 0, body.length >> 8, body.length & 255), body]);
  return Buffer.concat([Buffer.of(22, 3, 1, message.length >> 8, message.length & 255), message]);
}

function read(bytes: Buffer, step: number): { state: HelloState; parsed: ClientHello | null } {
  const data = new ByteBuffer();
  const reader = new HelloReader();
  let state: HelloState = HelloState.More;
  for (let at = 0; at < bytes.length && state === HelloState.More; at += step) {
    data.append(Buffer.from(bytes.subarray(at, at + step)));
    state = reader.read(data, data.length);
  }
  return { state, parsed: state === HelloState.Complete ? ClientHello.parse(reader.body) : null };
}

function facts(parsed: ClientHello | null): string {
  if (parsed === null) return 'none';
  return JSON.stringify([
    parsed.serverName(),
    parsed.applicationProtocols(),
    parsed.supportedVersions(),
    parsed.supportedGroups(),
    parsed.signatureAlgorithms(),
    parsed.pointFormats(),
    parsed.encryptedHelloIsWellFormed,
    parsed.isOfKnownVersion,
  ]);
}

describe('ClientHello', () => {
  test('what it says', () => {
    const { parsed } = read(hello(), 1);
    expect(parsed?.serverName()).toBe('server.test');
    expect(parsed?.applicationProtocols()).toEqual(['h2', 'http/1.1']);
    expect(parsed?.supportedVersions()).toEqual([0x304, 0x303]);
    expect(parsed?.supportedGroups()).toEqual([29, 23]);
    expect(parsed?.signatureAlgorithms()).toEqual([0x403, 0x804]);
  });

  test('whatever is changed in it, it is read without a throw, and alike in pieces of any size', () => {
    const random = new SeededRandom(20261122);
    for (let round = 0; round < 4000; round++) {
      let bytes = hello();
      for (let changes = random.below(4); changes >= 0; changes--) {
        const at = random.below(bytes.length);
        const kind = random.below(4);
        if (kind === 0) bytes[at] = random.below(256);
        else if (kind === 1) bytes[at]! ^= 1 << random.below(8);
        else if (kind === 2) bytes = bytes.subarray(0, at + 1);
        else
          bytes = Buffer.concat([
            bytes.subarray(0, at),
            Buffer.alloc(random.below(20), random.below(256)),
            bytes.subarray(at),
          ]);
      }
      const whole = read(bytes, bytes.length);
      const pieces = read(bytes, 1 + random.below(7));
      expect([pieces.state, facts(pieces.parsed)]).toEqual([whole.state, facts(whole.parsed)]);
    }
  });

  test('noise', () => {
    const random = new SeededRandom(7);
    for (let round = 0; round < 500; round++) {
      const bytes = Buffer.alloc(1 + random.below(600));
      for (let i = 0; i < bytes.length; i++) bytes[i] = random.below(256);
      if (round % 2 === 0) bytes.set([22, 3, 1]);
      facts(read(bytes, 64).parsed);
      facts(ClientHello.parse(bytes));
    }
  });
});
