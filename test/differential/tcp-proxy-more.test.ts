/** tcp_proxy: when the upstream connection begins, what is kept until then, what ends it, and TLVs for its PROXY header. */
import { httpUpstream, rawUpstream, reply, shoutingUpstream } from '../support/scripted-upstream.ts';
import { bootstrap, cluster, type Fields, fileLog, tcpListener, tcpProxy, typed } from './configs.ts';
import { type Case, refused, steps, suite, validateSuite } from './harness.ts';
import { certificate, downstreamTls, tls } from './tls-peers.ts';

const LOG =
  '%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %CONNECTION_TERMINATION_DETAILS% ' +
  '%UPSTREAM_REQUEST_ATTEMPT_COUNT% %DOWNSTREAM_LOCAL_CLOSE_REASON% %ACCESS_LOG_TYPE%';
const logged: Fields = { access_log: [fileLog(LOG)] };
const stats = [
  // Whether the upstream is there before the first bytes is a race.
  /^tcp\.tcp\.(?!.*(flow_control|early_data_received))/,
  /^cluster\.(u1|refused)\.upstream_cx_(total|connect_fail|connect_attempts_exceeded|tx_bytes_total|rx_bytes_total)$/,
];

const shouter = shoutingUpstream();

const modes: Readonly<Record<string, Fields>> = {
  data: { cluster: 'u1', upstream_connect_mode: 'ON_DOWNSTREAM_DATA', max_early_data_bytes: 100 },
  'data-0': { cluster: 'u1', upstream_connect_mode: 'ON_DOWNSTREAM_DATA', max_early_data_bytes: 0 },
  'data-refused': {
    cluster: 'refused',
    upstream_connect_mode: 'ON_DOWNSTREAM_DATA',
    max_early_data_bytes: 100,
    max_connect_attempts: 2,
    backoff_options: { base_interval: '0.01s' },
  },
  'data-missing': { cluster: 'nowhere', upstream_connect_mode: 'ON_DOWNSTREAM_DATA', max_early_data_bytes: 100 },
  'data-idle': {
    cluster: 'u1',
    upstream_connect_mode: 'ON_DOWNSTREAM_DATA',
    max_early_data_bytes: 100,
    idle_timeout: '0.1s',
  },
  handshake: { cluster: 'u1', upstream_connect_mode: 'ON_DOWNSTREAM_TLS_HANDSHAKE', max_early_data_bytes: 100 },
  early: { cluster: 'u1', max_early_data_bytes: 100 },
  unroutable: { cluster: 'unroutable', idle_timeout: '0.1s' },
  'early-refused': { cluster: 'refused', max_early_data_bytes: 100 },
  started: {
    cluster: 'u1',
    access_log_options: { flush_access_log_on_start: true, flush_access_log_on_connected: true },
  },
  'started-early': {
    cluster: 'u1',
    upstream_connect_mode: 'ON_DOWNSTREAM_DATA',
    max_early_data_bytes: 100,
    access_log_options: { flush_access_log_on_start: true },
  },
  'never-idle': { cluster: 'u1', downstream_idle_timeout: '0.001s', upstream_idle_timeout: '0.001s' },
};

const says = (listener: string, text: string): Case =>
  steps(`${listener}: says ${text.length > 40 ? `${text.length} bytes` : text}`, async (exchange) => {
    const client = await exchange.connect(listener);
    client.send(text);
    await client.until(() => client.received.length >= text.length);
    await exchange.expectClose(client);
    client.end();
    exchange.expectLog('access.log', listener === 'started' ? 3 : listener === 'started-early' ? 2 : 1);
  });
const turnedAway = (listener: string): Case =>
  steps(`${listener}: turned away`, async (exchange) => {
    const client = await exchange.connect(listener);
    if (listener !== 'early-refused') client.send('abc');
    await exchange.expectClose(client);
    exchange.expectLog('access.log', 1);
  });

suite(
  'tcp proxy: when the upstream connection begins',
  {
    config: bootstrap(
      [...Object.entries(modes).map(([name, fields]) => tcpListener([tcpProxy({ ...fields, ...logged })], { name }))],
      [
        cluster('u1'),
        cluster('refused', ['{{refused}}']),
        {
          name: 'unroutable',
          type: 'STATIC',
          connect_timeout: '3s',
          load_assignment: {
            cluster_name: 'unroutable',
            // TEST-NET-1: nobody answers.
            endpoints: [
              {
                lb_endpoints: [{ endpoint: { address: { socket_address: { address: '192.0.2.1', port_value: 9 } } } }],
              },
            ],
          },
        },
      ],
    ),
    upstreams: { u1: shouter },
    stats,
    log: 'access.log',
  },
  [
    ...['data', 'data-0', 'handshake', 'early', 'started', 'started-early', 'never-idle'].map((name) =>
      says(name, 'hello bye'),
    ),
    ...['data', 'early'].map((name) => says(name, `${'x'.repeat(5000)}bye`)),
    ...['data-refused', 'data-missing', 'early-refused'].map(turnedAway),
    steps('nothing is connected before the client speaks', async (exchange) => {
      const client = await exchange.connect('data');
      await exchange.expectStat('cluster.u1.upstream_cx_active', 0);
      client.send('bye');
      await client.receive('BYE');
      await exchange.expectClose(client);
      client.end();
      exchange.expectLog('access.log', 1);
    }),
    steps('idle before it speaks', async (exchange) => {
      const client = await exchange.connect('data-idle');
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    steps('idle while it waits for the upstream', async (exchange) => {
      const client = await exchange.connect('unroutable');
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    steps('ends after its first bytes', async (exchange) => {
      const client = await exchange.connect('data');
      client.send('abc');
      client.end();
      await client.receive('saw the end');
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    steps('resets before it speaks', async (exchange) => {
      const before = await exchange.stat('tcp.tcp.downstream_cx_total');
      const client = await exchange.connect('data');
      await exchange.expectStat('tcp.tcp.downstream_cx_total', before + 1);
      client.reset();
      exchange.expectLog('access.log', 1);
    }),
  ],
);

suite(
  'tcp proxy: after the handshake',
  {
    config: bootstrap(
      [
        tcpListener([], {
          name: 'a',
          listener: {
            filter_chains: [
              {
                filters: [tcpProxy({ ...modes.handshake, cluster: 'web', ...logged })],
                transport_socket: downstreamTls({ tls_certificates: [certificate('server-ec')] }),
              },
            ],
          },
        }),
      ],
      [cluster('web')],
    ),
    upstreams: { web: httpUpstream(() => reply(200, 'over tls')) },
    stats: [/^tcp\.tcp\.(downstream_cx_total|early_data_received_count_total)/, /^cluster\.web\.upstream_cx_total$/],
  },
  [
    tls('a handshake, then a request', { logLines: 0 }),
    steps(
      'no handshake: no upstream connection',
      async (exchange) => {
        const client = await exchange.connect('a');
        client.send('GET / HTTP/1.1\r\n\r\n');
        await exchange.expectClose(client);
      },
      { clientFate: false },
    ),
  ],
);

suite(
  'tcp proxy: draining',
  {
    config: bootstrap(
      [
        tcpListener([tcpProxy({ cluster: 'u1', check_drain_close: true, ...logged })], { name: 'checks' }),
        tcpListener([tcpProxy({ cluster: 'u1', ...logged })], { name: 'goes-on' }),
      ],
      [cluster('u1')],
    ),
    upstreams: { u1: shouter },
    stats,
    log: 'access.log',
    fresh: true,
  },
  [
    steps('bytes of a server that is failing its health check', async (exchange) => {
      const client = await exchange.connect('checks');
      client.send('one ');
      await client.receive('ONE');
      await exchange.admin('/healthcheck/fail', { method: 'POST' });
      client.send('two ');
      await exchange.expectClose(client);
      client.end();
      exchange.expectLog('access.log', 1);
    }),
    steps('without the check it goes on', async (exchange) => {
      const client = await exchange.connect('goes-on');
      await exchange.admin('/healthcheck/fail', { method: 'POST' });
      client.send('two ');
      await client.receive('TWO');
      client.send('bye');
      await exchange.expectClose(client);
      client.end();
      exchange.expectLog('access.log', 1);
    }),
  ],
);

const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n';
const V4 = '\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\0\x50';
const tlv = (type: number, value: string): string =>
  String.fromCharCode(type, value.length >> 8, value.length & 255) + value;
const v2 = (tlvs: string): string => {
  const body = V4 + tlvs;
  return SIGNATURE + String.fromCharCode(0x21, 0x11, body.length >> 8, body.length & 255) + body;
};
const TLVS: Fields = {
  proxy_protocol_tlvs: [
    { type: 0xe1, value: Buffer.from('fixed').toString('base64') },
    {
      type: 0xe2,
      format_string: {
        text_format_source: { inline_string: '%UPSTREAM_CLUSTER%/%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%' },
      },
    },
  ],
};
const merging = (policy: string): Fields =>
  tcpListener([tcpProxy({ cluster: 'p', ...TLVS, proxy_protocol_tlv_merge_policy: policy, ...logged })], {
    name: policy,
    listener: {
      listener_filters: [
        {
          name: 'envoy.filters.listener.proxy_protocol',
          typed_config: typed('envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol', {
            allow_requests_without_proxy_protocol: true,
            pass_through_tlvs: { match_type: 'INCLUDE_ALL' },
          }),
        },
      ],
    },
  });

suite(
  'tcp proxy: TLVs',
  {
    config: bootstrap(['ADD_IF_ABSENT', 'OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD', 'APPEND_IF_EXISTS_OR_ADD'].map(merging), [
      cluster('p', ['{{upstream:u1}}'], {
        transport_socket: {
          name: 'envoy.transport_sockets.upstream_proxy_protocol',
          typed_config: typed('envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport', {
            config: { version: 'V2', pass_through_tlvs: { match_type: 'INCLUDE_ALL' } },
            transport_socket: {
              name: 'raw',
              typed_config: typed('envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'),
            },
          }),
        },
      }),
    ]),
    upstreams: {
      u1: rawUpstream(async (connection) => {
        await connection.receive('end');
        connection.end();
      }),
    },
    log: 'access.log',
    stats: [],
    rewrite: [[/(\\x7f\\x00\\x00\\x01\\x7f\\x00\\x00\\x01).{1,8}?(\\x00|\\xe|.)/g, '$1']],
  },
  ['ADD_IF_ABSENT', 'OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD', 'APPEND_IF_EXISTS_OR_ADD'].flatMap((policy) => [
    steps(`${policy}: a header with two`, async (exchange) => {
      const client = await exchange.connect(policy);
      client.send(`${v2(tlv(0xe1, 'theirs') + tlv(0xe5, 'kept'))}end`);
      await exchange.expectClose(client);
      client.end();
      exchange.expectLog('access.log', 1);
    }),
  ]),
);

const validate = (fields: Fields): Fields =>
  bootstrap([tcpListener([tcpProxy({ cluster: 'c', ...fields })])], [{ name: 'c' }]);

validateSuite('tcp proxy: refused', [
  refused('connecting late without a limit', validate({ upstream_connect_mode: 'ON_DOWNSTREAM_DATA' })),
  refused('a TLV with neither', validate({ proxy_protocol_tlvs: [{ type: 1 }] })),
  refused(
    'a TLV with both',
    validate({
      proxy_protocol_tlvs: [{ type: 1, value: 'eA==', format_string: { text_format_source: { inline_string: 'x' } } }],
    }),
  ),
  refused(
    'a TLV with a bad format',
    validate({ proxy_protocol_tlvs: [{ type: 1, format_string: { text_format_source: { inline_string: '%NO%' } } }] }),
  ),
]);
