/** Where HTTP/1 messages begin and end: everything that a smuggler tries, and everything that a parser may get wrong. */
import { httpUpstream, rawUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, http, httpProxy, to } from './configs.ts';
import { type Case, request, steps, suite } from './harness.ts';

const LOG =
  '%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT%';

const stats = ['http.ingress.downstream_', 'http1.', 'cluster.u1.upstream_rq', 'cluster.u1.http1.'];

/** A request that Envoy refuses: one error response, then the connection's end. */
function refusal(name: string, bytes: string | readonly string[]): Case {
  return request(name, bytes, { close: true });
}

const post = (headers: readonly string[], body = ''): string => http('POST /p', headers, body);

suite(
  'request framing',
  {
    config: httpProxy({ log: LOG }),
    upstreams: { u1: httpUpstream((seen) => reply(200, `${seen.method} ${seen.path} [${seen.body}]`)) },
    stats,
    log: 'access.log',
  },
  [
    // Content-Length.
    request('content-length with a body', post(['content-length: 4'], 'abcd')),
    request('content-length zero', post(['content-length: 0'])),
    request('GET with a body', http('GET /g', ['content-length: 3'], 'abc')),
    request('POST without any length', post([])),
    request('content-length with leading zeros', post(['content-length: 0004'], 'abcd')),
    request('content-length with spaces around', post(['content-length:   4  '], 'abcd')),
    refusal('content-length negative', post(['content-length: -1'])),
    refusal('content-length with a plus', post(['content-length: +4'], 'abcd')),
    refusal('content-length in hex', post(['content-length: 0x4'], 'abcd')),
    refusal('content-length empty', post(['content-length:'], 'abcd')),
    refusal('content-length with rubbish after', post(['content-length: 4x'], 'abcd')),
    refusal('content-length with a space inside', post(['content-length: 4 4'], 'abcd')),
    refusal('content-length beyond 64 bits', post(['content-length: 99999999999999999999'], 'abcd')),
    refusal('content-length as a list of equal values', post(['content-length: 4, 4'], 'abcd')),
    refusal('content-length twice, equal', post(['content-length: 4', 'content-length: 4'], 'abcd')),
    refusal('content-length twice, different', post(['content-length: 4', 'content-length: 5'], 'abcde')),
    // Transfer-Encoding.
    request('chunked', post(['transfer-encoding: chunked'], '3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n')),
    request('chunked in upper case', post(['Transfer-Encoding: CHUNKED'], '1\r\na\r\n0\r\n\r\n')),
    request('chunked with an empty body', post(['transfer-encoding: chunked'], '0\r\n\r\n')),
    request('chunked with an extension', post(['transfer-encoding: chunked'], '3;a=b\r\nabc\r\n0;z\r\n\r\n')),
    request('chunked with a quoted extension', post(['transfer-encoding: chunked'], '3;a="b;c"\r\nabc\r\n0\r\n\r\n')),
    request('chunk size with leading zeros', post(['transfer-encoding: chunked'], '0003\r\nabc\r\n0\r\n\r\n')),
    request('chunk size in upper-case hex', post(['transfer-encoding: chunked'], 'A\r\n0123456789\r\n0\r\n\r\n')),
    request(
      'chunked with trailers, dropped by default',
      post(['transfer-encoding: chunked'], '1\r\na\r\n0\r\nt: v\r\n\r\n'),
    ),
    refusal(
      'chunked and content-length',
      post(['transfer-encoding: chunked', 'content-length: 3'], '3\r\nabc\r\n0\r\n\r\n'),
    ),
    refusal(
      'content-length and chunked',
      post(['content-length: 3', 'transfer-encoding: chunked'], '3\r\nabc\r\n0\r\n\r\n'),
    ),
    refusal('transfer-encoding identity', post(['transfer-encoding: identity'], 'abc')),
    refusal('transfer-encoding gzip, chunked', post(['transfer-encoding: gzip, chunked'], '0\r\n\r\n')),
    refusal('transfer-encoding chunked, gzip', post(['transfer-encoding: chunked, gzip'], '0\r\n\r\n')),
    refusal('transfer-encoding chunked twice in one', post(['transfer-encoding: chunked, chunked'], '0\r\n\r\n')),
    refusal(
      'transfer-encoding chunked twice in two',
      post(['transfer-encoding: chunked', 'transfer-encoding: chunked'], '0\r\n\r\n'),
    ),
    refusal('transfer-encoding rubbish', post(['transfer-encoding: xchunked'], '0\r\n\r\n')),
    refusal('transfer-encoding empty', post(['transfer-encoding:'], '0\r\n\r\n')),
    refusal('transfer-encoding with a vertical tab', post(['transfer-encoding: \x0bchunked'], '0\r\n\r\n')),
    request('transfer-encoding with spaces around', post(['transfer-encoding:   chunked  '], '0\r\n\r\n')),
    refusal('chunk size not hex', post(['transfer-encoding: chunked'], 'xyz\r\nabc\r\n0\r\n\r\n')),
    refusal('chunk size negative', post(['transfer-encoding: chunked'], '-1\r\nabc\r\n0\r\n\r\n')),
    refusal('chunk size with 0x', post(['transfer-encoding: chunked'], '0x3\r\nabc\r\n0\r\n\r\n')),
    refusal('chunk size empty', post(['transfer-encoding: chunked'], '\r\nabc\r\n0\r\n\r\n')),
    refusal('chunk size beyond 64 bits', post(['transfer-encoding: chunked'], 'fffffffffffffffff\r\nabc\r\n0\r\n\r\n')),
    refusal('chunk size with a space before', post(['transfer-encoding: chunked'], ' 3\r\nabc\r\n0\r\n\r\n')),
    request('chunk size with a space after', post(['transfer-encoding: chunked'], '3 \r\nabc\r\n0\r\n\r\n'), {
      timeoutMs: 500,
    }),
    request('chunk data longer than its size', post(['transfer-encoding: chunked'], '3\r\nabcd\r\n0\r\n\r\n')),
    request('chunk data ended by a bare LF', post(['transfer-encoding: chunked'], '3\r\nabc\n0\r\n\r\n')),
    refusal('chunk size ended by a bare LF', post(['transfer-encoding: chunked'], '3\nabc\r\n0\r\n\r\n')),
    refusal('chunk size ended by a bare CR', post(['transfer-encoding: chunked'], '3\rabc\r\n0\r\n\r\n')),
    refusal('chunk extension with a bare LF', post(['transfer-encoding: chunked'], '3;a\nb\r\nabc\r\n0\r\n\r\n')),
    refusal('chunked in HTTP/1.0', http('POST /p HTTP/1.0', ['transfer-encoding: chunked'], '0\r\n\r\n')),
    // Bodies that come in pieces.
    request('every byte of a chunked request alone', [...post(['transfer-encoding: chunked'], '2\r\nab\r\n0\r\n\r\n')]),
    request('a body in two pieces', [post(['content-length: 4'], 'ab'), 'cd']),
    request('CRLF before the request line', '\r\n\r\nGET /crlf HTTP/1.1\r\nhost: h\r\n\r\n'),
    request(
      'pipelined requests',
      http('GET /1') + http('GET /2') + post(['content-length: 2'], 'ab') + http('GET /3'),
      {
        responses: 4,
      },
    ),
    request('a pipelined request after an error', `${post(['content-length: -1'])}${http('GET /never')}`, {
      close: true,
    }),
    request(
      'bytes beyond the content-length are the next request',
      `${post(['content-length: 2'], 'ab')}${http('GET /next')}`,
      {
        responses: 2,
      },
    ),
    refusal('rubbish beyond the content-length', `${post(['content-length: 2'], 'ab')}cd\r\n\r\n`),
  ],
);

suite(
  'request lines and header lines',
  {
    config: httpProxy({ log: LOG }),
    upstreams: { u1: httpUpstream((seen) => reply(200, seen.path)) },
    stats,
    log: 'access.log',
  },
  [
    refusal('no version', 'GET /\r\nhost: h\r\n\r\n'),
    refusal('only a method', 'GET\r\n\r\n'),
    refusal('HTTP/2.0 in the line', 'GET / HTTP/2.0\r\nhost: h\r\n\r\n'),
    refusal('HTTP/1.2', 'GET / HTTP/1.2\r\nhost: h\r\n\r\n'),
    refusal('HTTP/0.9', 'GET / HTTP/0.9\r\nhost: h\r\n\r\n'),
    refusal('HTTP/1.10', 'GET / HTTP/1.10\r\nhost: h\r\n\r\n'),
    refusal('lower-case http', 'GET / http/1.1\r\nhost: h\r\n\r\n'),
    request('two spaces after the method', 'GET  / HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('two spaces before the version', 'GET /  HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('a tab in the request line', 'GET\t/ HTTP/1.1\r\nhost: h\r\n\r\n'),
    refusal('a space before the method', ' GET / HTTP/1.1\r\nhost: h\r\n\r\n'),
    refusal('a lower-case method', 'get / HTTP/1.1\r\nhost: h\r\n\r\n'),
    refusal('an unknown method', 'FOO / HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('a WebDAV method', 'PROPFIND /dav HTTP/1.1\r\nhost: h\r\n\r\n'),
    refusal('a method with a forbidden character', 'G@T / HTTP/1.1\r\nhost: h\r\n\r\n'),
    refusal('an empty target', 'GET  HTTP/1.1\r\nhost: h\r\n\r\n'),
    refusal('a target without a slash', 'GET foo HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('a target with a fragment', 'GET /a#frag HTTP/1.1\r\nhost: h\r\n\r\n'),
    refusal('a NUL in the target', 'GET /a\x00b HTTP/1.1\r\nhost: h\r\n\r\n'),
    refusal('a space in the target', 'GET /a b HTTP/1.1\r\nhost: h\r\n\r\n'),
    request('8-bit bytes in the target', 'GET /\xc3\xa9 HTTP/1.1\r\nhost: h\r\n\r\n', { timeoutMs: 500 }),
    refusal('a DEL in the target', 'GET /a\x7fb HTTP/1.1\r\nhost: h\r\n\r\n'),
    refusal('a space before the colon', 'GET / HTTP/1.1\r\nhost: h\r\nx : y\r\n\r\n'),
    refusal('a tab before the colon', 'GET / HTTP/1.1\r\nhost: h\r\nx\t: y\r\n\r\n'),
    refusal('an empty header name', 'GET / HTTP/1.1\r\nhost: h\r\n: y\r\n\r\n'),
    refusal('a header line without a colon', 'GET / HTTP/1.1\r\nhost: h\r\nnocolon\r\n\r\n'),
    refusal('a forbidden character in a header name', 'GET / HTTP/1.1\r\nhost: h\r\nx(y: z\r\n\r\n'),
    refusal('a NUL in a header value', 'GET / HTTP/1.1\r\nhost: h\r\nx: a\x00b\r\n\r\n'),
    request('a bare CR in a header value', 'GET / HTTP/1.1\r\nhost: h\r\nx: a\rb\r\n\r\n'),
    request('a tab in a header value', 'GET / HTTP/1.1\r\nhost: h\r\nx: a\tb\r\n\r\n'),
    request('8-bit bytes in a header value', 'GET / HTTP/1.1\r\nhost: h\r\nx: \xe9\xff\r\n\r\n'),
    refusal('a control byte in a header value', 'GET / HTTP/1.1\r\nhost: h\r\nx: a\x01b\r\n\r\n'),
    refusal('an 8-bit header name', 'GET / HTTP/1.1\r\nhost: h\r\nx\xe9: a\r\n\r\n'),
    request('an empty header value', 'GET / HTTP/1.1\r\nhost: h\r\nx:\r\ny:   \r\n\r\n'),
    request('obsolete folding', 'GET / HTTP/1.1\r\nhost: h\r\nx: a\r\n b\r\n\tc\r\n\r\n', { timeoutMs: 500 }),
    refusal('folding before the first header', 'GET / HTTP/1.1\r\n folded\r\nhost: h\r\n\r\n'),
    request('bare LF after the request line', 'GET / HTTP/1.1\nhost: h\r\n\r\n'),
    request('bare LF everywhere', 'GET /lf HTTP/1.1\nhost: h\n\n', { timeoutMs: 500 }),
    request('bare LF after a header', 'GET /lf HTTP/1.1\r\nhost: h\nx: y\r\n\r\n', { timeoutMs: 500 }),
    refusal('no host', 'GET / HTTP/1.1\r\n\r\n'),
    request('an empty host', 'GET / HTTP/1.1\r\nhost:\r\n\r\n'),
    request('two hosts', 'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n'),
    request('two equal hosts', 'GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n', { timeoutMs: 500 }),
    request('a host with userinfo', 'GET / HTTP/1.1\r\nhost: u@h\r\n\r\n', { timeoutMs: 500 }),
    request('a host with forbidden characters', 'GET / HTTP/1.1\r\nhost: a<b\r\n\r\n', { timeoutMs: 500 }),
    request('a header repeated', 'GET / HTTP/1.1\r\nhost: h\r\nx: 1\r\nx: 2\r\nX: 3\r\n\r\n'),
    request(
      'exactly 100 headers',
      http(
        'GET /100',
        Array.from({ length: 99 }, (_, i) => `x-${i}: v`),
      ),
    ),
    refusal(
      '101 headers',
      http(
        'GET /101',
        Array.from({ length: 100 }, (_, i) => `x-${i}: v`),
      ),
    ),
    request('headers just under 60 KiB', http('GET /big', [`x: ${'a'.repeat(60 * 1024 - 200)}`])),
    refusal('headers over 60 KiB', http('GET /big', [`x: ${'a'.repeat(60 * 1024)}`])),
    refusal('a request line over 60 KiB', http(`GET /${'a'.repeat(61 * 1024)}`)),
    request('an HTTP/2 preface, then rubbish', 'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n', { responses: 0, close: true }),
    refusal('a TLS ClientHello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'),
    request('every byte of the head alone', [...http('GET /slow', ['x: y'])]),
  ],
);

/** The upstream answers as the path tells, by raw bytes. */
const answers: Readonly<Record<string, string>> = {
  '/cl': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
  '/chunked': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n',
  '/chunked-trailers':
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: t\r\n\r\n2\r\nok\r\n0\r\nt: v\r\n\r\n',
  '/two-lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok',
  '/two-different-lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok',
  '/bad-length': 'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok',
  '/both': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  '/gzip-chunked': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
  '/bad-chunk': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n',
  '/204-with-length': 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
  '/204-chunked': 'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n',
  '/304-with-length': 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
  '/no-reason': 'HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok',
  '/odd-reason': 'HTTP/1.1 200 Fine and Dandy\r\nContent-Length: 2\r\n\r\nok',
  '/status-99': 'HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n',
  '/status-600': 'HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n',
  '/status-1000': 'HTTP/1.1 1000 Higher\r\nContent-Length: 0\r\n\r\n',
  '/status-text': 'HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n',
  '/version-1.0': 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok',
  '/version-2': 'HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok',
  '/garbage': 'this is no http\r\n\r\n',
  '/nul': 'HTTP/1.1 200 OK\r\nx: a\x00b\r\nContent-Length: 0\r\n\r\n',
  '/space-before-colon': 'HTTP/1.1 200 OK\r\nx : a\r\nContent-Length: 0\r\n\r\n',
  '/fold': 'HTTP/1.1 200 OK\r\nx: a\r\n b\r\nContent-Length: 0\r\n\r\n',
  '/bare-lf': 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok',
  '/many-headers': `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(100)}Content-Length: 0\r\n\r\n`,
  '/100': 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
  '/103': 'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
  '/102': 'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
  '/101': 'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n',
  '/close-header': 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok',
  '/keep-alive-header':
    'HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok',
  '/big-headers': `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(61 * 1024)}\r\nContent-Length: 2\r\n\r\nok`,
  '/mixed-case': 'HTTP/1.1 200 OK\r\nX-MixEd: V\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok',
};

/** The upstream closes after what it sends. */
const closing: Readonly<Record<string, string>> = {
  '/until-close': 'HTTP/1.1 200 OK\r\n\r\nuntil the close',
  '/until-close-1.0': 'HTTP/1.0 200 OK\r\n\r\nuntil the close',
  '/half-head': 'HTTP/1.1 200 OK\r\nContent-Le',
  '/half-body': 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf',
  '/half-chunk': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf',
  '/no-last-chunk': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
  '/nothing': '',
};

/** Framing that breaks mid-body ends in a reset or a FIN by the manner of the kernel. */
const torn = new Set(['/half-body', '/half-chunk', '/no-last-chunk', '/bad-chunk']);

suite(
  'response framing',
  {
    config: httpProxy({ log: `${LOG} %UPSTREAM_TRANSPORT_FAILURE_REASON%` }),
    upstreams: {
      u1: httpUpstream((seen, connection) => {
        const last = closing[seen.path];
        if (last === undefined) return answers[seen.path] ?? reply(404);
        connection.send(last);
        connection.end();
        return undefined;
      }),
    },
    stats,
    log: 'access.log',
  },
  [
    ...[...Object.keys(answers), ...Object.keys(closing)]
      .filter((path) => path !== '/101')
      .map((path) =>
        request(`GET ${path}`, http(`GET ${path}`), torn.has(path) ? { close: true, clientFate: false } : {}),
      ),
    ...['/cl', '/chunked', '/until-close', '/304-with-length', '/204-chunked', '/both'].map((path) =>
      request(`HEAD ${path}`, http(`HEAD ${path}`)),
    ),
    request('101 that nobody asked for', http('GET /101'), { timeoutMs: 500 }),
    request('an unfinished response to an HTTP/1.0 client', http('GET /chunked HTTP/1.0')),
  ],
);

suite(
  'response excess',
  {
    config: httpProxy({ log: LOG, routes: [to('u1')] }, [cluster('u1')]),
    upstreams: {
      u1: rawUpstream(async (connection) => {
        // Each connection serves one request and says too much.
        await connection.receive('\r\n\r\n');
        connection.send('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
        if (connection.received.includes('/two')) connection.send('HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad');
        else connection.send('rubbish');
      }),
    },
    stats: ['http.ingress.downstream_rq', 'cluster.u1.upstream_rq', 'cluster.u1.upstream_cx_protocol_error'],
    log: 'access.log',
    fresh: true,
  },
  [
    steps('an upstream that sends two responses to one request', async (exchange) => {
      await exchange.request(http('GET /two'));
      exchange.expectLog('access.log', 1);
    }),
    steps('an upstream that sends bytes after its response', async (exchange) => {
      await exchange.request(http('GET /rubbish'));
      exchange.expectLog('access.log', 1);
    }),
    steps('an upstream that speaks before it is asked', async (exchange) => {
      await exchange.request(http('GET /one'));
      exchange.expectLog('access.log', 1);
    }),
  ],
);
