/** PROXY protocol: TLVs that come in, what is known of them, and the headers that go out to upstreams. */

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
import { type Case, refused, steps, suite, type ValidateCase, validateSuite } from './harness.ts';
import type { Rewrite } from './normalise.ts';

const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n';
const V4 = '\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\0\x50';
const tlv = (type: number, value: string): string =>
  String.fromCharCode(type, value.length >> 8, value.length & 255) + value;
/** A header of version 2 for 1.2.3.4:1111 to 5.6.7.8:80. */
const v2 = (tlvs: string, command = 0x21): string => {
  const body = V4 + tlvs;
  return SIGNATURE + String.fromCharCode(command, 0x11, body.length >> 8, body.length & 255) + body;
};
const V1 = 'PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n';
const V1_IPV6 = 'PROXY TCP6 ::1 ::2 1111 80\r\n';

const proxyFilter = (fields: Fields = {}): Fields => ({
  name: 'envoy.filters.listener.proxy_protocol',
  typed_config: typed('envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol', fields),
});
const raw = { name: 'raw', typed_config: typed('envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer') };
const proxySocket = (config: Fields | undefined): Fields => ({
  transport_socket: {
    name: 'envoy.transport_sockets.upstream_proxy_protocol',
    typed_config: typed('envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport', {
      config,
      transport_socket: raw,
    }),
  },
});
const to1 = (name: string, config: Fields | undefined): Fields =>
  cluster(name, ['{{upstream:u1}}'], proxySocket(config));
const taking: Fields = {
  listener_filters: [
    proxyFilter({ allow_requests_without_proxy_protocol: true, pass_through_tlvs: { match_type: 'INCLUDE_ALL' } }),
  ],
};
/** The ports of the client and of the listener, which the system chose. */
const ports: readonly Rewrite[] = [[/(127\.0\.0\.1 127\.0\.0\.1) \d+ \d+/g, '$1 PORT PORT']];

const OPERATORS =
  '%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol)% %DYNAMIC_METADATA(ns)% ' +
  '%DYNAMIC_METADATA(ns:auth)% %FILTER_STATE(envoy.network.proxy_protocol_options:PLAIN)%';
const STATE_OPERATORS =
  '%FILTER_STATE(envoy.network.proxy_protocol.tlv:PLAIN)% %FILTER_STATE(envoy.network.proxy_protocol.tlv:TYPED)% ' +
  '%FILTER_STATE(envoy.network.proxy_protocol.tlv:FIELD:auth)% %FILTER_STATE(envoy.network.proxy_protocol.tlv:FIELD:no)%';
const RULES = [
  { tlv_type: 2, on_tlv_present: { key: 'lost' } },
  { tlv_type: 2, on_tlv_present: { key: 'auth', metadata_namespace: 'ns' } },
  { tlv_type: 3, on_tlv_present: { key: 'three', value_string_encoding: 'BASE64' } },
  { tlv_type: 4, on_tlv_present: { key: 'three' } },
];
const direct = networkFilter('direct_response', 'Config', { response: { inline_string: 'done' } });

const send = (name: string, listener: string, header: string): Case =>
  steps(name, async (exchange) => {
    const client = await exchange.connect(listener);
    client.send(header);
    await exchange.expectClose(client);
  });

suite(
  'PROXY protocol TLVs',
  {
    config: bootstrap(
      [
        tcpListener([direct], {
          name: 'metadata',
          listener: { listener_filters: [proxyFilter({ rules: RULES })], access_log: [fileLog(OPERATORS)] },
        }),
        tcpListener([direct], {
          name: 'state',
          listener: {
            listener_filters: [
              proxyFilter({
                tlv_location: 'FILTER_STATE',
                rules: [{ tlv_type: 2, on_tlv_present: { key: 'auth' } }, ...RULES.slice(2)],
              }),
            ],
            access_log: [fileLog(STATE_OPERATORS)],
          },
        }),
        {
          name: 'chain',
          address: '{{listen:chain}}',
          listener_filters: [
            proxyFilter({ tlv_location: 'FILTER_STATE', rules: [{ tlv_type: 2, on_tlv_present: { key: 'auth' } }] }),
          ],
          filter_chain_matcher: {
            matcher_list: {
              matchers: [
                {
                  predicate: {
                    single_predicate: {
                      input: {
                        name: 'i',
                        typed_config: typed('envoy.extensions.matching.common_inputs.network.v3.FilterStateInput', {
                          key: 'envoy.network.proxy_protocol.tlv',
                          field: 'auth',
                        }),
                      },
                      value_match: { exact: 'let me in' },
                    },
                  },
                  on_match: {
                    action: { name: 'a', typed_config: typed('google.protobuf.StringValue', { value: 'in' }) },
                  },
                },
              ],
            },
          },
          filter_chains: [
            {
              name: 'in',
              filters: [networkFilter('direct_response', 'Config', { response: { inline_string: 'in' } })],
            },
          ],
          default_filter_chain: { name: 'out', filters: [direct] },
          access_log: [fileLog('%FILTER_CHAIN_NAME%')],
        },
      ],
      [],
    ),
    log: 'access.log',
    stats: ['proxy_proto.', 'downstream_cx_proxy'],
  },
  [
    send('into metadata', 'metadata', v2(tlv(2, 'token') + tlv(3, '\0\xff') + tlv(9, 'other'))),
    send(
      'twice the same type, two types for one key',
      'metadata',
      v2(tlv(2, 'a') + tlv(2, 'b') + tlv(4, 'f') + tlv(3, 't')),
    ),
    send('bytes that are no text', 'metadata', v2(tlv(2, 'a\xff\xc3\xa9\xe2\x82b\xed\xa0\x80"\n'))),
    send('an empty one', 'metadata', v2(tlv(2, ''))),
    send('of LOCAL none', 'metadata', v2(tlv(2, 'token'), 0x20)),
    send('none', 'metadata', v2('')),
    send('into filter state', 'state', v2(tlv(2, 'token') + tlv(9, 'x') + tlv(2, 'again'))),
    send('into filter state, encoded', 'state', v2(tlv(3, '\0\xff'))),
    send('into filter state, none', 'state', v2(tlv(9, 'token'))),
    send('a chain by a TLV', 'chain', v2(tlv(2, 'let me in'))),
    send('no chain by a TLV', 'chain', v2(tlv(2, 'let me out'))),
  ],
);

/** One request on a connection of its own. */
const get = (name: string, listener: string, header = ''): Case =>
  steps(name, async (exchange) => {
    const client = await exchange.connect(listener);
    client.send(header + http('GET /'));
    await exchange.expectResponse(client);
  });

suite(
  'PROXY protocol to upstreams, HTTP',
  {
    config: bootstrap(
      [
        httpListener({ name: 'v1', routes: [to('v1')] }),
        httpListener({ name: 'none', routes: [to('none')] }),
        httpListener({ name: 'v1-taking', routes: [to('v1')], listener: taking, log: '%DYNAMIC_METADATA(ns)%' }),
        httpListener({ name: 'v2-taking', routes: [to('v2')], listener: taking }),
        httpListener({ name: 'v2-all', routes: [to('all')], listener: taking }),
        httpListener({ name: 'v2-host', routes: [to('host')], listener: taking }),
        httpListener({ name: 'v2-some', routes: [to('some')], listener: taking }),
      ],
      [
        to1('v1', { version: 'V1' }),
        to1('v2', { version: 'V2' }),
        to1('none', undefined),
        {
          ...to1('host', {
            version: 'V2',
            added_tlvs: [
              { type: 200, value: 'YQ==' },
              { type: 201, value: 'YQ==' },
            ],
          }),
          load_assignment: {
            cluster_name: 'host',
            endpoints: [
              {
                lb_endpoints: [
                  {
                    endpoint: { address: '{{upstream:u1}}' },
                    metadata: {
                      typed_filter_metadata: {
                        'envoy.transport_sockets.proxy_protocol': typed('envoy.config.core.v3.PerHostConfig', {
                          added_tlvs: [
                            { type: 201, value: 'Yg==' },
                            { type: 202, value: 'Yg==' },
                          ],
                        }),
                      },
                    },
                  },
                ],
              },
            ],
          },
        },
        to1('all', { version: 'V2', pass_through_tlvs: {} }),
        to1('some', {
          version: 'V2',
          pass_through_tlvs: { match_type: 'INCLUDE', tlv_type: [2, 3] },
          added_tlvs: [
            { type: 200, value: 'YQ==' },
            { type: 2, value: 'YmI=' },
          ],
        }),
      ],
    ),
    upstreams: { u1: httpUpstream(() => reply(200, 'ok')) },
    rewrite: ports,
    stats: [/^cluster\.\w+\.upstream_(cx_(total|connect_fail|destroy)|rq_total)$/, 'cluster.some.upstream.'],
  },
  [
    get('version 1 of the client itself', 'v1'),
    get('without a configuration it is version 1', 'none'),
    get('version 1 of whom a header names', 'v1-taking', V1),
    get('version 1, IPv6', 'v1-taking', V1_IPV6),
    get('version 1, from version 2', 'v1-taking', v2(tlv(2, 'x'))),
    get('version 1 of UNKNOWN', 'v1-taking', 'PROXY UNKNOWN\r\n'),
    get('version 2 from version 1', 'v2-taking', V1),
    get('version 2, IPv6', 'v2-taking', V1_IPV6),
    get('version 2 passes no TLVs by itself', 'v2-taking', v2(tlv(2, 'x'))),
    get('all TLVs are passed on, also twice the same', 'v2-all', v2(tlv(2, 'x') + tlv(3, 'y') + tlv(2, 'z'))),
    get('some TLVs are passed on, and what is added replaces', 'v2-some', v2(tlv(2, 'x') + tlv(3, 'y') + tlv(4, 'z'))),
    get('what the endpoint adds goes before what the cluster adds', 'v2-host', V1),
    get('what is added without any', 'v2-some', V1),
    steps('two requests of one connection share one', async (exchange) => {
      const client = await exchange.connect('v1');
      for (let i = 0; i < 2; i++) {
        client.send(http(`GET /${i}`));
        await exchange.expectResponse(client);
      }
    }),
    steps('two clients do not share', async (exchange) => {
      for (let i = 0; i < 2; i++) await exchange.request(http(`GET /${i}`), { listener: 'v1' });
    }),
    steps('two clients for whom the same header is sent share', async (exchange) => {
      for (let i = 0; i < 2; i++) await exchange.request(V1 + http(`GET /${i}`), { listener: 'v1-taking' });
    }),
    steps('with TLVs, they do not', async (exchange) => {
      for (let i = 0; i < 2; i++) await exchange.request(v2(tlv(2, 'x')) + http(`GET /${i}`), { listener: 'v2-all' });
    }),
  ],
);

const echoed = (name: string, listener: string, header = ''): Case =>
  steps(name, async (exchange) => {
    const client = await exchange.connect(listener);
    client.send(`${header}hello`);
    await client.until(() => client.received.includes('bye'));
    client.end();
    await exchange.expectClose(client);
  });

suite(
  'PROXY protocol to upstreams, TCP',
  {
    config: bootstrap(
      [
        tcpListener([tcpProxy({ cluster: 'v1' })], { name: 'v1' }),
        tcpListener([tcpProxy({ cluster: 'v1' })], { name: 'v1-taking', listener: taking }),
        tcpListener([tcpProxy({ cluster: 'some' })], { name: 'v2-some', listener: taking }),
        tcpListener([tcpProxy({ cluster: 'refused' })], { name: 'refused' }),
      ],
      [
        to1('v1', { version: 'V1' }),
        to1('some', { version: 'V2', pass_through_tlvs: {}, added_tlvs: [{ type: 5, value: 'YQ==' }] }),
        cluster('refused', ['{{refused}}'], proxySocket({ version: 'V1' })),
      ],
    ),
    upstreams: {
      u1: rawUpstream(async (connection) => {
        await connection.until(() => connection.received.includes('hello'));
        connection.send('bye');
        await connection.until(() => connection.fate !== 'open');
        connection.end();
      }),
    },
    rewrite: ports,
    stats: [/^cluster\.\w+\.upstream_cx_(total|connect_fail|tx_bytes_total|rx_bytes_total)$/],
  },
  [
    echoed('version 1', 'v1'),
    echoed('version 1 of whom a header names', 'v1-taking', V1),
    echoed('version 2 with TLVs', 'v2-some', v2(tlv(2, 'x'))),
    steps('no header where nobody listens', async (exchange) => {
      const client = await exchange.connect('refused');
      await exchange.expectClose(client);
    }),
  ],
);

const bad = (name: string, fields: Fields): ValidateCase =>
  refused(
    name,
    bootstrap(
      [],
      [
        cluster('u1', ['{{upstream:u1}}'], {
          transport_socket: {
            name: 'x',
            typed_config: typed(
              'envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport',
              fields,
            ),
          },
        }),
      ],
    ),
  );
validateSuite('PROXY protocol sockets', [
  bad('no inner socket', {}),
  bad('an inner socket that is none', {
    transport_socket: { name: 'x', typed_config: typed('google.protobuf.Empty') },
  }),
]);
