/** When an HTTP/1 request begins, what its log says if nothing comes of it, and which bytes count for it. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { fileLog, http, httpProxy } from './configs.ts';
import { type Case, request, steps, suite } from './harness.ts';

const LOG = [
  '%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT%',
  'wire %DOWNSTREAM_WIRE_BYTES_RECEIVED% head %DOWNSTREAM_HEADER_BYTES_RECEIVED%',
  'upstream %UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_HEADER_BYTES_RECEIVED%',
].join(' ');

const stage = {
  upstreams: { u1: httpUpstream((seen) => reply(200, `${seen.method} ${seen.path} [${seen.body}]`)) },
  stats: ['http.ingress.', 'listener.'],
  log: 'access.log',
};

/** Sends `pieces` one by one, waits until a request has begun, and leaves by FIN. Two lines: the request's and the listener's. */
function abandoned(name: string, pieces: readonly string[], lines = 2): Case {
  return steps(
    name,
    async (exchange) => {
      const client = await exchange.connect();
      for (const piece of pieces) {
        const before = await rxBytes(exchange.proxy);
        client.send(piece);
        await exchange.expect('the bytes were read', async () => (await rxBytes(exchange.proxy)) > before);
      }
      client.end();
      await exchange.expectClose(client);
    },
    { logLines: lines },
  );
}

async function rxBytes(proxy: { admin(path: string): Promise<{ body: string }> }): Promise<number> {
  const { body } = await proxy.admin('/stats?filter=http.ingress.downstream_cx_rx_bytes_total');
  return Number(/: (\d+)/.exec(body)?.[1] ?? 0);
}

suite(
  'requests that hardly begin',
  {
    ...stage,
    config: httpProxy({
      log: LOG,
      // The digits of a duration would count.
      router: { suppress_envoy_headers: true },
      listener: { access_log: [fileLog('listener %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT%')] },
    }),
  },
  [
    abandoned('a blank line', ['\r\n']),
    abandoned('a line feed', ['\n']),
    abandoned('two blank lines in two pieces', ['\r\n', '\r\n']),
    abandoned('a first line without its end', ['GET /x']),
    abandoned('half a head', [http('GET /x').slice(0, -2)]),
    abandoned('half a head behind a blank line', [`\r\n${http('GET /x').slice(0, -2)}`]),
    abandoned('PRI', ['PRI']),
    abandoned('P', ['P']),
    abandoned('what could still be a preface', ['PRI * ', 'HTTP/']),
    steps(
      'a blank line behind a request',
      async (exchange) => {
        const client = await exchange.connect();
        client.send(http('GET /x'));
        await exchange.expectResponse(client);
        client.send('\r\n');
        await exchange.expectStat('http.ingress.downstream_rq_active', 1);
        client.end();
        await exchange.expectClose(client);
      },
      { logLines: 3 },
    ),
  ],
);

suite(
  'bytes of requests',
  { ...stage, config: httpProxy({ log: LOG, hcm: { request_headers_timeout: '0.2s', max_request_headers_kb: 1 } }) },
  [
    request('blank lines, then nothing', '\r\n\r\n', { close: true }),
    request('a carriage return, then nothing', '\r', { close: true }),
    request('a lone PRI line', 'PRI\r\n', { close: true }),
    request('a lone PRI line in two pieces', ['PRI', '\r\n'], { close: true }),
    request('PRI with another version', http('PRI * HTTP/1.1'), { close: true }),
    request('a method that began like a preface', ['P', http('POST /p', ['content-length: 0']).slice(1)]),
    request('a blank line, then a request', `\r\n${http('GET /x')}`),
    request('blank lines in pieces, then a request', ['\r\n', `\n\n${http('GET /x')}`]),
    steps(
      'a blank line between requests',
      async (exchange) => {
        const client = await exchange.connect();
        client.send(http('GET /x'));
        await exchange.expectResponse(client);
        client.send('\r\n');
        await exchange.expectStat('http.ingress.downstream_rq_active', 1);
        client.send(http('GET /y'));
        await exchange.expectResponse(client);
      },
      { logLines: 2 },
    ),
    request('a carriage return, then a request', `\r${http('GET /x')}`),
    request('a space', ' ', { close: true }),
    request('a space behind a blank line', '\r\n ', { close: true }),
    request('a header name with a space', http('GET /x', ['a b: c'], 'more'), { close: true }),
    request('a header name with a space in pieces', ['GET /x HTTP/1.1\r\nhost: h\r\na', ' b: c\r\n', '\r\nmore'], {
      close: true,
    }),
    request('an unknown method', http('GXT /x'), { close: true }),
    request('an unknown version', http('GET /x').replace('1.1', '1.3'), { close: true }),
    request('no length', http('POST /x', ['content-length: x']), { close: true }),
    request('a chunk that is none', http('POST /x', ['transfer-encoding: chunked'], '3\r\nabc\r\nxyz\r\nand more'), {
      close: true,
    }),
    request('a head that is too long', `GET /x HTTP/1.1\r\nhost: h\r\na: ${'a'.repeat(2000)}`, { close: true }),
    request('HTTP/1.0 without a header', 'GET /x HTTP/1.0\r\n\r\n', { close: true }),
    request('HTTP/1.1 without a header', 'GET /x HTTP/1.1\r\n\r\n', { close: true }),
    request('two requests in one piece', http('GET /x') + http('GET /yy'), { responses: 2 }),
    request(
      'three requests in one piece',
      http('GET /x') + http('GET /yy') + http('POST /zzz', ['content-length: 3'], 'abc'),
      { responses: 3 },
    ),
    request('a bad request behind another', http('GET /x') + http('GET /y', ['a b']), { responses: 2, close: true }),
    request('a body in pieces', [http('POST /x', ['content-length: 6'], 'abc'), 'def']),
    request('chunks in pieces', [http('POST /x', ['transfer-encoding: chunked'], '3\r\na'), 'bc\r', '\n0\r\n\r\n']),
  ],
);

suite(
  'bytes of requests that are answered at once',
  {
    ...stage,
    config: httpProxy({
      log: LOG,
      routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'here' } } }],
    }),
  },
  [
    request('two requests in one piece', http('GET /x') + http('GET /yy'), { responses: 2 }),
    request('blank lines between', `\r\n${http('GET /x')}\r\n${http('GET /yy')}`, { responses: 2 }),
    request('a bad request behind another', http('GET /x') + http('GET /y', ['a b']), { responses: 2, close: true }),
  ],
);

suite(
  'bytes of responses',
  {
    ...stage,
    upstreams: {
      u1: httpUpstream((seen) => {
        if (seen.path === '/early')
          return 'HTTP/1.1 103 Early Hints\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
        if (seen.path === '/bad') return 'HTTP/1.1 200 OK\r\na b: c\r\n\r\nmore';
        if (seen.path === '/more') return 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokmore';
        if (seen.path === '/none') return 'HTTP/1.1 204 No Content\r\n\r\n';
        return reply(200, 'x');
      }),
    },
    config: httpProxy({ log: LOG }),
  },
  [
    request('a 1xx in one piece with the response', http('GET /early')),
    request('a bad head', http('GET /bad')),
    request('more than the body', http('GET /more')),
    request('no headers', http('GET /none')),
    request('a HEAD', http('HEAD /')),
  ],
);
