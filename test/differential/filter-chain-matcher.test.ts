/** Filter chains chosen by a unified matcher, and which configurations of it are refused. */

import { connect } from 'node:net';
import { bootstrap, type Fields, fileLog, networkFilter, typed } from './configs.ts';
import { accepted, refused, steps, suite, type ValidateCase, validateSuite } from './harness.ts';

const NETWORK = 'envoy.extensions.matching.common_inputs.network.v3';
const direct = (text: string): Fields =>
  networkFilter('direct_response', 'Config', { response: { inline_string: text } });
const chain = (name: string): Fields => ({ name, filters: [direct(name)] });
const input = (name: string, fields: Fields = {}): Fields => ({
  name: 'input',
  typed_config: typed(`${NETWORK}.${name}`, fields),
});
const to = (value: string, more: Fields = {}): Fields => ({
  action: { name: 'action', typed_config: typed('google.protobuf.StringValue', { value }) },
  ...more,
});
const into = (matcher: Fields, more: Fields = {}): Fields => ({ matcher, ...more });
const single = (name: string, match: Fields): Fields => ({ single_predicate: { input: input(name), ...match } });
const list = (...matchers: [predicate: Fields, on_match: Fields][]): Fields => ({
  matcher_list: { matchers: matchers.map(([predicate, on_match]) => ({ predicate, on_match })) },
});
const tree = (name: string, type: Fields): Fields => ({ matcher_tree: { input: input(name), ...type } });
const exact = (name: string, map: Fields): Fields => tree(name, { exact_match_map: { map } });
const prefix = (name: string, map: Fields): Fields => tree(name, { prefix_match_map: { map } });
const custom = (type: string, fields: Fields): Fields => ({
  custom_match: { name: 'custom', typed_config: typed(type, fields) },
});
const range = (address_prefix: string, prefix_len: number): Fields => ({ address_prefix, prefix_len });
const ranges = (...range_matchers: Fields[]): Fields => custom('xds.type.matcher.v3.IPMatcher', { range_matchers });
const names = (...domain_matchers: Fields[]): Fields =>
  custom('xds.type.matcher.v3.ServerNameMatcher', { domain_matchers });

const inspector = {
  name: 'envoy.filters.listener.tls_inspector',
  typed_config: typed('envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector'),
};
const http = {
  name: 'envoy.filters.listener.http_inspector',
  typed_config: typed('envoy.extensions.filters.listener.http_inspector.v3.HttpInspector'),
};
const proxy = {
  name: 'envoy.filters.listener.proxy_protocol',
  typed_config: typed('envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol'),
};

const CHAINS = ['one', 'two', 'three'].map(chain);
const matchers: Readonly<Record<string, [matcher: Fields, filters?: Fields[], fallback?: boolean]>> = {
  sources: [
    tree(
      'SourceIPInput',
      ranges(
        { ranges: [range('127.0.0.0', 8), range('::1', 128)], on_match: to('one') },
        { ranges: [range('127.0.2.0', 24)], on_match: to('two') },
        { ranges: [range('127.0.3.0', 24)], exclusive: true, on_match: to('three') },
        { ranges: [range('127.0.3.9', 32)], on_match: into(exact('SourcePortInput', { '1': to('two') })) },
      ),
    ),
  ],
  'source type': [exact('SourceTypeInput', { local: to('one'), '': to('two') })],
  ports: [
    {
      ...list(
        [single('DestinationPortInput', { value_match: { exact: '1' } }), to('one')],
        [
          {
            and_matcher: {
              predicate: [
                single('DestinationIPInput', { value_match: { prefix: '127.0.0.' } }),
                { not_matcher: single('SourceIPInput', { value_match: { suffix: '.9' } }) },
              ],
            },
          },
          to('two'),
        ],
      ),
      on_no_match: to('three'),
    },
  ],
  proxied: [
    list(
      [single('DirectSourceIPInput', { value_match: { exact: '127.0.0.7' } }), to('one')],
      [single('SourceIPInput', { value_match: { safe_regex: { google_re2: {}, regex: '10\\..*' } } }), to('two')],
      [single('DestinationPortInput', { value_match: { exact: '8080' } }), to('three')],
    ),
    [proxy],
  ],
  protocols: [
    list(
      [single('TransportProtocolInput', { value_match: { exact: 'tls' } }), to('one')],
      [single('ApplicationProtocolInput', { value_match: { contains: "'http/1.1'" } }), to('two')],
      [single('TransportProtocolInput', { value_match: { exact: 'raw_buffer' } }), to('three')],
    ),
    [inspector, http],
  ],
  'server names': [
    tree(
      'ServerNameInput',
      names(
        { domains: ['a.example', '*.a.example'], on_match: to('one') },
        { domains: ['*.example'], on_match: to('two') },
        { domains: ['b.example'], on_match: into(exact('DestinationPortInput', { '1': to('one') })) },
        { domains: ['*'], on_match: to('three') },
      ),
    ),
    [inspector],
  ],
  prefixes: [
    prefix('ServerNameInput', {
      a: to('one'),
      ab: into(exact('DestinationPortInput', { '1': to('three') })),
      abc: to('two'),
    }),
    [inspector],
  ],
  unknown: [{ on_no_match: to('nobody') }],
  'unknown, without a default': [{ on_no_match: to('nobody') }, [], false],
  'nothing, without a default': [exact('DestinationPortInput', { '1': to('one') }), [], false],
  nothing: [exact('DestinationPortInput', { '1': to('one') })],
  'input matchers': [
    list(
      [
        single(
          'SourceIPInput',
          custom('envoy.extensions.matching.input_matchers.ip.v3.Ip', {
            stat_prefix: 'ip',
            cidr_ranges: [range('127.0.5.0', 24)],
          }),
        ),
        to('one'),
      ],
      [
        single(
          'SourceIPInput',
          custom('envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing', {
            modulo: 100,
            threshold: 50,
            seed: 7,
          }),
        ),
        to('two'),
      ],
      [
        single(
          'SourceIPInput',
          custom('envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction', {
            runtime_fraction: { default_value: { numerator: 50 } },
            seed: 9,
          }),
        ),
        to('three'),
      ],
    ),
  ],
};

const listeners = Object.entries(matchers).map(([name, [filter_chain_matcher, filters = [], fallback = true]]) => ({
  name,
  address: { socket_address: { address: '0.0.0.0', port_value: 0 } },
  listener_filters: filters,
  filter_chain_matcher,
  filter_chains: CHAINS,
  ...(fallback ? { default_filter_chain: chain('fallback') } : {}),
  access_log: [fileLog('%FILTER_CHAIN_NAME% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%')],
}));

interface Side {
  readonly from: string;
  readonly send: string;
}

/** Connects from a loopback address and tells what came. */
function ask(port: number, { from, send }: Side): Promise<string> {
  return new Promise((resolve) => {
    let got = '';
    const socket = connect({ port, host: '127.0.0.1', localAddress: from }, () => socket.write(send));
    socket.on('data', (bytes) => {
      got += bytes.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(got === '' ? 'closed' : got));
  });
}

const choose = (listener: string, ...sides: (Partial<Side> & { readonly as?: string })[]) =>
  steps(
    `${listener}: ${sides.map(({ from = '127.0.0.1', as = '' }) => `${from} ${as}`.trim()).join(', ')}`,
    async (exchange) => {
      const got: string[] = [];
      for (const { from = '127.0.0.1', send = '' } of sides)
        got.push(await ask(exchange.port(listener), { from, send }));
      exchange.note('got', got.join('\n'));
      exchange.expectedLines.set('access.log', sides.length);
    },
  );

/** A ClientHello with a server name. */
function hello(name: string): string {
  const u16 = (value: number): string => String.fromCharCode(value >> 8, value & 255);
  const extension =
    u16(0) + u16(name.length + 5) + u16(name.length + 3) + String.fromCharCode(0) + u16(name.length) + name;
  const body = `\x03\x03${'r'.repeat(32)}\0${u16(2)}\x13\x01\x01\0${u16(extension.length)}${extension}`;
  const message = `\x01\0${u16(body.length)}${body}`;
  return `\x16\x03\x01${u16(message.length)}${message}`;
}
const sni = (name: string) => ({ send: hello(name), as: name });

// Not keep_matching: Envoy 1.40 crashes when it meets a match to be kept in a network matcher.
suite(
  'filter_chain_matcher',
  {
    config: bootstrap(listeners as unknown as Fields[], []),
    log: 'access.log',
    stats: [/^listener\.(?!admin).*\.no_filter_chain_match$/, 'ip.'],
    rewrite: [[/listener\.0\.0\.0\.0_\d+/g, 'listener']],
  },
  [
    choose('sources', {}, { from: '127.0.2.1' }, { from: '127.0.3.1' }, { from: '127.0.3.9' }),
    choose('source type', {}, { from: '127.0.0.2' }),
    choose('ports', {}, { from: '127.0.0.9' }),
    choose(
      'proxied',
      { from: '127.0.0.7', send: 'PROXY TCP4 10.0.0.1 10.0.0.2 1 8080\r\n', as: 'direct' },
      { send: 'PROXY TCP4 10.0.0.1 10.0.0.2 1 8080\r\n', as: 'source' },
      { send: 'PROXY TCP4 11.0.0.1 10.0.0.2 1 8080\r\n', as: 'port' },
      { send: 'PROXY TCP4 11.0.0.1 10.0.0.2 1 8081\r\n', as: 'none' },
    ),
    choose(
      'protocols',
      { ...sni('x'), as: 'tls' },
      { send: 'GET / HTTP/1.1\r\n', as: 'http' },
      { send: 'hello\n', as: 'raw' },
    ),
    choose('server names', sni('a.example'), sni('x.a.example'), sni('c.example'), sni('b.example'), sni('other')),
    choose('prefixes', sni('ax'), sni('abx'), sni('abcx'), sni('b')),
    choose('unknown', {}),
    choose('unknown, without a default', {}),
    choose('nothing', {}),
    choose('nothing, without a default', {}),
    choose(
      'input matchers',
      { from: '127.0.5.1' },
      ...Array.from({ length: 12 }, (_, i) => ({ from: `127.0.6.${i + 1}` })),
    ),
  ],
);

const one = (filter_chain_matcher: Fields, filter_chains: Fields[] = [chain('one')]): Fields =>
  bootstrap([{ name: 'l', address: '{{listen:l}}', filter_chain_matcher, filter_chains }], []);
const good = (name: string, matcher: Fields, chains?: Fields[]): ValidateCase => accepted(name, one(matcher, chains));
const bad = (name: string, matcher: Fields, chains?: Fields[]): ValidateCase => refused(name, one(matcher, chains));

validateSuite('filter_chain_matcher, validated', [
  good('on_no_match alone', { on_no_match: to('one') }),
  good('a name that no chain has', { on_no_match: to('two') }),
  good('nothing', {}),
  good('chains with matches of their own', { on_no_match: to('one') }, [
    { ...chain('one'), filter_chain_match: { destination_port: 1 } },
    { ...chain('two'), filter_chain_match: { destination_port: 1 } },
  ]),
  bad('a chain without a name', { on_no_match: to('one') }, [{ filters: [direct('x')] }]),
  bad('two chains of one name', { on_no_match: to('one') }, [chain('one'), chain('one')]),
  bad('an action of another type', {
    on_no_match: { action: { name: 'a', typed_config: typed('google.protobuf.Empty') } },
  }),
  bad('an input of another type', {
    matcher_tree: {
      input: { name: 'i', typed_config: typed('google.protobuf.Empty') },
      exact_match_map: { map: { a: to('one') } },
    },
  }),
  bad('an input for HTTP', {
    matcher_tree: {
      input: {
        name: 'i',
        typed_config: typed('envoy.type.matcher.v3.HttpRequestHeaderMatchInput', { header_name: 'a' }),
      },
      exact_match_map: { map: { a: to('one') } },
    },
  }),
  bad('metadata', exact('DynamicMetadataInput', { a: to('one') })),
  bad('an empty list', { matcher_list: { matchers: [] } }),
  bad('an empty map', exact('ServerNameInput', {})),
  bad('a tree without a type', tree('ServerNameInput', {})),
  bad(
    'one predicate where two are due',
    list([{ or_matcher: { predicate: [single('ServerNameInput', { value_match: { exact: 'a' } })] } }, to('one')]),
  ),
  bad('no matcher', list([single('ServerNameInput', {}), to('one')])),
  bad(
    'a regular expression that is none',
    list([single('ServerNameInput', { value_match: { safe_regex: { google_re2: {}, regex: '(' } } }), to('one')]),
  ),
  bad('a domain twice', tree('ServerNameInput', names({ domains: ['a', 'a'], on_match: to('one') }))),
  bad('a wildcard in the middle', tree('ServerNameInput', names({ domains: ['a.*.b'], on_match: to('one') }))),
  bad('two wildcards', tree('ServerNameInput', names({ domains: ['*.*'], on_match: to('one') }))),
  bad('a range that is none', tree('SourceIPInput', ranges({ ranges: [range('x', 1)], on_match: to('one') }))),
  bad(
    'a range over the address',
    tree('SourceIPInput', ranges({ ranges: [range('10.0.0.0', 129)], on_match: to('one') })),
  ),
  good(
    'a range longer than IPv4',
    tree('SourceIPInput', ranges({ ranges: [range('10.0.0.0', 33)], on_match: to('one') })),
  ),
  bad(
    'threshold over modulo',
    list([
      single(
        'SourceIPInput',
        custom('envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing', {
          modulo: 1,
          threshold: 2,
        }),
      ),
      to('one'),
    ]),
  ),
]);
