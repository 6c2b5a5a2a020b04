import { expect, test } from 'bun:test';
import { openApiRegistry } from '../../api/api-registry.ts';
import { SeededRandom } from '../../base/random.ts';
import { VIRTUAL_HOST_URL } from './resource-view.ts';
import { resourceOfJson, SnapshotType } from './snapshot.ts';
import { virtualHostsOf } from './virtual-hosts.ts';

const api = openApiRegistry();

const hosts = (content: Readonly<Record<string, readonly string[]>>): SnapshotType =>
  new SnapshotType(
    VIRTUAL_HOST_URL,
    Object.entries(content).map(([name, domains]) =>
      resourceOfJson(api, 'envoy.config.route.v3.VirtualHost', name, { name, domains }),
    ),
  );

const brief = (type: SnapshotType, ...names: string[]): string[] =>
  virtualHostsOf(type, names).map(
    ({ name, aliases = [], any }) =>
      `${name}${aliases.map((alias) => ` as ${alias}`).join('')}${any.length === 0 ? ' empty' : ''}`,
  );

const all = hosts({
  'web/one': ['one.test'],
  'web/two': ['two.test', '*.two.test'],
  'web/rest': ['rest.*', '*.test'],
  'ns/name/x': ['x.test'],
  'other/one': ['*'],
});

test('the name of a route configuration stands for its virtual hosts', () => {
  expect(brief(all, 'web')).toEqual(['web/one', 'web/rest', 'web/two']);
  expect(brief(all, 'ns/name')).toEqual(['ns/name/x']);
  expect(brief(all, 'nobody')).toEqual([]);
});

test('a domain is answered by the virtual host that serves it, under the name that was asked for', () => {
  expect(brief(all, 'web/ONE.test')).toEqual(['web/one as web/ONE.test']);
  expect(brief(all, 'web/a.two.test', 'web/two.test')).toEqual(['web/two as web/a.two.test as web/two.test']);
  expect(brief(all, 'web/three.test')).toEqual(['web/rest as web/three.test']);
  expect(brief(all, 'web/rest.org')).toEqual(['web/rest as web/rest.org']);
  expect(brief(all, 'other/anything')).toEqual(['other/one as other/anything']);
});

test('what nobody serves is answered without content', () => {
  expect(brief(all, 'web/example.org', 'nobody/one.test')).toEqual([
    'web/example.org as web/example.org empty',
    'nobody/one.test as nobody/one.test empty',
  ]);
});

test('a virtual host that is asked for by name and by domain comes once', () => {
  expect(brief(all, 'web/one', 'web', 'web/one.test')).toEqual(['web/one as web/one.test', 'web/rest', 'web/two']);
});

const BARE = { version: '1', any: new Uint8Array(1), mark: [0, 0], endpoints: '' } as const;

test('whoever is found for a domain is whom a look at each of them finds', () => {
  const random = new SeededRandom(7);
  const pick = (list: readonly string[]): string => list[Math.floor(random.float() * list.length)]!;
  const text = (): string =>
    Array.from({ length: 1 + Math.floor(random.float() * 4) }, () => pick(['a', 'B', '.'])).join('');
  const rank = (own: string, asked: string): number => {
    const [domain, host] = [own.toLowerCase(), asked.toLowerCase()];
    if (domain === host) return 4000;
    if (domain === '*') return 1;
    if (domain.startsWith('*')) return host.endsWith(domain.slice(1)) ? 2000 + domain.length : 0;
    return domain.endsWith('*') && host.startsWith(domain.slice(0, -1)) ? 1000 + domain.length : 0;
  };
  for (let round = 0; round < 200; round++) {
    const domains = Array.from({ length: 6 }, () => pick([text(), `*${text()}`, `${text()}*`, '*']));
    const type = new SnapshotType(
      'v',
      domains.map((domain, i) => ({ ...BARE, name: `r/host-${i}`, domains: [domain] })),
    );
    const asked = text();
    let best = -1;
    for (const [i, domain] of domains.entries()) {
      if (rank(domain, asked) > (best < 0 ? 0 : rank(domains[best]!, asked))) best = i;
    }
    const [found] = virtualHostsOf(type, [`r/${asked}`]);
    expect([domains, asked, found?.name]).toEqual([domains, asked, best < 0 ? `r/${asked}` : `r/host-${best}`]);
  }
});

test('very many domains are looked for in no time', () => {
  const hosts = Array.from({ length: 2000 }, (_, i) => ({
    ...BARE,
    name: `r/h${i}`,
    domains: [`h${i}.test`, `*.h${i}.test`],
  }));
  const type = new SnapshotType('v', hosts);
  const names = Array.from({ length: 20_000 }, (_, i) => `r/none${i}.test`);
  const begun = performance.now();
  expect(virtualHostsOf(type, names).length).toBe(20_000);
  // A look at each domain for each name took more than two seconds.
  expect(performance.now() - begun).toBeLessThan(1000);
});
