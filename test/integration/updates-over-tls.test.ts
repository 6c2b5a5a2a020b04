/**
 * A thousand changes of listeners, routes, clusters, endpoints, secrets, scopes and filters by a control plane that restarts and cuts its
 * streams, while one worker is kept busy and clients of HTTP/1 and HTTP/2 over TLS ask at a steady pace: no request is lost.
 */
import { afterEach, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { type JsonResource, ScriptedControlPlane } from '../support/scripted-control-plane.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const CHANGES = 1000;
const DATA = join(import.meta.dir, '../../src/net/tls/testdata');
const TYPE = 'type.googleapis.com/envoy.';
const TLS = `${TYPE}extensions.transport_sockets.tls.v3`;
const HCM = `${TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`;
const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const ROUTER = { name: 'router', typed_config: { '@type': `${TYPE}extensions.filters.http.router.v3.Router` } };
const LOOPBACK = { socket_address: { address: '127.0.0.1', port_value: 0 } };
const ADS = { ads: {}, resource_api_version: 'V3' };
const CERTIFICATES = ['server-ec', 'other-ec', 'server-rsa'];

type Fields = Readonly<Record<string, unknown>>;

const pem = (name: string): Fields => ({ inline_string: readFileSync(join(DATA, name), 'utf8') });
const endpointsOf = (name: string, ports: readonly number[]): Fields => ({
  cluster_name: name,
  endpoints: [
    {
      lb_endpoints: ports.map((port) => ({
        endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
      })),
    },
  ],
});

/** The clients and upstreams of `steady-wire.mjs`. */
class Wire {
  readonly #process: Bun.Subprocess<'pipe', 'pipe', 'inherit'>;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    this.#process = Bun.spawn(['node', join(import.meta.dir, 'steady-wire.mjs'), DATA], {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'inherit',
    });
    cleanups.push(() => this.#process.kill());
    this.#lines = linesOf(this.#process.stdout);
  }

  async next<T>(): Promise<T> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error('the clients have gone');
    return JSON.parse(value as string) as T;
  }

  say(line: object): void {
    this.#process.stdin.write(`${JSON.stringify(line)}\n`);
    this.#process.stdin.flush();
  }

  stop(): void {
    this.#process.stdin.end();
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const part of stream as unknown as AsyncIterable<Uint8Array>) {
    text += decoder.decode(part, { stream: true });
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n')) {
      yield text.slice(0, at);
      text = text.slice(at + 1);
    }
  }
}

/** Everything that changes, one change a call. */
function changesOf(plane: ScriptedControlPlane, ports: readonly number[]): readonly ((version: number) => void)[] {
  const set = (type: string, version: number, resources: readonly Fields[]): void => {
    const typed = resources.map((each): JsonResource => ({ '@type': `${TYPE}${type}`, ...each }));
    plane.set(`${TYPE}${type}`, String(version), typed);
  };
  const some = (version: number): readonly number[] => (version % 2 === 0 ? ports : [ports[version % 3]!]);
  const upstreamTls = (version: number): Fields => ({
    name: 'tls',
    typed_config: {
      '@type': `${TLS}.UpstreamTlsContext`,
      sni: 'server.test',
      common_tls_context: {
        alpn_protocols: [version % 2 === 0 ? 'h2' : 'http/1.1'],
        validation_context_sds_secret_config: { name: 'roots', sds_config: ADS },
      },
    },
  });
  const protocol = (version: number): Fields => ({
    [OPTIONS]: {
      '@type': `${TYPE}extensions.upstreams.http.v3.HttpProtocolOptions`,
      explicit_http_config: version % 2 === 0 ? { http2_protocol_options: {} } : { http_protocol_options: {} },
    },
  });
  return [
    (version) =>
      set('config.cluster.v3.Cluster', version, [
        {
          name: 'e',
          type: 'EDS',
          eds_cluster_config: { eds_config: ADS },
          connect_timeout: `${1 + (version % 3)}s`,
          transport_socket: upstreamTls(Math.floor(version / 12)),
          typed_extension_protocol_options: protocol(Math.floor(version / 12)),
        },
        {
          name: 's',
          load_assignment: endpointsOf('s', some(version)),
          transport_socket: upstreamTls(1),
          typed_extension_protocol_options: protocol(1),
        },
        ...(version % 4 === 0 ? [{ name: `more-${version}` }] : []),
      ]),
    (version) => set('config.endpoint.v3.ClusterLoadAssignment', version, [endpointsOf('e', some(version))]),
    (version) =>
      set('config.route.v3.RouteConfiguration', version, [
        {
          name: 'r',
          virtual_hosts: [
            {
              name: 'v',
              domains: ['*'],
              routes: [{ match: { prefix: '/' }, route: { cluster: Math.floor(version / 6) % 2 === 0 ? 'e' : 's' } }],
            },
          ],
        },
      ]),
    (version) =>
      set('config.listener.v3.Listener', version, [
        {
          name: 'a',
          address: LOOPBACK,
          // Every other change is more than one of filter chains.
          per_connection_buffer_limit_bytes: 100_000 + Math.floor(version / 12),
          filter_chains: [
            {
              transport_socket: {
                name: 'tls',
                typed_config: {
                  '@type': `${TLS}.DownstreamTlsContext`,
                  common_tls_context: {
                    alpn_protocols: ['h2', 'http/1.1'],
                    tls_certificate_sds_secret_configs: [{ name: 'own', sds_config: ADS }],
                  },
                },
              },
              filters: [
                {
                  name: 'hcm',
                  typed_config: {
                    '@type': HCM,
                    stat_prefix: `a${Math.floor(version / 6) % 2}`,
                    rds: { route_config_name: 'r', config_source: ADS },
                    http_filters: [
                      {
                        name: 'marks',
                        config_discovery: {
                          config_source: ADS,
                          type_urls: [`${TYPE}extensions.filters.http.header_mutation.v3.HeaderMutation`],
                        },
                      },
                      ROUTER,
                    ],
                  },
                },
              ],
            },
          ],
        },
      ]),
    (version) =>
      set('extensions.transport_sockets.tls.v3.Secret', version, [
        {
          name: 'own',
          tls_certificate: {
            certificate_chain: pem(`${CERTIFICATES[version % 3]}.pem`),
            private_key: pem(`${CERTIFICATES[version % 3]}.key`),
          },
        },
        {
          name: 'roots',
          validation_context: { trusted_ca: pem('root.pem'), allow_expired_certificate: version % 4 === 0 },
        },
      ]),
    (version) =>
      set('config.core.v3.TypedExtensionConfig', version, [
        {
          name: 'marks',
          typed_config: {
            '@type': `${TYPE}extensions.filters.http.header_mutation.v3.HeaderMutation`,
            mutations: {
              response_mutations: [{ append: { header: { key: 'x-version', value: String(version) } } }],
            },
          },
        },
      ]),
  ];
}

test.each(['GRPC', 'DELTA_GRPC'])(
  'a thousand changes: %s',
  async (apiType) => {
    const folder = mkdtempSync(join(tmpdir(), 'nuncio-changes-'));
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    const wire = new Wire();
    const ports = await wire.next<readonly number[]>();
    const plane = new ScriptedControlPlane();
    const planePort = plane.start();
    cleanups.push(() => plane.stop());
    const changes = changesOf(plane, ports);
    for (const change of changes) change(0);
    const retries = { retry_back_off: { base_interval: '0.01s', max_interval: '0.05s' } };
    const config = {
      node: { id: 'a', cluster: 'b' },
      admin: { address: LOOPBACK },
      dynamic_resources: {
        lds_config: ADS,
        cds_config: ADS,
        ads_config: {
          api_type: apiType,
          transport_api_version: 'V3',
          grpc_services: [{ envoy_grpc: { cluster_name: 'plane', retry_policy: retries } }],
        },
      },
      static_resources: {
        clusters: [{ name: 'plane', http2_protocol_options: {}, load_assignment: endpointsOf('plane', [planePort]) }],
      },
    };
    const program = { name: 'nuncio', command: nuncioCommand() };
    // Longer than a request takes where many things run at once: who asks after its connection's time is up is cut off, as by Envoy.
    const flags = ['--concurrency', '2', '--drain-time-s', '3'];
    const proxy = await ProxyProcess.start(program, folder, JSON.stringify(config), flags);
    cleanups.push(() => proxy.stop());
    const port = (await proxy.listenerPorts()).get('a')!;
    wire.say({ port });
    // A worker that is busy: it gets its updates late, and must lose nothing for it.
    const busy = new AbortController();
    const flood = keepBusy(port, busy.signal);
    for (let version = 1; version <= CHANGES; version++) {
      changes[version % changes.length]!(version);
      if (version % 200 === 100) {
        plane.stop();
        await Bun.sleep(30);
        plane.start();
      } else if (version % 200 === 0) {
        plane.cut();
      }
      await Bun.sleep(5);
    }
    const last = CHANGES - ((CHANGES - 2) % changes.length);
    const deadline = performance.now() + 10_000;
    for (;;) {
      const { body } = await proxy.admin('/config_dump?resource=dynamic_route_configs');
      if (body.includes(`"version_info": "${last}"`)) break;
      if (performance.now() > deadline) throw new Error(`the last routes have not come: ${body}`);
      await Bun.sleep(20);
    }
    busy.abort();
    await flood;
    wire.stop();
    const result = await wire.next<{
      readonly answered: Readonly<Record<string, number>>;
      readonly failures: readonly string[];
      readonly connections: Readonly<Record<string, number>>;
    }>();
    expect(result.failures).toEqual([]);
    for (const kind of ['HTTP/1', 'HTTP/2']) expect(result.answered[kind]!).toBeGreaterThan(300);
    const { body } = await proxy.admin('/stats?filter=rejected|envoy_bug');
    expect(body.split('\n').filter((line) => /: [1-9]/.test(line))).toEqual([]);
  },
  90_000,
);

/** One connection that keeps its worker's core busy, in bursts. */
async function keepBusy(port: number, signal: AbortSignal): Promise<void> {
  const tls = { rejectUnauthorized: false };
  while (!signal.aborted) {
    const body = 'x'.repeat(200_000);
    const burst = Array.from({ length: 4 }, () =>
      fetch(`https://127.0.0.1:${port}/`, { method: 'POST', body, tls, keepalive: true })
        .then((answer) => answer.text())
        .catch(() => ''),
    );
    await Promise.all(burst);
    await Bun.sleep(30);
  }
}
