import { describe, expect, test } from 'bun:test';
import recorded from './envoy-messages.json';
import { FrameType } from './frame/frame-types.ts';
import { NAME_FLAG } from './hpack/field-flags.ts';
import { http2Options } from './http2-options.ts';
import { authorityIsValid, methodIsValid, schemeIsValid } from './stream/pseudo-values.ts';
import { responseHeaders, ServerSide, TestTimers } from './test-peers.ts';

const OPENING = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from('000000040000000000000000040100000000', 'hex'),
]);

/** What became of stream 1. */
function fate(server: ServerSide): string {
  if (server.error !== null) return 'closed';
  const wire = server.transport.output.toBytes();
  for (let at = 0; at + 9 <= wire.length; at += 9 + wire.readUIntBE(at, 3)) {
    if (wire[at + 3] === FrameType.Headers) return 'answered';
    if (wire[at + 3] === FrameType.RstStream) return `reset ${wire.readUInt32BE(at + 9)}`;
  }
  return 'nothing';
}

function run(hex: string, streamErrors: boolean, step: number): string {
  const server = new ServerSide(new TestTimers(), http2Options({ streamErrorOnInvalidHttpMessage: streamErrors }));
  server.answer = (encoder) => encoder.encodeHeaders(responseHeaders(200), true);
  const wire = Buffer.concat([OPENING, Buffer.from(hex, 'hex')]);
  for (let at = 0; at < wire.length; at += step) server.feed(wire.subarray(at, at + step));
  return fate(server);
}

describe('messages as recorded from Envoy 1.40', () => {
  for (const { name, hex, streamErrors, default: usual } of recorded.messages) {
    test(name, () => {
      for (const step of [hex.length, 1]) {
        expect(run(hex, true, step)).toBe(streamErrors);
        expect(run(hex, false, step)).toBe(usual);
      }
    });
  }
});

describe('bytes as recorded from Envoy 1.40', () => {
  const { allowed } = recorded;
  const bytes = Array.from({ length: 256 }, (_, c) => String.fromCharCode(c));
  test('authority, method, scheme', () => {
    expect(bytes.filter((c) => authorityIsValid(`a${c}b`)).join('')).toBe(allowed.auth);
    expect(bytes.filter((c) => methodIsValid(`A${c}b`)).join('')).toBe(allowed.method);
    expect(bytes.filter((c) => schemeIsValid(`h${c}`)).join('')).toBe(allowed.scheme);
  });
  test('names', () => {
    expect(bytes.filter((c) => (NAME_FLAG[c.charCodeAt(0)]! & 3) === 0).join('')).toBe(allowed.name);
  });
});
