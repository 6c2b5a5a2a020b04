import { expect, test } from 'bun:test';
import { ResetReason } from '../codec.ts';
import { Pair, requestHeaders, responseHeaders } from './test-peers.ts';

test('fields are not Huffman coded where that is switched off', () => {
  for (const huffman of [true, false]) {
    const pair = new Pair({ server: { huffman }, client: { huffman } });
    pair.server.answer = (encoder) => encoder.encodeHeaders(responseHeaders(200, ['x-name', 'value'.repeat(20)]), true);
    const { stream } = pair.client.request(requestHeaders('GET', `/${'path'.repeat(30)}`), true);
    expect(pair.client.transport.output.toBytes().includes('pathpath')).toBe(!huffman);
    pair.server.feed(pair.client.transport.output.toBytes());
    pair.client.transport.output.clear();
    expect(pair.server.transport.output.toBytes().includes('x-name')).toBe(!huffman);
    pair.exchange();
    expect(stream.response.get('x-name')).toBe('value'.repeat(20));
  }
});

test('a field may be as long as is allowed', () => {
  for (const [maxFieldBytes, taken] of [
    [64 * 1024, false],
    [80 * 1024, true],
  ] as const) {
    const pair = new Pair({
      server: { maxFieldBytes, maxHeadersBytes: 200 * 1024 },
      client: { huffman: false },
    });
    pair.client.request(requestHeaders('GET', '/', ['x-long', 'x'.repeat(70 * 1024)]), true);
    pair.exchange();
    expect(pair.server.error === null).toBe(taken);
    expect(pair.server.streams[0]?.heads.length).toBe(taken ? 1 : 0);
  }
});

test('values beyond ASCII make a message malformed where they are not allowed', () => {
  for (const disallowObsText of [false, true]) {
    const pair = new Pair({ server: { disallowObsText, streamErrorOnInvalidHttpMessage: true } });
    pair.client.request(requestHeaders('GET', '/', ['x-name', 'caf\xe9']), true);
    const { stream } = pair.client.request(requestHeaders('GET', '/', ['x-name', 'cafe']), true);
    pair.server.answer = (encoder) => encoder.encodeHeaders(responseHeaders(204), true);
    pair.exchange();
    expect(pair.server.streams[0]!.resetReason).toBe(disallowObsText ? ResetReason.ProtocolError : null);
    expect(stream.response.status).toBe(204);
  }
});

test('resets are taken as long as there are tokens, which come back by the second', () => {
  const pair = new Pair({ server: { streamResetBurst: 3, streamResetRate: 2 } });
  const cancel = (count: number) => {
    for (let i = 0; i < count; i++) {
      const { encoder } = pair.client.request(requestHeaders(), true);
      pair.exchange();
      encoder.stream.reset(ResetReason.LocalReset);
      pair.exchange();
    }
  };
  cancel(3);
  pair.timers.advance(1000);
  cancel(2);
  // No more than the burst is saved up.
  pair.timers.advance(10_000);
  cancel(3);
  expect(pair.server.error).toBeNull();
  cancel(1);
  expect(pair.server.error).toMatchObject({ scope: 'connection', initiator: 'peer' });
  expect(pair.client.goAways).toBe(1);
});
