/** What the listener's own access log tells of a connection, beside the logs of its filters. */
import { rawUpstream } from '../support/scripted-upstream.ts';
import {
  bootstrap,
  cluster,
  type Fields,
  fileLog,
  http,
  httpListener,
  networkFilter,
  tcpListener,
  tcpProxy,
  to,
} from './configs.ts';
import { type Case, steps, suite } from './harness.ts';

const FORMAT = [
  '%ACCESS_LOG_TYPE% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT%',
  'down=%DOWNSTREAM_DETECTED_CLOSE_TYPE% %DOWNSTREAM_LOCAL_CLOSE_REASON% %DOWNSTREAM_WIRE_BYTES_RECEIVED%',
  'up=%UPSTREAM_DETECTED_CLOSE_TYPE% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% %UPSTREAM_REQUEST_ATTEMPT_COUNT%',
  'rtt=%DOWNSTREAM_CX_RTT%',
  '%UPSTREAM_WIRE_BYTES_RECEIVED% %UPSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS%',
].join(' ');

const log = (name: string): { readonly access_log: readonly Fields[] } => ({
  access_log: [fileLog(`${name}: ${FORMAT}`)],
});

const proxy = (name: string, more: Fields = {}): Fields =>
  tcpListener([tcpProxy({ cluster: name, ...log('filter'), ...more })], { name, listener: log('listener') });

/** Connects to a listener whose connections the proxy closes. */
function turnedAway(name: string, lines: number): Case {
  return steps(name, async (exchange) => exchange.expectClose(await exchange.connect(name)), { logLines: lines });
}

/** Bytes both ways, then `leave`. */
function exchanged(name: string, listener: string, leave: 'end' | 'reset', lines: number): Case {
  return steps(
    name,
    async (exchange) => {
      const client = await exchange.connect(listener);
      client.send('abc');
      await client.until(() => client.received !== '');
      client[leave]();
      if (leave === 'end') await exchange.expectClose(client);
      else await exchange.expectStat(`listener.${listener}.downstream_cx_active`, 0);
    },
    { logLines: lines, clientFate: false },
  );
}

const start = { access_log_options: { flush_access_log_on_start: true } };

suite(
  'logs of connections',
  {
    config: bootstrap(
      [
        proxy('missing', start),
        proxy('empty', start),
        proxy('refused'),
        proxy('u1'),
        proxy('full'),
        tcpListener([networkFilter('direct_response', 'Config', { response: { inline_string: 'x' } })], {
          name: 'direct',
          listener: log('listener'),
        }),
        tcpListener([networkFilter('echo', 'Echo')], { name: 'echo', listener: log('listener') }),
        httpListener({
          name: 'http',
          log: `stream: ${FORMAT}`,
          routes: [
            to('missing', '/missing'),
            to('empty', '/empty'),
            to('refused', '/refused'),
            { match: { prefix: '/direct' }, direct_response: { status: 200 } },
          ],
          routeConfig: { validate_clusters: false },
          listener: log('listener'),
        }),
      ].map((listener) => ({ stat_prefix: listener.name, ...listener })),
      [
        cluster('u1'),
        cluster('empty', []),
        cluster('refused', ['{{refused}}']),
        cluster('full', ['{{refused}}'], { circuit_breakers: { thresholds: [{ max_connections: 0 }] } }),
      ],
    ),
    upstreams: {
      u1: rawUpstream(async (connection) => {
        await connection.until(() => connection.received !== '');
        connection.send('hello');
        await connection.closed();
        connection.end();
      }),
    },
    log: 'access.log',
    rewrite: [[/rtt=\d+/g, 'rtt=<ms>']],
  },
  [
    turnedAway('missing', 3),
    turnedAway('empty', 3),
    turnedAway('refused', 2),
    turnedAway('full', 2),
    turnedAway('direct', 1),
    exchanged('bytes by tcp_proxy, then FIN', 'u1', 'end', 2),
    exchanged('bytes by tcp_proxy, then a reset', 'u1', 'reset', 2),
    exchanged('bytes by echo, then FIN', 'echo', 'end', 1),
    exchanged('bytes by echo, then a reset', 'echo', 'reset', 1),
    steps(
      'requests on one connection',
      async (exchange) => {
        const client = await exchange.connect('http');
        for (const path of ['/missing', '/empty', '/none', '/refused', '/direct']) {
          client.send(http(`GET ${path}`));
          await exchange.expectResponse(client);
        }
        client.end();
        await exchange.expectClose(client);
      },
      { logLines: 6 },
    ),
  ],
);
