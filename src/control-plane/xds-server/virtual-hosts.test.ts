import { expect, test } from 'bun:test';
import { openApiRegistry } from '../../api/api-registry.ts';
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
