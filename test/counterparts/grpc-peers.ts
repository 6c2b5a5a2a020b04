/** Peers of a control plane that are gRPC itself, and `nuncio pilot` in front of them. */
import { expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { counterparts } from '../../tools/counterparts.ts';
import { type Fields, router, typed } from '../differential/configs.ts';
import { ADS, CLUSTER, ENDPOINTS, LISTENER, ROUTES } from '../differential/discovery.ts';
import { freePort } from '../support/free-port.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
/** A machine that is busy with other suites may be slow to start a process. */
const PATIENCE_MS = 30_000;

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + PATIENCE_MS; !(await condition()); await Bun.sleep(20)) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
  }
}

const ends: (() => Promise<unknown>)[] = [];

/** Ends everything that was started: for `afterEach`. */
export async function endPeers(): Promise<void> {
  for (const end of ends.splice(0).reverse()) await end();
}

/** A line that one of the programs says. */
export interface Said {
  readonly event: string;
  readonly port?: number;
  readonly mode?: string;
  readonly code?: string;
  readonly host?: string;
  readonly error?: string;
}

/** A program that says lines of JSON and hears lines of text. */
export class Peer {
  readonly said: Said[] = [];
  readonly #child: Bun.Subprocess<'pipe', 'pipe', 'inherit'>;

  constructor(command: readonly string[], env: Readonly<Record<string, string>> = {}) {
    // To grpc-java an empty variable is a path.
    const set = Object.entries({ ...process.env, ...env }).filter(([, value]) => value !== '');
    this.#child = Bun.spawn([...command], { stdio: ['pipe', 'pipe', 'inherit'], env: Object.fromEntries(set) });
    ends.push(async () => {
      this.#child.kill('SIGKILL');
      await this.#child.exited;
    });
    void this.#read();
  }

  async #read(): Promise<void> {
    let rest = '';
    for await (const bytes of this.#child.stdout) {
      const lines = (rest + Buffer.from(bytes).toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.said.push(JSON.parse(line) as Said);
    }
  }

  /** One call. @param metadata `name value` */
  async call(metadata = ''): Promise<Said> {
    const count = this.said.length;
    this.#child.stdin.write(`${metadata}\n`);
    this.#child.stdin.flush();
    await until('an answer', () => this.said.length > count);
    return this.said[count]!;
  }

  async port(): Promise<number> {
    await until('a port', () => this.said.some(({ event }) => event === 'listening'));
    return this.said.find(({ event }) => event === 'listening')!.port!;
  }
}

const backend = (name: string): Promise<number> =>
  new Peer([counterparts().xdsPeer, 'backend', name, '127.0.0.1:0']).port();

/** `nuncio pilot` on a folder of resources. */
export class Pilot {
  readonly #folder = mkdtempSync(join(tmpdir(), 'grpc-clients-'));
  log = '';

  constructor() {
    mkdirSync(join(this.#folder, 'resources'));
    ends.push(async () => rmSync(this.#folder, { recursive: true, force: true }));
  }

  publish(...resources: readonly Fields[]): void {
    const path = join(this.#folder, 'resources', 'all.json');
    writeFileSync(`${path}.new`, JSON.stringify({ resources }));
    renameSync(`${path}.new`, path);
  }

  /** @returns the environment of clients that follow it */
  async start(): Promise<Record<string, string>> {
    const flags = ['pilot', '--listen', '127.0.0.1:0', '--resources', join(this.#folder, 'resources')];
    const child = Bun.spawn([...nuncioCommand(), ...flags], { stdio: ['ignore', 'inherit', 'pipe'] });
    ends.push(async () => {
      child.kill();
      await child.exited;
    });
    void (async () => {
      for await (const bytes of child.stderr) this.log += Buffer.from(bytes).toString();
    })();
    const served = (): string | undefined => /served on 127\.0\.0\.1:(\d+)/.exec(this.log)?.[1];
    await until('the pilot', () => {
      if (child.exitCode !== null) throw new Error(`the pilot ended: ${this.log}`);
      return served() !== undefined;
    });
    const bootstrap = {
      xds_servers: [
        {
          server_uri: `127.0.0.1:${served()}`,
          channel_creds: [{ type: 'insecure' }],
          server_features: ['xds_v3'],
        },
      ],
      // grpc-js demands a locality.
      node: { id: 'grpc-client', locality: { region: 'r', zone: 'z', sub_zone: 's' } },
      server_listener_resource_name_template: 'grpc/server?xds.resource.listening_address=%s',
    };
    return { GRPC_XDS_BOOTSTRAP_CONFIG: JSON.stringify(bootstrap), GRPC_XDS_BOOTSTRAP: '' };
  }
}

const hcm = (fields: Fields): Fields => typed(HCM, { stat_prefix: 'grpc', http_filters: [router()], ...fields });

/** The Listener of a service: its name is the target's. */
const apiListener = (name: string): Fields =>
  typed(LISTENER, {
    name,
    api_listener: { api_listener: hcm({ rds: { route_config_name: 'r', config_source: ADS } }) },
  });
const routeTable = (routes: readonly Fields[]): Fields =>
  typed(ROUTES, { name: 'r', virtual_hosts: [{ name: 'all', domains: ['*'], routes }] });
const to = (cluster: string, match: Fields = {}): Fields => ({
  match: { prefix: '', ...match },
  route: { cluster },
});
const cluster = (name: string): Fields =>
  typed(CLUSTER, {
    name,
    type: 'EDS',
    lb_policy: 'ROUND_ROBIN',
    eds_cluster_config: { eds_config: ADS, service_name: `${name}-endpoints` },
  });
const endpoints = (name: string, ...ports: readonly number[]): Fields =>
  typed(ENDPOINTS, {
    cluster_name: `${name}-endpoints`,
    endpoints: [
      {
        locality: { region: 'r' },
        // Without a weight gRPC does not take a locality.
        load_balancing_weight: 1,
        lb_endpoints: ports.map((port_value) => ({
          endpoint: { address: { socket_address: { address: '127.0.0.1', port_value } } },
        })),
      },
    ],
  });

/**
 * What every client of xDS should do.
 * @param command the target is appended
 * @param forgetful it takes a Listener that comes back and then never asks for its routes: only a new client finds the way
 */
export function clientBehindPilot(command: () => readonly string[], forgetful = false): void {
  test('finds a service; its endpoints, routes and clusters change', async () => {
    const [one, two] = await Promise.all([backend('one'), backend('two')]);
    const pilot = new Pilot();
    const still = [apiListener('service'), cluster('c1')];
    pilot.publish(...still, routeTable([to('c1')]), endpoints('c1', one));
    const client = new Peer([...command(), 'xds:///service'], await pilot.start());
    expect(await client.call()).toMatchObject({ code: 'OK', host: 'one' });

    // Calls go on all the while, and none fails.
    const hosts = async (): Promise<string> => {
      const { code, host } = await client.call();
      expect(code).toBe('OK');
      return host!;
    };
    pilot.publish(...still, routeTable([to('c1')]), endpoints('c1', two));
    await until('the other endpoint', async () => (await hosts()) === 'two');

    const byHeader = to('c2', { headers: [{ name: 'to', string_match: { exact: 'one' } }] });
    pilot.publish(
      ...still,
      cluster('c2'),
      endpoints('c2', one),
      endpoints('c1', two),
      routeTable([byHeader, to('c1')]),
    );
    await until('the route by header', async () => (await client.call('to one')).host === 'one');
    expect(await client.call()).toMatchObject({ code: 'OK', host: 'two' });

    pilot.publish(...still, endpoints('c1', one, two), routeTable([to('c1')]));
    const seen = new Set<string>();
    await until('both endpoints', async () => seen.add(await hosts()).size === 2);

    expect(pilot.log).not.toContain('refuses');
  }, 120_000);

  test('is told that a service is not there, and comes back with it', async () => {
    const one = await backend('one');
    const pilot = new Pilot();
    const rest = [cluster('c1'), routeTable([to('c1')]), endpoints('c1', one)];
    pilot.publish(...rest, apiListener('other'), apiListener('service'));
    const env = await pilot.start();
    const client = new Peer([...command(), 'xds:///service'], env);
    expect(await client.call()).toMatchObject({ code: 'OK', host: 'one' });
    pilot.publish(...rest, apiListener('other'));
    await until('the end of the service', async () => /^unavailable$/i.test((await client.call()).code ?? ''));
    pilot.publish(...rest, apiListener('other'), apiListener('service'));
    const next = forgetful ? new Peer([...command(), 'xds:///service'], env) : client;
    await until('its return', async () => (await next.call()).code === 'OK');
  }, 120_000);
}

/**
 * A server that serves, and stops, as its Listener says.
 * @param command of one that calls itself `managed`, by its port
 * @param ip where it listens
 */
export function serverBehindPilot(command: (port: number) => readonly string[], ip = '127.0.0.1'): void {
  test('serves when its Listener says so, and stops when it is taken away', async () => {
    const port = freePort();
    const address = `127.0.0.1:${port}`;
    const listener = (routes: readonly Fields[]): Fields =>
      typed(LISTENER, {
        name: `grpc/server?xds.resource.listening_address=${ip}:${port}`,
        address: { socket_address: { address: ip, port_value: port } },
        filter_chains: [
          {
            name: 'all',
            filters: [
              {
                name: 'http',
                typed_config: hcm({
                  route_config: { name: 'inline', virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
                }),
              },
            ],
          },
        ],
      });
    const serving = { match: { prefix: '/' }, non_forwarding_action: {} };
    const pilot = new Pilot();
    pilot.publish(listener([serving]));
    const server = new Peer(command(port), await pilot.start());
    const modes = (): (string | undefined)[] =>
      server.said.filter(({ event }) => event === 'mode').map((each) => each.mode);
    await until('the server to serve', () => modes().at(-1) === 'SERVING');
    const client = new Peer([counterparts().xdsPeer, 'client', address]);
    expect(await client.call()).toMatchObject({ code: 'OK', host: 'managed' });

    // Only other methods are served.
    pilot.publish(listener([{ match: { path: '/nothing' }, non_forwarding_action: {} }]));
    await until('calls to fail', async () => (await client.call()).code === 'Unavailable');
    pilot.publish(listener([serving]));
    await until('calls to go through', async () => (await client.call()).code === 'OK');

    pilot.publish(cluster('c1'));
    await until('the server to end serving', () => modes().at(-1) === 'NOT_SERVING');
    pilot.publish(listener([serving]));
    await until('the server to serve again', () => modes().at(-1) === 'SERVING');
    await until('calls to go through', async () => (await client.call()).code === 'OK');
  }, 120_000);
}
