import { describe, expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import { framePrefix } from '../../../grpc/framing.ts';
import { Protocol } from '../../../http/codec.ts';
import { grpcHttp1BridgeFilter } from './factory.ts';

function harness(config = '{}', protocol: Protocol = Protocol.Http11): FilterHarness {
  const on = new TestBuild();
  const builder = grpcHttp1BridgeFilter.build(on.message(grpcHttp1BridgeFilter.configType, config), on.context);
  expect(on.errors).toEqual([]);
  const stream = new FilterHarness(builder!);
  stream.info.protocol = protocol;
  return stream;
}

const GRPC = { 'content-type': 'application/grpc' };
const UPGRADE = '{ upgrade_protobuf_to_grpc: true, ignore_query_parameters: true }';
const PREFIX = framePrefix(4).toString('latin1');

describe('grpc_http1_bridge', () => {
  test.each([
    ['0', 200],
    ['00', 200],
    ['5', 503],
    ['word', 503],
  ])('status %p in the trailers answers %p', (status, http) => {
    const stream = harness();
    stream.sendHeaders(GRPC);
    stream.answerHeaders(200, GRPC, false);
    stream.answerData('four', false);
    expect(stream.response.passed).toBe('');
    stream.answerTrailers({ 'grpc-status': status, 'grpc-message': 'why' });
    const headers = stream.responseHeaders!;
    expect([headers.status, headers.get('grpc-status'), headers.get('grpc-message')]).toEqual([http, status, 'why']);
    expect(headers.get('content-length')).toBe('4');
    expect(stream.response.passed).toBe('HfourT$');
  });

  test('HTTP/2 clients read trailers themselves', () => {
    const stream = harness('{}', Protocol.Http2);
    stream.sendHeaders(GRPC);
    stream.answerHeaders(200, GRPC, false);
    expect(stream.response.passed).toBe('H');
  });

  test('an answer without trailers passes whole, however it is cut', () => {
    const stream = harness(UPGRADE);
    stream.sendHeaders({ 'content-type': 'application/x-protobuf' });
    stream.answerHeaders(404, { 'content-length': '8' }, false);
    for (const char of 'not here') stream.answerData(char, false);
    stream.answerData('', true);
    expect(stream.response.passed).toBe('Hnot here$');
    expect(stream.responseHeaders!.get('content-length')).toBe('8');
  });

  test('other requests pass', () => {
    const stream = harness(UPGRADE);
    stream.sendHeaders({ ':path': '/a?b', 'content-type': 'text/plain' }, false);
    expect(stream.requestHeaders!.path).toBe('/a?b');
    stream.answerHeaders(200, {}, false);
    stream.answerData('x');
    expect(stream.response.passed).toBe('Hx$');
  });

  test('bare protobuf is framed, and the frame around the answer taken off, however it is cut', () => {
    const stream = harness(UPGRADE);
    stream.sendHeaders({ ':path': '/a/b?c', 'content-type': 'application/x-protobuf', 'content-length': '4' }, false);
    expect(stream.routeCacheClears).toBe(1);
    expect(stream.requestHeaders!.path).toBe('/a/b');
    expect(stream.requestHeaders!.list).toEqual(['content-type', 'application/grpc']);
    for (const char of 'pin') stream.sendData(char, false);
    expect(stream.request.passed).toBe('H');
    stream.sendData('g');
    expect(stream.request.passed).toBe(`H${PREFIX}ping$`);
    stream.answerHeaders(200, GRPC, false);
    for (const char of `${PREFIX}pong`) stream.answerData(char, false);
    stream.answerTrailers({ 'grpc-status': '0' });
    expect(stream.response.passed).toBe('HpongT$');
    expect(stream.responseHeaders!.get('content-length')).toBe('4');
  });
});
