import { describe, expect, test } from 'bun:test';
import { ByteBuffer } from '../../base/byte-buffer.ts';
import { hasToken } from '../token-list.ts';
import { Http1ClientCodec } from './client-codec.ts';
import table from './envoy-requests.json' with { type: 'json' };
import { type Http1Options, http1Options, NO_HTTP1_STATS, UnderscoreAction } from './http1-options.ts';
import { isUpgrade } from './message-writer.ts';
import { bytesOf, type RecordedRequest, ServerPeer, TestTransport } from './test-peers.ts';

/** The listeners of the recording. */
const MODES: Record<string, Http1Options> = {
  a: http1Options(),
  b: http1Options({
    acceptHttp10: true,
    defaultHostForHttp10: 'dflt',
    enableTrailers: true,
    allowChunkedLength: true,
  }),
  c: http1Options({ maxHeadersCount: 5 }),
  d: http1Options({ headersWithUnderscores: UnderscoreAction.RejectRequest, enableTrailers: true }),
  e: http1Options({ headersWithUnderscores: UnderscoreAction.DropHeader, enableTrailers: true }),
  f: http1Options({ allowCustomMethods: true }),
  g: http1Options({ allowAbsoluteUrl: false }),
  h: http1Options({ validateScheme: true }),
};

/** What Envoy's connection manager takes away from requests besides (not the codec's matter). */
function forward(request: RecordedRequest, options: Http1Options): string {
  const wire = new TestTransport();
  const client = new Http1ClientCodec(
    wire,
    { onGoAway() {}, onMaxStreamsChanged() {}, onCodecFailure() {}, onStreamsChanged() {} },
    http1Options({ enableTrailers: true }),
    NO_HTTP1_STATS,
  );
  const headers = request.headers.clone();
  const upgrade = isUpgrade(headers);
  if (!upgrade) {
    headers.remove('upgrade');
    headers.remove('connection');
  }
  headers.remove('transfer-encoding');
  headers.remove('keep-alive');
  headers.remove('proxy-connection');
  const te = headers.get('te');
  if (te !== null && te !== 'trailers') {
    if (hasToken(te, 'trailers')) headers.set('te', 'trailers');
    else headers.remove('te');
  }
  const encoder = client.newStream({ on1xxHeaders() {}, onHeaders() {}, onData() {}, onTrailers() {} });
  encoder.encodeHeaders(headers, request.endsWithHeaders);
  if (!request.endsWithHeaders) {
    const trailers = options.enableTrailers ? request.trailers : null;
    if (request.body !== '') encoder.encodeData(bytesOf(request.body), request.ended && trailers === null);
    else if (request.ended && trailers === null) encoder.encodeData(new ByteBuffer(), true);
    if (trailers !== null) encoder.encodeTrailers(trailers);
  }
  return wire.output.latin1();
}

function verdicts(peer: ServerPeer): string[] {
  const out: string[] = [];
  for (const request of peer.requests) {
    if (peer.error !== null && request === peer.requests[peer.requests.length - 1]) break;
    if (request.headersSeen > 0) out.push('ok');
  }
  if (peer.error !== null) out.push(`${peer.error.status} ${peer.error.details}`);
  return out;
}

/** Answered by Envoy's connection manager or router, or tunnels: the codec takes them, and so they are not to compare. */
function notForwarded(request: RecordedRequest): boolean {
  return request.headers.method === 'CONNECT' || isUpgrade(request.headers);
}

describe('requests as recorded from Envoy 1.40', () => {
  for (const [mode, name, input, expected, upstream] of table as [string, string, string, string[], string[]][]) {
    test(`${mode}: ${name}`, () => {
      const options = MODES[mode]!;
      const whole = new ServerPeer(options);
      whole.feed(input);
      const bytewise = new ServerPeer(options);
      bytewise.feedBytewise(input);
      expect(verdicts(bytewise)).toEqual(verdicts(whole));
      // Requests that never end give Envoy no verdict.
      const unfinished = expected.length === 0 && whole.error === null;
      if (!unfinished) expect(verdicts(whole)).toEqual(expected);
      const texts = whole.requests.filter((r) => r.headersSeen > 0 && !notForwarded(r)).map((r) => forward(r, options));
      const bytewiseTexts = bytewise.requests
        .filter((r) => r.headersSeen > 0 && !notForwarded(r))
        .map((r) => forward(r, options));
      if (whole.error === null) {
        expect(bytewiseTexts).toEqual(texts);
        if (upstream.length === texts.length && !/x-envoy|client-cert|edge/i.test(name))
          expect(texts).toEqual(upstream);
      }
    });
  }
});
