import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import type { ResolvedFilterConfigs } from '../../../routing/filter-configs.ts';
import type { Route } from '../../../routing/route.ts';
import { ActionKind } from '../../../routing/route-action.ts';
import { corsFilter } from './factory.ts';

/** A route whose levels have these policies, least specific first. */
function harness(...policies: readonly string[]): FilterHarness {
  const on = new TestBuild();
  const stream = new FilterHarness(corsFilter.build(on.message(corsFilter.configType, '{}'), on.context)!);
  stream.configs = policies.map((yaml) =>
    corsFilter.buildRoute!(on.message(corsFilter.routeConfigType!, yaml), on.context),
  );
  expect(on.errors).toEqual([]);
  const filterConfigs = { isEmpty: false, all: () => [] } as unknown as ResolvedFilterConfigs;
  stream.route = { action: { kind: ActionKind.Forward }, filterConfigs } as unknown as Route;
  return stream;
}
const PREFLIGHT = { ':method': 'OPTIONS', origin: 'https://a', 'access-control-request-method': 'PUT' };
const POLICY =
  "allow_origin_string_match: [{ exact: 'https://a' }]\nallow_methods: GET\nmax_age: '9'\nallow_credentials: true";

test('a preflight is answered here', () => {
  const stream = harness(POLICY);
  stream.sendHeaders(PREFLIGHT);
  expect(stream.request.passed).toBe('');
  expect(stream.response.passed).toBe('H$');
  expect(stream.responseHeaders!.status).toBe(200);
  expect(stream.responseHeaders!.list).toEqual([
    'access-control-allow-origin',
    'https://a',
    'access-control-allow-credentials',
    'true',
    'access-control-allow-methods',
    'GET',
    'access-control-max-age',
    '9',
  ]);
  expect(stream.info.responseCodeDetails).toBe('cors_response');
});

test('an origin that is not allowed passes unmarked', () => {
  const stream = harness(POLICY);
  stream.sendHeaders({ ...PREFLIGHT, origin: 'https://evil' });
  expect(stream.request.passed).toBe('H$');
  stream.answerHeaders(200);
  expect(stream.responseHeaders!.list).toEqual([]);
});

test('the more specific level decides where it says something', () => {
  const stream = harness(POLICY, "max_age: '1'\nallow_credentials: false");
  stream.sendHeaders(PREFLIGHT);
  expect(stream.responseHeaders!.get('access-control-max-age')).toBe('1');
  expect(stream.responseHeaders!.has('access-control-allow-credentials')).toBe(false);
  expect(stream.responseHeaders!.get('access-control-allow-methods')).toBe('GET');
});

test('responses to allowed origins are marked', () => {
  const stream = harness(`${POLICY}\nexpose_headers: x-a`);
  stream.sendHeaders({ origin: 'https://a' });
  stream.answerHeaders(200, { 'access-control-allow-origin': '*' });
  expect(stream.responseHeaders!.get('access-control-allow-origin')).toBe('https://a');
  expect(stream.responseHeaders!.get('access-control-expose-headers')).toBe('x-a');
});
