import { expect, test } from 'bun:test';
import { RequestHeaders } from '../http/header-map.ts';
import type { RouteTable } from './route-table.ts';
import { type HeaderFragment, ScopedRoutes, ScopeSet, scopeKey } from './scoped-routes.ts';

const table = (name: string): RouteTable => ({ name }) as RouteTable;
const scope = (name: string, key: string) => ({
  name,
  key: scopeKey([key]),
  tables: { current: () => table(name) },
});
const fragment: HeaderFragment = { name: 'x', elementSeparator: '', index: 0, element: null };

function headers(...values: string[]): RequestHeaders {
  const made = new RequestHeaders();
  for (const value of values) made.add('x', value);
  return made;
}

test('keys are equal for equal lists alone', () => {
  expect(scopeKey(['a', 'b'])).not.toBe(scopeKey(['ab', '']));
  expect(scopeKey(['1:a'])).not.toBe(scopeKey(['1', 'a']));
  expect(scopeKey(['a', 'b'])).toBe(scopeKey(['a', 'b']));
});

test('scopes change places, whichever is set first', () => {
  const scopes = new ScopeSet('');
  const routes = new ScopedRoutes([fragment], scopes);
  scopes.set(scope('s', '1'));
  scopes.set(scope('t', '2'));
  expect(routes.tableFor(headers('2'))?.name).toBe('t');
  scopes.set(scope('s', '2'));
  scopes.set(scope('t', '1'));
  expect([routes.tableFor(headers('1'))?.name, routes.tableFor(headers('2'))?.name]).toEqual(['t', 's']);
  scopes.remove('s');
  expect([routes.tableFor(headers('1'))?.name, routes.tableFor(headers('2'))?.name]).toEqual(['t', undefined]);
});

test('the first header counts, and one that is missing has no scope', () => {
  const scopes = new ScopeSet('');
  scopes.set(scope('s', '1'));
  const routes = new ScopedRoutes([fragment], scopes);
  expect(routes.tableFor(headers('1', '2'))?.name).toBe('s');
  expect(routes.tableFor(headers())).toBeNull();
});
