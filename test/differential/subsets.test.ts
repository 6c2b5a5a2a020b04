/** Load balancing by subsets: lookup, fallbacks of cluster and selector, lists, single hosts, criteria of routes. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpListener, tcpListener, tcpProxy, to } from './configs.ts';
import { request, suite } from './harness.ts';

const lb = (fields: Fields): Fields => ({ filter_metadata: { 'envoy.lb': fields } });
const asks = (fields: Fields): Fields => ({ metadata_match: lb(fields) });

/** Four hosts: v1 prod, v1 canary, v2 prod, and one that says nothing. */
const hosts: readonly [string, Fields | null][] = [
  ['v1', { version: '1', stage: 'prod', tags: ['a', 'b'], number: 1 }],
  ['v1c', { version: '1', stage: 'canary', tags: ['b'] }],
  ['v2', { version: '2', stage: 'prod', number: 2, only: 'x' }],
  ['plain', null],
];
const subsets = (name: string, config: Fields, more: Fields = {}): Fields =>
  cluster(name, [], {
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          lb_endpoints: hosts.map(([upstream, fields]) => ({
            endpoint: { address: `{{upstream:${upstream}}}` },
            ...(fields === null ? {} : { metadata: lb(fields) }),
          })),
        },
      ],
    },
    lb_subset_config: config,
    ...more,
  });

const named = (name: string) => httpUpstream(() => reply(200, name));
const upstreams = Object.fromEntries(hosts.map(([name]) => [name, named(name)]));
const selectors = [
  { keys: ['version', 'stage'] },
  { keys: ['version'] },
  { keys: ['only'] },
  { keys: ['number'] },
  { keys: ['tags'] },
];

const clusters = [
  subsets('none', { subset_selectors: selectors }),
  subsets('default', { fallback_policy: 'DEFAULT_SUBSET', default_subset: { only: 'x' }, subset_selectors: selectors }),
  subsets('missing-default', {
    fallback_policy: 'DEFAULT_SUBSET',
    default_subset: { only: 'nowhere' },
    subset_selectors: selectors,
  }),
  subsets('panic', {
    fallback_policy: 'DEFAULT_SUBSET',
    default_subset: { only: 'nowhere' },
    subset_selectors: [{ keys: ['only'] }],
    panic_mode_any: true,
  }),
  subsets('lists', { list_as_any: true, subset_selectors: [{ keys: ['tags', 'stage'] }] }),
  subsets('single', { subset_selectors: [{ keys: ['only'], single_host_per_subset: true }] }),
  subsets('by-selector', {
    fallback_policy: 'DEFAULT_SUBSET',
    default_subset: { only: 'x' },
    subset_selectors: [
      { keys: ['stage', 'version'], fallback_policy: 'KEYS_SUBSET', fallback_keys_subset: ['stage'] },
      // Its fallback does not count: the selector before it has the same first key.
      { keys: ['stage'], fallback_policy: 'NO_FALLBACK' },
      { keys: ['number'], fallback_policy: 'NO_FALLBACK' },
      { keys: ['tags'], fallback_policy: 'ANY_ENDPOINT' },
      { keys: ['only'], fallback_policy: 'DEFAULT_SUBSET' },
      { keys: ['version'] },
    ],
  }),
  subsets('fallback-list', {
    metadata_fallback_policy: 'FALLBACK_LIST',
    subset_selectors: [{ keys: ['version', 'stage'] }, { keys: ['only'] }],
  }),
  subsets(
    'extension',
    {},
    {
      lb_subset_config: undefined,
      load_balancing_policy: {
        policies: [
          {
            typed_extension_config: {
              name: 'envoy.load_balancing_policies.subset',
              typed_config: {
                '@type': 'type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset',
                allow_redundant_keys: true,
                subset_selectors: [{ keys: ['stage', 'version'] }, { keys: ['only'] }],
                subset_lb_policy: {
                  policies: [
                    {
                      typed_extension_config: {
                        name: 'envoy.load_balancing_policies.random',
                        typed_config: {
                          '@type': 'type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random',
                        },
                      },
                    },
                  ],
                },
              },
            },
          },
        ],
      },
    },
  ),
  subsets('no-selectors', { fallback_policy: 'NO_FALLBACK' }, { load_assignment: cluster('v1').load_assignment }),
];

const stats = [/\.lb_subsets_/, /upstream_cx_none_healthy/];
const route = (name: string, path: string, fields: Fields | null): Fields =>
  to(name, path, fields === null ? {} : asks(fields));

suite(
  'subsets',
  {
    config: {
      static_resources: {
        listeners: [
          httpListener({
            routes: [
              route('none', '/exact', { version: '2' }),
              route('none', '/both', { stage: 'canary', version: '1' }),
              route('none', '/number', { number: 2 }),
              route('none', '/text-number', { number: '2' }),
              route('none', '/whole-list', { tags: ['b'] }),
              route('none', '/element', { tags: 'b' }),
              route('none', '/unknown-value', { version: '3' }),
              route('none', '/unknown-keys', { version: '1', other: '1' }),
              route('none', '/nothing', null),
              route('default', '/default-nothing', null),
              route('default', '/default-unknown', { version: '3' }),
              route('missing-default', '/missing-default', { version: '3' }),
              route('panic', '/panic-found', { only: 'x' }),
              route('lists', '/list-a', { tags: 'a', stage: 'prod' }),
              route('lists', '/list-b', { tags: 'b', stage: 'canary' }),
              route('single', '/single', { only: 'x' }),
              route('single', '/single-missing', { only: 'y' }),
              route('by-selector', '/keys-found', { stage: 'canary', version: '1' }),
              route('by-selector', '/keys-fallback', { stage: 'canary', version: '9' }),
              route('by-selector', '/keys-no-fallback', { stage: 'nowhere', version: '9' }),
              route('by-selector', '/selector-default', { only: 'y' }),
              route('by-selector', '/cluster-default', { version: '9' }),
              route('by-selector', '/selector-none', { number: 9 }),
              route('fallback-list', '/list-second', { fallback_list: [{ only: 'y' }, { only: 'x' }] }),
              route('fallback-list', '/list-merged', {
                stage: 'canary',
                fallback_list: [{ version: '7' }, { version: '1' }],
              }),
              route('fallback-list', '/list-none', { fallback_list: [{ only: 'y' }] }),
              route('fallback-list', '/list-empty', { only: 'x', fallback_list: [] }),
              route('extension', '/redundant', { only: 'x', other: 'y' }),
              route('extension', '/redundant-none', { other: 'y' }),
              route('no-selectors', '/no-selectors', { version: '3' }),
              {
                match: { prefix: '/weighted' },
                route: {
                  ...asks({ stage: 'canary', version: '9' }),
                  weighted_clusters: { clusters: [{ name: 'none', weight: 1, ...asks({ version: '1' }) }] },
                },
              },
            ],
          }),
        ],
        clusters,
      },
    },
    upstreams,
    stats,
  },
  [
    ...[
      'exact both number text-number whole-list element unknown-value unknown-keys nothing default-nothing default-unknown',
      'missing-default panic-found list-a list-b single single-missing keys-found keys-fallback keys-no-fallback',
      'selector-default selector-none cluster-default list-second list-merged list-none list-empty redundant redundant-none no-selectors weighted',
    ]
      .join(' ')
      .split(' ')
      .map((name) => request(name, http(`GET /${name}`))),
  ],
);

suite(
  'subsets of a TCP proxy',
  {
    config: {
      static_resources: {
        listeners: [
          tcpListener([tcpProxy({ cluster: 'none', ...asks({ version: '2' }) })]),
          tcpListener(
            [
              tcpProxy({
                ...asks({ stage: 'canary' }),
                weighted_clusters: { clusters: [{ name: 'none', weight: 1, ...asks({ version: '1' }) }] },
              }),
            ],
            { name: 'b' },
          ),
          tcpListener([tcpProxy({ cluster: 'none', ...asks({ version: '4' }) })], { name: 'c' }),
        ],
        clusters,
      },
    },
    upstreams,
    stats,
  },
  [
    request('its own', http('GET /'), { listener: 'a' }),
    request('a weighted cluster adds to it', http('GET /'), { listener: 'b' }),
    request('no such subset', http('GET /'), { listener: 'c', close: true }),
  ],
);
