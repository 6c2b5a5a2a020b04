/** Tracers: which spans are reported, what they say, what upstreams are told, and how reports are sent. */
import { dataFrame, headersFrame, http2Upstream, rstStream } from '../support/http2-peer.ts';
import { httpUpstream, reply, type UpstreamConnection } from '../support/scripted-upstream.ts';
import {
  numberIds,
  otlpSpans,
  type SeenSpan,
  showSpans,
  zipkinJsonSpans,
  zipkinProtoSpans,
} from '../support/span-reports.ts';
import { bodyOf, findRequest } from '../support/wire-text.ts';
import {
  bootstrap,
  cluster,
  type Fields,
  http,
  http2Cluster,
  httpFilter,
  httpListener,
  inside,
  router,
  to,
  trusting,
  typed,
} from './configs.ts';
import type { Exchange } from './exchange.ts';
import { accepted, type Case, type CaseOptions, refused, steps, suite, validateSuite } from './harness.ts';

const TRACE_HIGH = '80f198ee56343ba8';
const TRACE = '64fe8b2a57d3eff7';
const SPAN = 'e457b5a2e4d86bd1';
const PARENT = '05e3ac9a4f6e3b90';
const W3C = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const W3C_OFF = `${W3C.slice(0, -2)}00`;
const KNOWN = [TRACE_HIGH, TRACE, SPAN, PARENT, '0af7651916cd43dd', '8448eb211c80319c', 'b7ad6b7169203331'];

const rewrite: readonly [RegExp, string][] = [
  [/[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'request-id-$1'],
  [/[0-9a-f]{40}\/1\.40\.0\/[^\s")]*/g, '<version>'],
  [/telemetry\.sdk\.language="\w+"/g, 'telemetry.sdk.language=<language>'],
];

// --- what is behind the proxy ---

const upstream = httpUpstream((seen, connection) => {
  const [, kind = '', value = ''] = seen.path.split('?')[0]!.split('/');
  switch (kind) {
    case 'status':
      return reply(Number(value), 'x');
    case 'named':
      return reply(200, '', ['x-envoy-decorator-operation: of-upstream']);
    case 'grpc':
      return reply(200, '', ['content-type: application/grpc', `grpc-status: ${value}`, 'grpc-message: words']);
    case 'away':
      return reply(302, '', ['location: http://h/there']);
    case 'upgrade':
      connection.send('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello');
      connection.end();
      return undefined;
    case 'never':
      return undefined;
    default:
      return reply(200, 'ok');
  }
});

/** Answers reports as Zipkin and OTLP collectors do. */
const collector = httpUpstream((seen) => reply(seen.path.startsWith('/v1') ? 200 : 202));
const upstreams = { u1: upstream, u2: upstream, c: collector };

interface Message {
  readonly head: string;
  readonly body: Uint8Array;
}

function messagesOf(connections: readonly UpstreamConnection[]): Message[] {
  const found: Message[] = [];
  for (const { received } of connections) {
    let start = 0;
    for (;;) {
      const extent = findRequest(received, start);
      if (extent === null) break;
      const text = received.slice(start, extent.end);
      const bodyStart = extent.bodyStart - start;
      found.push({ head: text.slice(0, bodyStart), body: Buffer.from(bodyOf(text, bodyStart), 'latin1') });
      start = extent.end;
    }
  }
  return found;
}

function spansOf({ head, body }: Message): SeenSpan[] {
  if (head.startsWith('POST /v1/')) return otlpSpans(body);
  return /application\/json/.test(head) ? zipkinJsonSpans(body) : zipkinProtoSpans(body);
}

// --- cases ---

interface TracedOptions extends CaseOptions {
  /** Spans to wait for; default: one for each request. */
  readonly spans?: number;
  /** Write the requests down by which reports came. */
  readonly reports?: boolean;
  /** There is a log of ids. */
  readonly logged?: boolean;
}

const HOP = /^(b3|x-b3-\w+|traceparent|tracestate|x-envoy-decorator-operation):/i;

async function record(exchange: Exchange, spans: number, reports: boolean, logged: boolean): Promise<void> {
  const seen = (): SeenSpan[] => messagesOf(exchange.upstream('c').connections).flatMap(spansOf);
  await exchange.expect(`${spans} spans`, () => seen().length >= spans);
  // One too many would come at once.
  await Bun.sleep(60);
  const told = ['u1', 'u2'].flatMap((name) =>
    messagesOf(exchange.upstream(name).connections).map(({ head }) => {
      const lines = head.split('\r\n');
      return [`${name} ${lines[0]}`, ...lines.filter((line) => HOP.test(line))].join('\n  ');
    }),
  );
  if (logged) await exchange.expect('a line', () => exchange.side.file('traces.log').endsWith('\n'));
  const log = exchange.side.file('traces.log');
  exchange.note('traces', numberIds([told.join('\n'), log, showSpans(seen())].join('\n--\n'), KNOWN));
  if (!reports) return;
  const heads = messagesOf(exchange.upstream('c').connections).map(
    (
      { head }, // Envoy does not tell their length.
    ) =>
      head
        .trim()
        .split('\r\n')
        .filter((line) => !/^(transfer-encoding|content-length):/.test(line))
        .sort(),
  );
  exchange.note('reports', heads.map((lines) => lines.join('\n')).join('\n--\n'));
}

/** Requests on one connection each, one after the other, and all that is known of their traces. */
function traced(name: string, requests: string | readonly string[], options: TracedOptions = {}): Case {
  const list = typeof requests === 'string' ? [requests] : requests;
  return steps(
    name,
    async (exchange) => {
      for (const text of list) await exchange.request(text);
      await record(exchange, options.spans ?? list.length, options.reports ?? false, options.logged ?? false);
    },
    { upstreamBytes: false, ...options },
  );
}

const get = (headers: readonly string[] = [], path = '/'): string => http(`GET ${path}`, headers);

// --- configurations ---

const zipkin = (fields: Fields = {}): Fields => ({
  provider: {
    name: 'envoy.tracers.zipkin',
    typed_config: typed('envoy.config.trace.v3.ZipkinConfig', {
      collector_cluster: 'c',
      collector_endpoint: '/api/v2/spans',
      collector_endpoint_version: 'HTTP_JSON',
      ...fields,
    }),
  },
});

const otel = (fields: Fields = {}): Fields => ({
  provider: {
    name: 'envoy.tracers.opentelemetry',
    typed_config: typed('envoy.config.trace.v3.OpenTelemetryConfig', {
      http_service: { http_uri: { uri: 'http://collector.example/v1/traces', cluster: 'c', timeout: '2s' } },
      service_name: 'mine',
      ...fields,
    }),
  },
});

interface Setting {
  readonly hcm?: Fields;
  readonly listener?: Fields;
  readonly filters?: readonly Fields[];
  readonly routes?: readonly Fields[];
  readonly runtime?: Fields;
  readonly clusters?: readonly Fields[];
  readonly router?: Fields;
}

const AT_ONCE = { 'tracing.zipkin.min_flush_spans': 1, 'tracing.opentelemetry.min_flush_spans': 1 };

function traces(tracing: Fields, setting: Setting = {}): object {
  const listener = httpListener({
    hcm: { ...trusting, tracing, ...setting.hcm },
    listener: setting.listener ?? {},
    ...(setting.filters === undefined ? {} : { filters: setting.filters }),
    ...(setting.routes === undefined ? {} : { routes: setting.routes }),
    ...(setting.router === undefined ? {} : { router: setting.router }),
  });
  return bootstrap([listener], [cluster('u1'), cluster('u2'), cluster('c'), ...(setting.clusters ?? [])], {
    node: { id: 'node-1', cluster: 'service-1', locality: { zone: 'zone-1' } },
    layered_runtime: { layers: [{ name: 's', static_layer: { ...AT_ONCE, ...setting.runtime } }] },
  });
}

const outbound = { listener: { traffic_direction: 'OUTBOUND' } };
const stats = ['http.ingress.tracing.', /^tracing\.(zipkin|opentelemetry)\.(?!timer)/];
const common = { upstreams, rewrite, stats };

// --- Zipkin: propagation ---

const b3 = (value: string): string => get([`b3: ${value}`]);
const IDS = ['x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'x-b3-sampled', 'x-b3-flags'];
const multi = (...values: (string | null)[]): string =>
  get(values.flatMap((value, i) => (value === null ? [] : [`${IDS[i]}: ${value}`])));
const FULL = TRACE_HIGH + TRACE;

/** With how many spans each request is reported where the proxy samples. */
const PROPAGATION: readonly (readonly [name: string, request: string, spans: number])[] = [
  ['nothing', get(), 1],
  ['b3 0', b3('0'), 0],
  ['b3 1', b3('1'), 1],
  ['b3 d', b3('d'), 1],
  ['b3 x', b3('x'), 0],
  ['b3 empty', b3(''), 0],
  ['b3 ids', b3(`${TRACE}-${SPAN}`), 1],
  ['b3 ids, and x-b3-sampled', get([`b3: ${TRACE}-${SPAN}`, 'x-b3-sampled: 0']), 1],
  ['b3 not sampled', b3(`${TRACE}-${SPAN}-0`), 0],
  ['b3 debug', b3(`${TRACE}-${SPAN}-d`), 1],
  ['b3 long', b3(`${FULL}-${SPAN}-1`), 1],
  ['b3 long, zeros first', b3(`${'0'.repeat(16)}${TRACE}-${SPAN}-1`), 1],
  ['b3 with parent', b3(`${FULL}-${SPAN}-1-${PARENT}`), 1],
  ['b3 with a parent and no flag', b3(`${TRACE}-${SPAN}-${PARENT}`), 0],
  ['b3 upper case', b3(`${TRACE.toUpperCase()}-${SPAN}-1`), 1],
  ['b3 cut off', b3(`${TRACE}-${SPAN}-`), 0],
  ['b3 flag that is none', b3(`${TRACE}-${SPAN}-9`), 0],
  ['b3 too long', b3(`${FULL}-${SPAN}-1-${PARENT}0`), 0],
  ['b3 no digits', b3(`${'z'.repeat(16)}-${SPAN}-1`), 0],
  ['x-b3-sampled 0', multi(null, null, null, '0'), 0],
  ['x-b3-sampled 1', multi(null, null, null, '1'), 1],
  ['x-b3-sampled true', multi(null, null, null, 'true'), 1],
  ['x-b3-sampled, another word', multi(null, null, null, 'd'), 0],
  ['x-b3-flags', multi(null, null, null, null, '1'), 1],
  ['x-b3 ids', multi(FULL, SPAN, PARENT), 1],
  ['x-b3 not sampled, flags', multi(FULL, SPAN, PARENT, '0', '1'), 0],
  ['x-b3 without span', multi(FULL), 1],
  ['x-b3 no digits', multi('xyz', SPAN), 0],
  ['x-b3 short', multi('abc', 'def'), 1],
  ['x-b3 0x', multi('0abc', '0x1'), 1],
  ['x-b3 of 17 digits', multi('1'.repeat(17), SPAN), 0],
  ['x-b3 with a parent that is none', multi(TRACE, SPAN, 'q'), 0],
  ['x-b3 with an empty parent', multi(TRACE, SPAN, ''), 1],
  ['a parent alone', multi(null, null, PARENT), 1],
  ['both', get([`x-b3-traceid: ${TRACE}`, `x-b3-spanid: ${SPAN}`, 'b3: 1']), 1],
  ['W3C too', get([`x-b3-traceid: ${TRACE}`, `x-b3-spanid: ${SPAN}`, `traceparent: ${W3C}`]), 1],
];
const W3C_CASES: readonly (readonly [name: string, request: string, spans: number])[] = [
  ['W3C', get([`traceparent: ${W3C}`, 'tracestate: a=b']), 1],
  ['W3C not sampled', get([`traceparent: ${W3C_OFF}`]), 0],
  ['W3C that cannot be read', get(['traceparent: bad']), 1],
];
const few = PROPAGATION.filter(([name]) => ['nothing', 'b3 0', 'b3 x', 'b3 with parent', 'x-b3 ids'].includes(name));

suite('Zipkin, B3', { ...common, config: traces(zipkin()) }, [
  ...PROPAGATION.map(([name, text, spans]) => traced(name, text, { spans })),
  ...W3C_CASES.map(([name, text]) => traced(name, text, { spans: 1 })),
  traced('the report', get(), { reports: true }),
]);
suite(
  'Zipkin, B3 and W3C',
  { ...common, config: traces(zipkin({ trace_context_option: 'USE_B3_WITH_W3C_PROPAGATION' })) },
  [...[...few, ...W3C_CASES].map(([name, text, spans]) => traced(name, text, { spans }))],
);
suite('Zipkin, none sampled', { ...common, config: traces({ ...zipkin(), random_sampling: { value: 0 } }) }, [
  traced('nothing', get(), { spans: 0 }),
  traced('ids', b3(`${TRACE}-${SPAN}`), { spans: 0 }),
  traced('the caller has it sampled', b3(`${TRACE}-${SPAN}-1`)),
  traced('the caller wants it so', b3('1')),
  traced('a client forces it', inside('GET /', ['x-client-trace-id: c'])),
]);
for (const [name, fields, setting] of [
  ['128 bits', { trace_id_128bit: true }, {}],
  ['no shared spans', { shared_span_context: false }, {}],
  ['split spans', { split_spans_for_request: true }, {}],
  ['split spans, outbound', { split_spans_for_request: true }, outbound],
  ['outbound', {}, outbound],
  ['a host of its own', { collector_hostname: 'zipkin.example' }, {}],
] as const) {
  suite(`Zipkin, ${name}`, { ...common, config: traces(zipkin(fields), setting) }, [
    ...few.map(([title, text, spans]) => traced(title, text, { spans, reports: title === 'nothing' })),
  ]);
  suite(
    `Zipkin, ${name}, attempts have spans`,
    { ...common, config: traces({ ...zipkin(fields), spawn_upstream_span: true }, setting) },
    few.map(([title, text, spans]) => traced(title, text, { spans: 2 * spans })),
  );
}
suite(
  'Zipkin, start_child_span',
  { ...common, config: traces(zipkin(), { router: { start_child_span: true } }) },
  few.map(([title, text, spans]) => traced(title, text, { spans: 2 * spans })),
);
suite('Zipkin, no propagation', { ...common, config: traces({ ...zipkin(), no_context_propagation: true }) }, [
  ...few.map(([title, text, spans]) => traced(title, text, { spans })),
]);
suite(
  'Zipkin, a collector service',
  {
    ...common,
    config: traces(
      zipkin({
        collector_cluster: '',
        collector_endpoint: '',
        collector_service: {
          http_uri: { uri: 'http://zipkin.example/spans?x', cluster: 'c', timeout: '1s' },
          request_headers_to_add: [
            { header: { key: 'X-Token', value: 't %REQ(X)% %PROTOCOL%' } },
            { header: { key: 'content-type', value: 'application/json; x=y' } },
          ],
        },
      }),
    ),
  },
  [traced('a request', get(), { reports: true })],
);

// Envoy writes ids of spans with their bytes the other way round, so that they do not join those of others: they are not compared.
const withoutIds: readonly [RegExp, string][] = [...rewrite, [/^ {2}trace .*$/gm, '  ids']];
suite(
  'Zipkin, HTTP_PROTO',
  {
    ...common,
    rewrite: withoutIds,
    config: traces({
      ...zipkin({ collector_endpoint_version: 'HTTP_PROTO' }),
      spawn_upstream_span: true,
      verbose: true,
    }),
  },
  few.map(([title, text, spans]) => traced(title, text, { spans: 2 * spans, reports: title === 'nothing' })),
);

// --- what spans say ---

const decorated = (more: Fields = {}): Fields => ({ decorator: { operation: 'op %REQ(HOST)%', ...more } });
const NAMES = ['/', '/named', '/silent', '/plain'].flatMap((path) => [
  traced(path, get([], path)),
  traced(`${path}, named`, inside(`GET ${path}`, ['x-envoy-decorator-operation: of-client'])),
  traced(`${path}, named nothing`, inside(`GET ${path}`, ['x-envoy-decorator-operation:'])),
]);
const namedRoutes = [
  to('u1', '/silent', {}, decorated({ propagate: false })),
  to('u1', '/plain'),
  to('u1', '/', {}, decorated()),
];
for (const [direction, setting] of [
  ['inbound', {}],
  ['outbound', outbound],
] as const) {
  suite(
    `names of spans, ${direction}`,
    { ...common, config: traces(zipkin(), { ...setting, routes: namedRoutes }) },
    NAMES,
  );
  suite(
    `names of spans, ${direction}, by format`,
    {
      ...common,
      config: traces(
        { ...zipkin(), operation: 'op %REQ(:PATH)% %REQ(NO)% %RESPONSE_CODE%' },
        { ...setting, routes: namedRoutes },
      ),
    },
    NAMES,
  );
}

const tag = (name: string, fields: Fields): Fields => ({ tag: name, ...fields });
const inMetadata = (kind: string, path: string, fallback = ''): Fields => ({
  metadata: { kind: { [kind]: {} }, metadata_key: { key: 'k', path: [{ key: path }] }, default_value: fallback },
});
const TAGS = [
  tag('lit', { literal: { value: 'x' } }),
  tag('lit', { literal: { value: 'second' } }),
  tag('env', { environment: { name: 'TRACED' } }),
  tag('env default', { environment: { name: 'NOPE', default_value: 'dd' } }),
  tag('env none', { environment: { name: 'NOPE' } }),
  tag('header', { request_header: { name: 'X-A' } }),
  tag('header default', { request_header: { name: 'no', default_value: 'hd' } }),
  tag('header empty', { request_header: { name: 'x-empty', default_value: 'hd' } }),
  tag('method', { request_header: { name: ':method' } }),
  tag('path', { request_header: { name: ':path' } }),
  ...['s', 'o', 'l', 'n', 'b', 'u', 'e', 'none', 'big'].map((key) =>
    tag(`route ${key}`, inMetadata('route', key, 'd')),
  ),
  tag('route without default', inMetadata('route', 'none')),
  tag('request', inMetadata('request', 's', 'rd')),
  tag('cluster', inMetadata('cluster', 's', 'cd')),
  tag('host', inMetadata('host', 's', 'hd')),
  tag('format', { value: '%REQ(X-A)% %RESPONSE_CODE% %UPSTREAM_CLUSTER% %PROTOCOL%' }),
  tag('format empty', { value: '%REQ(NO)%' }),
  tag('format trace', { value: '%TRACE_ID% %SPAN_ID%' }),
  tag('component', { literal: { value: 'mine' } }),
  tag('int', { value: '%RESPONSE_CODE%', value_type: 'INT' }),
  ...['5', ' 7', '+7', '-7', '5.5', 'x', '9223372036854775807', '9223372036854775808', '1_0'].map((value) =>
    tag(`int ${value}`, { literal: { value }, value_type: 'INT' }),
  ),
  ...['1.5', '2', '.5', '1e3', '-1e-3', '+1', '1e3x', '0x10', ' 1.5 '].map((value) =>
    tag(`double ${value}`, { literal: { value }, value_type: 'DOUBLE' }),
  ),
  ...['true', 'TRUE', 't', 'yes', '1', 'false', 'n', '0', 'on', ' true'].map((value) =>
    tag(`bool ${value}`, { literal: { value }, value_type: 'BOOL' }),
  ),
  tag('string', { literal: { value: '5' }, value_type: 'STRING' }),
  tag('route n as int', { ...inMetadata('route', 'n'), value_type: 'INT' }),
];
const routeMetadata = {
  metadata: {
    filter_metadata: {
      k: { s: 'rs', o: { y: [true, null, { z: 1 }] }, l: [1, 'a'], n: 3, b: true, u: null, e: '', big: 1234567.25 },
    },
  },
};
const tagged = get(['x-a: aa', 'x-empty:', 'user-agent: agent', 'x-client-trace-id: c']);
for (const [name, provider] of [
  ['Zipkin', zipkin()],
  ['OpenTelemetry', otel()],
] as const) {
  suite(
    `custom tags, ${name}`,
    {
      ...common,
      env: { TRACED: 'from the environment' },
      config: traces(
        { ...provider, spawn_upstream_span: true, custom_tags: TAGS },
        { routes: [to('u1', '/', {}, routeMetadata)] },
      ),
    },
    [traced('all kinds', tagged, { spans: 2 })],
  );
  suite(
    `routes that say how they are traced, ${name}`,
    {
      ...common,
      config: traces(
        {
          ...provider,
          spawn_upstream_span: true,
          operation: 'common',
          upstream_operation: 'common up',
          custom_tags: [tag('a', { literal: { value: 'common' } }), tag('b', { literal: { value: 'common' } })],
        },
        {
          routes: [
            to(
              'u1',
              '/named',
              {},
              {
                tracing: {
                  operation: 'own %REQ(:PATH)%',
                  upstream_operation: 'own up',
                  custom_tags: [tag('a', { literal: { value: 'own' } }), tag('c', { value: '%REQ(NO)%' })],
                },
              },
            ),
            to('u1', '/tags', {}, { tracing: { custom_tags: [tag('c', { literal: { value: 'own' } })] } }),
            to('u1', '/none', {}, { tracing: { random_sampling: { numerator: 0 } } }),
            to('u1', '/never', {}, { tracing: { overall_sampling: { numerator: 0 } } }),
          ],
        },
      ),
    },
    [
      traced('names and tags', get([], '/named'), { spans: 2 }),
      traced('tags alone', get([], '/tags'), { spans: 2 }),
      traced('not sampled', get([], '/none'), { spans: 0 }),
      traced('not sampled, forced', inside('GET /none', ['x-envoy-force-trace: 1']), { spans: 2 }),
    ],
  );
  suite(
    `ends of requests, ${name}`,
    {
      ...common,
      config: traces(
        { ...provider, spawn_upstream_span: true, max_path_tag_length: 12 },
        {
          routes: [
            { match: { prefix: '/direct' }, direct_response: { status: 200 } },
            { match: { prefix: '/fault' }, direct_response: { status: 500 } },
            { match: { prefix: '/redirect' }, redirect: { path_redirect: '/x' } },
            { match: { prefix: '/header' }, route: { cluster_header: 'no' } },
            to('refused', '/refused'),
            to('u1', '/status/503', {
              retry_policy: { retry_on: '5xx', num_retries: 2, retry_back_off: { base_interval: '0.001s' } },
            }),
            to('u1', '/never', { timeout: '0.05s' }),
            to('u1', '/try/never', {
              prefix_rewrite: '/never',
              retry_policy: {
                retry_on: '5xx',
                num_retries: 1,
                per_try_timeout: '0.03s',
                retry_back_off: { base_interval: '0.001s' },
              },
            }),
            to('u1', '/away', { internal_redirect_policy: {} }),
            to('u1', '/there'),
            to('u1', '/status'),
            to('u1', '/grpc'),
            to('u1', '/mirrored', {
              request_mirror_policies: [
                { cluster: 'u2' },
                { cluster: 'u2', trace_sampled: false },
                { cluster: 'refused' },
              ],
            }),
          ],
          clusters: [cluster('refused', ['{{refused}}'], { alt_stat_name: 'other' })],
        },
      ),
    },
    [
      traced('an answer of ours', get([], '/direct')),
      traced('a fault of ours', get([], '/fault')),
      traced('a redirect', get([], '/redirect')),
      traced('no route', get([], '/nowhere')),
      traced('no cluster', get([], '/header')),
      traced('nobody there', get([], '/refused'), { spans: 2 }),
      traced('retries', get([], '/status/503'), { spans: 4 }),
      traced('a timeout', get([], '/never'), { spans: 2 }),
      traced('timeouts of tries', get([], '/try/never'), { spans: 3 }),
      // The second time nothing is decided: only B3 carries the first decision on.
      traced('an internal redirect', get([], '/away'), { spans: name === 'Zipkin' ? 4 : 2 }),
      ...['200', '404', '499', '500', '599'].map((code) => traced(code, get([], `/status/${code}`), { spans: 2 })),
      ...['0', '2', '5', '8', '13', '14', '16', '99', 'x'].map((code) =>
        traced(
          `gRPC ${code}`,
          http(`POST /grpc/${code}`, [
            'content-type: application/grpc',
            'grpc-timeout: 1S',
            'te: trailers',
            'content-length: 0',
          ]),
          { spans: 2 },
        ),
      ),
      traced('copies', get([], '/mirrored'), { spans: 4 }),
      traced(
        'copies of what is not sampled',
        get([name === 'Zipkin' ? 'b3: 0' : `traceparent: ${W3C_OFF}`], '/mirrored'),
        { spans: 0 },
      ),
      traced('a long path', get([], '/status/200?a=123456789'), { spans: 2 }),
      traced('a path that was another', inside('GET /status/200', ['x-envoy-original-path: /this/was/it/before']), {
        spans: 2,
      }),
      traced(
        'who asks',
        inside(
          'POST /status/200',
          ['user-agent: a', 'x-envoy-downstream-service-cluster: d', 'content-length: 5'],
          '12345',
        ),
        { spans: 2 },
      ),
    ],
  );
  suite(
    `verbose spans, ${name}`,
    {
      ...common,
      config: traces(
        { ...provider, spawn_upstream_span: true, verbose: true },
        {
          clusters: [cluster('refused', ['{{refused}}'])],
          routes: [
            to('refused', '/refused'),
            { match: { prefix: '/direct' }, direct_response: { status: 200 } },
            to('u1'),
          ],
        },
      ),
    },
    [
      traced('a request', get(), { spans: 2 }),
      traced('with a body', http('POST /', ['content-length: 3'], 'abc'), { spans: 2 }),
      traced('nobody there', get([], '/refused'), { spans: 2 }),
      traced('an answer of ours', get([], '/direct')),
    ],
  );
  suite(
    `health checks, ${name}`,
    {
      ...common,
      config: traces(provider, {
        filters: [
          httpFilter('health_check', 'HealthCheck', {
            pass_through_mode: false,
            headers: [{ name: ':path', string_match: { exact: '/hc' } }],
          }),
          router(),
        ].slice(0, 1),
      }),
    },
    [
      traced('a health check', get([], '/hc'), { spans: 0 }),
      traced('a health check whose caller has it sampled', get(['b3: 1', `traceparent: ${W3C}`], '/hc'), { spans: 0 }),
      traced('no health check', get([], '/x')),
    ],
  );
  suite(
    `ids in logs, ${name}`,
    {
      ...common,
      config: traces(provider, {
        hcm: {
          access_log: [
            {
              name: 'file',
              typed_config: typed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
                path: '{{tmp}}/traces.log',
                log_format: { text_format_source: { inline_string: 'trace %TRACE_ID% span %SPAN_ID%\n' } },
              }),
            },
          ],
        },
      }),
      fresh: true,
    },
    [
      traced('sampled', get(), { logged: true }),
      traced('not sampled', get([name === 'Zipkin' ? 'b3: 0' : `traceparent: ${W3C_OFF}`]), {
        spans: 0,
        logged: true,
      }),
      traced('not readable', get([name === 'Zipkin' ? 'b3: x' : 'traceparent: x']), {
        spans: 0,
        logged: true,
      }),
    ],
  );
}

// --- OpenTelemetry ---

const w3c = (parent: string, state?: string): string =>
  get([`traceparent: ${parent}`, ...(state === undefined ? [] : [`tracestate: ${state}`])]);
const OTEL: readonly (readonly [name: string, request: string, spans: number])[] = [
  ['nothing', get(), 1],
  ['a parent', w3c(W3C, 'a=b,c=d'), 1],
  ['a parent that is not sampled', w3c(W3C_OFF), 0],
  ['an empty state', w3c(W3C, ''), 1],
  ['two states', get([`traceparent: ${W3C}`, 'tracestate: a=b', 'tracestate: c=d']), 1],
  ['a state alone', get(['tracestate: a=b']), 1],
  ['upper case', w3c(W3C.toUpperCase()), 1],
  ['version ff', w3c(`ff${W3C.slice(2)}`), 1],
  ['version 01', w3c(`01${W3C.slice(2)}`), 1],
  ['more flags', w3c(`${W3C.slice(0, -2)}03`), 1],
  ['more fields', w3c(`${W3C}-x`), 0],
  ['no trace', w3c(`00-${'0'.repeat(32)}${W3C.slice(35)}`), 0],
  ['no span', w3c(`${W3C.slice(0, 36)}${'0'.repeat(16)}-01`), 0],
  ['no digits', w3c(W3C.replace('0af', '0xf')), 0],
  ['rubbish', w3c('bad'), 0],
  ['empty', w3c(''), 0],
];
const someOtel = OTEL.slice(0, 3);
suite('OpenTelemetry, W3C', { ...common, config: traces(otel()) }, [
  ...OTEL.map(([name, text, spans]) => traced(name, text, { spans })),
  traced('the report', get(), { reports: true }),
]);
suite('OpenTelemetry, attempts have spans', { ...common, config: traces({ ...otel(), spawn_upstream_span: true }) }, [
  ...someOtel.map(([name, text, spans]) => traced(name, text, { spans: 2 * spans })),
]);
suite('OpenTelemetry, outbound', { ...common, config: traces(otel(), outbound) }, [
  ...someOtel.map(([name, text, spans]) => traced(name, text, { spans })),
]);
suite(
  'OpenTelemetry, outbound, attempts have spans',
  { ...common, config: traces({ ...otel(), spawn_upstream_span: true }, outbound) },
  someOtel.map(([name, text, spans]) => traced(name, text, { spans: 2 * spans })),
);
const SAMPLERS = 'envoy.extensions.tracers.opentelemetry.samplers.v3';
const sampler = (name: string, fields: Fields = {}): Fields => ({
  name,
  typed_config: typed(`${SAMPLERS}.${name}SamplerConfig`, fields),
});
const ratio = (numerator: number, denominator = 'HUNDRED'): Fields =>
  sampler('TraceIdRatioBased', { sampling_percentage: { numerator, denominator } });
for (const [name, fields, tracing, counts] of [
  ['always on', sampler('AlwaysOn'), {}, [1, 1, 1]],
  ['always on, no request traced', sampler('AlwaysOn'), { random_sampling: { value: 0 } }, [0, 0, 0]],
  ['always on, no request allowed', sampler('AlwaysOn'), { overall_sampling: { value: 0 } }, [0, 0, 0]],
  ['none by ratio', ratio(0), {}, [0, 0, 0]],
  ['all by ratio', ratio(100), {}, [1, 1, 1]],
  ['by parent, else all', sampler('ParentBased', { wrapped_sampler: sampler('AlwaysOn') }), {}, [1, 1, 0]],
  ['by parent, else none', sampler('ParentBased', { wrapped_sampler: ratio(0) }), {}, [0, 1, 0]],
] as const) {
  suite(
    `OpenTelemetry samplers, ${name}`,
    { ...common, config: traces({ ...otel({ sampler: fields }), ...tracing }) },
    someOtel.map(([title, text], i) => traced(title, text, { spans: counts[i]! })),
  );
}
const DIGITS = '0123456789abcdef';
for (const [share, denominator] of [
  [50, 'HUNDRED'],
  [3333, 'TEN_THOUSAND'],
  [500_000, 'MILLION'],
] as const) {
  suite(
    `OpenTelemetry samplers, ${share} of ${denominator}`,
    { ...common, config: traces(otel({ sampler: ratio(share, denominator) })) },
    [
      // What is sampled shows in the flags that the upstream sees.
      traced(
        'traces',
        [...DIGITS].map((digit) => get([`traceparent: ${W3C.replace('0af765', `${digit}af7${digit}5`)}`], `/${digit}`)),
        { spans: 0, stats: [] },
      ),
    ],
  );
}
const DETECTORS = 'envoy.extensions.tracers.opentelemetry.resource_detectors.v3';
const fixed = (attributes: Fields): Fields => ({
  name: 's',
  typed_config: typed(`${DETECTORS}.StaticConfigResourceDetectorConfig`, { attributes }),
});
const environment = { name: 'e', typed_config: typed(`${DETECTORS}.EnvironmentResourceDetectorConfig`) };
for (const [name, fields] of Object.entries<Fields>({
  'no name': { service_name: '' },
  'no name wanted': { service_name: 'x', set_service_name_resource_attribute: false },
  'nothing of the library': { set_telemetry_sdk_resource_attributes: false, set_instrumentation_scope: false },
  static: { resource_detectors: [fixed({ a: 'b', 'service.name': 'static', 'telemetry.sdk.name': 'x', empty: '' })] },
  'of the environment': { resource_detectors: [environment] },
  'static, then of the environment': { resource_detectors: [fixed({ k: 's' }), environment] },
  'of the environment, then static': { resource_detectors: [environment, fixed({ k: 's' })] },
})) {
  suite(
    `OpenTelemetry resources, ${name}`,
    {
      ...common,
      env: { OTEL_RESOURCE_ATTRIBUTES: 'k=e,bad,,x=,y=a=b, sp = q ,pct=%41' },
      config: traces(otel(fields)),
    },
    [traced('a span', get())],
  );
}
suite(
  'OpenTelemetry, headers of its own',
  {
    ...common,
    config: traces(
      otel({
        http_service: {
          http_uri: { uri: 'http://c/v1/traces', cluster: 'c', timeout: '1s' },
          request_headers_to_add: [
            { header: { key: 'Authorization', value: 'Bearer %REQ(X)% x' } },
            { header: { key: 'user-agent', value: 'mine' } },
          ],
        },
      }),
    ),
  },
  [traced('a request', get(), { reports: true })],
);

// --- reporting ---

const failing = httpUpstream(() => reply(500));
for (const [name, provider, flush] of [
  ['Zipkin', zipkin, 'tracing.zipkin'],
  ['OpenTelemetry', otel, 'tracing.opentelemetry'],
] as const) {
  suite(
    `reports in lots, ${name}`,
    {
      ...common,
      fresh: true,
      config: traces(provider(), {
        runtime: { [`${flush}.min_flush_spans`]: 3, [`${flush}.flush_interval_ms`]: 60_000 },
      }),
    },
    [
      traced(
        'seven requests',
        Array.from({ length: 7 }, (_, i) => get([], `/${i}`)),
        { spans: 6, reports: true },
      ),
    ],
  );
  suite(
    `reports at intervals, ${name}`,
    {
      ...common,
      fresh: true,
      config: traces(provider(), {
        runtime: { [`${flush}.min_flush_spans`]: 100, [`${flush}.flush_interval_ms`]: 300 },
      }),
    },
    [traced('two requests', [get([], '/1'), get([], '/2')], { spans: 2 })],
  );
  suite(
    `a collector that fails, ${name}`,
    { ...common, upstreams: { ...upstreams, c: failing }, config: traces(provider()) },
    [traced('a request', get())],
  );
}
suite(
  'no collector, Zipkin',
  {
    ...common,
    config: traces(zipkin({ collector_cluster: 'refused' }), { clusters: [cluster('refused', ['{{refused}}'])] }),
  },
  [
    steps(
      'a request',
      async (exchange) => {
        await exchange.request(get());
        await exchange.expectStat('tracing.zipkin.reports_dropped', 1);
      },
      { upstreamBytes: false },
    ),
  ],
);
suite(
  'half an answer of a collector, Zipkin',
  {
    ...common,
    upstreams: {
      ...upstreams,
      c: httpUpstream((_, connection) => {
        connection.send('HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\n\r\nab');
        connection.end();
        return undefined;
      }),
    },
    config: traces(zipkin()),
  },
  [
    steps(
      'a request',
      async (exchange) => {
        await exchange.request(get());
        await exchange.expectStat('tracing.zipkin.reports_failed', 1);
      },
      { upstreamBytes: false },
    ),
  ],
);
suite(
  'more spans than are kept, OpenTelemetry',
  {
    ...common,
    fresh: true,
    config: traces(otel({ max_cache_size: 2 }), {
      runtime: { 'tracing.opentelemetry.min_flush_spans': 100, 'tracing.opentelemetry.flush_interval_ms': 60_000 },
    }),
  },
  [
    traced(
      'eight requests',
      Array.from({ length: 8 }, (_, i) => get([], `/${i}`)),
      { spans: 4 },
    ),
  ],
);

// --- other ways of requests ---

for (const [name, provider] of [
  ['Zipkin', zipkin()],
  ['OpenTelemetry', otel()],
] as const) {
  suite(
    `other ways of requests, ${name}`,
    {
      ...common,
      config: traces(
        { ...provider, spawn_upstream_span: true, verbose: true },
        { hcm: { upgrade_configs: [{ upgrade_type: 'websocket' }] }, routes: [to('u1')] },
      ),
    },
    [
      steps(
        'a client that leaves',
        async (exchange) => {
          const client = await exchange.connect('a', { recorded: false });
          client.send(get([], '/never'));
          await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
          client.end();
          client.reset();
          await record(exchange, 2, false, false);
        },
        { upstreamBytes: false },
      ),
      steps(
        'HTTP/2',
        async (exchange) => {
          const client = await exchange.http2();
          await client.settled();
          const id = client.request('GET /status/200', ['x-b3-sampled: 1', 'user-agent: a']);
          await exchange.expectOver(client, id);
          await record(exchange, 2, false, false);
        },
        { upstreamBytes: false },
      ),
      steps(
        'HTTP/2, a stream that is reset',
        async (exchange) => {
          const client = await exchange.http2();
          await client.settled();
          const id = client.request('GET /never');
          await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
          client.send(rstStream(id, 8));
          await record(exchange, 2, false, false);
        },
        { upstreamBytes: false },
      ),
      steps(
        'an upgrade',
        async (exchange) => {
          const client = await exchange.connect('a', { recorded: false });
          client.send(get(['upgrade: websocket', 'connection: upgrade'], '/upgrade'));
          await exchange.expect('an answer', () => client.received.includes('hello'));
          client.end();
          await record(exchange, 2, false, false);
        },
        { upstreamBytes: false, clientFate: false },
      ),
      traced('an upgrade that is refused', get(['upgrade: other', 'connection: upgrade'], '/status/200'), { spans: 0 }),
      traced('a request that is none', 'GET / HTTP/1.1\r\n\r\n', { spans: 0 }),
    ],
  );
}

// --- another route, once a filter has changed the request ---

const bridge = httpFilter('grpc_http1_bridge', 'Config', { upgrade_protobuf_to_grpc: true });
const before = (more: Fields): Fields => to('u1', '/', {}, more);
const behind = (more: Fields): Fields => ({
  match: { prefix: '/', headers: [{ name: 'content-type', string_match: { exact: 'application/grpc' } }] },
  route: { cluster: 'u1' },
  ...more,
});
const operation = (name: string, more: Fields = {}): Fields => ({ decorator: { operation: name, ...more } });
const sampled = (numerator: number): Fields => ({ tracing: { random_sampling: { numerator } } });
const never = { tracing: { overall_sampling: { numerator: 0 } } };
const protobuf = (headers: readonly string[] = []): string =>
  inside('POST /grpc/0', ['content-type: application/x-protobuf', 'content-length: 5', ...headers], 'hello');
for (const [name, first, second, setting, spans] of [
  ['another name', operation('a'), operation('b'), {}, 1],
  ['no name', operation('a'), {}, {}, 1],
  ['a name', {}, operation('b'), {}, 1],
  ['a name that stays', operation('a'), operation('b', { propagate: false }), {}, 1],
  ['another name, outbound', operation('a'), operation('b'), outbound, 1],
  ['no name, outbound', operation('a'), {}, outbound, 1],
  ['not sampled', sampled(100), sampled(0), {}, 1],
  ['sampled', sampled(0), sampled(100), {}, 1],
  ['not allowed', sampled(100), never, {}, 0],
  ['allowed', never, sampled(100), {}, 1],
] as const) {
  suite(
    `another route: ${name}`,
    {
      ...common,
      config: traces(zipkin(), { ...setting, filters: [bridge], routes: [behind(second), before(first)] }),
    },
    [
      traced('nothing said', protobuf(), { spans }),
      traced('named', protobuf(['x-envoy-decorator-operation: theirs']), { spans }),
      traced('the caller has it sampled', protobuf(['b3: 1'])),
    ],
  );
}

// --- the bootstrap's tracer ---

suite(
  'the tracer of the bootstrap',
  {
    ...common,
    config: {
      ...traces({ spawn_upstream_span: true }),
      tracing: { http: (zipkin() as { provider: Fields }).provider },
    },
  },
  [traced('a connection manager that names none', get(), { spans: 2 })],
);
suite(
  'the tracer of the bootstrap, another in the connection manager',
  { ...common, config: { ...traces(otel()), tracing: { http: (zipkin() as { provider: Fields }).provider } } },
  [traced('its own goes before', get())],
);

// --- OTLP over gRPC ---

/** The messages that came by gRPC, by the connection on which they came. */
const calls = new WeakMap<UpstreamConnection, { head: readonly string[]; body: Uint8Array }[]>();
const grpcCollector = http2Upstream({
  respond: ({ id, stream }, peer, connection) => {
    const list = calls.get(connection) ?? [];
    list.push({ head: stream.heads[0] ?? [], body: Buffer.from(stream.body, 'latin1') });
    calls.set(connection, list);
    peer.send(
      headersFrame(id, [':status: 200', 'content-type: application/grpc'], false),
      dataFrame(id, '\0\0\0\0\0', false),
      headersFrame(id, ['grpc-status: 0'], true),
    );
  },
});

/** Each call carries one message, behind five bytes. */
function callsOf(exchange: Exchange): { head: readonly string[]; spans: SeenSpan[] }[] {
  return exchange
    .upstream('g')
    .connections.flatMap((connection) => calls.get(connection) ?? [])
    .map(({ head, body }) => ({ head, spans: otlpSpans(body.subarray(5)) }));
}

const grpcCluster = http2Cluster('g');
for (const [name, service] of Object.entries<Fields>({
  'by default': { envoy_grpc: { cluster_name: 'g' } },
  'with more': {
    envoy_grpc: { cluster_name: 'g', authority: 'collector.example' },
    timeout: '3s',
    initial_metadata: [{ key: 'X-Token', value: 't' }],
  },
  'without our own headers': { envoy_grpc: { cluster_name: 'g', skip_envoy_headers: true } },
})) {
  suite(
    `OpenTelemetry over gRPC, ${name}`,
    {
      ...common,
      upstreams: { ...upstreams, g: grpcCollector },
      config: traces(
        { ...otel({ http_service: undefined, grpc_service: service }), spawn_upstream_span: true },
        { clusters: [grpcCluster] },
      ),
    },
    [
      steps(
        'a request',
        async (exchange) => {
          await exchange.request(get());
          await exchange.expect('two spans', () => callsOf(exchange).length >= 2);
          const found = callsOf(exchange);
          exchange.note('spans', numberIds(showSpans(found.flatMap(({ spans }) => spans)), KNOWN));
          exchange.note('heads', found.map(({ head }) => [...head].sort().join('\n')).join('\n--\n'));
        },
        { upstreamBytes: false },
      ),
    ],
  );
}
suite(
  'OpenTelemetry over gRPC, google_grpc',
  {
    ...common,
    upstreams: { ...upstreams, g: grpcCollector },
    config: traces(
      otel({
        http_service: undefined,
        grpc_service: { google_grpc: { target_uri: '127.0.0.1:{{port:g}}', stat_prefix: 'g' } },
      }),
    ),
  },
  [
    steps(
      'a request',
      async (exchange) => {
        await exchange.request(get());
        await exchange.expect('a span', () => callsOf(exchange).length > 0);
        const found = callsOf(exchange);
        exchange.note('spans', numberIds(showSpans(found.flatMap(({ spans }) => spans)), KNOWN));
        // The rest of its head is the other library's own.
        const told = found.map(({ head }) => head.filter((field) => /^:(method|path|scheme)/.test(field)).sort());
        exchange.note('heads', told.map((fields) => fields.join('\n')).join('\n--\n'));
      },
      { upstreamBytes: false },
    ),
  ],
);
suite(
  'OpenTelemetry over gRPC, a cluster that is not there',
  {
    ...common,
    config: traces(otel({ http_service: undefined, grpc_service: { envoy_grpc: { cluster_name: 'nope' } } })),
  },
  [steps('a request', async (exchange) => void (await exchange.request(get())), { upstreamBytes: false })],
);

// --- verdicts ---

/** Nothing listens: nothing is started. */
const ok = (tracing: Fields, setting: Setting = {}): object =>
  JSON.parse(JSON.stringify(traces(tracing, setting)).replaceAll(/\{\{upstream:\w+\}\}/g, '{{refused}}'));
const X = 'envoy.extensions.tracers.opentelemetry';
validateSuite('tracers', [
  accepted('Zipkin', ok(zipkin())),
  accepted('Zipkin, HTTP_PROTO', ok(zipkin({ collector_endpoint_version: 'HTTP_PROTO' }))),
  accepted('a service', ok(zipkin({ collector_service: { http_uri: { uri: '/x', cluster: 'c', timeout: '1s' } } }))),
  refused('no version', ok(zipkin({ collector_endpoint_version: undefined }))),
  refused('no endpoint', ok(zipkin({ collector_endpoint: '' }))),
  refused('no cluster', ok(zipkin({ collector_cluster: '' }))),
  refused('a cluster that is not there', ok(zipkin({ collector_cluster: 'nope' }))),
  refused(
    'a service of a cluster that is not there',
    ok(zipkin({ collector_service: { http_uri: { uri: '/x', cluster: 'nope', timeout: '1s' } } })),
  ),
  refused('a service without a URI', ok(zipkin({ collector_service: {} }))),
  accepted('OpenTelemetry', ok(otel())),
  accepted('gRPC', ok(otel({ http_service: undefined, grpc_service: { envoy_grpc: { cluster_name: 'c' } } }))),
  accepted(
    'gRPC to a cluster that is not there',
    ok(otel({ http_service: undefined, grpc_service: { envoy_grpc: { cluster_name: 'nope' } } })),
  ),
  accepted(
    'HTTP to a cluster that is not there',
    ok(otel({ http_service: { http_uri: { uri: '/x', cluster: 'nope', timeout: '1s' } } })),
  ),
  refused('both exporters', ok(otel({ grpc_service: { envoy_grpc: { cluster_name: 'c' } } }))),
  refused('no exporter', ok(otel({ http_service: undefined }))),
  refused('a sampler without a type', ok(otel({ sampler: { name: 'x' } }))),
  refused('a sampler by parent without another', ok(otel({ sampler: sampler('ParentBased') }))),
  accepted('a ratio of nothing', ok(otel({ sampler: sampler('TraceIdRatioBased') }))),
  accepted(
    'a detector without attributes',
    ok(
      otel({
        resource_detectors: [
          { name: 'x', typed_config: typed(`${X}.resource_detectors.v3.StaticConfigResourceDetectorConfig`) },
        ],
      }),
    ),
  ),
  refused(
    'a header that cannot be read',
    ok(
      otel({
        http_service: {
          http_uri: { uri: '/x', cluster: 'c', timeout: '1s' },
          request_headers_to_add: [{ header: { key: 'a', value: '%BAD(' } }],
        },
      }),
    ),
  ),
  refused('a tracer of the bootstrap without a type', {
    ...ok({}),
    tracing: { http: { name: 'envoy.tracers.zipkin' } },
  }),
  refused('a tracer without a type', ok({ provider: { name: 'envoy.tracers.zipkin' } })),
  accepted(
    'metadata of no kind',
    ok({ ...zipkin(), custom_tags: [{ tag: 'a', metadata: { metadata_key: { key: 'k', path: [{ key: 'x' }] } } }] }),
  ),
  refused('a tag of nothing', ok({ ...zipkin(), custom_tags: [{ tag: 'a' }] })),
  refused(
    'an operation of a route that cannot be read',
    ok(zipkin(), { routes: [to('u1', '/', {}, { tracing: { operation: '%BAD(x' } })] }),
  ),
  refused(
    'a tag of a route that cannot be read',
    ok(zipkin(), { routes: [to('u1', '/', {}, { tracing: { custom_tags: [{ tag: 'a', value: '%BAD(' }] } })] }),
  ),
]);
