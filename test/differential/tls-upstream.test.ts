/** TLS towards hosts, what their certificates may be, and what is told of it; x-forwarded-client-cert. */
import { httpUpstream, overTls, reply } from '../support/scripted-upstream.ts';
import { bootstrap, cluster, type Fields, http, httpListener, to, typed } from './configs.ts';
import { request, suite } from './harness.ts';
import { certificate, downstreamTls, pem, tls, trusting, upstreamTls } from './tls-peers.ts';

const server = (name: string, more: Bun.TLSOptions = {}): Bun.TLSOptions => ({
  cert: pem(`${name}.pem`),
  key: pem(`${name}.key`),
  ...more,
});
const answer = httpUpstream((seen) => reply(200, seen.header('x-forwarded-proto') ?? '-'));

/** A cluster over TLS in front of an upstream of the stage. */
function secure(name: string, upstream: string, common: Fields, more: Fields = {}): Fields {
  return cluster(name, [`{{upstream:${upstream}}}`], { transport_socket: upstreamTls(common, more) });
}

const checked = (more: Fields = {}): Fields => ({ validation_context: trusting('root', more) });
const named = (value: string): Fields =>
  checked({ match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: value } }] });

const MATCH = 'envoy.transport_socket_match';
const RAW = {
  name: 'raw',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer' },
};

/** A cluster whose host is reached over TLS where metadata say so. @param every the last match fits every host */
function matched(name: string, endpoint: Fields, locality: Fields, every = false): Fields {
  const made = cluster(name, ['{{upstream:good}}'], {
    transport_socket_matches: [
      { name: 'plain', match: { plain: 1 }, transport_socket: RAW },
      { name: 'tls', match: { tls: true }, transport_socket: upstreamTls({}) },
      ...(every ? [{ name: 'every', transport_socket: upstreamTls({}) }] : []),
    ],
  }) as { load_assignment: { endpoints: { lb_endpoints: Fields[] }[] } };
  const group = made.load_assignment.endpoints[0]!;
  return {
    ...made,
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          metadata: { filter_metadata: { [MATCH]: locality } },
          lb_endpoints: [{ ...group.lb_endpoints[0], metadata: { filter_metadata: { [MATCH]: endpoint } } }],
        },
      ],
    },
  };
}

const clusters: readonly Fields[] = [
  secure('plainly', 'good', {}),
  secure('checked', 'good', checked(), { sni: 'server.test' }),
  secure('named', 'good', named('server.test')),
  secure('wildcard', 'good', named('a.wild.test')),
  secure('misnamed', 'good', named('other.test')),
  secure(
    'byuri',
    'good',
    checked({
      match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { prefix: 'spiffe://nuncio/' } }],
    }),
  ),
  secure('stranger', 'stranger', checked()),
  secure('expired', 'expired', checked()),
  secure('allowed', 'expired', checked({ allow_expired_certificate: true })),
  secure('clientonly', 'clientonly', checked()),
  secure('untrusted', 'stranger', checked({ trust_chain_verification: 'ACCEPT_UNTRUSTED' })),
  secure('pinned', 'good', { validation_context: { verify_certificate_hash: ['00'.repeat(32)] } }),
  secure('intermediate', 'inter', checked()),
  secure('shallow', 'inter', checked({ max_verify_depth: 0 })),
  secure('autosan', 'good', checked(), { sni: 'server.test', auto_sni_san_validation: true }),
  secure('autosanbad', 'good', checked(), { sni: 'nobody.test', auto_sni_san_validation: true }),
  secure('v13', 'good', { tls_params: { tls_maximum_protocol_version: 'TLSv1_3' } }),
  secure('v13only', 'good', {
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
  }),
  secure('notls', 'plain', {}),
  cluster('raw', ['{{upstream:plain}}']),
  matched('endpoint', { tls: true }, {}),
  matched('locality', {}, { tls: true }),
  matched('neither', { tls: 'true' }, {}),
  matched('both', { tls: true }, { plain: 1 }),
  matched('every', {}, {}, true),
];

const OPERATORS =
  '%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TLS_VERSION% %UPSTREAM_TLS_CIPHER% %UPSTREAM_TLS_GROUP% ' +
  'peer=%UPSTREAM_PEER_SUBJECT% issuer=%UPSTREAM_PEER_ISSUER% dns=%UPSTREAM_PEER_DNS_SAN% uri=%UPSTREAM_PEER_URI_SAN% ' +
  'ip=%UPSTREAM_PEER_IP_SAN% from=%UPSTREAM_PEER_CERT_V_START% to=%UPSTREAM_PEER_CERT_V_END(%Y)% ' +
  'local=%UPSTREAM_LOCAL_URI_SAN% sni=%UPSTREAM_SERVER_NAME% failure=%UPSTREAM_TRANSPORT_FAILURE_REASON%';

suite(
  'TLS towards hosts',
  {
    config: bootstrap(
      [
        httpListener({
          routes: clusters.map(({ name }) => to(name as string, `/${name}/`, { timeout: '3s' })),
          log: OPERATORS,
        }),
      ],
      clusters,
    ),
    upstreams: {
      good: overTls(answer, server('server-rsa')),
      stranger: overTls(answer, server('server-stranger')),
      expired: overTls(answer, server('server-expired')),
      clientonly: overTls(answer, server('server-clientonly')),
      inter: overTls(answer, server('server-inter')),
      plain: httpUpstream(() => reply(200, 'plain')),
    },
    log: 'access.log',
    upstreamBytes: false,
    stats: [
      /^cluster\.[^.]*\.(ssl\.(fail|conn|hand|no_|versions|ciphers|sigalgs|curves)|upstream_cx_connect_fail|\w+\.total_match_count)/,
    ],
  },
  clusters.map(({ name }) => request(`cluster ${name}`, http(`GET /${name}/`), { timeoutMs: 5000 })),
);

const details = { subject: true, cert: true, chain: true, dns: true, uri: true };

function identity(name: string, hcm: Fields): Fields {
  const made = httpListener({
    name,
    routes: [
      { match: { prefix: '/presented', tls_context: { presented: true } }, direct_response: { status: 201 } },
      { match: { prefix: '/', tls_context: { validated: false } }, route: { cluster: 'u1' } },
      to('u1'),
    ],
    hcm,
  }) as { filter_chains: Fields[] };
  const socket = downstreamTls(
    { tls_certificates: [certificate('server-ec')], validation_context: trusting() },
    { require_client_certificate: false },
  );
  return { ...made, filter_chains: [{ ...made.filter_chains[0], transport_socket: socket }] };
}

const forwarded = (more = ''): string => `GET / HTTP/1.1\r\nhost: h\r\nx-forwarded-client-cert: ${more}\r\n\r\n`;
/** `forward_client_cert_matcher`: by what a certificate says, then by a header. */
const ACTION =
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ForwardClientCertConfig';
const act = (forward: string, more: Fields = {}): Fields => ({
  action: { name: 'a', typed_config: typed(ACTION, { forward_client_cert_details: forward, ...more }) },
});
const whereInput = (message: string, fields: Fields, match: Fields, onMatch: Fields): Fields => ({
  predicate: { single_predicate: { input: { name: 'i', typed_config: typed(message, fields) }, value_match: match } },
  on_match: onMatch,
});
const SSL = 'envoy.extensions.matching.common_inputs.ssl.v3';
const byMode = (mode: string, onMatch: Fields): Fields =>
  whereInput('envoy.type.matcher.v3.HttpRequestHeaderMatchInput', { header_name: 'x-mode' }, { exact: mode }, onMatch);
const matcher = {
  matcher_list: {
    matchers: [
      byMode('always', act('ALWAYS_FORWARD_ONLY')),
      byMode('forward', act('FORWARD_ONLY')),
      byMode('subject', act('SANITIZE_SET', { set_current_client_cert_details: { subject: true } })),
      byMode('nested', {
        matcher: {
          matcher_list: {
            matchers: [
              whereInput(
                `${SSL}.UriSanInput`,
                {},
                { contains: 'spiffe' },
                act('SANITIZE_SET', { set_current_client_cert_details: { uri: true } }),
              ),
              whereInput(
                `${SSL}.DnsSanInput`,
                {},
                { contains: '.' },
                act('SANITIZE_SET', { set_current_client_cert_details: { dns: true } }),
              ),
              whereInput(
                `${SSL}.SubjectInput`,
                {},
                { contains: '=' },
                act('SANITIZE_SET', { set_current_client_cert_details: { subject: true } }),
              ),
            ],
          },
        },
      }),
      whereInput(
        'envoy.type.matcher.v3.HttpRequestQueryParamMatchInput',
        { query_param: 'm' },
        { exact: 'a b' },
        act('ALWAYS_FORWARD_ONLY'),
      ),
      whereInput(
        'envoy.extensions.matching.common_inputs.network.v3.ServerNameInput',
        {},
        { exact: 'nobody' },
        act('ALWAYS_FORWARD_ONLY'),
      ),
    ],
  },
};
const LISTENERS = {
  sanitize: { forward_client_cert_details: 'SANITIZE', set_current_client_cert_details: details },
  forward: { forward_client_cert_details: 'FORWARD_ONLY' },
  append: { forward_client_cert_details: 'APPEND_FORWARD', set_current_client_cert_details: details },
  set: { forward_client_cert_details: 'SANITIZE_SET', set_current_client_cert_details: { ...details, issuer: true } },
  bare: { forward_client_cert_details: 'SANITIZE_SET' },
  always: { forward_client_cert_details: 'ALWAYS_FORWARD_ONLY' },
  json: {
    forward_client_cert_details: 'APPEND_FORWARD',
    set_current_client_cert_details: { ...details, format: 'JSON' },
  },
  matched: { forward_client_cert_details: 'APPEND_FORWARD', forward_client_cert_matcher: matcher },
} as const;

suite(
  'x-forwarded-client-cert',
  {
    config: bootstrap(
      Object.entries(LISTENERS).map(([name, hcm]) => identity(name, hcm)),
      [cluster('u1')],
    ),
    upstreams: { u1: httpUpstream(() => reply(200)) },
  },
  [
    ...Object.keys(LISTENERS).flatMap((listener) => [
      tls(`${listener}: a certificate, no header`, { listener, cert: 'client-inter' }),
      tls(`${listener}: a certificate, a header`, {
        listener,
        cert: 'client-inter',
        request: forwarded('By=a;Hash=b'),
      }),
      tls(`${listener}: no certificate, a header`, { listener, request: forwarded('By=a;Hash=b') }),
    ]),
    ...['client', 'client-inter', 'client-bare', undefined].flatMap((cert) => [
      ...['always', 'forward', 'subject', 'nested', 'none'].map((mode) =>
        tls(`by a matcher, ${mode}, ${cert ?? 'no certificate'}`, {
          listener: 'matched',
          ...(cert === undefined ? {} : { cert }),
          request: `GET / HTTP/1.1\r\nhost: h\r\nx-mode: ${mode}\r\nx-forwarded-client-cert: By=a;Hash=b\r\n\r\n`,
        }),
      ),
      tls(`by a matcher, a query, ${cert ?? 'no certificate'}`, {
        listener: 'matched',
        ...(cert === undefined ? {} : { cert }),
        request: 'GET /?x&m=a%20b HTTP/1.1\r\nhost: h\r\nx-forwarded-client-cert: By=a;Hash=b\r\n\r\n',
      }),
    ]),
    tls('a certificate without names', { listener: 'set', cert: 'client-bare' }),
    tls('a JSON array is appended to', {
      listener: 'json',
      cert: 'client-inter',
      request: forwarded('[{"hash":"x"}]'),
    }),
    tls('what is no JSON array is not', { listener: 'json', cert: 'client-inter', request: forwarded('[oops') }),
    tls('a route for who presents one', {
      listener: 'set',
      cert: 'client',
      request: 'GET /presented HTTP/1.1\r\nhost: h\r\n\r\n',
    }),
    tls('a route for who presents one: none', {
      listener: 'set',
      request: 'GET /presented HTTP/1.1\r\nhost: h\r\n\r\n',
    }),
  ],
);
