/** HTTP/2: options that bound what one peer may do, and how our own fields are coded. */
import { http2Upstream, respond2, rstStream, windowUpdate } from '../support/http2-peer.ts';
import { bootstrap, cluster, type Fields, http2Options, httpProxy, to } from './configs.ts';
import { accepted, type Case, refused, steps, suite, validateSuite } from './harness.ts';

const LOG = '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%';

const upstream = http2Upstream({
  respond: ({ id, path }, peer) => (path === '/hold' ? undefined : respond2(peer, id, 200, 'hello')),
});
const h2cluster = (fields: Fields = {}, common: Fields = {}): Fields =>
  cluster('u1', undefined, http2Options(fields, common));
const stats = [
  'http.ingress.downstream_rq_',
  /^http\.ingress\.downstream_cx_(?!.*bytes)/,
  /^(cluster\.u1\.)?http2\.(?!pending|outbound_(control_)?frames|.*deferred)/,
];

suite(
  'HTTP/2: resets by the client',
  {
    config: httpProxy({ log: LOG, hcm: { http2_protocol_options: { stream_reset_burst: 3, stream_reset_rate: 0 } } }, [
      h2cluster(),
    ]),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [
    steps(
      'as many as may be',
      async (exchange) => {
        const client = await exchange.http2();
        await client.settled();
        for (let i = 1; i <= 3; i++) {
          const id = client.request('GET /hold');
          await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
          client.send(rstStream(id, 8));
          await exchange.expectStat('cluster.u1.upstream_rq_active', 0);
        }
        await exchange.expectOver(client, client.request('GET /'));
      },
      { logLines: 4 },
    ),
    steps(
      'one more',
      async (exchange) => {
        const client = await exchange.http2();
        await client.settled();
        for (let i = 1; i <= 4; i++) {
          const id = client.request('GET /hold');
          await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
          client.send(rstStream(id, 8));
          await exchange.expectStat('cluster.u1.upstream_rq_active', 0);
        }
        await exchange.expectClose(client.pipe as never);
      },
      { logLines: 4 },
    ),
    steps(
      'one more, with a request under way',
      async (exchange) => {
        const client = await exchange.http2();
        await client.settled();
        client.request('GET /hold');
        for (let i = 1; i <= 4; i++) {
          const id = client.request('GET /hold');
          await exchange.expectStat('cluster.u1.upstream_rq_active', 2);
          client.send(rstStream(id, 8));
          if (i < 4) await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
        }
        await exchange.expectClose(client.pipe as never);
      },
      { logLines: 5 },
    ),
  ],
);

/** A response whose end waits for a window that never opens. */
const never = (name: string, path: string): Case =>
  steps(name, async (exchange) => {
    const client = await exchange.http2('a', [[4, 1]]);
    client.polite = false;
    await exchange.expectOver(client, client.request(`GET ${path}`));
  });
const flushing = [
  to('u1', '/route', { flush_timeout: '0.1s' }),
  to('u1', '/both', { flush_timeout: '0.1s', idle_timeout: '60s' }),
  to('u1', '/idle', { idle_timeout: '0.1s' }),
];

suite(
  'HTTP/2: flush timeouts of routes',
  {
    config: httpProxy({ log: LOG, routes: flushing, hcm: { stream_idle_timeout: '60s' } }, [h2cluster()]),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [never("the route's own", '/route'), never("the route's own beside its idle timeout", '/both')].map((one) => ({
    ...one,
    options: { logLines: 1 },
  })),
);

suite(
  'HTTP/2: a flush timeout of routes and of all requests',
  {
    config: httpProxy(
      { log: LOG, routes: flushing, hcm: { stream_idle_timeout: '60s', stream_flush_timeout: '0.3s' } },
      [h2cluster()],
    ),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [never("the route's own", '/route'), never('that of all, not the idle timeout', '/idle')].map((one) => ({
    ...one,
    options: { logLines: 1 },
  })),
);

suite(
  'HTTP/2: a drain waits for the ends of responses',
  {
    config: httpProxy(
      {
        log: LOG,
        hcm: { drain_timeout: '0.05s', common_http_protocol_options: { max_requests_per_connection: 1 } },
      },
      [h2cluster()],
    ),
    upstreams: { u1: http2Upstream({ respond: ({ id }, peer) => respond2(peer, id, 200, 'x'.repeat(12_000)) }) },
    log: 'access.log',
  },
  [
    steps(
      'which the window holds back beyond the last GOAWAY',
      async (exchange) => {
        const client = await exchange.http2('a', [[4, 5000]]);
        client.polite = false;
        const id = client.request('GET /');
        await client.until(() => client.connectionFrames.filter((one) => one.startsWith('GOAWAY')).length === 2);
        // Time for the mistake: nothing is to be awaited.
        await Bun.sleep(50);
        client.send(windowUpdate(id, 50_000));
        await exchange.expectOver(client, id);
        await exchange.expectClose(client.pipe as never);
      },
      { logLines: 1 },
    ),
  ],
);

validateSuite('HTTP/2 options of fields', [
  accepted(
    'larger than the default',
    bootstrap(
      [],
      [
        h2cluster(
          { max_header_field_size_kb: 100 },
          { common_http_protocol_options: { max_response_headers_kb: 100 } },
        ),
      ],
    ),
  ),
  accepted('larger than all fields together by default', bootstrap([], [h2cluster({ max_header_field_size_kb: 100 })])),
  refused(
    'larger than all fields of a response',
    bootstrap(
      [],
      [h2cluster({ max_header_field_size_kb: 100 }, { common_http_protocol_options: { max_response_headers_kb: 99 } })],
    ),
  ),
  refused('smaller than may be', bootstrap([], [h2cluster({ max_header_field_size_kb: 63 })])),
  refused('larger than may be', bootstrap([], [h2cluster({ max_header_field_size_kb: 257 })])),
  refused(
    'larger than all fields of a request',
    httpProxy({ hcm: { max_request_headers_kb: 64, http2_protocol_options: { max_header_field_size_kb: 65 } } }),
  ),
  accepted(
    'none of them coded',
    bootstrap([], [h2cluster({ enable_huffman_encoding: false, disallow_obs_text: true })]),
  ),
]);
