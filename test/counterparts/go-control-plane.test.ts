/** Envoy and Nuncio beside each other behind go-control-plane: one state, whatever befalls the way there. */
import { type Fields, http, to, typed } from '../differential/configs.ts';
import { ADS, clusterResource, endpoints, listenerResource, routes, says } from '../differential/discovery.ts';
import type { Exchange } from '../differential/exchange.ts';
import { type Case, steps, suite } from '../differential/harness.ts';
import type { Side } from '../differential/side.ts';
import { GoControlPlane } from './go-control-plane.ts';
import { change, Follower, judged, NODE, planeOf } from './go-follower.ts';
import {
  CDS,
  EDS,
  eds,
  followingBootstrap,
  groupsOf,
  LDS,
  noteDump,
  noteStats,
  OUTCOMES,
  RDS,
  rds,
  upstreams,
  usual,
  type World,
} from './resources.ts';

const get = http('GET /');

const FIRST = { [CDS]: '1', [EDS]: '1', [LDS]: '1', [RDS]: '1' };

async function state(exchange: Exchange): Promise<void> {
  await noteDump(exchange);
  await noteStats(exchange, OUTCOMES);
}

/** Endpoints of `c1` that no other number has. */
const weighted = (upstream: string, weight: number): Fields =>
  typed('envoy.config.endpoint.v3.ClusterLoadAssignment', {
    cluster_name: 'c1',
    endpoints: [
      { lb_endpoints: [{ endpoint: { address: `{{upstream:${upstream}}}` }, load_balancing_weight: weight }] },
    ],
  });

/** A match on a pattern that does not parse. */
const broken: Fields = { match: { safe_regex: { regex: '(' } }, direct_response: { status: 200 } };

function cases(): Case[] {
  return [
    steps('the start', async (exchange) => {
      await judged(exchange, FIRST);
      await exchange.request(get);
      await state(exchange);
    }),
    steps('every type changes once', async (exchange) => {
      await judged(exchange, FIRST);
      await change(exchange, usual({ [EDS]: ['2', [endpoints('c1', ['u2'])]] }), { [EDS]: '2' });
      await exchange.request(get);
      const second: World = {
        [CDS]: ['3', [eds('c1'), clusterResource('c2', 'u2')]],
        [RDS]: ['3', [routes('r1', [to('c2', '/two'), to('c1')])]],
        [LDS]: ['3', [listenerResource({ hcm: rds() }), listenerResource({ name: 'b', routes: [says('b')] })]],
      };
      await change(exchange, usual(second), { [CDS]: '3', [RDS]: '3', [LDS]: '3', [EDS]: '1' });
      await exchange.request(http('GET /two'));
      await exchange.request(get);
      await exchange.request(get, { listener: 'b' });
      await state(exchange);
    }),
    steps('everything is taken away but the listener', async (exchange) => {
      await judged(exchange, FIRST);
      const bare: World = { [CDS]: ['2', []], [LDS]: ['2', [listenerResource({ routes: [says('alone')] })]] };
      await change(exchange, usual({ ...bare, [EDS]: ['1', []], [RDS]: ['1', []] }), { [CDS]: '2', [LDS]: '2' });
      await exchange.expectStat('cluster_manager.active_clusters', 1);
      await exchange.request(get);
      await noteDump(exchange);
      // Envoy's routes live on with the draining listener, and hear that they are removed.
      await noteStats(exchange, /^(listener_manager|cluster_manager)\.(.*\.update_success|total_listeners_active)$/);
    }),
    steps('a thousand updates of endpoints and routes', async (exchange) => {
      await judged(exchange, FIRST);
      const plane = planeOf(exchange);
      for (let i = 2; i <= 1001; i++) {
        const text = String(i);
        const world = usual({
          // Every one differs from all others: of updates that overtake each other, delta would not send one that is known.
          [EDS]: [text, [weighted(i % 2 === 0 ? 'u1' : 'u2', i)]],
          [RDS]: [text, [routes('r1', [says(text, '/version'), to('c1')])]],
        });
        await plane.set(NODE, groupsOf(world, exchange.side));
      }
      await judged(exchange, { [EDS]: '1001', [RDS]: '1001' });
      await exchange.request(http('GET /version'));
      await exchange.request(get);
      await noteDump(exchange);
    }),
    steps('a thousand clusters come, change and go', async (exchange) => {
      await judged(exchange, FIRST);
      // Delta does not send the endpoints of a changed cluster again, which Envoy waits for.
      const brief = { eds_config: { ...ADS, initial_fetch_timeout: '0.2s' } };
      const cluster = (name: string, timeout: string): Fields =>
        eds(name, { connect_timeout: timeout, eds_cluster_config: brief });
      const many = (version: string, timeout: string): World =>
        usual({
          [CDS]: [version, [eds('c1'), ...Array.from({ length: 1000 }, (_, i) => cluster(`m${i}`, timeout))]],
          [EDS]: [
            version,
            [endpoints('c1', ['u1']), ...Array.from({ length: 1000 }, (_, i) => endpoints(`m${i}`, ['u2']))],
          ],
          [RDS]: [version, [routes('r1', [to('m999', '/m'), to('c1')])]],
        });
      await change(exchange, many('2', '1s'), { [CDS]: '2', [RDS]: '2' });
      await exchange.expectStat('cluster_manager.warming_clusters', 0, 10_000);
      await exchange.expectStat('cluster_manager.active_clusters', 1002, 10_000);
      await exchange.request(http('GET /m'));
      await change(exchange, many('3', '2s'), { [CDS]: '3' });
      await exchange.expectStat('cluster_manager.warming_clusters', 0, 10_000);
      await exchange.request(http('GET /m'));
      await change(exchange, usual({ [CDS]: ['4', [eds('c1')]], [RDS]: ['4', [routes('r1', [to('c1')])]] }), {
        [CDS]: '4',
        [RDS]: '4',
      });
      await exchange.expectStat('cluster_manager.active_clusters', 2, 10_000);
      await exchange.request(get);
      await state(exchange);
    }),
    steps('a refused cluster beside a good one, then both good', async (exchange) => {
      await judged(exchange, FIRST);
      const bad = typed('envoy.config.cluster.v3.Cluster', { name: 'c2', type: 'EDS' });
      await change(exchange, usual({ [CDS]: ['2', [bad, eds('c1'), clusterResource('c3', 'u2')]] }), { [CDS]: '2' });
      await exchange.expectStat('cluster_manager.active_clusters', 3);
      await exchange.request(get);
      await noteDump(exchange, 'while one is refused');
      const good = usual({ [CDS]: ['3', [clusterResource('c2', 'u2'), eds('c1'), clusterResource('c3', 'u2')]] });
      await change(exchange, good, { [CDS]: '3' });
      await exchange.expectStat('cluster_manager.active_clusters', 4);
      await noteDump(exchange);
    }),
    steps('a refused listener: the last good one serves', async (exchange) => {
      await judged(exchange, FIRST);
      const bad = listenerResource({ hcm: { ...rds(), http_filters: [{ name: 'nothing' }] } });
      const beside = listenerResource({ name: 'b', routes: [says('b')] });
      await change(exchange, usual({ [LDS]: ['2', [bad, beside]] }), { [LDS]: '2' });
      await exchange.request(get);
      await exchange.request(get, { listener: 'b' });
      await noteDump(exchange);
    }),
    steps('refused routes: the last good ones serve', async (exchange) => {
      await judged(exchange, FIRST);
      await change(exchange, usual({ [RDS]: ['2', [routes('r1', [broken])]] }), { [RDS]: '2' });
      await exchange.request(get);
      await noteDump(exchange);
      await change(exchange, usual({ [RDS]: ['3', [routes('r1', [says('third')])]] }), { [RDS]: '3' });
      await exchange.request(get);
    }),
    steps('refused endpoints: the last good ones serve', async (exchange) => {
      await judged(exchange, FIRST);
      const bad = endpoints('c1', ['u2'], { policy: { overprovisioning_factor: 0 } });
      await change(exchange, usual({ [EDS]: ['2', [bad]] }), { [EDS]: '2' });
      await exchange.request(get);
      await noteDump(exchange);
    }),
    steps('connections are cut between updates', async (exchange) => {
      await judged(exchange, FIRST);
      const plane = planeOf(exchange);
      for (let i = 2; i <= 9; i++) {
        const text = String(i);
        await plane.cut();
        await change(exchange, usual({ [EDS]: [text, [endpoints('c1', [i % 2 === 0 ? 'u2' : 'u1'])]] }), {
          [EDS]: text,
        });
        await exchange.request(get);
      }
      await noteDump(exchange);
    }),
    steps('the server is gone while the world changes', async (exchange) => {
      await judged(exchange, FIRST);
      const plane = planeOf(exchange);
      await plane.silence();
      await exchange.expectStat('control_plane.connected_state', 0);
      await exchange.request(get);
      const world = usual({
        [CDS]: ['2', [clusterResource('c2', 'u2')]],
        [RDS]: ['2', [routes('r1', [to('c2')])]],
        [EDS]: ['2', []],
      });
      await plane.set(NODE, groupsOf(world, exchange.side));
      await plane.resume();
      await judged(exchange, { [CDS]: '2', [RDS]: '2' });
      await exchange.expectStat('control_plane.connected_state', 1);
      await exchange.request(get);
      await noteDump(exchange);
    }),
    steps('the server forgets the node, and knows it again', async (exchange) => {
      await judged(exchange, FIRST);
      await exchange.request(get);
      const plane = planeOf(exchange);
      await plane.silence();
      await plane.resume();
      await exchange.expectStat('control_plane.connected_state', 1);
      await change(exchange, usual({ [RDS]: ['2', [routes('r1', [says('again')])]] }), { [RDS]: '2' });
      await exchange.request(get);
      await noteDump(exchange);
    }),
  ];
}

for (const apiType of ['GRPC', 'DELTA_GRPC']) {
  suite(
    `go-control-plane over ${apiType}`,
    {
      // Its state of the world sends what is refused again and again: a limit, as its users set.
      config: followingBootstrap(
        apiType,
        {},
        {
          set_node_on_first_message_only: true,
          rate_limit_settings: { max_tokens: 200, fill_rate: 200 },
        },
      ),
      upstreams,
      companion: async () => new Follower(await GoControlPlane.start('-ads'), usual()),
      fresh: true,
      upstreamBytes: false,
    },
    cases(),
  );
}

/** Streams that end at one of their first requests, thrice if it comes to that. */
class CutFollower extends Follower {
  readonly #after: number;

  constructor(plane: GoControlPlane, after: number) {
    super(plane, usual());
    this.#after = after;
  }

  override async ready(side: Side): Promise<void> {
    await super.ready(side);
    await this.plane.failAfter(this.#after, 3);
  }
}

for (const apiType of ['GRPC', 'DELTA_GRPC']) {
  // A start takes eight: one for each type, and its ACK.
  for (const after of [1, 2, 3, 4, 5, 6, 7, 8]) {
    suite(
      `go-control-plane over ${apiType}, streams ended at request ${after}`,
      {
        config: followingBootstrap(apiType),
        upstreams,
        companion: async () => new CutFollower(await GoControlPlane.start('-ads'), after),
        fresh: true,
        upstreamBytes: false,
      },
      [
        steps('the state in the end', async (exchange) => {
          const plane = planeOf(exchange);
          await plane.until('a second stream', () => plane.streams >= 2);
          await exchange.expectStat('listener_manager.total_listeners_active', 1);
          await exchange.refreshListeners();
          await exchange.request(get);
          // The client is still heard.
          // An ACK may be lost with its stream: what counts is what is served.
          await plane.set(NODE, groupsOf(usual({ [RDS]: ['2', [routes('r1', [says('second')])]] }), exchange.side));
          const served = async (): Promise<string> => (await fetch(`http://127.0.0.1:${exchange.port('a')}/`)).text();
          await exchange.expect('the second routes', async () => (await served()) === 'second');
          await exchange.expectStat('control_plane.connected_state', 1);
          await exchange.request(get);
          await noteDump(exchange);
        }),
      ],
    );
  }
}
