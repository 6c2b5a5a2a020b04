import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findEnvoy } from '../../tools/envoy.ts';
import { bootstrap, type Fields, type HttpListener, httpListener, typed } from '../differential/configs.ts';
import { fillIn, withAdmin } from '../differential/side.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import { ProxyProcess, type ProxyProgram } from '../support/proxy-process.ts';

export const nuncio: ProxyProgram = { name: 'nuncio', command: nuncioCommand() };

export function envoy(): ProxyProgram {
  const path = findEnvoy();
  if (path === null) throw new Error('Envoy is not installed: run `node_modules/.bin/bun tools/envoy.ts`');
  return { name: 'envoy', command: [path] };
}

/** Path of one of the certificates of `src/net/tls/testdata/make.sh`; `server-ec` is good for 127.0.0.1, signed by `root`. */
export function pemPath(name: string): string {
  return join(import.meta.dir, '..', '..', 'src', 'net', 'tls', 'testdata', name);
}

const TLS = 'envoy.extensions.transport_sockets.tls.v3';

/** Transport socket towards servers that speak HTTP/2 over TLS and have a certificate of `root`. */
export const upstreamTls: Fields = {
  name: 'envoy.transport_sockets.tls',
  typed_config: typed(`${TLS}.UpstreamTlsContext`, {
    sni: 'server.test',
    common_tls_context: {
      alpn_protocols: ['h2'],
      validation_context: { trusted_ca: { filename: pemPath('root.pem') } },
    },
  }),
};

const downstreamTls: Fields = {
  name: 'envoy.transport_sockets.tls',
  typed_config: typed(`${TLS}.DownstreamTlsContext`, {
    common_tls_context: {
      alpn_protocols: ['h2', 'http/1.1'],
      tls_certificates: [
        {
          certificate_chain: { filename: pemPath('server-ec.pem') },
          private_key: { filename: pemPath('server-ec.key') },
        },
      ],
    },
  }),
};

/** The same listener, over TLS. */
function secured(listener: Fields): Fields {
  const chains = listener.filter_chains as readonly Fields[];
  return { ...listener, filter_chains: chains.map((chain) => ({ ...chain, transport_socket: downstreamTls })) };
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

  /** One listener `a`, these clusters, at the ports of the upstreams by name. `tls`: the listener speaks it. */
  static async start(
    listener: HttpListener,
    clusters: readonly Fields[],
    upstreams: Readonly<Record<string, number>>,
    program: ProxyProgram = nuncio,
    tls = false,
  ): Promise<RunningProxy> {
    const directory = await mkdtemp(join(tmpdir(), 'conformance-'));
    const plain = httpListener(listener);
    const config = withAdmin(bootstrap([tls ? secured(plain) : plain], clusters));
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

  /** Memory of the proxy that stands in RAM. Linux only. */
  residentBytes(): number {
    return this.#process.residentBytes();
  }

  async stop(): Promise<void> {
    await this.#process.stop();
    await rm(this.#directory, { recursive: true, force: true });
  }
}
