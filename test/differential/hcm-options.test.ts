/** The connection manager's own options. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, http, httpProxy, to } from './configs.ts';
import { request, steps, suite } from './harness.ts';

const upstream = httpUpstream((seen) => {
  if (seen.path === '/100') return `HTTP/1.1 100 Continue\r\n\r\n${reply(200, 'after 100')}`;
  if (seen.path === '/server') return reply(200, '', ['server: upstream']);
  if (seen.path === '/via') return reply(200, '', ['via: 1.1 before']);
  if (seen.path === '/no-date') return reply(200, '', []);
  if (seen.path === '/date') return reply(200, '', ['date: Thu, 01 Jan 1970 00:00:00 GMT']);
  return reply(200, `${seen.method} ${seen.path} ${seen.header('host')}`);
});

const LOG = '%REQ(:METHOD)% %REQ(:AUTHORITY)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%';
const stats = ['http.ingress.downstream_', 'http.ingress.rq_'];

for (const transformation of ['OVERWRITE', 'APPEND_IF_ABSENT', 'PASS_THROUGH']) {
  suite(
    `server header: ${transformation}`,
    {
      config: httpProxy({
        hcm: { server_header_transformation: transformation, server_name: 'mine' },
        routes: [{ match: { prefix: '/local' }, direct_response: { status: 200 } }, to('u1')],
      }),
      upstreams: { u1: upstream },
    },
    ['/server', '/none', '/local'].map((path) => request(path, http(`GET ${path}`))),
  );
}

suite(
  'dates',
  {
    config: httpProxy(),
    upstreams: { u1: upstream },
    rewrite: [[/^date: Thu, 01 Jan 1970.*$/gm, 'date-of-upstream: kept']],
  },
  [request('the upstream sends none', http('GET /no-date')), request('the upstream sends one', http('GET /date'))],
);

suite(
  'via',
  {
    config: httpProxy({
      hcm: { via: 'nuncio-test' },
      routes: [{ match: { prefix: '/local' }, direct_response: { status: 200 } }, to('u1')],
    }),
    upstreams: { u1: upstream },
  },
  [
    request('none before', http('GET /none')),
    request('one before', http('GET /via', ['via: 1.0 client'])),
    request('a local reply', http('GET /local')),
  ],
);

const HOSTS = [
  'example.com',
  'example.com:80',
  'example.com:443',
  'example.com:8080',
  'example.com.',
  'example.com.:80',
  '[::1]',
  '[::1]:80',
  '1.2.3.4:80',
  'example.com:',
  'example.com:abc',
  'example.com:99999',
];
for (const [name, hcm] of Object.entries({
  'strip any port': { strip_any_host_port: true },
  'strip the matching port': { strip_matching_host_port: true },
  'strip the trailing dot': { strip_trailing_host_dot: true },
  'strip port and dot': { strip_any_host_port: true, strip_trailing_host_dot: true },
  'strip nothing': {},
})) {
  suite(
    `host: ${name}`,
    { config: httpProxy({ hcm }), upstreams: { u1: upstream } },
    HOSTS.map((host) => request(host, http('GET /', [`host: ${host}`]))),
  );
}

suite(
  '1xx',
  {
    config: httpProxy({ hcm: { proxy_100_continue: true }, log: LOG }),
    upstreams: { u1: upstream },
    log: 'access.log',
  },
  [
    request('100-continue is passed on', http('POST /100', ['expect: 100-continue', 'content-length: 2'], 'ab')),
    request('100 that nobody asked for', http('GET /100')),
    steps('100-continue without a 100', async (exchange) => {
      const client = await exchange.connect();
      client.send(http('POST /none', ['expect: 100-continue', 'content-length: 2']));
      await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
      client.send('ab');
      await exchange.expectResponse(client);
    }),
  ],
);

suite(
  'scheme',
  {
    config: httpProxy({
      hcm: { scheme_header_transformation: { scheme_to_overwrite: 'https' } },
      routes: [
        to('u1', '/', {}, { request_headers_to_add: [{ header: { key: 'x-scheme', value: '%REQ(:SCHEME)%' } }] }),
      ],
    }),
    upstreams: { u1: upstream },
  },
  [
    request('overwritten', http('GET /')),
    request('overwritten over x-forwarded-proto', http('GET /', ['x-forwarded-proto: http'])),
  ],
);

suite(
  'client certificates in headers, without TLS',
  { config: httpProxy({ hcm: { forward_client_cert_details: 'ALWAYS_FORWARD_ONLY' } }), upstreams: { u1: upstream } },
  [request('always forwarded', http('GET /', ['x-forwarded-client-cert: By=a;Hash=b']))],
);
suite(
  'client certificates in headers, forward only',
  { config: httpProxy({ hcm: { forward_client_cert_details: 'FORWARD_ONLY' } }), upstreams: { u1: upstream } },
  [request('removed without mutual TLS', http('GET /', ['x-forwarded-client-cert: By=a;Hash=b']))],
);

suite(
  'requests per connection',
  {
    config: httpProxy({ log: LOG, hcm: { common_http_protocol_options: { max_requests_per_connection: 1 } } }),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [
    request('one, then closed', http('GET /1'), { close: true }),
    request('the second is not served', http('GET /1') + http('GET /2'), { close: true }),
  ],
);

suite(
  'upstream requests per connection',
  {
    config: httpProxy({ routes: [to('u1')] }, [
      cluster('u1', undefined, {
        typed_extension_protocol_options: {
          'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
            common_http_protocol_options: { max_requests_per_connection: 2 },
            explicit_http_config: {
              http_protocol_options: { header_key_format: { proper_case_words: {} }, enable_trailers: true },
            },
          },
        },
      }),
    ]),
    upstreams: { u1: upstream },
    stats: ['cluster.u1.upstream_cx_'],
  },
  [
    request(
      'three requests use two connections',
      http('GET /1') + http('GET /2') + http('GET /3', ['x-some-header: 1']),
      { responses: 3 },
    ),
    request('trailers go upstream', http('POST /t', ['transfer-encoding: chunked'], '1\r\na\r\n0\r\nx-t: v\r\n\r\n')),
  ],
);

suite(
  'draining by the health check',
  {
    config: httpProxy({ log: LOG, hcm: { drain_timeout: '0.1s' } }),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
    fresh: true,
  },
  [
    steps('a failed health check drains connections', async (exchange) => {
      const client = await exchange.connect();
      client.send(http('GET /before'));
      await exchange.expectResponse(client);
      await exchange.admin('/healthcheck/fail', { method: 'POST' });
      client.send(http('GET /after'));
      await exchange.expectResponse(client);
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 2);
    }),
    steps('a failed health check can be mended', async (exchange) => {
      await exchange.admin('/healthcheck/fail', { method: 'POST' });
      await exchange.admin('/ready');
      await exchange.admin('/healthcheck/ok', { method: 'POST' });
      await exchange.admin('/ready');
      const client = await exchange.connect();
      client.send(http('GET /after'));
      await exchange.expectResponse(client);
      exchange.expectLog('access.log', 1);
    }),
  ],
);

suite(
  'stat prefixes and virtual clusters',
  {
    config: httpProxy(
      {
        virtualHosts: [
          {
            name: 'vh',
            domains: ['*'],
            virtual_clusters: [
              { name: 'posts', headers: [{ name: ':method', string_match: { exact: 'POST' } }] },
              { name: 'a', headers: [{ name: ':path', string_match: { prefix: '/a' } }] },
            ],
            routes: [to('u1', '/', {}, { stat_prefix: 'rsp' })],
          },
        ],
      },
      [cluster('u1', undefined, { alt_stat_name: 'alt' })],
    ),
    upstreams: { u1: upstream },
    stats: ['vhost.', 'cluster.alt.upstream_rq', 'cluster.u1.', 'http.ingress.downstream_rq'],
  },
  [
    request('a GET of /a', http('GET /a')),
    request('a POST', http('POST /b', ['content-length: 0'])),
    request('another', http('GET /other')),
  ],
);
