/** Listeners, filter chains, listener filters. */

import { connectRaw } from '../support/raw-client.ts';
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import {
  bootstrap,
  cluster,
  type Fields,
  fileLog,
  http,
  httpListener,
  httpProxy,
  networkFilter,
  typed,
} from './configs.ts';
import { request, steps, suite } from './harness.ts';

const direct = (text: string): Fields =>
  networkFilter('direct_response', 'Config', { response: { inline_string: text } });
const chain = (name: string, match: Fields): Fields => ({ name, filter_chain_match: match, filters: [direct(name)] });
const range = (address_prefix: string, prefix_len: number): Fields => ({ address_prefix, prefix_len });
const stats = [
  /^listener\.(?!admin).*\.(downstream_cx_total|no_filter_chain_match|downstream_pre_cx_timeout|downstream_cx_destroy|downstream_listener_filter_error|downstream_listener_filter_remote_close)$/,
  'proxy_proto.',
  'tls_inspector.',
  'http_inspector.',
];

/** Connects from an address of the loopback network, and says what came. */
const chosen = (listener: string) =>
  steps(`the chain of ${listener}`, async (exchange) => {
    const client = await exchange.connect(listener);
    await exchange.expectClose(client);
  });

suite(
  'filter chain matches',
  {
    config: bootstrap(
      [
        {
          name: 'source',
          address: '{{listen:source}}',
          filter_chains: [
            chain('ten', { source_prefix_ranges: [range('10.0.0.0', 8)] }),
            chain('loopback', { source_prefix_ranges: [range('127.0.0.0', 8)] }),
            chain('exact', { source_prefix_ranges: [range('127.0.0.1', 32)] }),
          ],
        },
        {
          name: 'type',
          address: '{{listen:type}}',
          filter_chains: [
            chain('external', { source_type: 'EXTERNAL' }),
            chain('local', { source_type: 'SAME_IP_OR_LOOPBACK' }),
          ],
        },
        {
          name: 'direct-source',
          address: '{{listen:direct-source}}',
          filter_chains: [
            chain('other', { direct_source_prefix_ranges: [range('10.0.0.0', 8)] }),
            chain('here', { direct_source_prefix_ranges: [range('127.0.0.0', 8)] }),
          ],
        },
        {
          name: 'none',
          address: '{{listen:none}}',
          filter_chains: [chain('ten', { source_prefix_ranges: [range('10.0.0.0', 8)] })],
        },
        {
          name: 'default',
          address: '{{listen:default}}',
          filter_chains: [chain('ten', { source_prefix_ranges: [range('10.0.0.0', 8)] })],
          default_filter_chain: { name: 'fallback', filters: [direct('fallback')] },
        },
        {
          name: 'tls',
          address: '{{listen:tls}}',
          filter_chains: [
            chain('tls', { transport_protocol: 'tls' }),
            chain('raw', { transport_protocol: 'raw_buffer' }),
          ],
        },
        {
          name: 'dest',
          address: '{{listen:dest}}',
          filter_chains: [chain('dest', { prefix_ranges: [range('127.0.0.1', 32)] }), chain('any', {})],
        },
        {
          name: 'port',
          address: '{{listen:port}}',
          filter_chains: [chain('other-port', { destination_port: 1 }), chain('any', {})],
        },
      ],
      [],
    ),
    stats,
  },
  [...['source', 'type', 'direct-source', 'none', 'default', 'tls', 'dest', 'port'].map(chosen)],
);

const inspect = (name: string, type: string, fields: Fields = {}): Fields => ({
  name: `envoy.filters.listener.${name}`,
  typed_config: typed(`envoy.extensions.filters.listener.${name}.v3.${type}`, fields),
});

const PROXY_V2 = '\r\n\r\n\0\r\nQUIT\n';

suite(
  'listener filters',
  {
    config: bootstrap(
      [
        httpListener({
          name: 'proxied',
          log: '%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%',
          hcm: { use_remote_address: true },
          listener: { listener_filters: [inspect('proxy_protocol', 'ProxyProtocol')] },
        }),
        httpListener({
          name: 'maybe',
          listener: {
            listener_filters: [
              inspect('proxy_protocol', 'ProxyProtocol', { allow_requests_without_proxy_protocol: true }),
            ],
          },
        }),
        httpListener({
          name: 'waits',
          listener: {
            listener_filters: [inspect('proxy_protocol', 'ProxyProtocol')],
            listener_filters_timeout: '0.1s',
          },
        }),
        httpListener({
          name: 'waits-on',
          listener: {
            listener_filters: [inspect('http_inspector', 'HttpInspector')],
            listener_filters_timeout: '0.1s',
            continue_on_listener_filters_timeout: true,
          },
        }),
        {
          name: 'inspected',
          address: '{{listen:inspected}}',
          listener_filters: [inspect('tls_inspector', 'TlsInspector'), inspect('http_inspector', 'HttpInspector')],
          filter_chains: [
            chain('h2', { application_protocols: ['h2c'] }),
            chain('http/1.1', { application_protocols: ['http/1.1'] }),
            chain('http/1.0', { application_protocols: ['http/1.0'] }),
            chain('tls', { transport_protocol: 'tls' }),
            chain('other', {}),
          ],
        },
      ],
      [cluster('u1')],
    ),
    upstreams: { u1: httpUpstream((seen) => reply(200, `xff ${seen.header('x-forwarded-for')}`)) },
    stats,
  },
  [
    request('PROXY v1 TCP4', `PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n${http('GET /')}`, {
      listener: 'proxied',
      log: 'access.log',
    }),
    request('PROXY v1 TCP6', `PROXY TCP6 1::2 3::4 1111 80\r\n${http('GET /')}`, {
      listener: 'proxied',
      log: 'access.log',
    }),
    request('PROXY v1 UNKNOWN', `PROXY UNKNOWN\r\n${http('GET /')}`, { listener: 'proxied' }),
    request('PROXY v1 in pieces', ['PRO', 'XY TCP4 1.2.3.4 5.6.7.8 ', `1111 80\r\n${http('GET /')}`], {
      listener: 'proxied',
    }),
    request('PROXY v1 malformed', `PROXY TCP4 1.2.3.4 rubbish\r\n${http('GET /')}`, {
      listener: 'proxied',
      responses: 0,
      close: true,
    }),
    request('PROXY v1 too long', `PROXY TCP4 ${'1'.repeat(200)}\r\n`, {
      listener: 'proxied',
      responses: 0,
      close: true,
    }),
    request('no PROXY at all', http('GET /'), { listener: 'proxied', responses: 0, close: true }),
    request('PROXY v2', `${PROXY_V2}\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\0\x50${http('GET /')}`, {
      listener: 'proxied',
      log: 'access.log',
    }),
    request('PROXY v2 LOCAL', `${PROXY_V2}\x20\0\0\0${http('GET /')}`, { listener: 'proxied' }),
    request('PROXY v2 of a bad version', `${PROXY_V2}\x31\x11\0\x0c`, {
      listener: 'proxied',
      responses: 0,
      close: true,
    }),
    request('PROXY may be missing', http('GET /'), { listener: 'maybe' }),
    request('PROXY that may be missing is there', `PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n${http('GET /')}`, {
      listener: 'maybe',
    }),
    request('nothing comes for the listener filter', '', { listener: 'waits', responses: 0, close: true }),
    request('nothing comes, the connection goes on', ['', http('GET /')], { listener: 'waits-on' }),
    request('HTTP/1.1 is inspected', http('GET /'), {
      listener: 'inspected',
      responses: 0,
      close: true,
      clientFate: false,
    }),
    request('HTTP/1.0 is inspected', 'GET / HTTP/1.0\r\n\r\n', {
      listener: 'inspected',
      responses: 0,
      close: true,
      clientFate: false,
    }),
    request('HTTP/2 is inspected', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', {
      listener: 'inspected',
      responses: 0,
      close: true,
      clientFate: false,
    }),
    request('rubbish is inspected', 'rubbish rubbish\r\n\r\n', {
      listener: 'inspected',
      responses: 0,
      close: true,
      clientFate: false,
    }),
  ],
);

const hello = (rest: string): string => {
  const body = `\x03\x03${'\0'.repeat(32)}\0\0\x04\x13\x01\xc0\x2f\x01\0${rest}`;
  const message = `\x01\0\0${String.fromCharCode(body.length)}${body}`;
  return `\x16\x03\x01\0${String.fromCharCode(message.length)}${message}`;
};
const SERVER_NAME = '\0\x0a\0\0\0\x06\0\x04\0\0\x01A';
const NAME_AND_ALPN = '\0\x13\0\0\0\x06\0\x04\0\0\x01A\0\x10\0\x05\0\x03\x02h2';

suite(
  'listener filters, further',
  {
    config: bootstrap(
      [
        {
          name: 'tls',
          address: '{{listen:tls}}',
          listener_filters: [
            inspect('tls_inspector', 'TlsInspector', {
              enable_ja3_fingerprinting: true,
              enable_ja4_fingerprinting: true,
              max_client_hello_size: 300,
              initial_read_buffer_size: 256,
            }),
          ],
          access_log: [fileLog('%REQUESTED_SERVER_NAME% %TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%', 'tls.log')],
          filter_chains: [
            chain('name', { server_names: ['a'] }),
            chain('tls', { transport_protocol: 'tls' }),
            chain('other', {}),
          ],
        },
        {
          name: 'strict',
          address: '{{listen:strict}}',
          listener_filters: [
            inspect('tls_inspector', 'TlsInspector', { close_connection_on_client_hello_parsing_errors: true }),
          ],
          filter_chains: [chain('any', {})],
        },
        {
          name: 'only-v2',
          address: '{{listen:only-v2}}',
          listener_filters: [
            inspect('proxy_protocol', 'ProxyProtocol', { disallowed_versions: ['V1'], stat_prefix: 'mine' }),
          ],
          filter_chains: [chain('any', {})],
        },
        {
          name: 'disabled',
          address: '{{listen:disabled}}',
          listener_filters: [
            {
              ...inspect('http_inspector', 'HttpInspector'),
              filter_disabled: { destination_port_range: { start: 1, end: 65536 } },
            },
          ],
          filter_chains: [chain('http', { application_protocols: ['http/1.1'] }), chain('any', {})],
        },
        {
          name: 'limited-rate',
          address: '{{listen:limited-rate}}',
          listener_filters: [
            inspect('local_ratelimit', 'LocalRateLimit', {
              stat_prefix: 's',
              token_bucket: { max_tokens: 1, fill_interval: '3600s' },
            }),
          ],
          filter_chains: [chain('any', {})],
        },
      ],
      [],
    ),
    stats: [...stats, 'listener_local_ratelimit.', 'downstream_cx_proxy_proto_error'],
  },
  [
    ...(
      [
        ['a hello with a name', hello(SERVER_NAME)],
        ['a hello with a name and protocols', hello(NAME_AND_ALPN)],
        ['a hello without extensions', hello('')],
        ['a hello with an extension twice', hello('\0\x08\0\x63\0\0\0\x63\0\0')],
        ['a hello of SSL 3', hello(SERVER_NAME).replace('\x03\x03', '\x03\0')],
        ['no hello', 'GET / HTTP/1.1\r\n\r\n'],
        ['a hello that is too large', `\x16\x03\x01\x03\xe8${'x'.repeat(1000)}`],
      ] as const
    ).map(([name, bytes]) =>
      steps(
        name,
        async (exchange) => {
          const client = await exchange.connect('tls');
          client.send(bytes);
          await exchange.expectClose(client);
        },
        // Nothing of what came is read: Envoy's close resets the connection.
        { clientFate: false },
      ),
    ),
    ...(
      [
        ['plain text where TLS is due', 'strict', 'GET / HTTP/1.1\r\n\r\n'],
        ['a version of PROXY that is disallowed', 'only-v2', 'PROXY UNKNOWN\r\n'],
        ['an inspector that is disabled', 'disabled', 'GET / HTTP/1.1\r\n\r\n'],
        ['the only connection of an hour', 'limited-rate', ''],
        ['and one more', 'limited-rate', ''],
      ] as const
    ).map(([name, listener, bytes]) =>
      steps(name, async (exchange) => {
        const client = await exchange.connect(listener);
        if (bytes !== '') client.send(bytes);
        await exchange.expectClose(client);
      }),
    ),
  ],
);

suite(
  'listener options',
  {
    config: bootstrap(
      [
        httpListener({
          name: 'prefixed',
          listener: {
            stat_prefix: 'mine',
            access_log: [
              fileLog(
                '%RESPONSE_CODE% %BYTES_RECEIVED% %CONNECTION_TERMINATION_DETAILS% %LISTENER_NAME%',
                'listener.log',
              ),
            ],
          },
        }),
        httpListener({ name: 'v6', listener: { address: { socket_address: { address: '::1', port_value: 0 } } } }),
        httpListener({ name: 'pipe', listener: { address: { pipe: { path: '{{tmp}}/sock', mode: 0o600 } } } }),
        httpListener({
          name: 'unbound',
          listener: { bind_to_port: false, address: { socket_address: { address: '127.0.0.5', port_value: 1 } } },
        }),
        httpListener({
          name: 'limited',
          listener: { per_connection_buffer_limit_bytes: 1024, tcp_backlog_size: 16 },
        }),
        httpListener({
          name: 'two',
          listener: {
            additional_addresses: [{ address: { socket_address: { address: '127.0.0.2', port_value: 0 } } }],
          },
        }),
      ],
      [cluster('u1')],
    ),
    upstreams: { u1: httpUpstream((seen) => reply(200, `${seen.path} ${seen.header('host')} ${seen.body.length}`)) },
    stats: [
      /^listener\.mine\.downstream_cx_total$/,
      'listener_manager.total',
      'listener_manager.listener_added',
      'http.ingress.downstream_rq_total',
    ],
  },
  [
    request('a stat prefix and an access log of connections', http('GET /', ['connection: close']), {
      listener: 'prefixed',
      close: true,
      log: 'listener.log',
      logLines: 1,
    }),
    request('a body over the buffer limit flows', http('POST /', ['content-length: 100000'], 'x'.repeat(100_000)), {
      listener: 'limited',
    }),
    steps('IPv6', async (exchange) => {
      const client = await connectRaw({ hostname: '::1', port: exchange.port('v6') });
      client.send(http('GET /six', ['connection: close']));
      exchange.note('over IPv6', `${(await client.response()).split('\r\n\r\n')[1]}`);
      client.end();
    }),
    steps('a Unix socket', async (exchange) => {
      const client = await connectRaw({ unix: `${exchange.side.tmp}/sock` });
      client.send(http('GET /unix', ['connection: close']));
      exchange.note('over a Unix socket', `${(await client.response()).split('\r\n\r\n')[1]}`);
      client.end();
      const { mode } = await Bun.file(`${exchange.side.tmp}/sock`).stat();
      exchange.note('mode', (mode & 0o777).toString(8));
    }),
    steps(
      'the list of listeners',
      async (exchange) => {
        await exchange.admin('/listeners');
        await exchange.admin('/listeners?format=json');
      },
      {
        rewrite: [
          [/("port_value": )\d+/g, '$1<port>'],
          [/\[::1\]:\d+/g, '[::1]:<port>'],
          [/127\.0\.0\.2:\d+/g, '127.0.0.2:<port>'],
        ],
      },
    ),
  ],
);

suite(
  'connection limits',
  {
    config: httpProxy({ log: '%RESPONSE_CODE%' }, [cluster('u1')], {
      layered_runtime: {
        layers: [
          {
            name: 'static',
            static_layer: { envoy: { resource_limits: { listener: { a: { connection_limit: 1 } } } } },
          },
        ],
      },
    }),
    upstreams: { u1: httpUpstream(() => reply(200, 'ok')) },
    stats: [/^listener\.(?!admin).*downstream_cx_(total|overflow)$/],
  },
  [
    steps(
      'the second connection is turned away',
      async (exchange) => {
        const first = await exchange.connect();
        first.send(http('GET /'));
        await exchange.expectResponse(first);
        const second = await exchange.connect();
        await exchange.expectClose(second);
      },
      { clientFate: false },
    ),
  ],
);

suite(
  'connections per event of the listening socket',
  {
    config: bootstrap(
      [
        {
          name: 'a',
          stat_prefix: 'a',
          address: '{{listen:a}}',
          filter_chains: [{ filters: [networkFilter('echo', 'Echo')] }],
        },
      ],
      [],
      { stats_flush_interval: '0.05s' },
    ),
  },
  [
    steps('one by one', async (exchange) => {
      for (let i = 0; i < 3; i++) {
        const client = await exchange.connect();
        client.send('here');
        await client.until(() => client.received === 'here');
      }
      const path = '/stats?filter=^listener\\.a\\.connections_accepted&histogram_buckets=cumulative';
      await exchange.expect('three events', async () => (await exchange.proxy.admin(path)).body.includes('B5(0,3)'));
    }),
  ],
);
