import { describe, expect, test } from 'bun:test';
import { type StubSocket, stubSocket } from '../../test/support/accepted-socket.ts';
import { SeededRandom } from '../base/random.ts';
import { type Address, internalAddress, ipAddress, pipeAddress } from './address.ts';
import { ipBytes } from './cidr.ts';
import type { AcceptedSocket } from './filter.ts';
import { ANY_CONNECTION, type ChainCriteria, FilterChainIndex, SourceType } from './filter-chain-index.ts';
import type { AddressRange } from './prefix-table.ts';

interface Chain {
  readonly name: string;
}

const FALLBACK: Chain = { name: 'default' };

function range(text: string): AddressRange {
  const [ip, bits] = text.split('/') as [string, string];
  return { prefix: ipBytes(ip)!, bits: Number(bits) };
}

const ranges = (...texts: string[]): AddressRange[] => texts.map(range);

const socket = stubSocket;

/** Chains by name, with what they ask for. */
function index(chains: Record<string, Partial<ChainCriteria>>, fallback: Chain | null = FALLBACK) {
  const built = new FilterChainIndex<Chain>(fallback);
  for (const [name, criteria] of Object.entries(chains)) {
    expect(built.add({ ...ANY_CONNECTION, ...criteria }, { name })).toBeNull();
  }
  return (facts: Partial<StubSocket> = {}): string | null => built.findChain(socket(facts))?.name ?? null;
}

describe('FilterChainIndex', () => {
  test('no chain fits: the default chain, or none', () => {
    expect(index({})()).toBe('default');
    expect(index({}, null)()).toBeNull();
    expect(index({ a: { destinationPort: 1 } }, null)()).toBeNull();
  });

  test('a port of its own hides the chains of any port', () => {
    const find = index({ any: {}, https: { destinationPort: 443, serverNames: ['a.com'] } });
    expect(find({ requestedServerName: 'a.com' })).toBe('https');
    expect(find({ requestedServerName: 'b.com' })).toBe('default');
    expect(find({ localAddress: ipAddress('10.0.0.1', 80) })).toBe('any');
    expect(find({ localAddress: pipeAddress('/tmp/x') })).toBe('any');
  });

  test('the longest destination range, and no way back from it', () => {
    const find = index({
      any: {},
      wide: { destinationRanges: ranges('10.0.0.0/8', 'fd00::/8') },
      narrow: { destinationRanges: ranges('10.0.0.0/30'), transportProtocol: 'tls' },
    });
    expect(find()).toBe('default');
    expect(find({ detectedTransportProtocol: 'tls' })).toBe('narrow');
    expect(find({ localAddress: ipAddress('10.0.0.4', 1) })).toBe('wide');
    expect(find({ localAddress: ipAddress('fd00::1', 1) })).toBe('wide');
    expect(find({ localAddress: ipAddress('11.0.0.1', 1) })).toBe('any');
    expect(find({ localAddress: internalAddress('x') })).toBe('any');
  });

  test('server names: exact, then the longest suffix, then none', () => {
    const find = index({
      exact: { serverNames: ['www.example.com'] },
      deep: { serverNames: ['.www.example.com'] },
      wide: { serverNames: ['.example.com', '.org'] },
      none: {},
    });
    const named = (requestedServerName: string) => find({ requestedServerName });
    expect(named('www.example.com')).toBe('exact');
    expect(named('a.www.example.com')).toBe('deep');
    expect(named('b.a.www.example.com')).toBe('deep');
    expect(named('api.example.com')).toBe('wide');
    expect(named('example.com')).toBe('none');
    expect(named('xexample.com')).toBe('none');
    expect(named('a.org')).toBe('wide');
    expect(named('.org')).toBe('wide'); // an exact name, by its letters
    expect(named('org')).toBe('none');
    expect(named('a.org.')).toBe('none');
    expect(named('')).toBe('none');
  });

  test('a name behind which nothing fits does not fall back to a wildcard', () => {
    const find = index({
      exact: { serverNames: ['a.b.c'], transportProtocol: 'tls' },
      wide: { serverNames: ['.b.c'] },
    });
    expect(find({ requestedServerName: 'a.b.c' })).toBe('default');
    expect(find({ requestedServerName: 'x.b.c' })).toBe('wide');
  });

  test('a wildcard of the top', () => {
    const find = index({ dot: { serverNames: ['.'] }, none: {} });
    expect(find({ requestedServerName: 'a.' })).toBe('none');
    expect(find({ requestedServerName: 'a.b' })).toBe('none');
  });

  test('a long name of many labels costs no look-ups', () => {
    const find = index({ wide: { serverNames: ['.example.com'] }, none: {} });
    const labels = 'a.'.repeat(30_000);
    expect(find({ requestedServerName: `${labels}com` })).toBe('none');
    expect(find({ requestedServerName: `${labels}example.com` })).toBe('wide');
  });

  test('the transport protocol', () => {
    const find = index({ tls: { transportProtocol: 'tls' }, raw: { transportProtocol: 'raw_buffer' } });
    expect(find()).toBe('raw');
    expect(find({ detectedTransportProtocol: 'tls' })).toBe('tls');
    expect(find({ detectedTransportProtocol: 'quic' })).toBe('default');
    const some = index({ tls: { transportProtocol: 'tls' }, any: {} });
    expect(some()).toBe('any');
  });

  test('application protocols: the order of the client decides', () => {
    const find = index({
      h2: { applicationProtocols: ['h2', 'h2c'] },
      h1: { applicationProtocols: ['http/1.1'] },
      none: {},
    });
    expect(find({ applicationProtocols: ['http/1.1', 'h2'] })).toBe('h1');
    expect(find({ applicationProtocols: ['h2', 'http/1.1'] })).toBe('h2');
    expect(find({ applicationProtocols: ['spdy', 'h2c'] })).toBe('h2');
    expect(find({ applicationProtocols: ['spdy'] })).toBe('none');
    expect(find()).toBe('none');
  });

  test('the direct source, before PROXY protocol', () => {
    const find = index({
      balancer: { directSourceRanges: ranges('10.9.0.0/16') },
      source: { sourceRanges: ranges('10.0.0.0/24') },
    });
    expect(find({ directRemoteAddress: ipAddress('10.9.0.1', 1) })).toBe('balancer');
    expect(find()).toBe('source');
    expect(find({ remoteAddress: ipAddress('1.1.1.1', 1) })).toBe('default');
  });

  test('the source type', () => {
    const find = index({
      local: { sourceType: SourceType.SameIpOrLoopback },
      external: { sourceType: SourceType.External },
    });
    const from = (remoteAddress: Address) => find({ remoteAddress });
    expect(from(ipAddress('127.0.0.1', 1))).toBe('local');
    expect(from(ipAddress('::1', 1))).toBe('local');
    expect(from(ipAddress('10.0.0.1', 1))).toBe('local'); // the local address
    expect(from(pipeAddress('@x'))).toBe('local');
    expect(from(ipAddress('127.0.0.2', 1))).toBe('external');
    expect(from(ipAddress('10.0.0.2', 1))).toBe('external');
    expect(from(internalAddress('x'))).toBe('external');
  });

  test('any source comes after a type; a type behind which nothing fits hides it', () => {
    const find = index({
      local: { sourceType: SourceType.SameIpOrLoopback, sourcePorts: [7] },
      any: {},
    });
    expect(find()).toBe('any');
    expect(find({ remoteAddress: ipAddress('127.0.0.1', 7) })).toBe('local');
    expect(find({ remoteAddress: ipAddress('127.0.0.1', 8) })).toBe('default');
  });

  test('source ranges, then source ports', () => {
    const find = index({
      wide: { sourceRanges: ranges('10.0.0.0/8') },
      ports: { sourceRanges: ranges('10.0.0.0/24'), sourcePorts: [1, 2] },
      narrow: { sourceRanges: ranges('10.0.0.0/24') },
      lonely: { sourceRanges: ranges('10.0.0.64/26'), sourcePorts: [9] },
    });
    const from = (ip: string, port: number) => find({ remoteAddress: ipAddress(ip, port) });
    expect(from('10.0.0.1', 2)).toBe('ports');
    expect(from('10.0.0.1', 3)).toBe('narrow');
    expect(from('10.1.0.1', 2)).toBe('wide');
    expect(from('10.0.0.65', 9)).toBe('lonely');
    expect(from('10.0.0.65', 2)).toBe('default');
  });

  test('combinations that are taken are told, also by the chain itself', () => {
    const built = new FilterChainIndex<Chain>(null);
    const first = { name: 'first' };
    const criteria = { ...ANY_CONNECTION, serverNames: ['a', 'b'], destinationRanges: ranges('10.1.2.3/8') };
    expect(built.add(criteria, first)).toBeNull();
    expect(built.add({ ...criteria, sourcePorts: [1] }, { name: 'port' })).toBeNull();
    expect(built.add({ ...criteria, serverNames: ['c', 'b'] }, { name: 'b' })).toBe(first);
    expect(built.add({ ...criteria, serverNames: ['a'], destinationRanges: ranges('10.0.0.0/8') }, { name: 'r' })).toBe(
      first,
    );
    const twice = { name: 'twice' };
    expect(built.add({ ...ANY_CONNECTION, applicationProtocols: ['h2', 'h2'] }, twice)).toBe(twice);
  });

  test('agrees with a walk over all chains', () => {
    const random = new SeededRandom(11);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random.float() * list.length)]!;
    const some = <T>(list: readonly T[]): T[] => (random.float() < 0.5 ? [] : list.filter(() => random.float() < 0.4));
    const RANGES = ['10.0.0.0/8', '10.1.0.0/16', '10.1.1.0/24', '10.1.1.1/32', '0.0.0.0/0', 'fd00::/8', 'fd00::1/128'];
    const ADDRESSES = ['10.1.1.1', '10.1.1.2', '10.1.9.9', '10.9.9.9', '1.1.1.1', 'fd00::1', 'fd00::2', '::1'];
    const NAMES = ['a.b.c', 'b.c', '.b.c', '.c', '.a.b.c', 'x'];
    const REQUESTED = ['', 'a.b.c', 'b.c', 'x.a.b.c', 'y.b.c', 'y.c', 'c', 'x', 'x.'];
    let matched = 0;
    for (let round = 0; round < 60; round++) {
      const built = new FilterChainIndex<Chain>(FALLBACK);
      const entries: { criteria: ChainCriteria; chain: Chain }[] = [];
      for (let i = 0; i < 12; i++) {
        const criteria: ChainCriteria = {
          destinationPort: pick([0, 0, 0, 80, 443]),
          destinationRanges: ranges(...some(RANGES)),
          serverNames: some(NAMES),
          transportProtocol: pick(['', '', 'tls', 'raw_buffer']),
          applicationProtocols: some(['h2', 'http/1.1']),
          directSourceRanges: ranges(...some(RANGES)),
          sourceType: pick([0, 0, 1, 2]),
          sourceRanges: ranges(...some(RANGES)),
          sourcePorts: some([1, 2]),
        };
        const chain = { name: `${i}` };
        // One that overlaps would leave a part of itself behind.
        const probe = new FilterChainIndex<Chain>(null);
        for (const entry of entries) probe.add(entry.criteria, entry.chain);
        if (probe.add(criteria, chain) !== null) continue;
        built.add(criteria, chain);
        entries.push({ criteria, chain });
      }
      for (let i = 0; i < 200; i++) {
        const facts = socket({
          localAddress: random.float() < 0.1 ? pipeAddress('/x') : ipAddress(pick(ADDRESSES), pick([80, 443, 8080])),
          remoteAddress: random.float() < 0.1 ? pipeAddress('/x') : ipAddress(pick(ADDRESSES), pick([1, 2, 3])),
          directRemoteAddress: ipAddress(pick(ADDRESSES), 1),
          requestedServerName: pick(REQUESTED),
          applicationProtocols: pick([[], ['h2'], ['http/1.1', 'h2'], ['x']]),
          detectedTransportProtocol: pick(['tls', 'raw_buffer']),
        });
        const expected = walk(entries, facts);
        if (expected !== null) matched++;
        expect(built.findChain(facts)?.name).toBe((expected ?? FALLBACK).name);
      }
    }
    expect(matched).toBeGreaterThan(500);
  });

  test('5,000 chains choose about as fast as 5', () => {
    const build = (count: number): (() => number) => {
      const built = new FilterChainIndex<Chain>(null);
      const sockets: AcceptedSocket[] = [];
      for (let i = 0; i < count; i++) {
        const name = `host-${i}.example.com`;
        const from = `10.${i >> 8}.${i & 255}.0/24`;
        built.add({ ...ANY_CONNECTION, serverNames: [name], sourceRanges: ranges(from) }, { name });
        built.add(
          { ...ANY_CONNECTION, destinationRanges: ranges(`11.${i >> 8}.${i & 255}.0/24`) },
          { name: `range ${i}` },
        );
        sockets.push(
          socket({ requestedServerName: name, remoteAddress: ipAddress(`10.${i >> 8}.${i & 255}.7`, 1) }),
          socket({ localAddress: ipAddress(`11.${i >> 8}.${i & 255}.7`, 1) }),
        );
      }
      return () => {
        const begin = performance.now();
        for (let i = 0; i < 20_000; i++) if (built.findChain(sockets[i % sockets.length]!) === null) throw new Error();
        return performance.now() - begin;
      };
    };
    const few = build(5);
    const many = build(2500);
    const best = (run: () => number) => Math.min(...Array.from({ length: 5 }, run));
    best(few);
    // A walk would take a thousand times as long; what remains is cold memory, and whatever else the machine does.
    expect(best(many) / best(few)).toBeLessThan(40);
  });
});

/** The same by elimination: respect by respect, only the most specific stay. */
function walk(entries: { criteria: ChainCriteria; chain: Chain }[], facts: AcceptedSocket): Chain | null {
  const { localAddress: local, remoteAddress: remote } = facts;
  const isLocal =
    remote.kind !== 'ip' || ['127.0.0.1', '::1'].includes(remote.ip) || (local.kind === 'ip' && local.ip === remote.ip);
  const fits: ((criteria: ChainCriteria) => number)[] = [
    ({ destinationPort: port }) => (port === 0 ? 0 : local.kind === 'ip' && port === local.port ? 1 : -1),
    (criteria) => rangeFit(criteria.destinationRanges, local),
    (criteria) => nameFit(criteria.serverNames, facts.requestedServerName),
    ({ transportProtocol: wanted }) => (wanted === '' ? 0 : wanted === facts.detectedTransportProtocol ? 1 : -1),
    ({ applicationProtocols: wanted }) => {
      const at = facts.applicationProtocols.findIndex((protocol) => wanted.includes(protocol));
      return wanted.length === 0 ? 0 : at < 0 ? -1 : 100 - at;
    },
    (criteria) => rangeFit(criteria.directSourceRanges, facts.directRemoteAddress),
    ({ sourceType: type }) => (type === 0 ? 0 : (type === 1) === isLocal ? 1 : -1),
    (criteria) => rangeFit(criteria.sourceRanges, remote),
    ({ sourcePorts: ports }) => (ports.length === 0 ? 0 : remote.kind === 'ip' && ports.includes(remote.port) ? 1 : -1),
  ];
  let left = entries;
  for (const fit of fits) {
    const best = Math.max(...left.map((entry) => fit(entry.criteria)));
    if (left.length === 0 || best < 0) return null;
    left = left.filter((entry) => fit(entry.criteria) === best);
  }
  expect(left.length).toBe(1);
  return left[0]!.chain;
}

function rangeFit(list: readonly AddressRange[], address: Address): number {
  if (list.length === 0) return 0;
  const bits = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('');
  const own = bits(ipBytes(address.kind === 'ip' ? address.ip : '255.255.255.255')!);
  const fitting = list.filter(
    ({ prefix, bits: count }) => prefix.length * 8 === own.length && own.startsWith(bits(prefix).slice(0, count)),
  );
  return Math.max(-1, ...fitting.map((one) => one.bits + 1));
}

function nameFit(names: readonly string[], requested: string): number {
  if (names.length === 0) return 0;
  return Math.max(
    -1,
    ...names.map((name) =>
      name === requested ? 1000 : name.startsWith('.') && requested.endsWith(name) ? name.length : -1,
    ),
  );
}
