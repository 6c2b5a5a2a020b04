/** HTTP/2: which bytes count for a request, above all for one that goes wrong. */
import { dataFrame, FrameType, frame, headersFrame } from '../support/http2-peer.ts';
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { httpProxy } from './configs.ts';
import { type Case, steps, suite } from './harness.ts';

const LOG = [
  '%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT%',
  'wire %DOWNSTREAM_WIRE_BYTES_RECEIVED% head %DOWNSTREAM_HEADER_BYTES_RECEIVED% %DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED%',
].join(' ');

const POST = [':method: POST', ':scheme: http', ':path: /x', ':authority: h'];

/** Sends `frames` of stream 1 in one piece, and waits until that stream or the connection is over. */
function sent(name: string, ...frames: readonly Buffer[]): Case {
  return steps(name, async (exchange) => {
    const client = await exchange.http2();
    await client.settled();
    client.send(Buffer.concat(frames));
    await client.over(1);
    client.pipe.end();
    await exchange.expectClose(client.pipe as never);
  });
}

suite(
  'bytes of HTTP/2 requests',
  {
    config: httpProxy({ log: LOG }),
    upstreams: { u1: httpUpstream((seen) => reply(200, `${seen.method} ${seen.path} [${seen.body}]`)) },
    stats: ['http.ingress.downstream_rq_', /^http2\.(?!.*(frames|pending|deferred))/],
    log: 'access.log',
    // How much of a broken request has gone on is left to chance.
    upstreamBytes: false,
  },
  [
    sent('a body', headersFrame(1, POST, false), dataFrame(1, 'abc', true)),
    sent('trailers', headersFrame(1, POST, false), dataFrame(1, 'abc', false), headersFrame(1, ['a: b'], true)),
    sent('padding', headersFrame(1, POST, false), frame(FrameType.Data, 9, 1, Buffer.from([2, 97, 98, 99, 0, 0]))),
    sent('a header name with a space', headersFrame(1, [...POST, 'a b: c'], false)),
    sent('a header name in upper case', headersFrame(1, [...POST, 'A: c'], true)),
    sent('a line feed in a value', headersFrame(1, [...POST, 'a: c\n'], true)),
    sent('a header of the connection', headersFrame(1, [...POST, 'connection: c'], true)),
    sent('no path', headersFrame(1, POST.slice(0, 2), true)),
    sent('too many headers', headersFrame(1, [...POST, ...Array.from({ length: 110 }, (_, i) => `a${i}: b`)], true)),
    sent('more than content-length', headersFrame(1, [...POST, 'content-length: 2'], false), dataFrame(1, 'abc', true)),
    sent('less than content-length', headersFrame(1, [...POST, 'content-length: 5'], false), dataFrame(1, 'abc', true)),
    sent(
      'a pseudo-header in trailers',
      headersFrame(1, POST, false),
      dataFrame(1, 'abc', false),
      headersFrame(1, [':a: b'], true),
    ),
    sent(
      'trailers that do not end',
      headersFrame(1, POST, false),
      dataFrame(1, 'abc', false),
      headersFrame(1, ['a: b'], false),
    ),
    sent(
      'padding beyond the frame',
      headersFrame(1, POST, false),
      frame(FrameType.Data, 8, 1, Buffer.from([10, 1, 2])),
    ),
  ],
);
