/** gRPC over HTTP/2 on both sides: statuses, local replies, deadlines, retries, resets, and the filters with real trailers. */
import {
  dataFrame,
  type Http2Peer,
  headersFrame,
  http2Upstream,
  rstStream,
  type SeenHttp2Request,
} from '../support/http2-peer.ts';
import { cluster, type Fields, http, http2Cluster, httpFilter, httpProxy, to } from './configs.ts';
import { type Case, type CaseOptions, request, steps, suite } from './harness.ts';

const h2cluster = (name: string, more: Fields = {}): Fields => http2Cluster(name, {}, more);

const LOG =
  '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %GRPC_STATUS% %TRAILER(GRPC-STATUS)% ' +
  '%BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_REQUEST_ATTEMPT_COUNT%';

function frame(text: string): string {
  return `\0\0\0\0${String.fromCharCode(text.length)}${text}`;
}

const GRPC = ['content-type: application/grpc', 'te: trailers'];

/** One call on a connection of its own. */
function call(name: string, path: string, fields: readonly string[] = [], options: CaseOptions = {}): Case {
  return steps(
    name,
    async (exchange) => {
      const client = await exchange.http2();
      await client.settled();
      const id = client.request(`POST ${path}`, [...GRPC, ...fields], frame('ping'));
      await exchange.expectOver(client, id);
    },
    { logLines: 1, ...options },
  );
}

function head(peer: Http2Peer, id: number, fields: readonly string[] = [], end = false): void {
  peer.send(headersFrame(id, [':status: 200', 'content-type: application/grpc', ...fields], end));
}

const upstream = http2Upstream({
  respond: ({ id, path, number }: SeenHttp2Request, peer: Http2Peer) => {
    const [, kind = '', value = ''] = path.split('?')[0]!.split('/');
    switch (kind) {
      case 'only':
        return head(peer, id, [`grpc-status: ${value}`, 'grpc-message: why%20not'], true);
      case 'status':
        head(peer, id);
        peer.send(dataFrame(id, frame('pong'), false));
        return peer.send(headersFrame(id, [`grpc-status: ${value}`, 'grpc-message: why%20not', 'x-more: 1'], true));
      case 'empty':
        head(peer, id);
        return peer.send(headersFrame(id, ['grpc-status: 0'], true));
      case 'none':
        head(peer, id);
        return peer.send(dataFrame(id, frame('pong'), true));
      case 'http':
        return peer.send(
          headersFrame(id, [`:status: ${value}`, 'content-type: text/plain'], false),
          dataFrame(id, 'words', true),
        );
      case 'reset':
        return peer.send(rstStream(id, Number(value)));
      case 'late-reset':
        head(peer, id);
        return peer.send(dataFrame(id, frame('pong'), false), rstStream(id, Number(value)));
      case 'second':
        return head(peer, id, [number === 1 ? 'grpc-status: 14' : 'grpc-status: 0'], true);
      default:
        return undefined;
    }
  },
});

const stats = ['http.ingress.downstream_rq_', 'cluster.u1.upstream_rq_', 'cluster.u1.grpc', 'cluster.u1.retry'];
const routes = [
  { match: { prefix: '/direct' }, direct_response: { status: 403, body: { inline_string: 'go away' } } },
  { match: { prefix: '/redirect' }, redirect: { host_redirect: 'elsewhere' } },
  to('refused', '/refused'),
  to('u1', '/timeout', { timeout: '0.05s' }),
  to('u1', '/duration', { max_stream_duration: { grpc_timeout_header_max: '1s' } }),
  to('u1', '/old', { max_grpc_timeout: '1s' }),
  to('u1', '/second', {
    timeout: '0s',
    retry_policy: { retry_on: 'unavailable', num_retries: 2, retry_back_off: { base_interval: '0.001s' } },
  }),
  to('u1'),
];
const clusters = [h2cluster('u1'), cluster('refused', ['{{refused}}'])];

suite(
  'gRPC over HTTP/2',
  { config: httpProxy({ log: LOG, routes }, clusters), upstreams: { u1: upstream }, stats, log: 'access.log' },
  [
    ...['0', '3', '14', '99', 'x'].flatMap((status) => [
      call(`status ${status} in trailers`, `/status/${status}`),
      call(`status ${status} alone`, `/only/${status}`),
    ]),
    call('no message', '/empty'),
    call('an end without a status', '/none'),
    call('an answer that is no gRPC', '/http/503'),
    call('a direct response', '/direct'),
    call('a redirect', '/redirect'),
    call('no connection', '/refused'),
    call('a timeout', '/timeout'),
    call('grpc-timeout with max_stream_duration', '/duration', ['grpc-timeout: 60m']),
    call('grpc-timeout with max_grpc_timeout', '/old', ['grpc-timeout: 60m']),
    call('a retry', '/second'),
    ...[0, 2, 7, 8].map((code) => call(`a reset by the server, code ${code}`, `/reset/${code}`)),
    ...[0, 2, 8].map((code) => call(`a reset within the answer, code ${code}`, `/late-reset/${code}`)),
    steps(
      'a call that the client gives up',
      async (exchange) => {
        const client = await exchange.http2();
        await client.settled();
        const id = client.request('POST /hold', GRPC, frame('ping'));
        await exchange.expectStat('cluster.u1.upstream_rq_active', 1);
        client.send(rstStream(id, 8));
        await exchange.expectStat('http.ingress.downstream_rq_active', 0);
      },
      { logLines: 1 },
    ),
  ],
);

suite(
  'the gRPC filters over HTTP/2',
  {
    config: httpProxy(
      {
        log: `${LOG} %FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)%`,
        routes,
        filters: [
          httpFilter('grpc_web', 'GrpcWeb'),
          httpFilter('grpc_http1_bridge', 'Config', { upgrade_protobuf_to_grpc: true }),
          httpFilter('grpc_stats', 'FilterConfig', { stats_for_all_methods: true, emit_filter_state: true }),
        ],
      },
      clusters,
    ),
    upstreams: { u1: upstream },
    stats,
    log: 'access.log',
  },
  [
    ...['/status/0', '/status/7', '/only/5', '/empty/x', '/http/503'].flatMap((path) => [
      call(`gRPC, ${path}`, path),
      steps(
        `gRPC-Web over HTTP/2, ${path}`,
        async (exchange) => {
          const client = await exchange.http2();
          await client.settled();
          const id = client.request(`POST ${path}`, ['content-type: application/grpc-web+proto'], frame('ping'));
          await exchange.expectOver(client, id);
        },
        { logLines: 1 },
      ),
      request(
        `gRPC-Web over HTTP/1, ${path}`,
        http(`POST ${path}`, ['content-type: application/grpc-web', 'content-length: 9'], frame('ping')),
      ),
      request(
        `the bridge, ${path}`,
        http(`POST ${path}`, ['content-type: application/grpc', 'content-length: 9'], frame('ping')),
      ),
      request(
        `the bridge from protobuf, ${path}`,
        http(`POST ${path}`, ['content-type: application/x-protobuf', 'content-length: 4'], 'ping'),
      ),
      steps(
        `protobuf over HTTP/2, ${path}`,
        async (exchange) => {
          const client = await exchange.http2();
          await client.settled();
          const id = client.request(`POST ${path}`, ['content-type: application/x-protobuf'], 'ping');
          await exchange.expectOver(client, id);
        },
        { logLines: 1 },
      ),
    ]),
    request(
      'gRPC-Web in text',
      http(
        'POST /status/0',
        ['content-type: application/grpc-web-text', 'accept: application/grpc-web-text', 'content-length: 12'],
        Buffer.from(frame('ping'), 'latin1').toString('base64'),
      ),
    ),
    call('a local reply', '/direct'),
  ],
);
