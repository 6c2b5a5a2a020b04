import { describe, expect, test } from 'bun:test';
import { type StubSocket, stubSocket } from '../../../test/support/accepted-socket.ts';
import { TestBuild } from '../../../test/support/build-messages.ts';
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import { ipAddress } from '../../net/address.ts';
import { NetworkFilter } from '../../net/filter.ts';
import type { FilterChainMatcher } from '../../net/filter-chain-matcher.ts';
import { SingleFilterChain } from '../../net/filter-chain-matcher.ts';
import type { ExtensionFactory } from '../extension-registry.ts';
import { FieldSupportTable } from '../field-support.ts';
import { ADDRESS_SUPPORT } from './addresses.ts';
import { buildFilterChains, type FilterChainSpec } from './filter-chains.ts';
import { LISTENER_SUPPORT } from './listener.ts';

const LISTENER = 'envoy.config.listener.v3.Listener';

/** Stands for the network filters, which are extensions. */
const echo: ExtensionFactory<'network-filter'> = {
  kind: 'network-filter',
  name: 'envoy.filters.network.echo',
  configType: 'envoy.extensions.filters.network.echo.v3.Echo',
  support: [],
  build: () => ({ isTerminal: true, createFilter: () => new (class extends NetworkFilter {})() }),
};
const FILTERS =
  'filters: [{ name: e, typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo } }]';

interface Built {
  readonly matcher: FilterChainMatcher<FilterChainSpec>;
  readonly errors: string[];
  readonly hints: string[];
}

/** Chains by name and match, as YAML. `default` is the default chain. */
function build(...chains: [name: string, match: string][]): Built {
  const yaml = (name: string, match: string) =>
    `{ name: "${name}", ${match === '' ? '' : `filter_chain_match: { ${match} }, `}${FILTERS} }`;
  const lines = chains.filter(([name]) => name !== 'default').map(([name, match]) => yaml(name, match));
  const fallback = chains.find(([name]) => name === 'default');
  return buildYaml(
    `filter_chains: [${lines.join(', ')}]${fallback === undefined ? '' : `\ndefault_filter_chain: ${yaml(...fallback)}`}`,
  );
}

function buildYaml(text: string): Built {
  const on = new TestBuild([echo]);
  const message = on.message<Listener>(LISTENER, text);
  new FieldSupportTable([LISTENER_SUPPORT, ADDRESS_SUPPORT]).check(
    on.context,
    on.shared.api.message(LISTENER)!,
    message,
  );
  const matcher = buildFilterChains(on.context, message);
  return { matcher, errors: on.errors, hints: on.shared.errors.map((issue) => issue.hint) };
}

function found(built: Built, facts: Partial<StubSocket> = {}): string | null {
  expect(built.errors).toEqual([]);
  return built.matcher.findChain(stubSocket(facts))?.name ?? null;
}

describe('buildFilterChains', () => {
  test('one chain that asks for nothing needs no search', () => {
    for (const match of ['', 'server_names: []']) {
      const built = build(['only', match], ['default', '']);
      expect(built.matcher).toBeInstanceOf(SingleFilterChain);
      expect(found(built)).toBe('only');
    }
  });

  test('one chain that asks for something', () => {
    expect(found(build(['only', 'destination_port: 443']))).toBe('only');
    expect(found(build(['only', 'destination_port: 80']))).toBeNull();
    expect(found(build(['only', 'destination_port: 80'], ['default', '']))).toBe('default');
  });

  test('the default chain alone, whatever its match', () => {
    const built = build([
      'default',
      'destination_port: 7, server_names: ["*"], prefix_ranges: [{ address_prefix: x }]',
    ]);
    expect(found(built)).toBe('default');
  });

  test('no chain at all', () => {
    expect(buildYaml('name: x').errors).toEqual(['filter_chains: no filter chains specified']);
  });

  test('every field', () => {
    const built = build(
      ['port', 'destination_port: 80'],
      ['range', 'prefix_ranges: [{ address_prefix: 10.0.0.2, prefix_len: 33 }]'],
      ['name', 'server_names: [WWW.example.com, "*.Example.org"]'],
      ['tls', 'transport_protocol: tls'],
      ['h2', 'application_protocols: [h2]'],
      ['direct', 'direct_source_prefix_ranges: [{ address_prefix: "10.5.0.0", prefix_len: 16 }]'],
      ['local', 'source_type: SAME_IP_OR_LOOPBACK'],
      ['v6', 'source_prefix_ranges: [{ address_prefix: "fd00::", prefix_len: 8 }]'],
      ['from', 'source_ports: [1, 2]'],
    );
    expect(found(built, { localAddress: ipAddress('10.0.0.1', 80) })).toBe('port');
    expect(found(built, { localAddress: ipAddress('10.0.0.2', 443) })).toBe('range');
    expect(found(built, { localAddress: ipAddress('10.0.0.3', 443) })).toBeNull();
    expect(found(built, { requestedServerName: 'www.example.com' })).toBe('name');
    expect(found(built, { requestedServerName: 'a.b.example.org' })).toBe('name');
    expect(found(built, { detectedTransportProtocol: 'tls' })).toBe('tls');
    expect(found(built, { applicationProtocols: ['h2'] })).toBe('h2');
    expect(found(built, { directRemoteAddress: ipAddress('10.5.0.1', 1) })).toBe('direct');
    expect(found(built, { remoteAddress: ipAddress('10.0.0.1', 1) })).toBe('local');
    expect(found(built, { remoteAddress: ipAddress('fd00::1', 3) })).toBe('v6');
    expect(found(built, { remoteAddress: ipAddress('10.0.0.9', 2) })).toBe('from');
    expect(found(built)).toBeNull();
  });

  test('a missing length is that of all addresses', () => {
    expect(found(build(['a', 'prefix_ranges: [{ address_prefix: 1.2.3.4 }]']))).toBe('a');
  });

  test('names need not be unique', () => {
    expect(build(['a', ''], ['a', 'destination_port: 1'], ['default', '']).errors).toEqual([]);
  });

  const SAME = "filter_chain_match: filter chain 'b' has the same matching rules defined as 'a'";
  const OVERLAP = 'filter_chain_match: multiple filter chains with overlapping matching rules are defined';
  const WILDCARD = 'partial wildcards are not supported in "server_names"';
  test.each<[string, string, string]>([
    ['', '', SAME],
    ['', 'source_type: ANY', SAME],
    ['destination_port: 80', 'destination_port: 80', SAME],
    ['server_names: [x, y]', 'server_names: [x, y]', SAME],
    ['server_names: [x, y]', 'server_names: [y, x]', OVERLAP],
    ['server_names: [x]', 'server_names: [X]', OVERLAP],
    ['server_names: ["*.x"]', 'server_names: [.x]', OVERLAP],
    ['server_names: [""]', '', OVERLAP],
    ['', 'application_protocols: [h2, h2]', OVERLAP],
    [
      'prefix_ranges: [{ address_prefix: 1.2.3.4, prefix_len: 8 }]',
      'prefix_ranges: [{ address_prefix: 1.0.0.0, prefix_len: 8 }]',
      OVERLAP,
    ],
    [
      'source_prefix_ranges: [{ address_prefix: 1.2.3.4, prefix_len: 99 }]',
      'source_prefix_ranges: [{ address_prefix: 1.2.3.4, prefix_len: 32 }]',
      OVERLAP,
    ],
    ['', 'server_names: ["*"]', `filter_chain_match.server_names[0]: ${WILDCARD}`],
    ['', 'server_names: [a, "www.*.com"]', `filter_chain_match.server_names[1]: ${WILDCARD}`],
    [
      '',
      'direct_source_prefix_ranges: [{ address_prefix: 1.2.3 }]',
      'filter_chain_match.direct_source_prefix_ranges[0].address_prefix: malformed IP address: 1.2.3',
    ],
    ['', 'suffix_len: 3', 'filter_chain_match.suffix_len: suffix_len is not supported yet'],
    ['', 'address_suffix: x', 'filter_chain_match.address_suffix: address_suffix is not supported yet'],
  ])('%s | %s: %s', (first, second, error) => {
    const errors = build(['a', first], ['b', second]).errors;
    expect(errors).toContain(`filter_chains[1].${error}`);
  });

  test('the hint says which other chain it is', () => {
    const built = build(['x', 'destination_port: 9'], ['a', 'server_names: [n]'], ['b', 'server_names: [m, n]']);
    expect(built.hints).toEqual(['filter_chains[1] takes some of the same connections']);
    expect(build(['a', 'source_ports: [1, 1]']).hints).toEqual(['one of its lists holds the same value twice']);
  });

  test('all errors come at once, each at its chain', () => {
    const { errors } = buildYaml(`
filter_chains:
- { filter_chain_match: { server_names: ["*a"] }, ${FILTERS} }
- { filter_chain_match: { destination_port: 1 }, filters: [{ name: nobody }] }
- { filter_chain_match: { destination_port: 1 }, transport_socket: { name: other }, ${FILTERS} }
default_filter_chain: { filters: [{ name: nobody }] }
`);
    expect(errors.map((error) => error.split(':')[0])).toEqual([
      'default_filter_chain.filters[0].typed_config',
      'filter_chains[0].filter_chain_match.server_names[0]',
      'filter_chains[1].filters[0].typed_config',
      'filter_chains[2].transport_socket.typed_config',
      'filter_chains[2].filter_chain_match',
    ]);
  });
});
