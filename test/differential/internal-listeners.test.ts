/**
 * Internal listeners, ORIGINAL_DST clusters without a packet filter, sni_cluster. Not here: an internal connection that
 * its listener answers and closes at once, as direct_response does. Envoy's client end loses the answer and sees a reset.
 */

import { httpUpstream, rawUpstream, reply } from '../support/scripted-upstream.ts';
import {
  bootstrap,
  cluster,
  type Fields,
  fileLog,
  http,
  httpListener,
  networkFilter,
  tcpListener,
  tcpProxy,
  to,
  typed,
} from './configs.ts';
import { accepted, refused, steps, suite, validateSuite } from './harness.ts';

const raw = { name: 'raw', typed_config: typed('envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer') };
const extension = (fields: Fields = {}): Fields => ({
  bootstrap_extensions: [
    {
      name: 'envoy.bootstrap.internal_listener',
      typed_config: typed('envoy.extensions.bootstrap.internal_listener.v3.InternalListener', fields),
    },
  ],
});
/** A cluster whose endpoint is an internal listener. */
const inner = (name: string, server_listener_name: string, more: Fields = {}, metadata?: Fields): Fields => ({
  name,
  type: 'STATIC',
  load_assignment: {
    cluster_name: name,
    endpoints: [
      {
        lb_endpoints: [
          {
            endpoint: { address: { envoy_internal_address: { server_listener_name, endpoint_id: 'id' } } },
            ...(metadata === undefined ? {} : { metadata: { filter_metadata: metadata } }),
          },
        ],
      },
    ],
  },
  ...more,
});
const passing = (...names: string[]): Fields => ({
  transport_socket: {
    name: 'internal',
    typed_config: typed('envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport', {
      passthrough_metadata: names.map((name) =>
        name.startsWith('c') ? { kind: { cluster: {} }, name } : { kind: { host: {} }, name },
      ),
      transport_socket: raw,
    }),
  },
});
const internal = (name: string, filters: readonly Fields[], more: Fields = {}): Fields => ({
  name,
  internal_listener: {},
  filter_chains: [{ name, filters }],
  ...more,
});
const direct = (text: string): Fields =>
  networkFilter('direct_response', 'Config', { response: { inline_string: text } });
const INSIDE =
  '%LISTENER_NAME% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% ' +
  '%DYNAMIC_METADATA(host)% %DYNAMIC_METADATA(cluster)% %FILTER_CHAIN_NAME%';
const OUTSIDE =
  '%LISTENER_NAME% %UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%';
const log = { access_log: [fileLog(OUTSIDE)] };
const originalDst = {
  name: 'envoy.filters.listener.original_dst',
  typed_config: typed('envoy.extensions.filters.listener.original_dst.v3.OriginalDst'),
};
const original = (name: string, lb: Fields = {}): Fields => ({
  name,
  type: 'ORIGINAL_DST',
  lb_policy: 'CLUSTER_PROVIDED',
  connect_timeout: '1s',
  original_dst_lb_config: lb,
});

suite(
  'internal listeners',
  {
    config: bootstrap(
      [
        tcpListener([tcpProxy({ cluster: 'echo', ...log })], { name: 'echo' }),
        tcpListener([tcpProxy({ cluster: 'tunnel', ...log })], { name: 'tunnel' }),
        tcpListener([tcpProxy({ cluster: 'nowhere', ...log })], { name: 'nowhere' }),
        tcpListener([tcpProxy({ cluster: 'metadata', ...log })], { name: 'metadata' }),
        tcpListener([tcpProxy({ cluster: 'destination', ...log })], { name: 'destination' }),
        tcpListener([tcpProxy({ cluster: 'empty', ...log })], { name: 'empty' }),
        httpListener({ name: 'http', routes: [to('http')] }),
        internal('in-echo', [networkFilter('echo', 'Echo')], { access_log: [fileLog(INSIDE)] }),
        internal('in-tunnel', [tcpProxy({ cluster: 'u1', ...log })], { access_log: [fileLog(INSIDE)] }),
        internal('in-destination', [direct('fallback')], {
          listener_filters: [originalDst],
          access_log: [fileLog(INSIDE)],
          filter_chains: [
            { name: 'other', filter_chain_match: { destination_port: 1 }, filters: [direct('other')] },
            {
              name: 'matched',
              filter_chain_match: { destination_port: 8080 },
              filters: [networkFilter('echo', 'Echo')],
            },
          ],
        }),
        internal('in-empty', [direct('none')], {
          filter_chains: [{ name: 'x', filter_chain_match: { destination_port: 1 }, filters: [direct('none')] }],
          access_log: [fileLog(INSIDE)],
        }),
        { ...httpListener({ name: 'in-http', routes: [to('u1')] }), address: undefined, internal_listener: {} },
      ],
      [
        cluster('u1'),
        inner('echo', 'in-echo'),
        inner('tunnel', 'in-tunnel'),
        inner('nowhere', 'none'),
        inner('empty', 'in-empty'),
        inner('http', 'in-http'),
        inner(
          'metadata',
          'in-echo',
          { metadata: { filter_metadata: { cluster: { c: 1 } } }, ...passing('host', 'cluster', 'h-missing') },
          { host: { k: 'v' }, unseen: { x: 1 } },
        ),
        inner('destination', 'in-destination', passing('envoy.filters.listener.original_dst'), {
          'envoy.filters.listener.original_dst': { local: '10.1.2.3:8080', remote: '10.9.9.9:1234' },
        }),
      ],
      extension(),
    ),
    upstreams: { u1: httpUpstream((seen) => reply(200, `${seen.path} ${seen.header('x-forwarded-for')}`)) },
    log: 'access.log',
    stats: [
      /^listener\.envoy_internal_.*\.(downstream_cx_(total|active|destroy)|no_filter_chain_match|worker_0\.downstream_cx_total)$/,
      /^cluster\.\w+\.(internal_upstream\..*|upstream_cx_(total|connect_fail|destroy_remote|destroy_local))$/,
    ],
  },
  [
    steps('both ways', async (exchange) => {
      exchange.expectedLines.set('access.log', 2);
      const client = await exchange.connect('echo');
      client.send('hello');
      await client.until(() => client.received === 'hello');
      client.send(', inside');
      await client.until(() => client.received === 'hello, inside');
      client.end();
      await exchange.expectClose(client);
    }),
    steps('a megabyte each way', async (exchange) => {
      exchange.expectedLines.set('access.log', 2);
      const client = await exchange.connect('echo');
      const text = 'abcdefgh'.repeat(128 * 1024);
      client.send(text);
      await client.until(() => client.received.length >= text.length, 20_000);
      exchange.note('echoed', String(client.received.slice(0, text.length) === text));
      client.end();
      await exchange.expectClose(client);
    }),
    steps('through two proxies to an upstream', async (exchange) => {
      exchange.expectedLines.set('access.log', 3);
      const client = await exchange.connect('tunnel');
      client.send(http('GET /through'));
      await exchange.expectResponse(client);
      client.end();
      await exchange.expectClose(client);
    }),
    steps('a listener that there is not', async (exchange) => {
      exchange.expectedLines.set('access.log', 1);
      await exchange.expectClose(await exchange.connect('nowhere'));
    }),
    steps('metadata is passed', async (exchange) => {
      exchange.expectedLines.set('access.log', 2);
      const client = await exchange.connect('metadata');
      client.send('x');
      await client.until(() => client.received === 'x');
      client.end();
      await exchange.expectClose(client);
    }),
    steps('a destination is passed, and chosen by', async (exchange) => {
      exchange.expectedLines.set('access.log', 2);
      const client = await exchange.connect('destination');
      client.send('x');
      await client.until(() => client.received === 'x');
      client.end();
      await exchange.expectClose(client);
    }),
    steps('no chain inside', async (exchange) => {
      exchange.expectedLines.set('access.log', 2);
      await exchange.expectClose(await exchange.connect('empty'));
    }),
    steps('HTTP to HTTP', async (exchange) => {
      exchange.expectedLines.set('access.log', 0);
      const client = await exchange.connect('http');
      for (const path of ['/1', '/2']) {
        client.send(http(`GET ${path}`, ['x-forwarded-for: 1.2.3.4']));
        await exchange.expectResponse(client);
      }
    }),
  ],
);

const one = (listener: Fields, more: Fields = extension()): Fields => bootstrap([listener], [], more);
validateSuite('internal listeners, validated', [
  accepted('one', one(internal('a', [direct('x')]))),
  refused('without the bootstrap extension', one(internal('a', [direct('x')]), {})),
  refused('with an address', one(internal('a', [direct('x')], { address: '{{listen:a}}' }))),
  refused('with a feature of TCP', one(internal('a', [direct('x')], { transparent: true }))),
  refused(
    'with socket options',
    one(
      internal('a', [direct('x')], { socket_options: [{ level: 1, name: 1, int_value: 1, state: 'STATE_PREBIND' }] }),
    ),
  ),
  refused(
    'an internal address',
    one({
      ...internal('a', [direct('x')]),
      internal_listener: undefined,
      address: { envoy_internal_address: { server_listener_name: 'x' } },
    }),
  ),
  refused('a buffer that is too large', one(internal('a', [direct('x')]), extension({ buffer_size_kb: 8193 }))),
  refused('a buffer of nothing', one(internal('a', [direct('x')]), extension({ buffer_size_kb: 0 }))),
  accepted(
    'ORIGINAL_DST',
    bootstrap([], [original('o', { use_http_header: true, http_header_name: 'x-to', upstream_port_override: 1 })]),
  ),
  refused('ORIGINAL_DST with a policy', bootstrap([], [{ ...original('o'), lb_policy: 'ROUND_ROBIN' }])),
  refused('ORIGINAL_DST with hosts', bootstrap([], [{ ...cluster('u1'), ...original('u1') }])),
  refused('ORIGINAL_DST with a header that is not used', bootstrap([], [original('o', { http_header_name: 'x-to' })])),
  refused('ORIGINAL_DST with a port that is none', bootstrap([], [original('o', { upstream_port_override: 65536 })])),
  refused(
    'a cluster that brings no balancer',
    bootstrap([], [cluster('u1', undefined, { lb_policy: 'CLUSTER_PROVIDED' })]),
  ),
]);

const proxyProtocol = {
  name: 'envoy.filters.listener.proxy_protocol',
  typed_config: typed('envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol', {
    rules: [{ tlv_type: 2, on_tlv_present: { key: 'to', metadata_namespace: 'ns' } }],
  }),
};
const inspector = {
  name: 'envoy.filters.listener.tls_inspector',
  typed_config: typed('envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector'),
};
const stats = [
  /^cluster\.\w+\.(original_dst_host_invalid|upstream_cx_(none_healthy|total)|membership_(total|change)|upstream_rq_total)$/,
  /^tcp\.tcp\.downstream_cx_no_route$/,
];

suite(
  'destinations of the client',
  {
    config: bootstrap(
      [
        httpListener({ name: 'header', routes: [to('header')] }),
        httpListener({ name: 'named', routes: [to('named')] }),
        httpListener({ name: 'none', routes: [to('none')] }),
        tcpListener([tcpProxy({ cluster: 'none' })], {
          name: 'proxied',
          listener: { listener_filters: [proxyProtocol] },
        }),
        tcpListener([tcpProxy({ cluster: 'port' })], { name: 'port', listener: { listener_filters: [proxyProtocol] } }),
        tcpListener([tcpProxy({ cluster: 'key' })], { name: 'key', listener: { listener_filters: [proxyProtocol] } }),
        tcpListener([networkFilter('sni_cluster', 'SniCluster'), tcpProxy({ cluster: 'u2' })], {
          name: 'sni',
          listener: { listener_filters: [inspector] },
        }),
      ],
      [
        original('header', { use_http_header: true }),
        original('named', { use_http_header: true, http_header_name: 'X-To' }),
        original('none'),
        original('port', { upstream_port_override: '{{port:u1}}' as unknown as number }),
        original('key', { metadata_key: { key: 'ns', path: [{ key: 'to' }] } }),
        cluster('u1'),
        cluster('u2'),
      ],
    ),
    upstreams: {
      u1: rawUpstream(async (connection) => {
        await connection.until(() => connection.received !== '');
        connection.send(reply(200, 'one'));
        await connection.until(() => connection.fate !== 'open');
        connection.end();
      }),
      u2: rawUpstream(async (connection) => {
        await connection.until(() => connection.received !== '');
        connection.send(reply(200, 'two'));
        await connection.until(() => connection.fate !== 'open');
        connection.end();
      }),
    },
    stats,
    fresh: false,
    rewrite: [[/10\.0\.0\.2 \d+ \d+/g, '10.0.0.2 PORTS']],
  },
  [
    ...(
      [
        ['by its own header', 'header', 'x-envoy-original-dst-host', ''],
        ['by a named header', 'named', 'x-to', ''],
        ['by two headers the first', 'named', 'x-to', 'x-to: 127.0.0.1:1'],
      ] as const
    ).map(([name, listener, header, more]) =>
      steps(
        name,
        async (exchange) => {
          const port = exchange.side.ports.get('u1');
          const client = await exchange.connect(listener);
          client.send(http('GET /', [`${header}: 127.0.0.1:${port}`, ...(more === '' ? [] : [more])]));
          await exchange.expectResponse(client);
        },
        { upstreamBytes: false },
      ),
    ),
    ...['nonsense', '127.0.0.1', 'localhost:80', '127.0.0.1:65536', '::1:80', ''].map((value) =>
      steps(`by a header that is none: ${JSON.stringify(value)}`, async (exchange) => {
        const client = await exchange.connect('named');
        client.send(http('GET /', [`x-to: ${value}`]));
        await exchange.expectResponse(client);
      }),
    ),
    steps('by nothing', async (exchange) => {
      const client = await exchange.connect('none');
      client.send(http('GET /'));
      await exchange.expectResponse(client);
    }),
    steps('by a PROXY header', async (exchange) => {
      const client = await exchange.connect('proxied');
      client.send(`PROXY TCP4 10.0.0.1 127.0.0.1 1 ${exchange.side.ports.get('u1')}\r\nhello`);
      await exchange.expectResponse(client);
    }),
    steps('by a TLV', async (exchange) => {
      const client = await exchange.connect('key');
      const to = `127.0.0.1:${exchange.side.ports.get('u2')}`;
      const body = `\x0a\0\0\x01\x0a\0\0\x02\0\x01\0\x02\x02\0${String.fromCharCode(to.length)}${to}`;
      client.send(`\r\n\r\n\0\r\nQUIT\n\x21\x11\0${String.fromCharCode(body.length)}${body}hello`);
      await exchange.expectResponse(client);
    }),
    ...['u1', 'u2', 'unknown'].map((name) =>
      steps(
        `by server name: ${name}`,
        async (exchange) => {
          const u16 = (value: number): string => String.fromCharCode(value >> 8, value & 255);
          const names = `${u16(name.length + 3)}\0${u16(name.length)}${name}`;
          const extension_ = `${u16(0)}${u16(names.length)}${names}`;
          const body = `\x03\x03${'r'.repeat(32)}\0${u16(2)}\x13\x01\x01\0${u16(extension_.length)}${extension_}`;
          const message = `\x01\0${u16(body.length)}${body}`;
          const client = await exchange.connect('sni');
          client.send(`\x16\x03\x01${u16(message.length)}${message}`);
          if (name === 'unknown') await exchange.expectClose(client);
          else await exchange.expectResponse(client);
        },
        { clientFate: name !== 'unknown' },
      ),
    ),
    steps('by no server name: as configured', async (exchange) => {
      const client = await exchange.connect('sni');
      client.send('hello, hello');
      await exchange.expectResponse(client);
    }),
  ],
);
