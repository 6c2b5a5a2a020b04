/** TLS, further: forms of keys, key logs, hellos in pieces, sessions, and ends that are not in order. */
import { createPrivateKey } from 'node:crypto';
import { connect, type TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import type { RawClient } from '../support/raw-client.ts';
import { httpUpstream, overTls, rawUpstream, reply } from '../support/scripted-upstream.ts';
import { bootstrap, cluster, type Fields, fileLog, http, httpListener, to } from './configs.ts';
import type { Exchange } from './exchange.ts';
import { request, steps, suite } from './harness.ts';
import { certificate, downstreamTls, pem, pemPath, tls, tlsExchange, trusting, upstreamTls } from './tls-peers.ts';

const LOG =
  'failure=%DOWNSTREAM_TRANSPORT_FAILURE_REASON% close=%DOWNSTREAM_LOCAL_CLOSE_REASON% ' +
  'detected=%DOWNSTREAM_DETECTED_CLOSE_TYPE%';
const INSPECTOR = {
  name: 'envoy.filters.listener.tls_inspector',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector',
  },
};

function listener(name: string, socket: Fields, more: Fields = {}): Fields {
  const made = httpListener({
    name,
    routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: name } } }],
    listener: { stat_prefix: name, access_log: [fileLog(LOG)], ...more },
  }) as { filter_chains: Fields[] };
  return { ...made, filter_chains: [{ ...made.filter_chains[0], transport_socket: socket }] };
}

const rsa = createPrivateKey(pem('server-rsa.key'));
const ec = createPrivateKey(pem('server-ec.key'));
const locked = { format: 'pem', cipher: 'aes-256-cbc', passphrase: 'sesame' } as const;
const keyed = (name: string, key: Fields, more: Fields = {}): Fields =>
  downstreamTls({ tls_certificates: [{ certificate_chain: { filename: pemPath(name) }, private_key: key, ...more }] });
const inline = (text: string | Buffer): Fields => ({ inline_string: text.toString() });
const sesame = { password: inline('sesame') };

const KEYS: Readonly<Record<string, Fields>> = {
  pkcs1: keyed('server-rsa.pem', inline(rsa.export({ type: 'pkcs1', format: 'pem' }))),
  'pkcs1-locked': keyed('server-rsa.pem', inline(rsa.export({ type: 'pkcs1', ...locked })), sesame),
  'pkcs8-locked': keyed('server-rsa.pem', inline(rsa.export({ type: 'pkcs8', ...locked })), {
    password: { environment_variable: 'NUNCIO_TEST_PASSWORD' },
  }),
  sec1: keyed('server-ec.pem', inline(ec.export({ type: 'sec1', format: 'pem' }))),
  'sec1-locked': keyed('server-ec.pem', inline(ec.export({ type: 'sec1', ...locked })), sesame),
  'pkcs8-bytes': keyed('server-ec.pem', {
    inline_bytes: Buffer.from(ec.export({ type: 'pkcs8', format: 'pem' })).toString('base64'),
  }),
  environment: downstreamTls({
    tls_certificates: [
      {
        certificate_chain: { environment_variable: 'NUNCIO_TEST_CHAIN' },
        private_key: { environment_variable: 'NUNCIO_TEST_KEY' },
      },
    ],
  }),
};

const both = [certificate('server-rsa'), certificate('server-ec')];
const keyLog = (file: string, more: Fields = {}): Fields =>
  downstreamTls({ tls_certificates: both, key_log: { path: `{{tmp}}/${file}`, ...more } });
const range = (address_prefix: string, prefix_len: number): Fields[] => [{ address_prefix, prefix_len }];

const LISTENERS: readonly Fields[] = [
  ...Object.entries(KEYS).map(([name, socket]) => listener(name, socket)),
  listener('logged', keyLog('all.keys')),
  listener('elsewhere', keyLog('elsewhere.keys', { remote_address_range: range('10.0.0.0', 8) })),
  listener(
    'here',
    keyLog('here.keys', { remote_address_range: range('127.0.0.0', 8), local_address_range: range('127.0.0.1', 32) }),
  ),
  listener('a', downstreamTls({ tls_certificates: both })),
  listener('prefers', downstreamTls({ tls_certificates: both }, { prefer_client_ciphers: true })),
  listener(
    'signs',
    downstreamTls({
      tls_certificates: both,
      tls_params: { signature_algorithms: ['rsa_pss_rsae_sha384', 'ecdsa_secp384r1_sha384'] },
    }),
  ),
  listener('inspected', downstreamTls({ tls_certificates: both }), { listener_filters: [INSPECTOR] }),
  listener(
    'mutual',
    downstreamTls({ tls_certificates: both, validation_context: trusting() }, { require_client_certificate: true }),
  ),
];

/** A hello of TLS 1.2 for `server.test` that asks for an answer of OCSP. */
const ASKS_FOR_STATUS = Buffer.from(
  '16030100720100006e0303dc111a0661fcd0fcc4726728bee790a28b7602e7c1abcb5cc75891c5ffd4d733000004c02b00ff010000410000001000' +
    '0e00000b7365727665722e74657374000b000403000102000a00040002001d0023000000050005010000000000160000001700000' +
    '00d000400020403',
  'hex',
);

/** A TLS client with somebody in between. */
interface Relayed {
  readonly socket: TLSSocket;
  /** The connection to the proxy. */
  readonly raw: RawClient;
  close(): void;
}

/** Shakes hands; `piece`: the first flight goes in pieces of so many bytes. */
async function relayed(
  exchange: Exchange,
  name: string,
  maxVersion: 'TLSv1.2' | 'TLSv1.3',
  piece = 0,
): Promise<Relayed> {
  const raw = await exchange.connect(name, { recorded: false });
  let first = piece > 0;
  const passOn = async (bytes: Buffer): Promise<void> => {
    if (!first) {
      raw.send(bytes);
      return;
    }
    first = false;
    for (let at = 0; at < bytes.length; at += piece) {
      raw.send(bytes.subarray(at, at + piece));
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  let ended = false;
  const between = Bun.listen({
    hostname: '127.0.0.1',
    port: 0,
    socket: {
      open(inner) {
        void (async () => {
          for (let sent = 0; !ended; ) {
            await raw.until(() => raw.received.length > sent || raw.fate !== 'open', 4000);
            if (raw.received.length === sent) break;
            inner.write(Buffer.from(raw.received.slice(sent), 'latin1'));
            sent = raw.received.length;
          }
          inner.end();
        })();
      },
      data: (_inner, bytes) => void passOn(Buffer.from(bytes)),
    },
  });
  const socket = connect({
    host: '127.0.0.1',
    port: between.port,
    rejectUnauthorized: false,
    servername: 'server.test',
    maxVersion,
  });
  socket.on('error', () => {});
  await new Promise<void>((resolve) => {
    socket.once('secureConnect', resolve);
    socket.once('close', () => resolve());
  });
  return {
    socket,
    raw,
    close: () => {
      ended = true;
      socket.destroy();
      raw.reset();
      between.stop(true);
    },
  };
}

/** Asks and reads the answer's first line. */
async function ask(exchange: Exchange, { socket }: Relayed): Promise<void> {
  const answer = new Promise<string>((resolve) => {
    socket.once('data', (bytes: Buffer) => resolve(bytes.toString('latin1')));
    socket.once('close', () => resolve('closed'));
  });
  socket.write('GET / HTTP/1.1\r\nhost: h\r\n\r\n');
  exchange.note('answer', (await answer).split('\r\n')[0] ?? '');
}

const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;

suite(
  'TLS towards clients, further',
  {
    config: bootstrap(LISTENERS, []),
    env: {
      NUNCIO_TEST_PASSWORD: 'sesame',
      NUNCIO_TEST_CHAIN: pem('server-ec.pem'),
      NUNCIO_TEST_KEY: pem('server-ec.key'),
    },
    log: 'access.log',
    stats: [/^listener\.(?!admin)[^.]*\.ssl/, /^tls_inspector\.(?!bytes)/],
  },
  [
    ...Object.keys(KEYS).map((name) => tls(`a key: ${name}`, { listener: name })),
    steps(
      'keys are logged for the addresses that are named',
      async (exchange) => {
        for (const name of ['logged', 'elsewhere', 'here']) await tlsExchange(exchange, { listener: name });
        for (const name of ['all', 'here']) {
          await exchange.expect(`keys of ${name}`, () => /EXPORTER.*\n/.test(exchange.side.file(`${name}.keys`)));
        }
        for (const name of ['all', 'elsewhere', 'here']) {
          exchange.note(name, exchange.side.file(`${name}.keys`).replace(/ .*/g, ''));
        }
      },
      { logLines: 3 },
    ),
    ...['a', 'inspected'].map((name) =>
      steps(
        `an answer of OCSP is asked for: ${name}`,
        async (exchange) => {
          const client = await exchange.connect(name, { recorded: false });
          client.send(ASKS_FOR_STATUS);
          await client.until(() => client.received.length > 0, 4000);
          client.end();
          await client.closed(4000);
        },
        { logLines: 1 },
      ),
    ),
    ...VERSIONS.flatMap((version) => [
      ...['a', 'inspected'].flatMap((name) =>
        [1, 7].map((piece) =>
          steps(
            `${version}: a hello in pieces of ${piece}: ${name}`,
            async (exchange) => {
              const client = await relayed(exchange, name, version, piece);
              await ask(exchange, client);
              client.socket.end();
              await client.raw.until(() => client.raw.fate !== 'open', 4000);
              client.raw.end();
              await client.raw.closed(4000);
              client.close();
            },
            { logLines: 1 },
          ),
        ),
      ),
      steps(
        `${version}: a session of a client with a certificate is resumed`,
        async (exchange) => {
          const options = { listener: 'mutual', cert: 'client', maxVersion: version };
          const session = await tlsExchange(exchange, options);
          if (session !== null) await tlsExchange(exchange, { ...options, session });
        },
        { logLines: 2 },
      ),
      steps(
        `${version}: a record that does not open`,
        async (exchange) => {
          const client = await relayed(exchange, 'a', version);
          await ask(exchange, client);
          client.raw.send(Buffer.concat([Buffer.from('1703030020', 'hex'), Buffer.alloc(32, 0x11)]));
          await exchange.expectClose(client.raw);
          client.close();
        },
        { logLines: 1 },
      ),
      steps(
        `${version}: plain text behind the handshake`,
        async (exchange) => {
          const client = await relayed(exchange, 'a', version);
          await ask(exchange, client);
          client.raw.send('GET / HTTP/1.1\r\nhost: h\r\n\r\n');
          await exchange.expectClose(client.raw);
          client.close();
        },
        { logLines: 1 },
      ),
      ...(['fin', 'reset'] as const).map((how) =>
        steps(
          `${version}: ends without saying so: ${how}`,
          async (exchange) => {
            const client = await relayed(exchange, 'a', version);
            await ask(exchange, client);
            if (how === 'reset') {
              client.raw.reset();
            } else {
              client.raw.end();
              await exchange.expectClose(client.raw);
            }
            client.close();
          },
          { logLines: 1 },
        ),
      ),
    ]),
    steps(
      'a client that asks for another handshake',
      async (exchange) => {
        const script = fileURLToPath(new URL('renegotiating-client.mjs', import.meta.url));
        const client = Bun.spawn(['node', script, String(exchange.port('a'))], { stdout: 'pipe', timeout: 10_000 });
        exchange.note('the client', await new Response(client.stdout).text());
      },
      { logLines: 1 },
    ),
    steps(
      'a reset in the middle of the handshake',
      async (exchange) => {
        const client = await exchange.connect('a', { recorded: false });
        client.send(ASKS_FOR_STATUS);
        await client.until(() => client.received.length > 0, 4000);
        client.reset();
      },
      { logLines: 1 },
    ),
    ...['a', 'prefers'].flatMap((listener) =>
      [
        'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256',
        'ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384',
      ].map((ciphers) =>
        tls(`the order of cipher suites: ${listener}, ${ciphers}`, { listener, ciphers, maxVersion: 'TLSv1.2' }),
      ),
    ),
    ...VERSIONS.map((maxVersion) =>
      tls(`${maxVersion}: signature algorithms as configured`, { listener: 'signs', maxVersion }),
    ),
    tls('who is asked to close waits, and says why', {
      request: 'GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n',
    }),
  ],
);

const once = (name: string, fields: Fields): Fields =>
  cluster(name, ['{{upstream:good}}'], { transport_socket: upstreamTls({}, { sni: 'server.test', ...fields }) });
const bad = (name: string): Fields =>
  cluster(name, [`{{upstream:${name}}}`], { transport_socket: upstreamTls({}, { sni: 'server.test' }) });
const CLUSTERS: readonly Fields[] = [
  once('sessions', {}),
  once('more', { max_session_keys: 2 }),
  once('none', { max_session_keys: 0 }),
  once('newest', { common_tls_context: { tls_params: { tls_maximum_protocol_version: 'TLSv1_3' } } }),
  bad('alert'),
  bad('gone'),
  bad('reset'),
];
const names = CLUSTERS.map(({ name }) => String(name));

suite(
  'TLS towards hosts, further',
  {
    config: bootstrap(
      [
        httpListener({
          routes: names.map((name) => to(name, `/${name}`)),
          log:
            '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON% ' +
            '%UPSTREAM_TLS_GROUP% %UPSTREAM_TLS_CIPHER% %UPSTREAM_TLS_VERSION%',
        }),
      ],
      CLUSTERS,
    ),
    upstreams: {
      good: overTls(
        httpUpstream(() => reply(200, 'x', ['connection: close'])),
        { cert: pem('server-rsa.pem'), key: pem('server-rsa.key') },
      ),
      alert: rawUpstream(async (connection) => {
        await connection.until(() => connection.received.length > 0);
        connection.send('\x15\x03\x03\x00\x02\x02\x28');
        connection.end();
      }),
      gone: rawUpstream(async (connection) => {
        await connection.until(() => connection.received.length > 0);
        connection.end();
      }),
      reset: rawUpstream(async (connection) => {
        await connection.until(() => connection.received.length > 0);
        connection.reset();
      }),
    },
    log: 'access.log',
    upstreamBytes: false,
    stats: [/^cluster\.[^.]*\.(ssl\.|upstream_cx_connect_fail)/],
  },
  [
    ...['sessions', 'more', 'none', 'newest'].map((name) =>
      steps(`sessions: ${name}`, async (exchange) => {
        for (let i = 1; i <= 3; i++) {
          await exchange.request(http(`GET /${name}`));
          await exchange.expectStat(`cluster.${name}.upstream_cx_active`, 0);
        }
      }),
    ),
    ...['alert', 'gone', 'reset'].map((name) => request(`a hello is answered by: ${name}`, http(`GET /${name}`))),
  ],
);
