import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createSocket, type Socket } from 'node:dgram';
import { FakeLoop } from '../../../test/support/fake-transport.ts';
import { hostAddress, roundRobin } from '../../../test/support/fake-upstream.ts';
import { MergedStore } from '../../stats/merged-store.ts';
import { StatsStore } from '../../stats/store.ts';
import { clusterSpec, DiscoveryType } from '../../upstream/cluster-spec.ts';
import { DnsFamily, type DnsSpec } from '../../upstream/dns-spec.ts';
import { hostSpec } from '../../upstream/host.ts';
import type { HostUpdate } from '../../upstream/host-update.ts';
import { DnsDiscovery } from './dns-discovery.ts';
import type { DnsAnswer, DnsResolver } from './dns-resolver.ts';
import { NodeDnsResolver } from './node-dns-resolver.ts';
import { candidateNames, parseHostsFile, parseResolvConf, SystemNames } from './system-names.ts';

/** Answers by script; each answer is awaited by the test. */
class ScriptedResolver implements DnsResolver {
  readonly asked: string[] = [];
  answers: DnsAnswer[] = [];

  resolve(name: string): Promise<DnsAnswer> {
    this.asked.push(name);
    return Promise.resolve(this.answers.shift() ?? { completed: false, reason: 'script ended' });
  }
}

function found(...addresses: [ip: string, ttl?: number][]): DnsAnswer {
  return { completed: true, addresses: addresses.map(([ip, ttl]) => ({ ip, ttlSeconds: ttl ?? 0 })) };
}

class Setup {
  readonly loop = new FakeLoop();
  readonly resolver = new ScriptedResolver();
  readonly store = new StatsStore();
  readonly updates: HostUpdate[] = [];
  firstAnswers = 0;
  readonly discovery: DnsDiscovery;

  constructor(fields: Partial<DnsSpec> = {}, names = ['a.test']) {
    const dns: DnsSpec = {
      logical: false,
      family: DnsFamily.V4Only,
      refreshMs: 5000,
      failureBaseMs: 5000,
      failureMaxMs: 5000,
      jitterMs: 0,
      respectTtl: false,
      minRefreshMs: 0,
      resolvers: [],
      targets: names.map((name, i) => ({
        name,
        port: 80,
        template: hostSpec(hostAddress(0), { hostname: name, weight: i + 1 }),
      })),
      localityWeights: [],
      overprovisioningFactor: 140,
      weightedPriorityHealth: false,
      dropOverload: 0,
      dropCategory: '',
      ...fields,
    };
    const spec = clusterSpec('c', roundRobin(), { discovery: DiscoveryType.StrictDns, dns });
    this.discovery = new DnsDiscovery(spec, this.resolver, this.loop.dispatcher, this.store.root, {
      onHosts: (update) => this.updates.push(structuredClone(update)),
      onFirstAnswer: () => this.firstAnswers++,
    });
  }

  async start(): Promise<void> {
    this.discovery.start();
    await Promise.resolve();
    await Promise.resolve();
  }

  async advance(ms: number): Promise<void> {
    this.loop.advance(ms);
    await Promise.resolve();
    await Promise.resolve();
  }

  get hosts(): string[] {
    return this.updates.at(-1)?.hosts.map((host) => host.address.text) ?? [];
  }
}

describe('DNS discovery', () => {
  test('strict: every address is a host, published when it changes', async () => {
    const on = new Setup();
    on.resolver.answers = [found(['10.0.0.1'], ['10.0.0.2'], ['10.0.0.1']), found(['10.0.0.1'], ['10.0.0.2']), found()];
    await on.start();
    expect(on.hosts).toEqual(['10.0.0.1:80', '10.0.0.2:80']);
    expect(on.updates[0]!.hosts[0]!.hostname).toBe('a.test');
    expect(on.firstAnswers).toBe(1);
    await on.advance(4999);
    expect(on.resolver.asked.length).toBe(1);
    await on.advance(2);
    expect(on.resolver.asked.length).toBe(2);
    expect(on.updates.length).toBe(1);
    await on.advance(5001);
    expect(on.hosts).toEqual([]);
    expect(on.updates.length).toBe(2);
    expect(on.firstAnswers).toBe(1);
    on.discovery.stop();
    await on.advance(60_000);
    expect(on.resolver.asked.length).toBe(3);
  });

  test('an empty first answer changes nothing; counts as Envoy does', async () => {
    const on = new Setup();
    on.resolver.answers = [found(), { completed: false, reason: 'x' }];
    await on.start();
    await on.advance(5001);
    expect(on.updates).toEqual([]);
    const merged = new MergedStore();
    merged.apply(0, on.store.takeDelta());
    const value = (name: string) => merged.counters.get(`cluster.c.update_${name}`)?.value;
    expect([value('attempt'), value('success'), value('no_rebuild'), value('failure')]).toEqual([2, 1, 1, 1]);
    expect(merged.gauges.get('cluster.c.max_host_weight')?.value).toBe(1);
  });

  test('a failure leaves the hosts as they are', async () => {
    const on = new Setup();
    on.resolver.answers = [found(['10.0.0.1']), { completed: false, reason: 'ETIMEOUT' }, found(['10.0.0.9'])];
    await on.start();
    await on.advance(5001);
    expect(on.hosts).toEqual(['10.0.0.1:80']);
    await on.advance(5001);
    expect(on.hosts).toEqual(['10.0.0.9:80']);
  });

  test('failures back off with jitter, at most the limit', async () => {
    const on = new Setup({ failureBaseMs: 100, failureMaxMs: 400 });
    await on.start();
    expect(on.firstAnswers).toBe(1);
    for (const bound of [100, 200, 400, 400]) {
      const before = on.resolver.asked.length;
      await on.advance(bound + 1);
      expect(on.resolver.asked.length).toBeGreaterThan(before);
    }
  });

  test('the shortest TTL', async () => {
    const on = new Setup({ respectTtl: true, minRefreshMs: 2000 });
    on.resolver.answers = [found(['10.0.0.1', 30], ['10.0.0.2', 10]), found(['10.0.0.1', 1]), found()];
    await on.start();
    await on.advance(9999);
    expect(on.resolver.asked.length).toBe(1);
    await on.advance(2);
    expect(on.resolver.asked.length).toBe(2);
    await on.advance(1999);
    expect(on.resolver.asked.length).toBe(2);
    await on.advance(2);
    expect(on.resolver.asked.length).toBe(3);
  });

  test('several names make one cluster; an address counts once', async () => {
    const on = new Setup({}, ['a.test', 'b.test']);
    on.resolver.answers = [found(['10.0.0.1']), found(['10.0.0.1'], ['10.0.0.2'])];
    await on.start();
    expect(on.hosts).toEqual(['10.0.0.1:80', '10.0.0.2:80']);
    expect(on.updates.at(-1)!.hosts.map((host) => host.weight)).toEqual([1, 2]);
    expect(on.discovery.current()).toEqual([on.updates.at(-1)!]);
  });

  test('logical: one host that keeps its identity', async () => {
    const on = new Setup({ logical: true });
    on.resolver.answers = [found(['10.0.0.1'], ['10.0.0.2']), found(), found(['10.0.0.3'])];
    await on.start();
    const [first] = on.updates[0]!.hosts;
    expect(first).toMatchObject({ identity: 'a.test:80', address: { text: '10.0.0.1:80' } });
    expect(first!.additionalAddresses.map((address) => address.text)).toEqual(['10.0.0.2:80']);
    await on.advance(5001);
    expect(on.updates.length).toBe(1);
    await on.advance(5001);
    expect(on.updates[1]!.hosts[0]).toMatchObject({ identity: 'a.test:80', address: { text: '10.0.0.3:80' } });
  });
});

describe('names of the system', () => {
  test('hosts file', () => {
    const names = parseHostsFile('# x\n127.0.0.1 localhost A.local # tail\n::1\tlocalhost\nbad line\n10.0.0.1\n');
    expect([...names]).toEqual([
      ['localhost', ['127.0.0.1', '::1']],
      ['a.local', ['127.0.0.1']],
    ]);
  });

  test('search domains', () => {
    const rule = parseResolvConf('nameserver 10.0.0.1\nsearch ns.svc.test svc.test.\noptions ndots:2 timeout:1\n');
    expect(rule).toEqual({ domains: ['ns.svc.test', 'svc.test'], ndots: 2 });
    expect(candidateNames('a', rule)).toEqual(['a.ns.svc.test', 'a.svc.test', 'a']);
    expect(candidateNames('a.b.c', rule)).toEqual(['a.b.c', 'a.b.c.ns.svc.test', 'a.b.c.svc.test']);
    expect(candidateNames('a.', rule)).toEqual(['a']);
  });
});

/** A name server that knows `only4.test` (A, TTL 7) and `both.test`; refuses `fails.test`. */
class NameServer {
  readonly #socket: Socket = createSocket('udp4');

  async start(): Promise<string> {
    this.#socket.on('message', (query, from) => this.#socket.send(answerTo(query), from.port, from.address));
    await new Promise<void>((resolve) => this.#socket.bind(0, '127.0.0.1', resolve));
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  close(): void {
    this.#socket.close();
  }
}

function answerTo(query: Buffer): Buffer {
  let at = 12;
  const labels: string[] = [];
  for (let size = query[at]!; size > 0; size = query[at]!) {
    labels.push(query.toString('latin1', at + 1, at + 1 + size));
    at += size + 1;
  }
  const end = at + 5;
  const name = labels.join('.');
  const type = query.readUInt16BE(at + 1);
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  header[2] = 0x81;
  header[3] = 0x80;
  header.writeUInt16BE(1, 4);
  let record: Buffer | null = null;
  if (type === 1 && name !== 'fails.test' && (name === 'only4.test' || name === 'both.test')) {
    record = Buffer.from([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 7, 0, 4, 10, 1, 2, 3]);
  } else if (type === 28 && name === 'both.test') {
    record = Buffer.concat([
      Buffer.from([0xc0, 0x0c, 0, 28, 0, 1, 0, 0, 0, 9, 0, 16]),
      Buffer.alloc(15),
      Buffer.from([5]),
    ]);
  } else if (name === 'fails.test') {
    header[3] = 0x85; // REFUSED
  } else if (name !== 'only4.test') {
    header[3] = 0x83; // NXDOMAIN
  }
  if (record !== null) header.writeUInt16BE(1, 6);
  return Buffer.concat([header, query.subarray(12, end), record ?? Buffer.alloc(0)]);
}

describe('NodeDnsResolver', () => {
  const server = new NameServer();
  let resolver: NodeDnsResolver;
  beforeAll(async () => {
    resolver = new NodeDnsResolver([await server.start()], new SystemNames('/nowhere', '/nowhere'));
  });
  afterAll(() => server.close());

  const cases: [name: string, family: DnsFamily, ips: string[]][] = [
    ['only4.test', DnsFamily.V4Only, ['10.1.2.3']],
    ['only4.test', DnsFamily.Auto, ['10.1.2.3']],
    ['only4.test', DnsFamily.V6Only, []],
    ['both.test', DnsFamily.Auto, ['::5']],
    ['both.test', DnsFamily.V4Preferred, ['10.1.2.3']],
    ['both.test', DnsFamily.All, ['10.1.2.3', '::5']],
    ['missing.test', DnsFamily.All, []],
    ['10.9.9.9', DnsFamily.Auto, ['10.9.9.9']],
    ['localhost', DnsFamily.V4Only, ['127.0.0.1']],
    ['localhost', DnsFamily.Auto, ['::1']],
  ];
  for (const [name, family, ips] of cases) {
    test(`${name}, family ${family}`, async () => {
      const answer = await resolver.resolve(name, family);
      expect(answer.completed && answer.addresses.map((address) => address.ip)).toEqual(ips);
    });
  }

  test('TTL', async () => {
    expect(await resolver.resolve('only4.test', DnsFamily.V4Only)).toEqual(found(['10.1.2.3', 7]));
  });

  test('a refusal is a failure', async () => {
    expect((await resolver.resolve('fails.test', DnsFamily.V4Only)).completed).toBe(false);
  });
});
