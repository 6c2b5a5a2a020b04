/**
 * A burst of requests over HTTP/2 to an upstream that says GOAWAY in its midst, at various moments: what it looked at is answered, what
 * it did not look at is refused (and tried again where a policy says so), and nothing hangs or ends without a word.
 */
import {
  dataFrame,
  goAway,
  Http2Client,
  type Http2Peer,
  headersFrame,
  http2Upstream,
  type SeenHttp2Request,
} from '../support/http2-peer.ts';
import type { UpstreamConnection, UpstreamScript } from '../support/scripted-upstream.ts';
import { type Fields, http2Cluster, httpProxy, to } from './configs.ts';
import { type Case, steps, suite } from './harness.ts';

const BURST = 24;
/** The last stream that the upstream looked at, where it does not look at all. */
const HALF = 2 * (BURST / 2) - 1;
const ALL = 2 * BURST - 1;
const NEVER = 0x7fff_ffff;

const isGrpc = (request: SeenHttp2Request): boolean =>
  request.stream.heads[0]?.includes('content-type: application/grpc') ?? false;

function head(peer: Http2Peer, request: SeenHttp2Request): void {
  const type = isGrpc(request) ? 'application/grpc' : 'text/plain';
  peer.send(headersFrame(request.id, [':status: 200', `content-type: ${type}`], false));
}

function rest(peer: Http2Peer, request: SeenHttp2Request): void {
  const grpc = isGrpc(request);
  peer.send(dataFrame(request.id, '\0\0\0\0\0', !grpc));
  if (grpc) peer.send(headersFrame(request.id, ['grpc-status: 0'], true));
}

function answer(peer: Http2Peer, requests: readonly SeenHttp2Request[], upTo = NEVER): void {
  for (const request of requests) {
    if (request.id > upTo) continue;
    head(peer, request);
    rest(peer, request);
  }
}

/** What the first connection does once the whole burst is there. */
type Moment = (peer: Http2Peer, requests: readonly SeenHttp2Request[], connection: UpstreamConnection) => void;

const MOMENTS: Readonly<Record<string, Moment>> = {
  'before the answers, all looked at': (peer, requests) => {
    peer.send(goAway(ALL, 0));
    answer(peer, requests);
  },
  'before the answers, half looked at': (peer, requests) => {
    peer.send(goAway(HALF, 0));
    answer(peer, requests, HALF);
  },
  'before the answers, none looked at': (peer) => peer.send(goAway(0, 0)),
  'behind half of the answers': (peer, requests) => {
    answer(peer, requests, HALF);
    peer.send(goAway(ALL, 0));
    answer(
      peer,
      requests.filter(({ id }) => id > HALF),
    );
  },
  'between heads and bodies': (peer, requests) => {
    for (const request of requests) head(peer, request);
    peer.send(goAway(ALL, 0));
    for (const request of requests) rest(peer, request);
  },
  'between heads and bodies, half looked at': (peer, requests) => {
    for (const request of requests) if (request.id <= HALF) head(peer, request);
    peer.send(goAway(HALF, 0));
    for (const request of requests) if (request.id <= HALF) rest(peer, request);
  },
  'behind the answers': (peer, requests) => {
    answer(peer, requests);
    peer.send(goAway(ALL, 0));
  },
  'twice, as who drains': (peer, requests) => {
    peer.send(goAway(NEVER, 0));
    peer.send(goAway(HALF, 0));
    answer(peer, requests, HALF);
  },
  'with the end of the connection behind the answers': (peer, requests, connection) => {
    peer.send(goAway(ALL, 0));
    answer(peer, requests);
    connection.end();
  },
  'half looked at, with the end of the connection': (peer, requests, connection) => {
    peer.send(goAway(HALF, 0));
    answer(peer, requests, HALF);
    connection.end();
  },
  'an error, half looked at': (peer, requests) => {
    peer.send(goAway(HALF, 2));
    answer(peer, requests, HALF);
  },
};

/** The first connection of a case does what the moment says; all others answer at once. */
function upstream(moment: Moment): UpstreamScript {
  const bursts = new WeakMap<UpstreamConnection, SeenHttp2Request[]>();
  return http2Upstream({
    respond: (request, peer, connection) => {
      if (connection.number > 1) {
        answer(peer, [request]);
        return;
      }
      const burst = bursts.get(connection) ?? [];
      bursts.set(connection, burst);
      burst.push(request);
      if (burst.length === BURST) moment(peer, burst, connection);
    },
  });
}

const GRPC = ['content-type: application/grpc', 'te: trailers'];

/** Every other request is a gRPC call. What became of each is written down, and of those that come behind. */
function burst(): Case {
  return steps(
    'a burst',
    async (exchange) => {
      const client = new Http2Client(await exchange.connect('a', { recorded: false }), []);
      await client.settled();
      const send = (i: number): number =>
        i % 2 === 0 ? client.request('POST /call', GRPC, '\0\0\0\0\0') : client.request('GET /page');
      const shown = async (ids: readonly number[]): Promise<string> => {
        const lines: string[] = [];
        for (const id of ids) {
          const stream = await exchange.expectOver(client, id);
          const heads = stream.heads.map((fields) =>
            fields.filter((field) => /^(:status|grpc-status|grpc-message):/.test(field)).join(', '),
          );
          lines.push(`${id}: ${heads.join(' | ')} body ${stream.body.length} reset ${stream.reset}`);
        }
        return lines.join('\n');
      };
      const first = Array.from({ length: BURST }, (_, i) => send(i));
      exchange.note('the burst', await shown(first));
      exchange.note('behind it', await shown(Array.from({ length: 4 }, (_, i) => send(i))));
      await exchange.expectStat('cluster.u1.upstream_rq_active', 0);
      await exchange.expectStat('http.ingress.downstream_rq_active', 0);
      client.pipe.end();
    },
    { upstreamBytes: false },
  );
}

const h2cluster = http2Cluster('u1', {}, { circuit_breakers: { thresholds: [{ max_retries: 1000 }] } });
const stats = [
  /^cluster\.u1\.upstream_rq_(200|503|2xx|5xx|total|retry|retry_success|rx_reset|tx_reset)$/,
  /^cluster\.u1\.upstream_cx_(total|close_notify|protocol_error)$/,
];

for (const [name, moment] of Object.entries(MOMENTS)) {
  for (const [policy, action] of Object.entries<Fields>({
    '': {},
    ', with retries': {
      retry_policy: { retry_on: 'refused-stream', num_retries: 3, retry_back_off: { base_interval: '0.001s' } },
    },
  })) {
    suite(
      `GOAWAY ${name}${policy}`,
      {
        config: httpProxy({ routes: [to('u1', '/', action)] }, [h2cluster]),
        upstreams: { u1: upstream(moment) },
        stats,
        fresh: true,
      },
      [burst()],
    );
  }
}
