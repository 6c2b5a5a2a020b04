import { expect, test } from 'bun:test';
import { SeededRandom } from '../../base/random.ts';
import { RequestHeaders } from '../header-map.ts';
import requests from './envoy-requests.json' with { type: 'json' };
import responses from './envoy-responses.json' with { type: 'json' };
import { http1Options, UnderscoreAction } from './http1-options.ts';
import { ClientPeer, ServerPeer } from './test-peers.ts';

const SPICE = [
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  ' ',
  '\t',
  ':',
  '\0',
  ';',
  ',',
  '0',
  'a',
  '_',
  '\x7f',
  '\xff',
  '0\r\n\r\n',
  '5\r\n',
  'HTTP/1.1',
  'Content-Length: 3\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Connection: close\r\n',
  'Upgrade: x\r\n',
  'Host: q\r\n',
];

function mutate(random: SeededRandom, text: string): string {
  for (let times = random.below(4); times >= 0; times--) {
    const at = random.below(text.length + 1);
    switch (random.below(5)) {
      case 0:
        text = text.substring(0, at) + SPICE[random.below(SPICE.length)]! + text.substring(at);
        break;
      case 1:
        text = text.substring(0, at) + text.substring(at + 1 + random.below(3));
        break;
      case 2:
        text = text.substring(0, at) + String.fromCharCode(random.below(256)) + text.substring(at + 1);
        break;
      case 3: {
        const from = random.below(text.length + 1);
        text = text.substring(0, at) + text.substring(from, from + random.below(40)) + text.substring(at);
        break;
      }
      default:
        text = text.substring(0, at);
    }
  }
  return text;
}

function toldOfRequests(peer: ServerPeer): string {
  const parts: string[] = [];
  peer.requests.forEach((r, i) => {
    if (r.ends > 1 || r.headersSeen > 1) throw new Error('ended twice');
    // Part of a body may or may not have been handed on before an error.
    const cut = peer.error !== null && i === peer.requests.length - 1;
    if (r.headersSeen === 0) parts.push('begun');
    else {
      const h = r.headers;
      parts.push(
        JSON.stringify([h.method, h.scheme, h.authority, h.path, h.list, r.ended, r.trailers?.list, cut ? '' : r.body]),
      );
    }
  });
  return `${parts.join('\n')}\n${JSON.stringify(peer.error)}\n${peer.error === null ? peer.transport.output.latin1() : ''}`;
}

function feedInPieces(peer: ServerPeer | ClientPeer, random: SeededRandom, text: string): void {
  for (let at = 0; at < text.length; ) {
    const size = 1 + random.below(20);
    peer.feed(text.substring(at, at + size));
    at += size;
  }
}

const options = [
  http1Options({ enableTrailers: true }),
  http1Options({
    acceptHttp10: true,
    allowChunkedLength: true,
    allowCustomMethods: true,
    maxHeadersBytes: 200,
    maxHeadersCount: 4,
    headersWithUnderscores: UnderscoreAction.DropHeader,
  }),
];

test('requests: mutated input gives the same however it is split', () => {
  const random = new SeededRandom(20261);
  for (let round = 0; round < 6000; round++) {
    const seed = requests[random.below(requests.length)]![2] as string;
    const text = mutate(random, seed.substring(0, 1500));
    const chosen = options[random.below(options.length)]!;
    const whole = new ServerPeer(chosen);
    whole.feed(text);
    const bytewise = new ServerPeer(chosen);
    bytewise.feedBytewise(text);
    const pieces = new ServerPeer(chosen);
    feedInPieces(pieces, random, text);
    const told = toldOfRequests(whole);
    if (toldOfRequests(bytewise) !== told || toldOfRequests(pieces) !== told) {
      expect([text, toldOfRequests(bytewise)]).toEqual([text, told]);
      expect([text, toldOfRequests(pieces)]).toEqual([text, told]);
    }
  }
});

test('responses: mutated input gives the same however it is split', () => {
  const random = new SeededRandom(4711);
  const told = (peer: ClientPeer) =>
    `${peer.heads} ${peer.error === null || peer.end > 0 ? peer.body : ''} ${peer.end} ${JSON.stringify(peer.error)}`;
  for (let round = 0; round < 6000; round++) {
    const seed = responses[random.below(responses.length)]!;
    const text = mutate(random, (seed[3] as string).substring(0, 1500));
    const request = new RequestHeaders();
    request.method = seed[0] as string;
    request.path = '/';
    const chosen = options[random.below(options.length)]!;
    const whole = new ClientPeer(chosen, request);
    whole.feed(text);
    const bytewise = new ClientPeer(chosen, request);
    bytewise.feedBytewise(text);
    const pieces = new ClientPeer(chosen, request);
    feedInPieces(pieces, random, text);
    expect([text, told(bytewise)]).toEqual([text, told(whole)]);
    expect([text, told(pieces)]).toEqual([text, told(whole)]);
  }
});
