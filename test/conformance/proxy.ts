import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findEnvoy } from '../../tools/envoy.ts';
import { bootstrap, cluster, type Fields, type HttpListener, httpListener, typed } from '../differential/configs.ts';
import { fillIn, withAdmin } from '../differential/side.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess, type ProxyProgram } from '../support/proxy-process.ts';

export const nuncio: ProxyProgram = { name: 'nuncio', command: nuncioCommand() };

export function envoy(): ProxyProgram {
  const path = findEnvoy();
  if (path === null) throw new Error('Envoy is not installed: run `node_modules/.bin/bun tools/envoy.ts`');
  return { name: 'envoy', command: [path] };
}

const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

/** A cluster `name` at upstream `{{upstream:name}}` that is spoken to by HTTP/2. */
export function http2Cluster(name: string, options: Fields = {}): Fields {
  return cluster(name, undefined, {
    typed_extension_protocol_options: {
      [OPTIONS]: typed(OPTIONS, { explicit_http_config: { http2_protocol_options: options } }),
    },
  });
}

/** A proxy between a real client and a real server. */
export class RunningProxy {
  readonly #process: ProxyProcess;
  readonly #directory: string;
  readonly #ports: ReadonlyMap<string, number>;

  private constructor(process: ProxyProcess, directory: string, ports: ReadonlyMap<string, number>) {
    this.#process = process;
    this.#directory = directory;
    this.#ports = ports;
  }

  /** One listener `a`, these clusters, at the ports of the upstreams by name. */
  static async start(
    listener: HttpListener,
    clusters: readonly Fields[],
    upstreams: Readonly<Record<string, number>>,
    program: ProxyProgram = nuncio,
  ): Promise<RunningProxy> {
    const directory = await mkdtemp(join(tmpdir(), 'conformance-'));
    const config = withAdmin(bootstrap([httpListener(listener)], clusters));
    const text = fillIn(config, directory, new Map(Object.entries(upstreams)));
    const process = await ProxyProcess.start(program, directory, text);
    return new RunningProxy(process, directory, await process.listenerPorts());
  }

  get port(): number {
    return this.#ports.get('a') ?? 0;
  }

  async stat(name: string): Promise<number> {
    const { body } = await this.#process.admin(`/stats?filter=^${name.replaceAll('.', '\\.')}$`);
    return Number(/: (\d+)/.exec(body)?.[1] ?? 'NaN');
  }

  async stop(): Promise<void> {
    await this.#process.stop();
    await rm(this.#directory, { recursive: true, force: true });
  }
}
