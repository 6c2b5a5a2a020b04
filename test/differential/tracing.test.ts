/** `tracing` without a tracer: who would be traced, and what those behind are told of it. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpProxy, inside, to, trusting } from './configs.ts';
import { accepted, type Case, refused, request, suite, validateSuite } from './harness.ts';

const upstream = httpUpstream((seen) =>
  reply(200, '', seen.path === '/named' ? ['x-envoy-decorator-operation: of-upstream'] : []),
);

const UUID = '12345678-1234-4234-8234-123456789abc';
const marked = (mark: string): string => `${UUID.slice(0, 14)}${mark}${UUID.slice(15)}`;
const LOG = '%REQ(X-REQUEST-ID)%';
const stats = ['http.ingress.tracing.'];
/** Ids are hidden from comparisons: shown again where they are ours; of those made up, what counts is the 15th character. */
const rewrite: readonly [RegExp, string][] = [
  [/\b(.{8})-1234-(.)234-8234-123456789abc/g, 'ours-$1-$2'],
  [/[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'made-up-$1'],
];

const CASES: readonly Case[] = [
  request('no id', inside('GET /')),
  request('an id', inside('GET /', [`x-request-id: ${UUID}`])),
  request('a client asks', inside('GET /', [`x-request-id: ${UUID}`, 'x-client-trace-id: 1'])),
  request('a service asks', inside('GET /', [`x-request-id: ${UUID}`, 'x-envoy-force-trace: 1'])),
  request('both ask', inside('GET /', ['x-client-trace-id: 1', 'x-envoy-force-trace: 1'])),
  request('from outside', http('GET /', [`x-request-id: ${UUID}`, 'x-envoy-force-trace: 1'])),
  ...['9', 'a', 'b', '7'].map((mark) =>
    request(`marked ${mark} before`, inside('GET /', [`x-request-id: ${marked(mark)}`, 'x-client-trace-id: 1'])),
  ),
  ...['mine', 'abcdef01', '0x345678-1234-4234-8234-123456789abc', 'g2345678-1234-4234-8234-123456789abc'].map((id) =>
    request(`an id that is none: ${id}`, inside('GET /', [`x-request-id: ${id}`, 'x-client-trace-id: 1'])),
  ),
  request('an empty one', inside('GET /', ['x-request-id:'])),
];

const uuid = (fields: Fields): Fields => ({
  request_id_extension: {
    typed_config: { '@type': 'type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig', ...fields },
  },
});

const always = { always_set_request_id_in_response: true, ...trusting };
for (const [name, hcm] of Object.entries<Fields>({
  'by default': { tracing: {} },
  'no clients': { tracing: { client_sampling: { value: 0 }, random_sampling: { value: 0 } } },
  'a part of a percent of clients': { tracing: { client_sampling: { value: 0.9 }, random_sampling: { value: 100 } } },
  // 0x12345678 mod 10,000 = 9896.
  'a share below the id': { tracing: { random_sampling: { value: 98.96 } } },
  'a share above the id': { tracing: { random_sampling: { value: 98.97 }, overall_sampling: { value: 98.97 } } },
  'nothing overall': { tracing: { overall_sampling: { value: 0 } } },
  'nothing at all': { tracing: { random_sampling: { value: 0 }, overall_sampling: { value: 0 } } },
  'ids not asked': { tracing: {}, ...uuid({ use_request_id_for_trace_sampling: false }) },
  'ids not marked': { tracing: {}, ...uuid({ pack_trace_reason: false }) },
  'no ids made': { tracing: {}, generate_request_id: false },
  'ids of outsiders kept': { tracing: {}, use_remote_address: true, preserve_external_request_id: true },
})) {
  const random = name.startsWith('a share');
  suite(
    `tracing, ${name}`,
    {
      config: httpProxy({ hcm: { ...always, ...hcm }, log: LOG }),
      upstreams: { u1: upstream },
      log: 'access.log',
      stats,
      rewrite,
    },
    random ? CASES.filter(({ name }) => !['no id', 'both ask', 'from outside', 'an empty one'].includes(name)) : CASES,
  );
}

for (const [key, value] of [
  ['tracing.client_enabled', 0],
  ['tracing.random_sampling', 0],
  ['tracing.global_enabled', 0],
] as const) {
  suite(
    `tracing, runtime ${key}`,
    {
      config: httpProxy({ hcm: { ...always, tracing: {} } }, [cluster('u1')], {
        layered_runtime: { layers: [{ name: 's', static_layer: { [key]: value } }] },
      }),
      upstreams: { u1: upstream },
      stats,
      rewrite,
    },
    CASES.slice(0, 4),
  );
}

suite(
  'tracing, logs of requests that services force',
  {
    config: httpProxy({
      hcm: {
        ...always,
        tracing: {},
        access_log: [
          {
            name: 'file',
            filter: { traceable_filter: {} },
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
              path: '{{tmp}}/access.log',
              log_format: { text_format_source: { inline_string: 'forced %REQ(X-REQUEST-ID)%\n' } },
            },
          },
        ],
      },
    }),
    upstreams: { u1: upstream },
    log: 'access.log',
    rewrite,
  },
  [
    request('sampled', inside('GET /'), { logLines: 0 }),
    request('a client asks', inside('GET /', ['x-client-trace-id: 1']), { logLines: 0 }),
    request('a service asks', inside('GET /', ['x-envoy-force-trace: 1'])),
  ],
);

const decorated = (propagate?: boolean): Fields => ({
  decorator: { operation: 'op %REQ(HOST)%', ...(propagate === undefined ? {} : { propagate }) },
});
for (const direction of ['UNSPECIFIED', 'INBOUND', 'OUTBOUND']) {
  for (const traced of [true, false]) {
    suite(
      `decorators, ${direction}${traced ? '' : ', without tracing'}`,
      {
        config: httpProxy({
          hcm: { ...trusting, ...(traced ? { tracing: {} } : {}) },
          listener: { traffic_direction: direction },
          routes: [
            { match: { prefix: '/local' }, direct_response: { status: 200 }, ...decorated() },
            to('u1', '/silent', {}, decorated(false)),
            to('u1', '/plain'),
            to('u1', '/', {}, decorated()),
          ],
        }),
        upstreams: { u1: upstream },
        stats,
        rewrite,
      },
      ['/', '/named', '/silent', '/plain', '/local'].flatMap((path) => [
        request(path, inside(`GET ${path}`)),
        request(`${path}, named`, inside(`GET ${path}`, ['x-envoy-decorator-operation: of-client'])),
        request(`${path}, named nothing`, inside(`GET ${path}`, ['x-envoy-decorator-operation:'])),
      ]),
    );
  }
}

const traced = (tracing: Fields): Fields =>
  httpProxy({ hcm: { tracing }, routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }] }, []);
validateSuite('tracing', [
  accepted(
    'what shapes spans',
    traced({
      operation: '%REQ(HOST)% x',
      upstream_operation: 'up',
      verbose: true,
      max_path_tag_length: 0,
      spawn_upstream_span: true,
      no_context_propagation: true,
      custom_tags: [
        { tag: 'a', value: '%REQ(HOST)%' },
        { tag: 'b', literal: { value: 'x' } },
      ],
    }),
  ),
  refused('an operation that cannot be read', traced({ operation: '%BAD(x' })),
  refused('an operator that nobody knows', traced({ upstream_operation: '%NOPE%' })),
  refused('a tag that cannot be read', traced({ custom_tags: [{ tag: 'a', value: '%BAD(' }] })),
  refused('a tag without a name', traced({ custom_tags: [{ literal: { value: 'x' } }] })),
  refused('a share above all', traced({ random_sampling: { value: 101 } })),
  refused('a tracer that nobody knows', traced({ provider: { name: 'x' } })),
]);
