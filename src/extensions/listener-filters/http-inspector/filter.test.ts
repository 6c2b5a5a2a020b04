import { describe, expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { ByteBuffer } from '../../../base/byte-buffer.ts';
import { SeededRandom } from '../../../base/random.ts';
import { type AcceptedSocket, PeekStatus } from '../../../net/filter.ts';
import type { WorkerEnvironment } from '../../../pipeline/environment.ts';
import { httpInspectorFilter } from './factory.ts';
import { MAX_INSPECT_BYTES } from './filter.ts';

const TYPE = 'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector';
const STATS = ['http10_found', 'http11_found', 'http2_found', 'http_not_found', 'read_error'];

function inspect(
  text: string,
  size = text.length,
  transport = '',
): { status: PeekStatus; found: string; stat: string } {
  const on = new TestBuild([httpInspectorFilter]);
  const filter = httpInspectorFilter.build(on.message(TYPE, '{}'), on.context)!({} as WorkerEnvironment).createFilter();
  const socket = { applicationProtocols: [], detectedTransportProtocol: transport } as unknown as AcceptedSocket;
  const data = new ByteBuffer();
  let status = filter.onAccept(socket);
  for (let at = 0; at < text.length && status === PeekStatus.NeedMore; at += size) {
    data.append(Buffer.from(text.slice(at, at + size), 'latin1'));
    status = filter.onPeek(socket, data, false);
    expect(data.length).toBe(Math.min(at + size, text.length));
  }
  const stat = STATS.filter((name) => on.shared.stats.counter(`http_inspector.${name}`).value > 0).join();
  return { status, found: socket.applicationProtocols.join(), stat };
}

const CASES: [string, string, string][] = [
  ['GET / HTTP/1.1\r\n', 'http/1.1', 'http11_found'],
  ['GET / HTTP/1.1\n', 'http/1.1', 'http11_found'],
  ['FOO http://a/b HTTP/1.1\r\nx', 'http/1.1', 'http11_found'],
  ['CONNECT a:1 HTTP/1.1\r\n', 'http/1.1', 'http11_found'],
  ['GET / HTTP/1.0\r\n', 'http/1.0', 'http10_found'],
  ['GET / HTTP/2.0\r\n', 'http/1.0', 'http10_found'],
  ['GET /\r\n', 'http/1.0', 'http10_found'],
  ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore', 'h2c', 'http2_found'],
  ['PRI * HTTP/1.1\r\n', 'http/1.1', 'http11_found'],
  ['GET\r\n', '', 'http_not_found'],
  ['rubbish rubbish\r\n', '', 'http_not_found'],
  ['G@T / HTTP/1.1\r\n', '', 'http_not_found'],
  ['GET / HTTP/11\r\n', '', 'http_not_found'],
  ['GET /\x7f HTTP/1.1\r\n', '', 'http_not_found'],
  ['\r\n\r\nGET / HTTP/1.1\r\n', '', 'http_not_found'],
  [' GET / HTTP/1.1\r\n', '', 'http_not_found'],
  ['\x16\x03\x01', '', 'http_not_found'],
  ['G@T / ', '', 'http_not_found'],
  ['A\x01B', '', 'http_not_found'],
];

describe('http_inspector', () => {
  test.each(CASES)('%j', (text, found, stat) => {
    for (const size of [text.length, 1, 3]) {
      expect(inspect(text, size)).toEqual({ status: PeekStatus.Continue, found, stat });
    }
  });

  test.each(['GET x HTTP/9', 'GET\t/ HTTP/1.1', 'PRI * HTTP/2.0\r\n\r\nSM', 'P'])('%j says nothing yet', (text) => {
    expect(inspect(text, 1)).toEqual({ status: PeekStatus.NeedMore, found: '', stat: '' });
  });

  test('a request line without end closes the connection', () => {
    const text = `GET /${'x'.repeat(MAX_INSPECT_BYTES)}`;
    expect(inspect(text, 1000)).toEqual({ status: PeekStatus.Close, found: '', stat: 'read_error' });
    expect(inspect(text)).toEqual({ status: PeekStatus.Close, found: '', stat: 'read_error' });
  });

  test('TLS is not looked into', () => {
    expect(inspect('GET / HTTP/1.1\r\n', 1, 'tls')).toEqual({ status: PeekStatus.Continue, found: '', stat: '' });
  });

  test('random bytes: all at once and byte by byte end alike', () => {
    const random = new SeededRandom(3);
    for (let round = 0; round < 1000; round++) {
      let text = CASES[random.below(CASES.length)]![0];
      for (let edits = random.below(3); edits >= 0; edits--) {
        const at = random.below(text.length);
        text = text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + random.below(2));
      }
      expect(inspect(text, 1)).toEqual(inspect(text));
    }
  });
});
