/** Which filter chain a connection gets, and which configurations of chains are refused. */

import { connect } from 'node:net';
import { bootstrap, type Fields, fileLog, networkFilter } from './configs.ts';
import { accepted, refused, steps, suite, type ValidateCase, validateSuite } from './harness.ts';

const direct = (text: string): Fields =>
  networkFilter('direct_response', 'Config', { response: { inline_string: text } });
const chain = (name: string, match: Fields, more: Fields = {}): Fields => ({
  name,
  filter_chain_match: match,
  filters: [direct(name)],
  ...more,
});
const range = (address_prefix: string, prefix_len?: number): Fields => ({ address_prefix, prefix_len });
const source = (text: string, bits: number, more: Fields = {}): Fields => ({
  source_prefix_ranges: [range(text, bits)],
  ...more,
});
const destination = (text: string, bits: number, more: Fields = {}): Fields => ({
  prefix_ranges: [range(text, bits)],
  ...more,
});
/** On all addresses of IPv4. */
const everywhere = { socket_address: { address: '0.0.0.0', port_value: 0 } };

const listeners: Readonly<Record<string, Fields>> = {
  ranges: {
    address: everywhere,
    filter_chains: [
      chain('any', {}),
      chain('wide', destination('127.0.0.0', 8)),
      chain('sixteen', destination('127.1.0.0', 16)),
      chain('masked', destination('127.1.2.3', 24)),
      chain('exact', destination('127.1.2.3', 33)),
    ],
  },
  sources: {
    address: everywhere,
    filter_chains: [
      chain('wide', source('127.0.0.0', 8)),
      chain('one or two', { source_prefix_ranges: [range('127.0.1.0', 24), range('127.0.2.0', 24)] }),
      chain('port', source('127.0.2.9', 32, { source_ports: [1] })),
      chain('nobody', source('::', 0)),
    ],
    default_filter_chain: { name: 'fallback', filters: [direct('fallback')] },
  },
  types: {
    address: everywhere,
    filter_chains: [
      chain('local', { source_type: 'SAME_IP_OR_LOOPBACK' }),
      chain('external', { source_type: 'EXTERNAL' }),
      chain('local and known', source('127.0.0.4', 32, { source_type: 'SAME_IP_OR_LOOPBACK' })),
      chain('any', {}),
    ],
  },
  'no way back': {
    address: everywhere,
    filter_chains: [
      chain('wide', destination('127.0.0.0', 8)),
      chain('narrow', destination('127.0.0.3', 32, { transport_protocol: 'tls' })),
      chain(
        'typed',
        destination('127.0.0.4', 32, { source_type: 'EXTERNAL', source_prefix_ranges: [range('10.0.0.0', 8)] }),
      ),
      chain('typed, any', destination('127.0.0.4', 32)),
    ],
    access_log: [fileLog('%FILTER_CHAIN_NAME% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %RESPONSE_CODE% %BYTES_SENT%')],
  },
  protocols: {
    address: everywhere,
    filter_chains: [
      chain('named', { server_names: ['a.example', '*.example'] }),
      chain('ALPN', { application_protocols: ['h2'] }),
      chain('tls', { transport_protocol: 'tls' }),
      chain('raw', { transport_protocol: 'raw_buffer' }),
      chain('raw from four', source('127.0.0.4', 32, { transport_protocol: 'raw_buffer' })),
    ],
  },
  port: {
    address: '{{listen:port}}',
    filter_chains: [chain('other', { destination_port: 1 }), chain('any', source('127.0.0.3', 32))],
    default_filter_chain: { name: 'fallback', filters: [direct('fallback')] },
  },
  direct: {
    address: everywhere,
    filter_chains: [
      chain('direct', { direct_source_prefix_ranges: [range('127.0.0.3', 32)] }),
      chain('source', source('127.0.0.0', 8)),
    ],
  },
  IPv6: {
    address: { socket_address: { address: '::', port_value: 0, ipv4_compat: true } },
    filter_chains: [
      chain('six', destination('::1', 128)),
      chain('four', destination('127.0.0.0', 8)),
      chain('mapped', destination('::ffff:127.0.0.0', 104)),
    ],
  },
  'the same name': {
    address: everywhere,
    filter_chains: [chain('twin', source('127.0.0.3', 32)), chain('twin', {}, { filters: [direct('other twin')] })],
  },
  'no filters': {
    address: everywhere,
    filter_chains: [chain('empty', source('127.0.0.3', 32), { filters: [] }), chain('full', {})],
    access_log: [
      fileLog('%FILTER_CHAIN_NAME% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DOWNSTREAM_LOCAL_CLOSE_REASON%'),
    ],
  },
};

/** Connects to `host` from an address of the loopback network; what came until the end. */
function ask(host: string, port: number, from: string): Promise<string> {
  return new Promise((resolve) => {
    let seen = '';
    const socket = connect({ host, port, localAddress: from });
    socket.on('data', (data) => {
      seen += data.toString('latin1');
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      seen += ` ${error.code}`;
    });
    socket.on('close', () => resolve(seen));
  });
}

const chosen = (listener: string, host: string, from = host, log = false) =>
  steps(`${listener}: ${host} from ${from}`, async (exchange) => {
    exchange.note('came', await ask(host, exchange.port(listener), from));
    if (log) exchange.expectLog('access.log', 1);
  });

suite(
  'filter chains',
  {
    config: bootstrap(
      Object.entries(listeners).map(([name, fields]) => ({ name, stat_prefix: name.replaceAll(' ', '_'), ...fields })),
      [],
    ),
    stats: [/^listener\.(?!admin).*\.(downstream_cx_total|no_filter_chain_match|downstream_cx_destroy)$/],
    log: 'access.log',
  },
  [
    chosen('ranges', '127.1.2.3'),
    chosen('ranges', '127.1.2.4'),
    chosen('ranges', '127.1.3.3'),
    chosen('ranges', '127.9.9.9'),
    chosen('sources', '127.0.0.1'),
    chosen('sources', '127.0.0.1', '127.0.1.7'),
    chosen('sources', '127.0.0.1', '127.0.2.7'),
    chosen('sources', '127.0.0.1', '127.0.2.9'),
    chosen('types', '127.0.0.1'),
    chosen('types', '127.0.0.1', '127.0.0.4'),
    chosen('types', '127.0.0.4'),
    chosen('types', '127.0.0.5'),
    chosen('types', '127.0.0.5', '127.0.0.1'),
    chosen('no way back', '127.0.0.1', '127.0.0.1', true),
    chosen('no way back', '127.0.0.3', '127.0.0.1', true),
    chosen('no way back', '127.0.0.4', '127.0.0.4', true),
    chosen('no way back', '127.0.0.4', '127.0.0.1', true),
    chosen('no way back', '127.0.0.4', '127.0.0.9', true),
    chosen('protocols', '127.0.0.1'),
    chosen('protocols', '127.0.0.1', '127.0.0.4'),
    chosen('port', '127.0.0.1'),
    chosen('port', '127.0.0.1', '127.0.0.3'),
    chosen('direct', '127.0.0.1'),
    chosen('direct', '127.0.0.1', '127.0.0.3'),
    chosen('IPv6', '::1'),
    chosen('IPv6', '127.0.0.1'),
    chosen('the same name', '127.0.0.1', '127.0.0.3'),
    chosen('the same name', '127.0.0.1'),
    chosen('no filters', '127.0.0.1', '127.0.0.3', true),
    chosen('no filters', '127.0.0.1', '127.0.0.1', true),
  ],
);

const listener = (filter_chains: Fields[], more: Fields = {}): Fields =>
  bootstrap([{ name: 'a', address: '{{listen:a}}', filter_chains, ...more }], []);
/** Chains of these matches. */
const good = (title: string, ...matches: Fields[]): ValidateCase =>
  accepted(title, listener(matches.map((match, index) => chain(`chain ${index}`, match))));
const bad = (title: string, ...matches: Fields[]): ValidateCase =>
  refused(title, listener(matches.map((match, index) => chain(`chain ${index}`, match))));

validateSuite('filter chain matches', [
  accepted('two of one name', listener([chain('a', {}), chain('a', { destination_port: 1 })])),
  accepted(
    'the default chain by the name of another',
    listener([chain('a', {})], { default_filter_chain: chain('a', {}) }),
  ),
  accepted(
    'a default chain with a match that could not be',
    listener([], { default_filter_chain: chain('a', { server_names: ['*'], prefix_ranges: [range('x', 1)] }) }),
  ),
  refused('no match and an empty one', listener([{ filters: [direct('x')] }, chain('a', {})])),
  accepted('a timeout of the transport socket', listener([chain('a', {}, { transport_socket_connect_timeout: '1s' })])),
  refused('a negative one', listener([chain('a', {}, { transport_socket_connect_timeout: '-1s' })])),
  bad('one server name of two is the same', { server_names: ['a', 'b'] }, { server_names: ['b', 'c'] }),
  bad('the same server names in another order', { server_names: ['a', 'b'] }, { server_names: ['b', 'a'] }),
  bad('a server name twice in one chain', { server_names: ['a', 'b', 'a'] }),
  bad('the same server name in capitals', { server_names: ['a'] }, { server_names: ['A'] }),
  bad('a wildcard and the suffix itself', { server_names: ['*.a'] }, { server_names: ['.a'] }),
  good('a wildcard and the name without it', { server_names: ['*.a'] }, { server_names: ['a'] }),
  bad('the wildcard alone', { server_names: ['*'] }),
  bad('a wildcard that is a part of a label', { server_names: ['*a.b'] }),
  bad('a wildcard at the end', { server_names: ['a.*'] }),
  good('a wildcard of a wildcard', { server_names: ['*.*.a'] }),
  good('a wildcard of nothing', { server_names: ['*.'] }),
  bad('an empty server name and none', { server_names: [''] }, {}),
  bad('an application protocol twice', { application_protocols: ['h2', 'h2'] }),
  bad(
    'one range, written in two ways',
    { prefix_ranges: [range('1.2.3.4', 8)] },
    { prefix_ranges: [range('1.0.0.0', 8)] },
  ),
  bad('one address, with a length too long', source('1.2.3.4', 32), source('1.2.3.4', 40)),
  bad('no length and a length of zero', source('1.2.3.4', 0), { source_prefix_ranges: [range('5.6.7.8')] }),
  good('all of IPv4 and no range', source('0.0.0.0', 0), {}),
  good('all of IPv4 and all of IPv6', source('0.0.0.0', 0), source('::', 0)),
  bad('one range of IPv6, written in two ways', source('fd00::1', 16), source('fd00:0::0', 16)),
  bad('a part of an address', destination('1.2.3', 8)),
  bad('an address in brackets', destination('[::1]', 128)),
  bad('a direct source that is none', { direct_source_prefix_ranges: [range('', 8)] }),
  bad('a suffix', { address_suffix: '1.2.3.4' }),
  bad('the length of a suffix', { suffix_len: 8 }),
  good('one port and another', { source_ports: [1, 2] }, { source_ports: [3] }),
  bad('a port of two lists', { source_ports: [1, 2] }, { source_ports: [2, 3] }),
  bad('a source port of zero', { source_ports: [0] }),
  bad('a source port over 65535', { source_ports: [65536] }),
  bad('a destination port over 65535', { destination_port: 65536 }),
  bad('an unknown source type', { source_type: 7 }),
  good(
    'all types of source',
    { source_type: 'ANY' },
    { source_type: 'SAME_IP_OR_LOOPBACK' },
    { source_type: 'EXTERNAL' },
  ),
  good('different in one respect', { destination_port: 1 }, { destination_port: 1, transport_protocol: 'tls' }),
  good('any transport protocol', { transport_protocol: 'nonsense' }),
]);
