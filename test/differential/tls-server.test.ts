/** TLS towards clients: certificates, versions, protocols, client certificates, and what is wrong with them. */
import { bootstrap, type Fields, httpListener } from './configs.ts';
import { steps, suite } from './harness.ts';
import { certificate, downstreamTls, pemPath, tls, tlsExchange, trusting } from './tls-peers.ts';

/** What is known of a connection in the answer; a connection that failed has none. */
const FACTS =
  'tls=%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_TLS_GROUP% peer=%DOWNSTREAM_PEER_SUBJECT% ' +
  'local=%DOWNSTREAM_LOCAL_SUBJECT%';
const LOG =
  'failure=%DOWNSTREAM_TRANSPORT_FAILURE_REASON% flags=%RESPONSE_FLAGS% details=%CONNECTION_TERMINATION_DETAILS% ' +
  'close=%DOWNSTREAM_LOCAL_CLOSE_REASON% ' +
  FACTS;

function listener(name: string, socket: Fields, more: { readonly hcm?: Fields; readonly chain?: Fields } = {}): Fields {
  const made = httpListener({
    name,
    routes: [
      {
        match: { prefix: '/' },
        direct_response: { status: 200, body: { inline_string: name } },
        response_headers_to_add: [{ header: { key: 'facts', value: FACTS } }],
      },
    ],
    hcm: { stat_prefix: name, ...more.hcm },
    listener: {
      stat_prefix: name,
      access_log: [
        {
          name: 'envoy.access_loggers.file',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
            path: '{{tmp}}/access.log',
            log_format: { text_format_source: { inline_string: `${LOG}\n` } },
          },
        },
      ],
    },
  }) as { filter_chains: Fields[] };
  return { ...made, filter_chains: [{ ...made.filter_chains[0], transport_socket: socket, ...more.chain }] };
}

const both = [certificate('server-rsa'), certificate('server-ec')];
const several = [certificate('server-ec'), certificate('other-ec'), certificate('wild-ec'), certificate('other-rsa')];

suite(
  'TLS certificates and versions',
  {
    config: bootstrap(
      [
        listener('a', downstreamTls({ tls_certificates: [certificate('server-rsa')] })),
        listener('ec', downstreamTls({ tls_certificates: [certificate('server-ec')] })),
        listener('both', downstreamTls({ tls_certificates: both })),
        listener('several', downstreamTls({ tls_certificates: several })),
        listener('scan', downstreamTls({ tls_certificates: several }, { full_scan_certs_on_sni_mismatch: true })),
        listener('alpn', downstreamTls({ tls_certificates: both, alpn_protocols: ['http/1.1', 'x'] })),
        listener('sni', downstreamTls({ tls_certificates: both }, { require_sni: true })),
        listener(
          'v13',
          downstreamTls({ tls_certificates: both, tls_params: { tls_minimum_protocol_version: 'TLSv1_3' } }),
        ),
        listener(
          'v12',
          downstreamTls({ tls_certificates: both, tls_params: { tls_maximum_protocol_version: 'TLSv1_2' } }),
        ),
        listener(
          'suites',
          downstreamTls({
            tls_certificates: both,
            tls_params: { cipher_suites: ['ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-AES256-GCM-SHA384'] },
          }),
        ),
        listener('curves', downstreamTls({ tls_certificates: both, tls_params: { ecdh_curves: ['P-256'] } })),
        listener(
          'odd-curve',
          downstreamTls({
            tls_certificates: both,
            tls_params: { ecdh_curves: ['P-521'], tls_minimum_protocol_version: 'TLSv1_3' },
          }),
        ),
        listener('chain', downstreamTls({ tls_certificates: [certificate('server-inter')] })),
        listener('slow', downstreamTls({ tls_certificates: both }), {
          chain: { transport_socket_connect_timeout: '0.2s' },
        }),
        listener(
          'stateless',
          downstreamTls({ tls_certificates: both }, { disable_stateless_session_resumption: true }),
        ),
      ],
      [],
    ),
    log: 'access.log',
    stats: [
      /^listener\.(?!admin)[^.]*\.(ssl|downstream_cx_(total|destroy)|no_filter)/,
      /^http\.(?!admin)[^.]*\.downstream_cx_(ssl_)?(total|destroy)$/,
    ],
  },
  [
    tls('TLS 1.3 with an RSA certificate'),
    tls('TLS 1.2 with an RSA certificate', { maxVersion: 'TLSv1.2' }),
    tls('TLS 1.3 with an ECDSA certificate', { listener: 'ec' }),
    tls('TLS 1.2 with an ECDSA certificate', { listener: 'ec', maxVersion: 'TLSv1.2' }),
    tls('both keys, TLS 1.3', { listener: 'both' }),
    tls('both keys, a TLS 1.2 client without ECDSA', {
      listener: 'both',
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE-RSA-AES128-GCM-SHA256',
    }),
    tls('both keys, a TLS 1.2 client without RSA', {
      listener: 'both',
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256',
    }),
    tls('an RSA certificate, a TLS 1.2 client without RSA', {
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256',
    }),
    tls('by name: exact', { listener: 'several', sni: 'other.test' }),
    tls('by name: in capitals', { listener: 'several', sni: 'OTHER.test' }),
    tls('by name: wildcard', { listener: 'several', sni: 'a.wild.test' }),
    tls('by name: two labels under a wildcard', { listener: 'several', sni: 'a.b.wild.test' }),
    tls('by name: unknown', { listener: 'several', sni: 'nobody.test' }),
    tls('by name: none given', { listener: 'several', sni: '' }),
    tls('by name: unknown, RSA alone', {
      listener: 'several',
      sni: 'nobody.test',
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE-RSA-AES128-GCM-SHA256',
    }),
    tls('by name: unknown, RSA alone, full scan', {
      listener: 'scan',
      sni: 'nobody.test',
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE-RSA-AES128-GCM-SHA256',
    }),
    tls('a chain with an intermediate', { listener: 'chain' }),
    tls("ALPN: the server's preference counts", { listener: 'alpn', alpn: ['x', 'http/1.1'] }),
    tls('ALPN: one in common', { listener: 'alpn', alpn: ['y', 'x'] }),
    tls('ALPN: none in common', { listener: 'alpn', alpn: ['y'] }),
    tls('ALPN: not offered', { listener: 'alpn' }),
    tls('ALPN: offered to a server without', { alpn: ['http/1.1'] }),
    tls('SNI required and given', { listener: 'sni' }),
    tls('SNI required and not given', { listener: 'sni', sni: '' }),
    tls('TLS 1.3 alone, a client of 1.2', { listener: 'v13', maxVersion: 'TLSv1.2' }),
    tls('TLS 1.3 alone, a client of 1.3', { listener: 'v13' }),
    tls('TLS 1.2 at most, a client of 1.3', { listener: 'v12' }),
    tls('TLS 1.2 at most, a client that insists on 1.3', { listener: 'v12', minVersion: 'TLSv1.3' }),
    tls('cipher suites as configured', { listener: 'suites', maxVersion: 'TLSv1.2' }),
    tls('no cipher suite in common', {
      listener: 'suites',
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256',
    }),
    tls('a suite for ECDSA that is not configured, and one for RSA that is', {
      listener: 'suites',
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384',
    }),
    tls('a suite for ECDSA that is none of the default ones, and one for RSA that is', {
      listener: 'both',
      maxVersion: 'TLSv1.2',
      ciphers: 'ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256',
    }),
    tls('TLS 1.2 at most, a client of 1.3 whose older suites are for RSA', {
      listener: 'v12',
      ciphers: 'ECDHE-RSA-AES128-GCM-SHA256',
    }),
    tls('TLS 1.3 alone, no group in common', { listener: 'odd-curve' }),
    tls('curves as configured', { listener: 'curves' }),
    steps(
      'a session is resumed',
      async (exchange) => {
        const session = await tlsExchange(exchange, { maxVersion: 'TLSv1.2' });
        if (session === null) exchange.note('session', 'none');
        else await tlsExchange(exchange, { maxVersion: 'TLSv1.2', session });
      },
      { logLines: 2 },
    ),
    steps(
      'tickets are off',
      async (exchange) => {
        const session = await tlsExchange(exchange, { listener: 'stateless' });
        exchange.note('session', session === null ? 'none' : 'one');
      },
      { logLines: 1 },
    ),
    steps(
      'plain HTTP to TLS',
      async (exchange) => {
        const client = await exchange.connect('a');
        client.send('GET / HTTP/1.1\r\nhost: h\r\n\r\n');
        await exchange.expectClose(client);
      },
      // A reset where bytes were left unread.
      { clientFate: false },
    ),
    steps('garbage', async (exchange) => {
      const client = await exchange.connect('a');
      client.send('\x16\x03\x01\x00\x05hello');
      await exchange.expectClose(client);
    }),
    steps('a record longer than allowed', async (exchange) => {
      const client = await exchange.connect('a');
      client.send('\x16\x03\x01\xff\xff');
      await exchange.expectClose(client);
    }),
    steps('an alert instead of a hello', async (exchange) => {
      const client = await exchange.connect('a');
      client.send('\x15\x03\x01\x00\x02\x02\x28');
      await exchange.expectClose(client);
    }),
    steps('one byte of a hello, then the end', async (exchange) => {
      const client = await exchange.connect('a');
      client.send('\x16');
      client.end();
      await exchange.expectClose(client);
    }),
    steps('nothing, then the end', async (exchange) => {
      const client = await exchange.connect('a');
      client.end();
      await exchange.expectClose(client);
    }),
    steps(
      'a handshake that takes too long',
      async (exchange) => {
        const client = await exchange.connect('slow');
        client.send('\x16\x03\x01');
        await exchange.expectClose(client);
      },
      { stats: [/^listener\.slow\.downstream_cx_(transport_socket_connect_timeout|destroy)/] },
    ),
  ],
);

const required = (context: Fields, more: Fields = {}) =>
  downstreamTls(
    { tls_certificates: [certificate('server-ec')], validation_context: context },
    { require_client_certificate: true, ...more },
  );

suite(
  'client certificates',
  {
    config: bootstrap(
      [
        listener('a', required(trusting())),
        listener('optional', required(trusting(), { require_client_certificate: false })),
        listener(
          'names',
          required(
            trusting('root', {
              match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'client.test' } }],
            }),
          ),
        ),
        listener(
          'othernames',
          required(
            trusting('root', {
              match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { prefix: 'spiffe://elsewhere' } }],
            }),
          ),
        ),
        listener(
          'emails',
          required(
            trusting('root', {
              match_typed_subject_alt_names: [{ san_type: 'EMAIL', matcher: { suffix: '@nuncio.test' } }],
            }),
          ),
        ),
        listener(
          'addresses',
          required(
            trusting('root', {
              match_typed_subject_alt_names: [{ san_type: 'IP_ADDRESS', matcher: { exact: '10.0.0.1' } }],
            }),
          ),
        ),
        listener(
          'upn',
          required(
            trusting('root', {
              match_typed_subject_alt_names: [
                { san_type: 'OTHER_NAME', oid: '1.3.6.1.4.1.311.20.2.3', matcher: { exact: 'upn@nuncio' } },
              ],
            }),
          ),
        ),
        listener('crl', required(trusting('root', { crl: { filename: pemPath('root.crl.pem') } }))),
        listener('expired', required(trusting('root', { allow_expired_certificate: true }))),
        listener('untrusted', required(trusting('root', { trust_chain_verification: 'ACCEPT_UNTRUSTED' }))),
        listener('depth', required(trusting('root', { max_verify_depth: 1 }))),
        listener('pin', required({ verify_certificate_hash: ['00'.repeat(32)] })),
        listener(
          'unchecked',
          downstreamTls({ tls_certificates: [certificate('server-ec')] }, { require_client_certificate: true }),
        ),
      ],
      [],
    ),
    log: 'access.log',
    stats: [/^listener\.[^.]*\.ssl\.(fail|no_cert|conn|hand)/],
  },
  [
    tls('good', { cert: 'client' }),
    tls('good, TLS 1.2', { cert: 'client', maxVersion: 'TLSv1.2' }),
    tls('good, RSA', { cert: 'client-rsa' }),
    tls('good, by an intermediate', { cert: 'client-inter' }),
    tls('good, by two intermediates', { cert: 'client-deep' }),
    tls('none where one is required'),
    tls('none where one is required, TLS 1.2', { maxVersion: 'TLSv1.2' }),
    tls('none where it is optional', { listener: 'optional' }),
    tls('good where it is optional', { listener: 'optional', cert: 'client' }),
    tls('of a stranger', { cert: 'client-stranger' }),
    tls('of a stranger, TLS 1.2', { cert: 'client-stranger', maxVersion: 'TLSv1.2' }),
    tls('of a stranger where it is optional', { listener: 'optional', cert: 'client-stranger' }),
    tls('expired', { cert: 'client-expired' }),
    tls('not valid yet', { cert: 'client-early' }),
    tls('expired where that is allowed', { listener: 'expired', cert: 'client-expired' }),
    tls('for servers alone', { cert: 'client-serveronly' }),
    tls('without any extension', { cert: 'client-bare' }),
    tls('signed by a leaf', { cert: 'client-by-leaf' }),
    tls('revoked', { listener: 'crl', cert: 'client-revoked' }),
    tls('not revoked', { listener: 'crl', cert: 'client' }),
    tls('by an intermediate without a list of its own', { listener: 'crl', cert: 'client-inter' }),
    tls('by name', { listener: 'names', cert: 'client' }),
    tls('by name, without names', { listener: 'names', cert: 'client-bare' }),
    tls('by another name', { listener: 'othernames', cert: 'client' }),
    tls('by email', { listener: 'emails', cert: 'client' }),
    tls('by address', { listener: 'addresses', cert: 'client' }),
    tls('by another kind of name', { listener: 'upn', cert: 'client' }),
    tls('of a stranger, accepted', { listener: 'untrusted', cert: 'client-stranger' }),
    tls('none, where strangers are accepted', { listener: 'untrusted' }),
    tls('deep enough', { listener: 'depth', cert: 'client-inter' }),
    tls('too deep', { listener: 'depth', cert: 'client-deep' }),
    tls('not the pinned one', { listener: 'pin', cert: 'client' }),
    tls('required, not checked', { listener: 'unchecked', cert: 'client-stranger' }),
    tls('required, not checked, none', { listener: 'unchecked' }),
  ],
);
