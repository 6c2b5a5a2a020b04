/** The gRPC filters over HTTP/1: grpc_web, grpc_stats and grpc_http1_bridge, with and without trailers. */
import { httpUpstream, reply, type SeenRequest } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpFilter, httpProxy, to, typed } from './configs.ts';
import { request, steps, suite } from './harness.ts';

/** Upstreams that may send trailers. */
const withTrailers: Fields = {
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': typed(
      'envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
      { explicit_http_config: { http_protocol_options: { enable_trailers: true } } },
    ),
  },
};

function frame(text: string, flags = 0): string {
  return `${String.fromCharCode(flags)}\0\0${String.fromCharCode(text.length >> 8, text.length & 255)}${text}`;
}

function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

/** A chunked answer with trailers. */
function grpcAnswer(pieces: readonly string[], trailers: readonly string[], headers: readonly string[] = []): string {
  const head = ['HTTP/1.1 200 OK', 'content-type: application/grpc', 'transfer-encoding: chunked', ...headers];
  return `${head.join('\r\n')}\r\n\r\n${pieces.map(chunk).join('')}0\r\n${trailers.map((line) => `${line}\r\n`).join('')}\r\n`;
}

const GOOD = ['grpc-status: 0', 'grpc-message: '];
const BAD = ['grpc-status: 7', 'grpc-message: no%20way', 'x-more: a', 'x-more: b'];

function answer(seen: SeenRequest): Uint8Array {
  const text = answerText(seen);
  return Buffer.from(text, 'latin1');
}

function answerText(seen: SeenRequest): string {
  const [path = ''] = seen.path.split('?');
  const what = path.slice(path.lastIndexOf('/') + 1);
  switch (what) {
    case 'Bad':
      return grpcAnswer([frame('x')], BAD);
    case 'Zeros':
      return grpcAnswer([frame('x')], ['grpc-status: 00']);
    case 'Word':
      return grpcAnswer([frame('x')], ['grpc-status: word']);
    case 'Unknown':
      return grpcAnswer([frame('x')], ['grpc-status: 4711']);
    case 'NoStatus':
      return grpcAnswer([frame('x')], ['x-a: 1']);
    case 'Two':
      return grpcAnswer([frame('one'), frame('two')], GOOD);
    case 'Split':
      return grpcAnswer([frame('one').slice(0, 3), `${frame('one').slice(3)}${frame('t')}`], GOOD);
    case 'Compressed':
      return grpcAnswer([frame('zip', 1)], GOOD);
    case 'Broken':
      return grpcAnswer([frame('what', 9)], GOOD);
    case 'Empty':
      return grpcAnswer([], GOOD);
    case 'EmptyMessage':
      return grpcAnswer([frame('')], GOOD);
    case 'TrailersOnly':
      return reply(200, '', ['content-type: application/grpc', 'grpc-status: 5', 'grpc-message: gone']);
    case 'TrailersOnly0':
      return reply(200, '', ['content-type: application/grpc', 'grpc-status: 0']);
    case 'Text':
      return reply(200, 'plain "100%" text\n', ['content-type: text/plain']);
    case 'TextPieces':
      return grpcAnswer(['plain ', 'text'], []).replace('application/grpc', 'text/plain');
    case 'TextTrailers':
      return grpcAnswer(['plain ', 'text'], ['x-t: 1']).replace('application/grpc', 'text/plain');
    case 'Long':
      return reply(200, 'x'.repeat(20_000), ['content-type: text/plain']);
    case 'LongPieces':
      return grpcAnswer(['a'.repeat(10_000), 'b'.repeat(10_000), 'c'.repeat(5000)], []).replace(
        'application/grpc',
        'text/plain',
      );
    case 'Missing':
      return reply(404, 'not here', ['content-type: text/html']);
    case 'MissingNoBody':
      return reply(404);
    case 'Proto':
      return reply(200, frame('web'), ['content-type: application/grpc-web+proto; charset=x', 'x-web: 1']);
    case 'Length':
      return reply(200, frame('sized'), ['content-type: application/grpc', 'grpc-status: 0']);
    case 'Json':
      return reply(200, '{"a":1}', ['content-type: application/json']);
    case 'JsonError':
      return reply(500, '{"code":"internal"}', ['content-type: application/json']);
    case 'Stream':
      return grpcAnswer([frame('one'), frame('{}', 2)], []).replace('application/grpc', 'application/connect+proto');
    case 'StreamError':
      return grpcAnswer([frame('one'), frame('{"error":{"code":"internal"}}', 2)], []).replace(
        'application/grpc',
        'application/connect+proto',
      );
    default:
      return grpcAnswer([frame('pong')], GOOD);
  }
}

const upstream = httpUpstream(answer);
const upstreams = { u1: upstream };
const LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %GRPC_STATUS% %BYTES_SENT%';

function post(path: string, type: string, body: string, headers: readonly string[] = []): string {
  return http(`POST ${path}`, [`content-type: ${type}`, `content-length: ${body.length}`, ...headers], body);
}

const WEB = 'application/grpc-web+proto';
const TEXT = 'application/grpc-web-text';
const ask = frame('ping');
const ask64 = Buffer.from(ask, 'latin1').toString('base64');
const acceptText = ['accept: application/grpc-web-text+proto'];

const answers = [
  'Good',
  'Bad',
  'Word',
  'NoStatus',
  'Two',
  'Split',
  'Compressed',
  'Empty',
  'EmptyMessage',
  'TrailersOnly',
  'TrailersOnly0',
  'Text',
  'TextPieces',
  'TextTrailers',
  'Long',
  'LongPieces',
  'Missing',
  'MissingNoBody',
  'Proto',
  'Length',
];

suite(
  'grpc_web',
  {
    config: httpProxy(
      {
        log: LOG,
        filters: [httpFilter('grpc_web', 'GrpcWeb')],
        routeConfig: { validate_clusters: false },
        routes: [
          { match: { prefix: '/direct' }, direct_response: { status: 403, body: { inline_string: 'no' } } },
          to('none', '/none'),
          to('u1'),
        ],
      },
      [cluster('u1', undefined, withTrailers)],
    ),
    upstreams,
    stats: ['cluster.u1.grpc', 'cluster.u1.upstream_rq_2'],
    log: 'access.log',
  },
  [
    ...answers.map((what) => request(`binary: ${what}`, post(`/p.Service/${what}`, WEB, ask))),
    // Envoy never ends a text answer that has no trailers.
    ...answers
      .filter((what) => what !== 'Proto' && what !== 'Length')
      .map((what) => request(`text: ${what}`, post(`/p.Service/${what}`, TEXT, ask64, acceptText))),
    ...[
      'application/grpc-web',
      'application/grpc-web-text+proto',
      'application/grpc-web+json',
      'Application/grpc-web',
      'application/grpc',
    ].map((type) => request(`content type ${type}`, post('/p.Service/Good', type, ask))),
    request('a binary request, a text answer', post('/p.Service/Two', WEB, ask, acceptText)),
    request('a text request, a binary answer', post('/p.Service/Two', TEXT, ask64)),
    request('another accept', post('/p.Service/Two', TEXT, ask64, ['accept: application/grpc-web-text, */*'])),
    request('its own encodings', post('/p.Service/Two', WEB, ask, ['grpc-accept-encoding: gzip', 'te: gzip'])),
    request('a query', post('/p.Service/Good?a=b', WEB, ask)),
    request('a path that is no method', post('/Good', WEB, ask)),
    request('no body', http('POST /p.Service/Good', [`content-type: ${WEB}`, 'content-length: 0'])),
    request('no body in text', http('POST /p.Service/Good', [`content-type: ${TEXT}`, 'content-length: 0'])),
    request('base64 in pieces', [
      http('POST /p.Service/Good', [`content-type: ${TEXT}`, `content-length: ${ask64.length}`], ask64.slice(0, 5)),
      ask64.slice(5, 6),
      ask64.slice(6),
    ]),
    request('base64 of a bad size', post('/p.Service/Good', TEXT, ask64.slice(0, -1)), { upstreamBytes: false }),
    request('base64 of bad letters', post('/p.Service/Good', TEXT, 'AA*A'), { upstreamBytes: false }),
    request('base64 with bits to spare', post('/p.Service/Good', TEXT, 'YR=='), { upstreamBytes: false }),
    request('base64 padded inside', post('/p.Service/Good', TEXT, 'YQ==YQ=='), { upstreamBytes: false }),
    request('base64 for URLs', post('/p.Service/Good', TEXT, '_-_-'), { upstreamBytes: false }),
    request('a direct response', post('/direct', WEB, ask)),
    request('a direct response in text', post('/direct', TEXT, ask64, acceptText)),
    request('no cluster', post('/none', WEB, ask)),
  ],
);

const bridge = (fields: Fields = {}): Fields => httpFilter('grpc_http1_bridge', 'Config', fields);

suite(
  'grpc_http1_bridge',
  {
    config: httpProxy({ log: LOG, filters: [bridge()] }, [cluster('u1', undefined, withTrailers)]),
    upstreams,
    stats: ['cluster.u1.grpc', 'cluster.u1.upstream_rq_', 'http.ingress.downstream_rq_'],
    log: 'access.log',
  },
  [
    ...[...answers, 'Zeros', 'Unknown'].map((what) =>
      request(what, post(`/p.Service/${what}`, 'application/grpc', ask)),
    ),
    request('HTTP/1.0', `POST /p.Service/Bad HTTP/1.0\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n`, {
      close: true,
    }),
    request('another content type', post('/p.Service/Two', 'application/json', ask)),
    request('a suffix', post('/p.Service/Two', 'application/grpc+json', ask)),
    request('bare protobuf is left alone', post('/p.Service/Two', 'application/x-protobuf', 'x')),
    request('a query stays', post('/p.Service/Bad?a=b', 'application/grpc', ask)),
  ],
);

suite(
  'grpc_http1_bridge that upgrades protobuf',
  {
    config: httpProxy(
      {
        log: LOG,
        filters: [bridge({ upgrade_protobuf_to_grpc: true, ignore_query_parameters: true })],
        routes: [
          {
            match: { prefix: '/', headers: [{ name: 'content-type', string_match: { exact: 'application/grpc' } }] },
            route: { cluster: 'u1' },
            response_headers_to_add: [{ header: { key: 'x-route', value: 'grpc' } }],
          },
          to('u1'),
        ],
      },
      [cluster('u1', undefined, withTrailers)],
    ),
    upstreams,
    log: 'access.log',
  },
  [
    // Not Missing and Length: Envoy cuts answers without trailers, and the client waits for the rest.
    ...['Good', 'Bad', 'Two', 'Empty', 'TrailersOnly'].map((what) =>
      request(what, post(`/p.Service/${what}`, 'application/x-protobuf', 'ping')),
    ),
    request('in pieces', [
      http('POST /p.Service/Good', ['content-type: application/x-protobuf', 'content-length: 4'], 'p'),
      'i',
      'ng',
    ]),
    request(
      'chunked',
      http(
        'POST /p.Service/Good',
        ['content-type: application/x-protobuf', 'transfer-encoding: chunked'],
        '4\r\nping\r\n0\r\n\r\n',
      ),
    ),
    request('no body', http('POST /p.Service/Good', ['content-type: application/x-protobuf', 'content-length: 0'])),
    request('a query goes', post('/p.Service/Good?a=b', 'application/x-protobuf', 'ping')),
    request('a query of real gRPC goes too', post('/p.Service/Good?a=b', 'application/grpc', ask)),
    request('a query of others stays', post('/p.Service/Good?a=b', 'text/plain', ask)),
    request('a parameter makes it another type', post('/p.Service/Good', 'application/x-protobuf; a=b', 'ping')),
  ],
);

const statsCases = [
  ...[
    'Good',
    'Bad',
    'Word',
    'Unknown',
    'NoStatus',
    'Two',
    'Split',
    'Compressed',
    'Broken',
    'Empty',
    'TrailersOnly',
    'TrailersOnly0',
    'Missing',
    'Length',
    'Text',
  ].map((what) => request(what, post(`/p.Service/${what}`, 'application/grpc', ask + ask))),
  request('another service', post('/q.r.Service/Good', 'application/grpc+proto', ask)),
  request('no method', post('/Good', 'application/grpc', ask)),
  request('a query', post('/p.Service/Good?x=y', 'application/grpc', ask)),
  request('no gRPC', post('/p.Service/Good', 'text/plain', ask)),
  request('gRPC-Web is not counted here', post('/p.Service/Good', WEB, ask)),
  request(
    'a frame that gRPC does not know',
    post('/p.Service/Good', 'application/grpc', frame('a') + frame('b', 2) + frame('c')),
  ),
  request('Connect, unary', post('/p.Service/Json', 'application/json', '{}', ['connect-protocol-version: 1'])),
  request(
    'Connect, unary, an error',
    post('/p.Service/JsonError', 'application/json', '{}', ['connect-protocol-version: 1']),
  ),
  request('Connect, streaming', post('/p.Service/Stream', 'application/connect+proto', ask)),
  request('Connect, streaming, an error', post('/p.Service/StreamError', 'application/connect+proto', ask)),
  request('Connect, streaming, answered by gRPC', post('/p.Service/Good', 'application/connect+proto', ask)),
  request(
    'no route',
    http('POST /p.Service/Good', ['host: elsewhere', 'content-type: application/grpc', 'content-length: 0']),
  ),
  request('a local reply', post('/p.None/Good', 'application/grpc', ask)),
];

const someStatsCases = statsCases.filter((each) =>
  ['Good', 'Bad', 'another service', 'no method', 'Connect, unary', 'Connect, streaming'].includes(each.name),
);

const flavours: Readonly<Record<string, Fields>> = {
  'for no method': {},
  'for all methods': { stats_for_all_methods: true },
  'for all methods, without dots': { stats_for_all_methods: true, replace_dots_in_grpc_service_name: true },
  'for some methods': {
    individual_method_stats_allowlist: {
      services: [
        { name: 'p.Service', method_names: ['Good', 'Stream'] },
        { name: 'q.r.Service', method_names: ['Other'] },
      ],
    },
    replace_dots_in_grpc_service_name: true,
  },
  'with upstream times and filter state': {
    stats_for_all_methods: false,
    enable_upstream_stats: true,
    emit_filter_state: true,
  },
};

for (const [name, fields] of Object.entries(flavours)) {
  suite(
    `grpc_stats ${name}`,
    {
      config: httpProxy(
        {
          log: `${LOG} %FILTER_STATE(envoy.filters.http.grpc_stats)% %FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)%`,
          filters: [httpFilter('grpc_stats', 'FilterConfig', fields)],
          routeConfig: { validate_clusters: false },
          virtualHosts: [{ name: 'all', domains: ['h'], routes: [to('none', '/p.None/'), to('u1')] }],
        },
        [cluster('u1', undefined, withTrailers)],
      ),
      upstreams,
      stats: ['cluster.u1.grpc'],
      log: 'access.log',
    },
    // What is told apart by settings alone need not be asked of every setting.
    name === 'for all methods' || fields.emit_filter_state === true ? statsCases : someStatsCases,
  );
}

suite(
  'all three filters',
  {
    config: httpProxy(
      {
        log: LOG,
        filters: [
          httpFilter('grpc_web', 'GrpcWeb'),
          bridge(),
          httpFilter('grpc_stats', 'FilterConfig', { stats_for_all_methods: true }),
        ],
        hcm: { http_protocol_options: { enable_trailers: true } },
      },
      [cluster('u1', undefined, withTrailers)],
    ),
    upstreams,
    stats: ['cluster.u1.grpc'],
    log: 'access.log',
  },
  [
    request('gRPC-Web', post('/p.Service/Bad', WEB, ask)),
    request('gRPC', post('/p.Service/Bad', 'application/grpc', ask)),
    request('text', post('/p.Service/Two', TEXT, ask64, acceptText)),
    steps('the times of upstreams', async (exchange) => {
      await exchange.request(post('/p.Service/Good', WEB, ask));
    }),
  ],
);
