import { describe, expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import { SeededRandom } from '../../../base/random.ts';
import { framePrefix } from '../../../grpc/framing.ts';
import { decodeBase64 } from './base64.ts';
import { grpcWebFilter } from './factory.ts';

function harness(): FilterHarness {
  const on = new TestBuild();
  const builder = grpcWebFilter.build(on.message(grpcWebFilter.configType, '{}'), on.context);
  expect(on.errors).toEqual([]);
  return new FilterHarness(builder!);
}

function frame(text: string, flags = 0): string {
  return framePrefix(text.length, flags).toString('latin1') + text;
}

function base64(text: string): string {
  return Buffer.from(text, 'latin1').toString('base64');
}

const BINARY = { 'content-type': 'application/grpc-web+proto', 'content-length': '9' };
const TEXT = { 'content-type': 'application/grpc-web-text', accept: 'application/grpc-web-text' };
const GRPC = { 'content-type': 'application/grpc' };
const TRAILERS = frame('grpc-status:0\r\nx-a:b\r\n', 0x80);

describe('grpc_web', () => {
  test('other requests pass as they are', () => {
    const stream = harness();
    stream.sendHeaders({ 'content-type': 'application/grpc', 'content-length': '3' }, false);
    stream.sendData('abc');
    expect(stream.requestHeaders!.list).toEqual(['content-type', 'application/grpc', 'content-length', '3']);
    stream.answerHeaders(200, GRPC, false);
    stream.answerTrailers({ 'grpc-status': '0' });
    expect(stream.response.passed).toBe('HT$');
  });

  test('binary: the trailers become a frame', () => {
    const stream = harness();
    stream.sendHeaders(BINARY, false);
    expect(stream.requestHeaders!.list).toEqual([
      'content-type',
      'application/grpc',
      'te',
      'trailers',
      'grpc-accept-encoding',
      'identity',
    ]);
    stream.sendData(frame('ping'));
    expect(stream.request.passed).toBe(`H${frame('ping')}$`);
    stream.answerHeaders(200, GRPC, false);
    stream.answerData(frame('pong'), false);
    stream.answerTrailers({ 'grpc-status': '0', 'x-a': 'b' });
    expect(stream.response.passed).toBe(`H${frame('pong')}${TRAILERS}T$`);
    expect(stream.responseTrailers!.size).toBe(0);
    expect(stream.responseHeaders!.get('content-type')).toBe('application/grpc-web+proto');
  });

  test('text, one byte at a time in both directions', () => {
    const stream = harness();
    stream.sendHeaders(TEXT, false);
    for (const char of base64(frame('ping'))) stream.sendData(char, false);
    stream.sendData('', true);
    expect(stream.request.passed).toBe(`H${frame('ping')}$`);
    stream.answerHeaders(200, GRPC, false);
    for (const char of frame('one') + frame('zip', 1)) stream.answerData(char, false);
    stream.answerTrailers({ 'grpc-status': '0', 'x-a': 'b' });
    expect(stream.response.passed).toBe(`H${base64(frame('one'))}${base64(frame('zip', 1))}${base64(TRAILERS)}T$`);
  });

  test('text without trailers ends, which Envoy never does', () => {
    const stream = harness();
    stream.sendHeaders(TEXT, true);
    stream.answerHeaders(200, { ...GRPC, 'grpc-status': '0' }, false);
    stream.answerData(frame('a'), false);
    stream.answerData('', true);
    expect(stream.response.passed).toBe(`H${base64(frame('a'))}$`);
  });

  test('an answer that is no gRPC becomes a message, up to a bound', () => {
    const stream = harness();
    stream.sendHeaders(BINARY, true);
    stream.answerHeaders(503, { 'content-type': 'text/plain' }, false);
    for (let i = 0; i < 40; i++) stream.answerData('50% '.repeat(256), false);
    stream.answerData('', true);
    expect(stream.response.passed).toBe('H$');
    const headers = stream.responseHeaders!;
    expect([headers.status, headers.get('grpc-status'), headers.get('content-length')]).toEqual([503, '14', '0']);
    expect(headers.get('grpc-message')).toBe('50%25 '.repeat(4096));
  });

  test.each([
    ['YWJ', 'grpc_base_64_decode_failed_bad_size'],
    ['YW*j', 'grpc_base_64_decode_failed'],
    ['YR==', 'grpc_base_64_decode_failed'],
    ['YQ==YQ==', 'grpc_base_64_decode_failed'],
  ])('%p is refused', (text, details) => {
    const stream = harness();
    stream.sendHeaders(TEXT, false);
    stream.sendData(text);
    expect([stream.reply!.status, stream.reply!.details]).toEqual([400, details]);
  });
});

test('base64: what was encoded decodes, what was not is refused or decodes to what encodes to it', () => {
  const random = new SeededRandom(3);
  for (let round = 0; round < 500; round++) {
    const bytes = Buffer.from(Array.from({ length: random.below(50) }, () => random.uint32() & 255));
    expect(decodeBase64(bytes.toString('base64'))!.equals(bytes)).toBe(true);
    const letters = 'AB/+z9=-_ \n';
    const text = Array.from({ length: 4 * random.below(4) }, () => letters[random.below(letters.length)]).join('');
    const decoded = decodeBase64(text);
    if (decoded !== null) expect(decoded.toString('base64')).toBe(text);
  }
});
