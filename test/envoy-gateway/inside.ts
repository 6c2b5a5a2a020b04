/**
 * Runs inside a network namespace of its own: Envoy Gateway on the manifests of one example, then Envoy and then Nuncio behind it.
 * Prints what each did as one line of JSON.
 */
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { counterparts } from '../../tools/counterparts.ts';
import { findEnvoy } from '../../tools/envoy.ts';
import { findEnvoyGateway } from '../../tools/envoy-gateway.ts';
import { dumpText } from '../counterparts/resources.ts';
import { typed } from '../differential/configs.ts';
import { normalise } from '../differential/normalise.ts';
import { pem } from '../differential/tls-peers.ts';
import { readStats } from '../differential/transcript.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess, type ProxyProgram } from '../support/proxy-process.ts';
import { connectRaw } from '../support/raw-client.ts';
import { httpUpstream, overTls, rawUpstream, reply, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { findResponse, showBytes } from '../support/wire-text.ts';
import { EXAMPLES, type Example, type Manifest, type Step, UPSTREAMS } from './examples.ts';

const XDS_PORT = 18000;
const PATIENCE_MS = 20_000;
/** How long nothing may change before a configuration counts as settled, in milliseconds. */
const QUIET_MS = 250;

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + PATIENCE_MS; !(await condition()); await Bun.sleep(20)) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
  }
}

const isListening = (port: number): Promise<boolean> =>
  connectRaw({ port }).then(
    (client) => {
      client.end();
      return true;
    },
    () => false,
  );

/** Answers with the request as it came. */
const echo = (name: string) =>
  httpUpstream(async (seen) => {
    if (seen.path.startsWith('/slow')) await Bun.sleep(600);
    return reply(200, `${name} saw:\n${seen.text}`, ['x-secret: 1', `x-from: ${name}`]);
  });

function startUpstreams(): ScriptedUpstream[] {
  const scripts = {
    one: echo('one'),
    two: echo('two'),
    tls: overTls(echo('tls'), { cert: pem('server-ec.pem'), key: pem('server-ec.key') }),
    raw: rawUpstream(async (connection) => {
      await connection.until(() => connection.received.endsWith('\n'));
      connection.send(`raw saw: ${connection.received}`);
    }),
    // Two failures, then an answer.
    flaky: httpUpstream((seen) => (seen.number % 3 === 0 ? reply(200, 'at last') : reply(503, 'not yet'))),
  };
  return Object.entries(scripts).map(([name, script]) => {
    const upstream = new ScriptedUpstream(script);
    upstream.start('127.0.0.1', UPSTREAMS[name as keyof typeof UPSTREAMS]);
    return upstream;
  });
}

/** Envoy Gateway in its standalone mode, and the folder of its manifests. */
class Gateway {
  readonly home: string;
  readonly #child: Bun.Subprocess;

  private constructor(home: string, child: Bun.Subprocess) {
    this.home = home;
    this.#child = child;
  }

  static async start(home: string, manifests: readonly Manifest[]): Promise<Gateway> {
    const program = findEnvoyGateway();
    if (program === null) throw new Error('Envoy Gateway is missing: run `npm run test:envoy-gateway`');
    Bun.spawnSync([program, 'certgen', '--local', '--config-home', join(home, 'config')]);
    mkdirSync(join(home, 'manifests'));
    const at = (folder: string): string => join(home, folder);
    const host = { configHome: at('config'), dataHome: at('data'), stateHome: at('state'), runtimeDir: at('run') };
    const config = {
      apiVersion: 'gateway.envoyproxy.io/v1alpha1',
      kind: 'EnvoyGateway',
      gateway: { controllerName: 'gateway.envoyproxy.io/gatewayclass-controller' },
      provider: {
        type: 'Custom',
        custom: {
          resource: { type: 'File', file: { paths: [at('manifests')] } },
          // It tries to fetch an Envoy of its own, in vain in this namespace; the other kinds know no certificates.
          infrastructure: { type: 'Host', host },
        },
      },
      logging: { level: { default: 'warn' } },
      extensionApis: { enableBackend: true },
    };
    writeFileSync(join(home, 'gateway.yaml'), JSON.stringify(config));
    const log = Bun.file(join(home, 'log'));
    const child = Bun.spawn([program, 'server', '--config-path', join(home, 'gateway.yaml')], {
      stdio: ['ignore', log, log],
    });
    const gateway = new Gateway(home, child);
    gateway.publish(manifests);
    await until('Envoy Gateway', () => isListening(XDS_PORT));
    return gateway;
  }

  publish(manifests: readonly Manifest[]): void {
    const path = join(this.home, 'manifests', 'all.yaml');
    writeFileSync(`${path}.new`, manifests.map((each) => JSON.stringify(each)).join('\n---\n'));
    renameSync(`${path}.new`, path);
  }

  /** What a proxy of a gateway needs to be told, as in Envoy Gateway's own bootstrap. */
  bootstrap(name: string): object {
    const source = { ads: {}, initial_fetch_timeout: '0s', resource_api_version: 'V3' };
    const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
    const certs = join(this.home, 'config', 'certs', 'envoy');
    return {
      node: { id: 'proxy', cluster: `envoy-gateway-system/${name}` },
      admin: { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } },
      dynamic_resources: {
        ads_config: {
          api_type: 'DELTA_GRPC',
          transport_api_version: 'V3',
          grpc_services: [{ envoy_grpc: { cluster_name: 'xds_cluster' } }],
          set_node_on_first_message_only: true,
        },
        lds_config: source,
        cds_config: source,
      },
      layered_runtime: {
        layers: [{ name: 'global_config', static_layer: { 're2.max_program_size.warn_level': 1000 } }],
      },
      static_resources: {
        clusters: [
          {
            name: 'xds_cluster',
            type: 'STRICT_DNS',
            connect_timeout: '10s',
            load_assignment: {
              cluster_name: 'xds_cluster',
              endpoints: [
                {
                  load_balancing_weight: 1,
                  lb_endpoints: [
                    {
                      load_balancing_weight: 1,
                      endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: XDS_PORT } } },
                    },
                  ],
                },
              ],
            },
            typed_extension_protocol_options: {
              [OPTIONS]: typed(OPTIONS, {
                explicit_http_config: {
                  http2_protocol_options: { connection_keepalive: { interval: '30s', timeout: '5s' } },
                },
              }),
            },
            transport_socket: {
              name: 'envoy.transport_sockets.tls',
              typed_config: typed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
                common_tls_context: {
                  tls_params: { tls_maximum_protocol_version: 'TLSv1_3' },
                  tls_certificates: [
                    {
                      certificate_chain: { filename: join(certs, 'tls.crt') },
                      private_key: { filename: join(certs, 'tls.key') },
                    },
                  ],
                  validation_context: { trusted_ca: { filename: join(certs, 'ca.crt') } },
                },
              }),
            },
          },
        ],
      },
    };
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#child.exited;
  }

  get log(): string {
    return readFileSync(join(this.home, 'log'), 'utf8');
  }
}

async function overHttp({ port, text, times }: Step & { kind: 'http' }): Promise<string> {
  const answers: string[] = [];
  for (let i = 0; i < (times ?? 1); i++) {
    const client = await connectRaw({ port });
    client.send(text);
    const answer = await client.finalResponse({ timeoutMs: 5000 });
    answers.push(answer === '' ? `[${client.fate}]` : answer);
    client.reset();
  }
  return answers.map(showBytes).join('\n');
}

async function overTcp({ port, text }: Step & { kind: 'tcp' }): Promise<string> {
  const client = await connectRaw({ port });
  client.send(text);
  await client.until(() => client.received.endsWith('\n'), 5000);
  const { received } = client;
  client.reset();
  return received;
}

function overHttps(step: Step & { kind: 'https' }): Promise<string> {
  const done = Promise.withResolvers<string>();
  const socket: TLSSocket = connect({
    host: '127.0.0.1',
    port: step.port,
    servername: step.sni,
    rejectUnauthorized: false,
    ...(step.alpn === undefined ? {} : { ALPNProtocols: [...step.alpn] }),
    ...(step.maxVersion === undefined ? {} : { maxVersion: step.maxVersion }),
  });
  let facts = '';
  let received = '';
  const finish = (how: string): void => {
    done.resolve(`${facts}${received}${how}`);
    socket.destroy();
  };
  socket.setTimeout(5000, () => finish('[nothing more came]'));
  socket.on('secureConnect', () => {
    const { serialNumber } = socket.getPeerCertificate();
    facts = `${socket.getProtocol()} ${socket.alpnProtocol || 'no protocol'} certificate ${serialNumber}\n`;
    socket.write(step.text);
  });
  socket.on('data', (bytes: Buffer) => {
    received += bytes.toString('latin1');
    if (findResponse(received, 0, { head: false, closed: false }) !== null) finish('');
  });
  socket.on('end', () => finish(facts === '' ? '[failed]' : '[closed]'));
  socket.on('error', () => finish('[failed]'));
  return done.promise;
}

async function overGrpc({ port, metadata }: Step & { kind: 'grpc' }): Promise<string> {
  const child = Bun.spawn([counterparts().xdsPeer, 'client', `127.0.0.1:${port}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.write(`${metadata}\n`);
  child.stdin.end();
  const text = await new Response(child.stdout).text();
  await child.exited;
  return text;
}

function perform(step: Step): Promise<string> {
  switch (step.kind) {
    case 'http':
      return overHttp(step);
    case 'https':
      return overHttps(step);
    case 'tcp':
      return overTcp(step);
    default:
      return overGrpc(step);
  }
}

const STATS =
  /^(listener_manager|cluster_manager)\.(.*\.update_(success|rejected)|total_listeners_active|active_clusters|warming_clusters|listener_modified)$/;

/** What is compared of a dump. */
const withoutEndpoints = (dump: string): string =>
  JSON.stringify(
    (JSON.parse(dump) as { '@type': string }[]).filter((each) => !each['@type'].endsWith('EndpointsConfigDump')),
    null,
    1,
  );

async function settled(proxy: ProxyProcess, differsFrom: string): Promise<string> {
  const read = async (): Promise<string> => {
    const { body } = await proxy.admin('/config_dump?include_eds');
    // Versions of whole types count what was published before.
    return dumpText(body).replace(/("version_info": )"\d+"/g, '$1"<number>"');
  };
  let last = '';
  let since = performance.now();
  await until('the configuration to settle', async () => {
    const now = await read();
    if (now !== last) since = performance.now();
    last = now;
    return last !== differsFrom && performance.now() - since > QUIET_MS;
  });
  return last;
}

/** Asks one thing again and again. @returns ends it, and gives the statuses that came */
function steady(step: Step | undefined): () => Promise<string> {
  if (step?.kind !== 'http') return async () => 'nobody asked';
  const statuses = new Set<string>();
  let going = true;
  const loop = (async () => {
    while (going) statuses.add((await overHttp(step)).split('\n')[0] ?? '');
  })();
  return async () => {
    going = false;
    await loop;
    return [...statuses].sort().join('\n');
  };
}

async function follow(program: ProxyProgram, gateway: Gateway, example: Example): Promise<string> {
  const lines: string[] = [];
  const surroundings = { ports: new Map<number, string>(), tmp: gateway.home };
  const note = (title: string, text: string): void => void lines.push(`== ${title}`, normalise(text, surroundings), '');
  const config = JSON.stringify(gateway.bootstrap(example.name));
  const proxy = await ProxyProcess.start(program, gateway.home, config).catch((failure) => {
    throw new Error(`${failure}\nEnvoy Gateway says:\n${gateway.log}`);
  });
  try {
    const ports = new Set([...example.steps, ...example.change.steps].map(({ port }) => port));
    for (const port of ports) await until(`port ${port}`, () => isListening(port));
    const first = await settled(proxy, '');
    for (const [index, step] of example.steps.entries()) note(`step ${index + 1}`, await perform(step));
    note('config dump', withoutEndpoints(first));
    const ended = steady(example.steps[0]);
    gateway.publish(changed(example));
    note('config dump after the change', withoutEndpoints(await settled(proxy, first)));
    note('meanwhile', await ended());
    for (const [index, step] of example.change.steps.entries()) note(`then ${index + 1}`, await perform(step));
    const stats = [...readStats((await proxy.admin('/stats')).body)].filter(([name]) => STATS.test(name));
    note('stats', stats.map(([name, value]) => `${name}: ${value}`).join('\n'));
    return lines.join('\n');
  } catch (failure) {
    return `${lines.join('\n')}\n${failure}\n${proxy.standardError()}\n${gateway.log}`;
  } finally {
    await proxy.stop();
  }
}

const keyOf = (manifest: Manifest): string => `${manifest.kind} ${(manifest.metadata as { name: string }).name}`;

function changed({ manifests, change }: Example): Manifest[] {
  const news = new Map(change.manifests.map((each) => [keyOf(each), each]));
  return manifests.map((each) => news.get(keyOf(each)) ?? each);
}

const example = EXAMPLES.find(({ name }) => name === process.argv[2]);
if (example === undefined) throw new Error(`there is no example ${process.argv[2]}`);
const home = mkdtempSync(join(tmpdir(), 'envoy-gateway-'));
const upstreams = startUpstreams();
const backends = (['grpc1', 'grpc2'] as const).map((name) =>
  Bun.spawn([counterparts().xdsPeer, 'backend', name, `127.0.0.1:${UPSTREAMS[name]}`], {
    stdio: ['ignore', 'ignore', 'inherit'],
  }),
);
/** A new Envoy Gateway for each: what the one changed, the other must not see. */
async function runWith(program: ProxyProgram, example: Example): Promise<string> {
  const own = join(home, program.name);
  mkdirSync(own);
  const gateway = await Gateway.start(own, example.manifests);
  try {
    return await follow(program, gateway, example);
  } finally {
    await gateway.stop();
  }
}

try {
  const envoy = await runWith({ name: 'envoy', command: [findEnvoy() ?? 'envoy'] }, example);
  const nuncio = await runWith({ name: 'nuncio', command: nuncioCommand() }, example);
  console.log(JSON.stringify({ envoy, nuncio }));
} finally {
  for (const backend of backends) backend.kill('SIGKILL');
  for (const upstream of upstreams) upstream.stop();
  rmSync(home, { recursive: true, force: true });
}
process.exit(0);
