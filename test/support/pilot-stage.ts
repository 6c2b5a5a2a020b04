/** A control plane (`nuncio pilot`), proxies that follow it, and what they serve: for tests with real processes. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Server, Subprocess } from 'bun';
import { installEnvoy } from '../../tools/envoy.ts';
import { nuncioCommand } from './nuncio-command.ts';
import { ProxyProcess } from './proxy-process.ts';

export const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
export const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
export const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';

export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 15_000,
): Promise<void> {
  for (const deadline = performance.now() + timeoutMs; !(await condition()); await Bun.sleep(5)) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
  }
}

/** A control plane in a process of its own. */
export interface RunningPilot {
  readonly port: number;
  /** What it has logged so far. */
  log(): string;
  readonly child: Subprocess<'ignore', 'inherit', 'pipe'>;
}

/** How a proxy reaches its control plane, and who it says that it is. */
export interface Following {
  readonly node?: object;
  /** Files: what it trusts and presents; absent: no TLS. */
  readonly tls?: { readonly ca: string; readonly cert?: string; readonly key?: string };
  /** Sent with the stream. */
  readonly metadata?: readonly { readonly key: string; readonly value: string }[];
  /** Further resources of its own. */
  readonly statics?: object;
  /** Further fields of its bootstrap. */
  readonly bootstrap?: object;
}

const TLS_SOCKET = 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext';

function socketOf({ tls }: Following): object {
  if (tls === undefined) return {};
  const { ca, cert, key } = tls;
  const own = { certificate_chain: { filename: cert }, private_key: { filename: key } };
  const context = {
    validation_context: { trusted_ca: { filename: ca } },
    ...(cert === undefined ? {} : { tls_certificates: [own] }),
  };
  return {
    transport_socket: {
      name: 'tls',
      typed_config: { '@type': `type.googleapis.com/${TLS_SOCKET}`, sni: 'localhost', common_tls_context: context },
    },
  };
}

/** Everything that a test starts, ended behind it. */
export class Stage {
  readonly directory = mkdtempSync(join(tmpdir(), 'pilot-'));
  readonly #ends: (() => Promise<unknown> | unknown)[] = [];

  /** Moved into place, as everybody should. */
  write(name: string, content: unknown): void {
    const path = join(this.directory, name);
    mkdirSync(dirname(path), { recursive: true });
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  }

  upstream(answer: string): number {
    const server: Server<undefined> = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response(answer) });
    this.#ends.push(() => server.stop(true));
    return server.port ?? 0;
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** Ended with the others. */
  onEnd(end: () => Promise<unknown> | unknown): void {
    this.#ends.push(end);
  }

  async pilot(...flags: string[]): Promise<RunningPilot> {
    const command = [
      ...nuncioCommand(),
      'pilot',
      ...(flags.includes('--listen') ? [] : ['--listen', '127.0.0.1:0']),
      ...flags,
    ];
    const child: Subprocess<'ignore', 'inherit', 'pipe'> = Bun.spawn(command, { stdio: ['ignore', 'inherit', 'pipe'] });
    let log = '';
    void (async () => {
      for await (const bytes of child.stderr) log += Buffer.from(bytes).toString();
    })();
    this.#ends.push(async () => {
      child.kill();
      await child.exited;
    });
    const served = (): string | undefined => /served on 127\.0\.0\.1:(\d+)/.exec(log)?.[1];
    await until('the pilot', () => {
      if (child.exitCode !== null) throw new Error(`the pilot ended: ${log}`);
      return served() !== undefined;
    });
    return { port: Number(served()), log: () => log, child };
  }

  /** A proxy that follows the control plane at `port`. */
  async follow(
    command: readonly string[],
    port: number,
    api: string,
    cluster: string,
    more: Following = {},
  ): Promise<ProxyProcess> {
    const bootstrap = followerBootstrap(port, api, { id: 'test', cluster }, more);
    const proxy = await ProxyProcess.start({ name: 'proxy', command }, this.directory, JSON.stringify(bootstrap));
    this.#ends.push(() => proxy.stop());
    return proxy;
  }

  async end(): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The bootstrap of a proxy that follows a control plane by ADS. @param port the control plane's */
export function followerBootstrap(port: number, api: string, node: object, more: Following = {}): object {
  return {
    ...more.bootstrap,
    node: { ...node, ...more.node },
    admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
    dynamic_resources: {
      ads_config: {
        api_type: api,
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'pilot' }, initial_metadata: more.metadata ?? [] }],
      },
      lds_config: ADS,
      cds_config: ADS,
    },
    static_resources: {
      ...more.statics,
      clusters: [
        {
          name: 'pilot',
          type: 'STATIC',
          connect_timeout: '1s',
          ...socketOf(more),
          typed_extension_protocol_options: {
            [HTTP_OPTIONS]: {
              '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: { cluster_name: 'pilot', endpoints: [{ lb_endpoints: [endpoint(port)] }] },
        },
      ],
    },
  };
}

export const endpoint = (port: number): object => ({
  endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
});

export const ADS = { ads: {}, resource_api_version: 'V3' };
export const resources = (...list: object[]): object => ({ resources: list });
export const ofType = (type: string, fields: object): object => ({
  '@type': `type.googleapis.com/envoy.config.${type}`,
  ...fields,
});

export const cluster = (name: string): object =>
  ofType('cluster.v3.Cluster', {
    name,
    type: 'EDS',
    connect_timeout: '1s',
    eds_cluster_config: { eds_config: ADS },
  });
export const endpoints = (name: string, port: number): object =>
  ofType('endpoint.v3.ClusterLoadAssignment', { cluster_name: name, endpoints: [{ lb_endpoints: [endpoint(port)] }] });
export const listener = (port: number): object =>
  ofType('listener.v3.Listener', {
    name: 'web',
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [
      {
        filters: [
          {
            name: 'http',
            typed_config: {
              '@type': `type.googleapis.com/${HCM}`,
              stat_prefix: 'web',
              rds: { route_config_name: 'all', config_source: ADS },
              http_filters: [{ name: 'router', typed_config: { '@type': `type.googleapis.com/${ROUTER}` } }],
            },
          },
        ],
      },
    ],
  });
export const route = (to: string): object =>
  ofType('route.v3.RouteConfiguration', {
    name: 'all',
    virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: to } }] }],
  });

export async function ask(port: number, headers: Record<string, string> = {}, path = '/'): Promise<string> {
  return fetch(`http://127.0.0.1:${port}${path}`, { headers }).then(
    (response) => response.text(),
    () => 'refused',
  );
}

const stages: Stage[] = [];
export function stage(): Stage {
  const made = new Stage();
  stages.push(made);
  return made;
}
/** Ends everything that was started: for `afterEach`. */
export async function endStages(): Promise<void> {
  for (const each of stages.splice(0)) await each.end();
}

/** Who follows: the real Envoy, or Nuncio itself. */
export const followers: Readonly<Record<string, () => Promise<readonly string[]>>> = {
  Envoy: async () => [await installEnvoy()],
  Nuncio: async () => nuncioCommand(),
};
