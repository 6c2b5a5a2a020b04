/** `nuncio pilot` ends and comes back: what proxies hold is not sent again; and a changed cluster is not waited for. */
import { afterEach, describe, expect, test } from 'bun:test';
import { freePort } from '../support/free-port.ts';
import {
  ask,
  cluster,
  endpoints,
  endStages,
  followers,
  listener,
  resources,
  route,
  stage,
  until,
} from '../support/pilot-stage.ts';
import type { ProxyProcess } from '../support/proxy-process.ts';

afterEach(endStages);

/** Counts of what came and was taken, by stat. */
async function successes(proxy: ProxyProcess): Promise<Record<string, number>> {
  const { body } = await proxy.admin(
    '/stats?filter=(cds|lds|rds|eds|all|one).*update_(success|rejected)|update_success',
  );
  return Object.fromEntries([...body.matchAll(/^(\S+): (\d+)$/gm)].map(([, name, value]) => [name!, Number(value)]));
}

describe.each([
  ['Envoy', 'GRPC'],
  ['Envoy', 'DELTA_GRPC'],
  ['Nuncio', 'GRPC'],
  ['Nuncio', 'DELTA_GRPC'],
])('%s over %s', (follower, api) => {
  test('a restart of the control plane is not noticed', async () => {
    const command = await followers[follower]!();
    const scene = stage();
    const [port, place] = [freePort(), freePort()];
    const [one, two] = [scene.upstream('one'), scene.upstream('two')];
    scene.write('config/listener.yaml', resources(listener(port)));
    scene.write('config/web.yaml', resources(cluster('one'), endpoints('one', one), route('one')));
    const flags = ['--resources', scene.path('config'), '--listen', `127.0.0.1:${place}`, '--drain-time-ms', '200'];
    const first = await scene.pilot(...flags);
    const proxy = await scene.follow(command, place, api, 'any');
    await until('the first answer', async () => (await ask(port)) === 'one');
    const before = await successes(proxy);
    expect(Object.values(before).reduce((sum, value) => sum + value, 0)).toBeGreaterThan(3);

    const begun = performance.now();
    first.child.kill('SIGTERM');
    expect(await first.child.exited).toBe(0);
    expect(performance.now() - begun).toBeLessThan(5000);
    expect(first.log()).toContain('1 streams are ended');
    const connected = async (): Promise<string> => (await proxy.admin('/stats?filter=connected_state')).body.trim();
    await until('the loss', async () => (await connected()) === 'control_plane.connected_state: 0');
    // GOAWAY, then the end of the stream: no reset.
    expect((await proxy.admin('/stats?filter=cluster.pilot.upstream_cx_close_notify')).body).toContain(': 1\n');
    expect(await ask(port)).toBe('one');

    await scene.pilot(...flags);
    await until('the return', async () => (await connected()) === 'control_plane.connected_state: 1');
    // What would be sent again would be there before this.
    scene.write('config/web.yaml', resources(cluster('one'), endpoints('one', two), route('one')));
    await until('the change', async () => (await ask(port)) === 'two');
    const after = await successes(proxy);
    const changed = Object.keys(after).filter((name) => after[name] !== before[name]);
    // State of the world: routes that are asked for after the change went out are sent again, as that might have been their listener.
    const sent = api === 'GRPC' ? changed.filter((name) => !name.includes('.rds.')) : changed;
    expect(sent).toEqual(['cluster.one.update_success']);
    expect(after['cluster.one.update_success']).toBe(before['cluster.one.update_success']! + 1);
  }, 60_000);

  test('a cluster that is changed is warm at once: its endpoints come with it', async () => {
    const command = await followers[follower]!();
    const scene = stage();
    const port = freePort();
    const one = scene.upstream('one');
    const put = (timeout: string): void =>
      scene.write(
        'config/web.yaml',
        resources({ ...cluster('c'), connect_timeout: timeout }, endpoints('c', one), route('c')),
      );
    scene.write('config/listener.yaml', resources(listener(port)));
    put('1s');
    const pilot = await scene.pilot('--resources', scene.path('config'));
    const proxy = await scene.follow(command, pilot.port, api, 'any');
    await until('the first answer', async () => (await ask(port)) === 'one');
    const manager = async (): Promise<string> => (await proxy.admin('/stats?filter=^cluster_manager')).body;
    put('2s');
    await until('the change', async () => /cluster_modified: 1/.test(await manager()));
    // Envoy would wait for 15 seconds.
    await until('the cluster to be warm', async () => /warming_clusters: 0/.test(await manager()), 10_000);
    expect(await ask(port)).toBe('one');
  }, 60_000);
});

test.each(['GRPC', 'DELTA_GRPC'])(
  'a control plane that starts with a fault takes nothing from proxies (%s)',
  async (api) => {
    const command = await followers.Envoy!();
    const scene = stage();
    const [port, place, debug] = [freePort(), freePort(), freePort()];
    const one = scene.upstream('one');
    scene.write('config/listener.yaml', resources(listener(port)));
    scene.write('config/web.yaml', resources(cluster('one'), endpoints('one', one), route('one')));
    const listen = ['--listen', `127.0.0.1:${place}`, '--debug', `127.0.0.1:${debug}`, '--drain-time-ms', '0'];
    const flags = ['--resources', scene.path('config'), ...listen];
    const ready = async (): Promise<number> => (await fetch(`http://127.0.0.1:${debug}/ready`)).status;
    const first = await scene.pilot(...flags);
    const proxy = await scene.follow(command, place, api, 'any');
    await until('the first answer', async () => (await ask(port)) === 'one');
    expect(await ready()).toBe(200);
    first.child.kill('SIGTERM');
    expect(await first.child.exited).toBe(0);

    scene.write('config/broken.yaml', resources({ '@type': 'type.googleapis.com/envoy.config.core.v3.Node' }));
    const second = await scene.pilot(...flags);
    expect(second.log()).toContain('nothing is changed');
    expect(await ready()).toBe(503);
    const streams = async (): Promise<number> => {
      const report = (await (await fetch(`http://127.0.0.1:${debug}/debug`)).json()) as {
        clients: { types: object }[];
      };
      return Object.keys(report.clients[0]?.types ?? {}).length;
    };
    await until('the return', async () => (await streams()) >= 2);
    expect(await ask(port)).toBe('one');
    expect((await proxy.admin('/clusters')).body).toContain('one::');

    const two = scene.upstream('two');
    scene.write('config/web.yaml', resources(cluster('one'), endpoints('one', two), route('one')));
    scene.write('config/broken.yaml', resources());
    await until('the repair', async () => (await ask(port)) === 'two');
    expect(await ready()).toBe(200);
  },
  60_000,
);
