/** L4: tcp_proxy and the other network filters. */
import { shoutingUpstream } from '../support/scripted-upstream.ts';
import { bootstrap, cluster, type Fields, fileLog, networkFilter, tcpListener, tcpProxy } from './configs.ts';
import { steps, suite } from './harness.ts';

const LOG =
  '%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% %CONNECTION_TERMINATION_DETAILS% %RESPONSE_CODE% %PROTOCOL% %DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %ACCESS_LOG_TYPE%';

/** How both connections ended. */
const ENDS = '%DOWNSTREAM_DETECTED_CLOSE_TYPE% %UPSTREAM_DETECTED_CLOSE_TYPE% %UPSTREAM_LOCAL_CLOSE_REASON%';

const logged: Fields = { access_log: [fileLog(LOG)] };

const stats = [
  // Whether a buffer fills depends on how fast the kernel drains it.
  /^tcp\.tcp\.(?!.*flow_control)/,
  /^cluster\.(u1|u2|refused|empty)\.(upstream_cx_(total|connect_fail|destroy|rx_bytes_total|tx_bytes_total|none_healthy|overflow)|membership|retry_or|upstream_rq)/,
];

const talker = shoutingUpstream('hello\n');

suite(
  'tcp proxy',
  {
    config: bootstrap(
      [tcpListener([tcpProxy({ cluster: 'u1', access_log: [fileLog(`${LOG} ${ENDS}`)] })])],
      [cluster('u1')],
    ),
    upstreams: { u1: talker },
    stats,
    log: 'access.log',
  },
  [
    steps('bytes both ways, the client ends', async (exchange) => {
      const client = await exchange.connect();
      await client.receive('hello');
      client.send('abc\n');
      await client.receive('ABC');
      client.end();
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    steps('the upstream ends', async (exchange) => {
      const client = await exchange.connect();
      client.send('bye\n');
      await client.receive('BYE');
      await exchange.expectClose(client);
      client.end();
      await exchange.expectStat('tcp.tcp.downstream_cx_total', 2);
      exchange.expectLog('access.log', 1);
    }),
    steps('the upstream resets', async (exchange) => {
      const client = await exchange.connect();
      await client.receive('hello');
      client.send('rst\n');
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    steps('the client resets', async (exchange) => {
      const client = await exchange.connect();
      await client.receive('hello');
      client.reset();
      await exchange.expectStat('cluster.u1.upstream_cx_active', 0);
      exchange.expectLog('access.log', 1);
    }),
    steps('the client ends before it says anything', async (exchange) => {
      const client = await exchange.connect();
      client.end();
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    steps('two clients at once', async (exchange) => {
      const one = await exchange.connect();
      await one.receive('hello');
      const two = await exchange.connect();
      await two.receive('hello');
      two.send('two\n');
      await two.receive('TWO');
      one.send('one\n');
      await one.receive('ONE');
      one.end();
      await exchange.expectClose(one);
      two.end();
      await exchange.expectClose(two);
      exchange.expectLog('access.log', 2);
    }),
    steps('two megabytes both ways', async (exchange) => {
      const client = await exchange.connect();
      await client.receive('hello\n');
      client.send('x'.repeat(2_000_000));
      await client.until(() => client.received.length === 2_000_006);
      client.send('bye');
      await client.receive('BYE');
      await exchange.expectClose(client);
      client.end();
      exchange.expectLog('access.log', 1);
    }),
  ],
);

const variants: Readonly<Record<string, Fields>> = {
  refused: { cluster: 'refused', max_connect_attempts: 2 },
  empty: { cluster: 'empty' },
  missing: { cluster: 'nowhere' },
  idle: { cluster: 'u1', idle_timeout: '0.1s' },
  duration: { cluster: 'u1', max_downstream_connection_duration: '0.1s' },
  weighted: { weighted_clusters: { clusters: [{ name: 'u2', weight: 1 }] } },
};

suite(
  'tcp proxy variants',
  {
    config: bootstrap(
      Object.entries(variants).map(([name, fields]) => tcpListener([tcpProxy({ ...fields, ...logged })], { name })),
      [
        cluster('u1'),
        cluster('u2'),
        cluster('refused', ['{{refused}}']),
        { name: 'empty', type: 'STATIC', load_assignment: { cluster_name: 'empty' } },
      ],
    ),
    upstreams: { u1: talker, u2: talker },
    stats,
    log: 'access.log',
  },
  [
    ...['refused', 'empty', 'missing'].map((listener) =>
      steps(`${listener}: the client is turned away`, async (exchange) => {
        const client = await exchange.connect(listener);
        await exchange.expectClose(client);
        exchange.expectLog('access.log', 1);
      }),
    ),
    ...['idle', 'duration'].map((listener) =>
      steps(`${listener}: the connection is ended`, async (exchange) => {
        const client = await exchange.connect(listener);
        await client.receive('hello');
        await exchange.expectClose(client);
        exchange.expectLog('access.log', 1);
      }),
    ),
    steps('a weighted cluster', async (exchange) => {
      const client = await exchange.connect('weighted');
      client.send('bye');
      await exchange.expectClose(client);
      client.end();
      exchange.expectLog('access.log', 1);
    }),
  ],
);

suite(
  'other network filters',
  {
    config: bootstrap(
      [
        tcpListener([networkFilter('echo', 'Echo')], { name: 'echo' }),
        tcpListener([networkFilter('direct_response', 'Config', { response: { inline_string: 'go away\n' } })], {
          name: 'direct',
        }),
        tcpListener(
          [
            networkFilter('connection_limit', 'ConnectionLimit', { stat_prefix: 'cl', max_connections: 1 }),
            tcpProxy({ cluster: 'u1' }),
          ],
          { name: 'limit' },
        ),
        tcpListener(
          [
            networkFilter('connection_limit', 'ConnectionLimit', {
              stat_prefix: 'cld',
              max_connections: 0 + 1,
              delay: '0.1s',
            }),
            tcpProxy({ cluster: 'u1' }),
          ],
          { name: 'limit-delayed' },
        ),
        tcpListener(
          [
            networkFilter('local_ratelimit', 'LocalRateLimit', {
              stat_prefix: 'rl',
              token_bucket: { max_tokens: 1, tokens_per_fill: 1, fill_interval: '3600s' },
            }),
            networkFilter('echo', 'Echo'),
          ],
          { name: 'rate' },
        ),
      ],
      [cluster('u1')],
    ),
    upstreams: { u1: talker },
    stats: [/^(connection_limit|local_rate_limit|tcp)\./, /^listener\.(?!admin).*downstream_cx_(total|destroy)$/],
  },
  [
    steps('echo', async (exchange) => {
      const client = await exchange.connect('echo');
      client.send('abc');
      await client.receive('abc');
      client.end();
      await exchange.expectClose(client);
    }),
    steps('direct response', async (exchange) => {
      const client = await exchange.connect('direct');
      await exchange.expectClose(client);
    }),
    ...['limit', 'limit-delayed'].map((listener) =>
      steps(`${listener}: the second connection`, async (exchange) => {
        const first = await exchange.connect(listener);
        await first.receive('hello');
        const second = await exchange.connect(listener);
        await exchange.expectClose(second);
        first.send('bye');
        await exchange.expectClose(first);
        first.end();
        await exchange.expectStat(`connection_limit.${listener === 'limit' ? 'cl' : 'cld'}.active_connections`, 0);
        const third = await exchange.connect(listener);
        await third.receive('hello');
      }),
    ),
    steps('rate limit: the second connection', async (exchange) => {
      const first = await exchange.connect('rate');
      first.send('abc');
      await first.receive('abc');
      const second = await exchange.connect('rate');
      await exchange.expectClose(second);
    }),
  ],
);

const quiet: Fields = {
  access_log: [fileLog(`${LOG} %UPSTREAM_TRANSPORT_FAILURE_REASON% %DOWNSTREAM_LOCAL_CLOSE_REASON% ${ENDS}`)],
};

const more: Readonly<Record<string, Fields>> = {
  attempts: { cluster: 'refused', max_connect_attempts: 3 },
  'backed-off': {
    cluster: 'refused',
    max_connect_attempts: 3,
    backoff_options: { base_interval: '0.005s', max_interval: '0.01s' },
  },
  half: { cluster: 'half', max_connect_attempts: 2 },
  connected: { cluster: 'u1', access_log_options: { flush_access_log_on_connected: true } },
  periodic: { cluster: 'u1', access_log_options: { access_log_flush_interval: '0.2s' } },
  hashed: { cluster: 'u1', hash_policy: [{ source_ip: {} }] },
  full: { cluster: 'full' },
  idle: { cluster: 'u1', idle_timeout: '0.1s' },
};

suite(
  'tcp proxy details',
  {
    config: bootstrap(
      Object.entries(more).map(([name, fields]) => tcpListener([tcpProxy({ ...fields, ...quiet })], { name })),
      [
        cluster('u1'),
        cluster('refused', ['{{refused}}']),
        cluster('half', ['{{refused}}', '{{upstream:u1}}']),
        cluster('full', ['{{upstream:u1}}'], { circuit_breakers: { thresholds: [{ max_connections: 1 }] } }),
      ],
    ),
    upstreams: { u1: talker },
    stats: [
      /^tcp\.tcp\.(?!.*flow_control)/,
      /^cluster\.(refused|full)\.upstream_cx_(total|connect|destroy|overflow|none)/,
    ],
    log: 'access.log',
  },
  [
    ...['attempts', 'backed-off'].map((listener) =>
      steps(`${listener}: three attempts are refused`, async (exchange) => {
        const client = await exchange.connect(listener);
        await exchange.expectClose(client);
        exchange.expectLog('access.log', 1);
      }),
    ),
    steps(
      'half of the hosts refuse',
      async (exchange) => {
        const client = await exchange.connect('half');
        await client.receive('hello');
        client.end();
        await exchange.expectClose(client);
        exchange.expectLog('access.log', 1);
      },
      {
        rewrite: [
          [/ [12] (TcpConnectionEnd) .*$/gm, ' <attempts> $1'],
          [/^(UF|-) /gm, '<flag> '],
        ],
      },
    ),
    steps('a log entry when connected', async (exchange) => {
      const client = await exchange.connect('connected');
      await client.receive('hello');
      client.end();
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 2);
    }),
    steps('a log entry now and then', async (exchange) => {
      const client = await exchange.connect('periodic');
      await client.receive('hello');
      await Bun.sleep(300);
      client.end();
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 2);
    }),
    steps('hashed by the source', async (exchange) => {
      const client = await exchange.connect('hashed');
      client.send('bye');
      await client.receive('BYE');
      await exchange.expectClose(client);
      client.end();
      exchange.expectLog('access.log', 1);
    }),
    steps('one connection too many', async (exchange) => {
      const first = await exchange.connect('full');
      await first.receive('hello');
      const second = await exchange.connect('full');
      await exchange.expectClose(second);
      first.end();
      await exchange.expectClose(first);
      exchange.expectLog('access.log', 2);
    }),
    steps('traffic keeps the idle timeout off', async (exchange) => {
      const client = await exchange.connect('idle');
      await client.receive('hello');
      for (let i = 0; i < 4; i++) {
        await Bun.sleep(50);
        client.send(`${i}`);
        await client.receive(`${i}`);
      }
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
    steps('the client ends first, the upstream goes on', async (exchange) => {
      const client = await exchange.connect('hashed');
      await client.receive('hello');
      client.send('abc');
      client.end();
      await client.receive('saw the end');
      await exchange.expectClose(client);
      exchange.expectLog('access.log', 1);
    }),
  ],
);
