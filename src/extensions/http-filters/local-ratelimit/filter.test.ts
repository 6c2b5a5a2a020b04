import { expect, test } from 'bun:test';
import { TestBuild } from '../../../../test/support/build-messages.ts';
import { FilterHarness } from '../../../../test/support/filter-harness.ts';
import { SharedTable } from '../../../base/shared-table.ts';
import type { HttpFilterBuilder } from '../../../pipeline/http-filter.ts';
import { httpLocalRateLimitFilter as factory } from './factory.ts';
import { Limiter, privateBuckets } from './limiter.ts';

const ON = `
stat_prefix: rl
filter_enabled: { default_value: { numerator: 100 } }
filter_enforced: { default_value: { numerator: 100 } }`;
const BUCKET = 'token_bucket: { max_tokens: 2, tokens_per_fill: 1, fill_interval: 1s }';

function build(yaml: string): { builder: HttpFilterBuilder; stat: (name: string) => number } {
  const on = new TestBuild();
  const builder = factory.build(on.message(factory.configType, yaml), on.context)!;
  expect(on.errors).toEqual([]);
  return { builder, stat: (name) => on.shared.stats.store.valueOf(`rl.http_local_rate_limit.${name}`) ?? 0 };
}

test('the bucket holds over streams and workers', () => {
  const memory = SharedTable.allocate();
  const [a, b] = [build(`${ON}\n${BUCKET}`), build(`${ON}\n${BUCKET}`)];
  const ask = (builder: HttpFilterBuilder): number => {
    const stream = new FilterHarness(builder, new SharedTable(memory));
    stream.sendHeaders({});
    return stream.reply?.status ?? 200;
  };
  expect([ask(a.builder), ask(b.builder), ask(a.builder), ask(b.builder)]).toEqual([200, 200, 429, 429]);
  expect([a.stat('enabled'), a.stat('ok'), a.stat('rate_limited'), a.stat('enforced')]).toEqual([2, 1, 1, 1]);
});

test('not enforced: the request passes with its headers', () => {
  const { builder, stat } = build(`
stat_prefix: rl
filter_enabled: { default_value: { numerator: 100 } }
token_bucket: { max_tokens: 0, fill_interval: 1s }
request_headers_to_add_when_not_enforced: [{ header: { key: x-limited, value: 'yes' } }]`);
  const stream = new FilterHarness(builder);
  stream.sendHeaders({});
  expect(stream.request.passed).toBe('H$');
  expect(stream.requestHeaders!.get('x-limited')).toBe('yes');
  expect(stat('rate_limited')).toBe(1);
  expect(stat('enforced')).toBe(0);
});

test('what cannot be is refused', () => {
  const errors = (yaml: string, route = false): string[] => {
    const on = new TestBuild();
    const message = on.message(factory.configType, yaml);
    expect(route ? factory.buildRoute!(message, on.context) : factory.build(message, on.context)).toBeNull();
    return on.errors;
  };
  expect(errors('stat_prefix: x\ntoken_bucket: { max_tokens: 1, fill_interval: 0.01s }')).toEqual([
    'token_bucket.fill_interval: local rate limit token bucket fill timer must be >= 50ms',
  ]);
  expect(errors('stat_prefix: x', true)).toEqual([
    'token_bucket: local rate limit token bucket must be set for per filter configs',
  ]);
});

test('descriptors: the strictest first, values of any kind, the least recently used forgotten', () => {
  const spec = (maxTokens: number, perSecond = 1) => ({ maxTokens, tokensPerFill: perSecond, fillIntervalMs: 1000 });
  const limiter = new Limiter(
    {
      bucket: spec(100),
      descriptors: [
        { entries: ['user', 'bob'], bucket: spec(1, 1), shadow: false },
        { entries: ['path', '/a'], bucket: spec(5, 100), shadow: false },
        { entries: ['tenant', ''], bucket: spec(1), shadow: false },
      ],
      alwaysConsumeDefault: false,
      maxDynamicDescriptors: 2,
    },
    privateBuckets,
  );
  const ask = (...entries: string[][]): boolean =>
    limiter.take(
      5000,
      entries.map((each) => ({ entries: each, hits: null })),
    ).allowed;
  expect(ask(['path', '/a'], ['user', 'bob'])).toBe(true);
  // Refused by bob's bucket: none is taken of the other, which still has four.
  for (let i = 0; i < 3; i++) expect(ask(['path', '/a'], ['user', 'bob'])).toBe(false);
  for (let i = 0; i < 4; i++) expect(ask(['path', '/a'])).toBe(true);
  expect(ask(['path', '/a'])).toBe(false);
  expect([ask(['tenant', 'a']), ask(['tenant', 'b']), ask(['tenant', 'a'])]).toEqual([true, true, false]);
  expect([ask(['tenant', 'c']), ask(['tenant', 'a']), ask(['tenant', 'b'])]).toEqual([true, false, true]);
});
