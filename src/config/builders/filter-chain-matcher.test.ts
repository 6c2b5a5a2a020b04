import { describe, expect, test } from 'bun:test';
import { type StubSocket, stubSocket } from '../../../test/support/accepted-socket.ts';
import { TestBuild } from '../../../test/support/build-messages.ts';
import type { FilterChain } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.d.ts';
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import { TextState } from '../../base/connection-state.ts';
import { ipAddress, pipeAddress } from '../../net/address.ts';
import type { FilterChainMatcher } from '../../net/filter-chain-matcher.ts';
import { buildChainsByName } from './filter-chain-matcher.ts';

const NETWORK = 'type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3';
const input = (name: string, more = '') => `input: { name: i, typed_config: { "@type": ${NETWORK}.${name}${more} } }`;
const to = (name: string, more = '') =>
  `{ action: { name: a, typed_config: { "@type": type.googleapis.com/google.protobuf.StringValue, value: ${name} } }${more} }`;
const list = (...entries: [predicate: string, onMatch: string][]) =>
  `matcher_list: { matchers: [${entries.map(([predicate, on]) => `{ predicate: ${predicate}, on_match: ${on} }`).join(', ')}] }`;
const single = (what: string, match: string, more = '') => `{ single_predicate: { ${input(what, more)}, ${match} } }`;
const tree = (what: string, type: string) => `matcher_tree: { ${input(what)}, ${type} }`;
const custom = (type: string, fields: string) =>
  `custom_match: { name: m, typed_config: { "@type": type.googleapis.com/${type}, ${fields} } }`;

interface Built {
  readonly chains: FilterChainMatcher<FilterChain> | null;
  readonly errors: string[];
}

function build(matcher: string, names: readonly string[] = ['one', 'two', 'three']): Built {
  const on = new TestBuild([]);
  const chains = names.map((name) => `{ name: "${name}" }`).join(', ');
  const text = `filter_chains: [${chains}]\ndefault_filter_chain: { name: fallback }\nfilter_chain_matcher: { ${matcher} }`;
  const message = on.message<Listener>('envoy.config.listener.v3.Listener', text);
  const matched = buildChainsByName(
    on.context,
    message.filterChainMatcher!,
    message.filterChains,
    message.filterChains,
    message.defaultFilterChain!,
  );
  return { chains: matched, errors: on.errors };
}

function found(built: Built, facts: Partial<StubSocket> = {}): string | null {
  expect(built.errors).toEqual([]);
  return built.chains!.findChain(stubSocket(facts))?.name ?? null;
}

describe('inputs', () => {
  const socket: Partial<StubSocket> = {
    localAddress: ipAddress('10.0.0.1', 443),
    remoteAddress: ipAddress('10.0.0.9', 4000),
    directRemoteAddress: ipAddress('10.0.0.8', 1),
    requestedServerName: 'a.example',
    applicationProtocols: ['h2', 'http/1.1'],
    detectedTransportProtocol: 'tls',
  };
  test.each([
    ['DestinationIPInput', '10.0.0.1'],
    ['DestinationPortInput', '443'],
    ['SourceIPInput', '10.0.0.9'],
    ['SourcePortInput', '4000'],
    ['DirectSourceIPInput', '10.0.0.8'],
    ['ServerNameInput', 'a.example'],
    ['TransportProtocolInput', 'tls'],
    ['ApplicationProtocolInput', "'h2','http/1.1'"],
  ])('%s', (name, value) => {
    const built = build(`${tree(name, `exact_match_map: { map: { "${value}": ${to('one')} } }`)}`);
    expect(found(built, socket)).toBe('one');
    const nothing: Partial<StubSocket> = {
      localAddress: pipeAddress('/x'),
      remoteAddress: pipeAddress('/y'),
      directRemoteAddress: pipeAddress('/y'),
      detectedTransportProtocol: '',
    };
    expect(found(built, nothing)).toBe('fallback');
  });

  test('SourceTypeInput tells what is local, and nothing of the rest', () => {
    const built = build(tree('SourceTypeInput', `exact_match_map: { map: { local: ${to('one')} } }`));
    expect(found(built, { remoteAddress: ipAddress('127.0.0.1', 1) })).toBe('one');
    expect(found(built, { remoteAddress: ipAddress('10.0.0.1', 1) })).toBe('one');
    expect(found(built)).toBe('fallback');
  });

  test('FilterStateInput', () => {
    const state = stubSocket().ownState();
    state.objects.set('k', new TextState('v'));
    const built = build(
      list(
        [single('FilterStateInput', 'value_match: { exact: w }', ', key: k'), to('one')],
        [single('FilterStateInput', 'value_match: { exact: v }', ', key: k, field: f'), to('two')],
        [single('FilterStateInput', 'value_match: { exact: v }', ', key: k'), to('three')],
      ),
    );
    expect(found(built, { state })).toBe('three');
    expect(found(built)).toBe('fallback');
  });
});

describe('the chain', () => {
  test('a name that no chain has gets none, also no default', () => {
    const built = build(tree('DestinationPortInput', `exact_match_map: { map: { "443": ${to('nobody')} } }`));
    expect(found(built)).toBeNull();
    expect(found(built, { localAddress: ipAddress('10.0.0.1', 80) })).toBe('fallback');
  });

  test('without a list or a tree, on_no_match', () => {
    expect(found(build(`on_no_match: ${to('two')}`))).toBe('two');
  });

  test('keep_matching is passed over', () => {
    expect(found(build(`on_no_match: ${to('two', ', keep_matching: true')}`))).toBe('fallback');
  });

  test('ranges, nested in names', () => {
    const ranges = tree(
      'SourceIPInput',
      custom(
        'xds.type.matcher.v3.IPMatcher',
        `range_matchers: [{ ranges: [{ address_prefix: 10.0.0.0, prefix_len: 8 }, { address_prefix: "fd00::", prefix_len: 8 }], on_match: ${to('one')} },
          { ranges: [{ address_prefix: 10.0.0.0, prefix_len: 24 }], on_match: ${to('two', ', keep_matching: true')} },
          { ranges: [{ address_prefix: 10.0.0.0, prefix_len: 16 }], exclusive: true, on_match: ${to('three')} }]`,
      ),
    );
    const built = build(
      tree(
        'ServerNameInput',
        custom(
          'xds.type.matcher.v3.ServerNameMatcher',
          `domain_matchers: [{ domains: ["*.example"], on_match: { matcher: { ${ranges} } } }, { domains: ["*"], on_match: ${to('three')} }]`,
        ),
      ),
    );
    const from = (ip: string, requestedServerName = 'a.example') =>
      found(built, { remoteAddress: ipAddress(ip, 1), requestedServerName });
    expect(from('10.9.0.1')).toBe('one');
    expect(from('10.0.9.1')).toBe('three');
    expect(from('10.0.0.1')).toBe('one');
    expect(from('fd00::1')).toBe('one');
    // Nothing inside matches: the next wildcard is asked.
    expect(from('11.0.0.1')).toBe('three');
    expect(from('10.0.0.1', 'other')).toBe('three');
    expect(from('10.0.0.1', '')).toBe('fallback');
  });

  test('the IP matcher and consistent hashing', () => {
    const ip = custom(
      'envoy.extensions.matching.input_matchers.ip.v3.Ip',
      'stat_prefix: s, cidr_ranges: [{ address_prefix: 10.0.0.0, prefix_len: 8 }]',
    );
    const hash = custom(
      'envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing',
      'threshold: 0, modulo: 10',
    );
    const built = build(
      list(
        [
          `{ and_matcher: { predicate: [${single('SourceIPInput', ip)}, { not_matcher: ${single('ServerNameInput', 'value_match: { suffix: .example }')} }] } }`,
          to('one'),
        ],
        [single('ServerNameInput', hash), to('two')],
      ),
    );
    expect(found(built)).toBe('one');
    expect(found(built, { requestedServerName: 'a.example' })).toBe('two');
    expect(found(built, { remoteAddress: ipAddress('11.0.0.1', 1) })).toBe('fallback');
  });
});

describe('refusals', () => {
  const anything = `on_no_match: ${to('one')}`;
  test.each([
    [anything, ['one', ''], '"name" field is required when using a listener matcher'],
    [anything, ['one', 'one'], '"name" field is duplicated with value \'one\''],
    [
      tree(
        'ServerNameInput',
        custom(
          'xds.type.matcher.v3.ServerNameMatcher',
          `domain_matchers: [{ domains: [a, a], on_match: ${to('one')} }]`,
        ),
      ),
      ['one'],
      'Duplicate domain in ServerNameMatcher: a',
    ],
    [
      tree(
        'ServerNameInput',
        custom(
          'xds.type.matcher.v3.ServerNameMatcher',
          `domain_matchers: [{ domains: ["a.*"], on_match: ${to('one')} }]`,
        ),
      ),
      ['one'],
      "Invalid wildcard domain format: a.*. Only '*' and '*.domain' patterns are supported",
    ],
    [
      'on_no_match: { action: { name: a, typed_config: { "@type": type.googleapis.com/google.protobuf.Empty } } }',
      ['one'],
      "Didn't find a registered implementation for 'a' with type URL: 'google.protobuf.Empty'",
    ],
    [
      tree('DynamicMetadataInput', `exact_match_map: { map: { a: ${to('one')} } }`),
      ['one'],
      "Didn't find a registered implementation for 'i' with type URL: 'envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput'",
    ],
  ])('%#', (matcher, names, reason) => {
    const { errors } = build(matcher, names);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toContain(reason);
  });
});

test('5,000 names choose as fast as 5', () => {
  const chooserOf = (count: number): (() => number) => {
    const entries = Array.from({ length: count }, (_, i) => `"n${i}.example": ${to('one')}`).join(', ');
    const { chains } = build(tree('ServerNameInput', `exact_match_map: { map: { ${entries} } }`));
    const sockets = [0, 1, 2, 3, 4].map((i) => stubSocket({ requestedServerName: `n${i}.example` }));
    return () => {
      const start = performance.now();
      for (let i = 0; i < 10_000; i++) chains!.findChain(sockets[i % 5]!);
      return performance.now() - start;
    };
  };
  const [few, many] = [chooserOf(5), chooserOf(5000)];
  let [bestOfFew, bestOfMany] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let round = 0; round < 20; round++) {
    bestOfFew = Math.min(bestOfFew, few());
    bestOfMany = Math.min(bestOfMany, many());
  }
  // A search one by one would take a thousand times as long; the rest is the machine's mood.
  expect(bestOfMany).toBeLessThan(bestOfFew * 20);
}, 30_000);
