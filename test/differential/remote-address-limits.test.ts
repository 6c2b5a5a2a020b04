/** Rate limits by who calls: the action `remote_address_match`. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { type Fields, http, httpFilter, httpProxy, to } from './configs.ts';
import { accepted, refused, request, suite, validateSuite } from './harness.ts';

const bucket = (tokens: number): Fields => ({
  token_bucket: { max_tokens: tokens, tokens_per_fill: tokens, fill_interval: '1000s' },
});
const always = { default_value: { numerator: 100 } };
const ranges = (...list: string[]): Fields => ({
  ranges: list.map((range) => {
    const [prefix, bits] = range.split('/');
    return { address_prefix: prefix, prefix_len: Number(bits) };
  }),
});
const action = (fields: Fields): Fields => ({
  remote_address_match: { address_matcher: ranges('127.0.0.0/8'), descriptor_value: 'v', ...fields },
});

/** One bucket of one token for the descriptor that the action may give. */
function limited(fields: Fields, key: string, value: string): object {
  const filter = httpFilter('local_ratelimit', 'LocalRateLimit', {
    stat_prefix: 'limit',
    filter_enabled: always,
    filter_enforced: always,
    ...bucket(1000),
    descriptors: [{ entries: [{ key, value }], ...bucket(1) }],
  });
  return httpProxy({ filters: [filter], routes: [to('u1', '/', { rate_limits: [{ actions: [action(fields)] }] })] });
}

const upstreams = { u1: httpUpstream(() => reply(200)) };
const stats = ['limit.http_local_rate_limit'];
const ten = ['x-forwarded-for: 10.1.1.1'];
for (const [name, fields, key, value, headers] of [
  ['by default', {}, 'remote_address_match', 'v', []],
  ['a key of its own', { descriptor_key: 'k' }, 'k', 'v', []],
  ['a format', { descriptor_value: '%REQ(x)%' }, 'remote_address_match', '1', ['x: 1']],
  ['a format of nothing', { descriptor_value: '%REQ(x)%', default_value: 'd' }, 'remote_address_match', 'd', []],
  ['another address', { address_matcher: ranges('10.0.0.0/8') }, 'remote_address_match', 'v', []],
  ['an address forwarded', { address_matcher: ranges('10.0.0.0/8', '::1/128') }, 'remote_address_match', 'v', ten],
  [
    'any other address',
    { address_matcher: { ...ranges('10.0.0.0/8'), invert_match: true } },
    'remote_address_match',
    'v',
    [],
  ],
  [
    'any other address, this one',
    { address_matcher: { ...ranges('10.0.0.0/8'), invert_match: true } },
    'remote_address_match',
    'v',
    ten,
  ],
  ['no ranges', { address_matcher: {} }, 'remote_address_match', 'v', []],
] as const) {
  suite(`remote_address_match, ${name}`, { config: limited(fields, key, value), upstreams, stats }, [
    request('the first', http('GET /', headers)),
    request('the second', http('GET /', headers)),
  ]);
}

const route = (fields: Fields): object =>
  httpProxy({ routes: [{ match: { prefix: '/' }, route: { cluster: 'u1', ...fields } }] }, [
    { name: 'u1', type: 'STATIC', connect_timeout: '1s' },
  ]);
validateSuite('routes, accepted as by Envoy', [
  refused('no matcher', route({ rate_limits: [{ actions: [{ remote_address_match: { descriptor_value: 'v' } }] }] })),
  refused('no value', route({ rate_limits: [{ actions: [{ remote_address_match: { address_matcher: {} } }] }] })),
  // A range that is none makes Envoy abort.
  accepted(
    'a cluster chosen again for each retry',
    route({ retry_policy: { retry_on: '5xx', refresh_cluster_on_retry: true } }),
  ),
  accepted(
    'options of paths that Envoy reads nowhere',
    httpProxy(
      {
        hcm: { path_normalization_options: {} },
        routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }],
      },
      [],
    ),
  ),
]);
