import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ProxyProcess, type ProxyProgram } from '../support/proxy-process.ts';
import { ScriptedControlPlane } from '../support/scripted-control-plane.ts';
import { ScriptedUpstream, type UpstreamScript } from '../support/scripted-upstream.ts';
import type { Surroundings } from './normalise.ts';

/** A configuration: YAML text, or a value that is written as JSON. Placeholders are documented in README.md. */
export type Config = string | object;

/** What a suite says of the proxy and of what stands behind it. */
export interface Stage {
  readonly config: Config;
  readonly upstreams?: Readonly<Record<string, UpstreamScript>>;
  /** More command-line flags. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Files under the side's folder, by name, with placeholders; values become JSON. They are there before the start. */
  readonly files?: Readonly<Record<string, Config>>;
  /** With a control plane of its own behind each side, `{{upstream:xds}}`. */
  readonly controlPlane?: (plane: ScriptedControlPlane, side: Side) => void;
  /** A program that stands beside the proxy, `{{upstream:xds}}` as well; started before it. */
  readonly companion?: () => Promise<Companion>;
  /** Prepares files under the side's folder before the start. */
  readonly prepare?: (tmp: string) => void | Promise<void>;
}

/** A program beside one proxy. */
export interface Companion {
  readonly port: number;
  /** Called once it runs, before the proxy starts. */
  ready?(side: Side): Promise<void>;
  stop(): Promise<void>;
}

/** Where a connection to nothing goes: no process listens on port 1 of the loopback. */
const REFUSED_PORT = 1;

function socketAddress(port: number): string {
  return JSON.stringify({ socket_address: { address: '127.0.0.1', port_value: port } });
}

/** Adds an admin server to a configuration that has none. */
export function withAdmin(config: Config): Config {
  const admin = { address: { socket_address: { address: '127.0.0.1', port_value: 0 } } };
  if (typeof config !== 'string') return 'admin' in config ? config : { admin, ...config };
  return /^admin:/m.test(config) ? config : `admin: ${JSON.stringify(admin)}\n${config}`;
}

/** Replaces the placeholders of a configuration. Throws on a name that is not declared. */
export function fillIn(config: Config, tmp: string, ports: ReadonlyMap<string, number>): string {
  const text = typeof config === 'string' ? config : JSON.stringify(config, null, 1);
  return text.replace(/"?\{\{(\w+)(?::([\w.-]+))?\}\}"?/g, (found: string, kind: string, name: string | undefined) => {
    const inText = found.startsWith('"') && found.endsWith('"') ? '' : found.startsWith('"') ? '"' : '';
    const closing = !found.startsWith('"') && found.endsWith('"') ? '"' : '';
    const bare = (value: string): string => `${inText}${value}${closing}`;
    if (kind === 'tmp') return found.startsWith('"') && found.endsWith('"') ? `"${tmp}"` : bare(tmp);
    if (kind === 'listen') return bare(socketAddress(0));
    if (kind === 'admin') return bare(socketAddress(0));
    if (kind === 'refused') return bare(socketAddress(REFUSED_PORT));
    const port = ports.get(name ?? '');
    if (port === undefined) throw new Error(`the configuration names ${found}, which no upstream of the suite has`);
    if (kind === 'upstream') return bare(socketAddress(port));
    if (kind === 'port') return bare(String(port));
    throw new Error(`unknown placeholder ${found}`);
  });
}

/** One of the two proxies that are compared, with its own upstreams and its own folder. */
export class Side {
  readonly program: ProxyProgram;
  readonly stage: Stage;
  readonly upstreams: Map<string, ScriptedUpstream>;
  readonly ports: Map<string, number>;
  tmp: string;
  controlPlane: ScriptedControlPlane | null = null;
  companion: Companion | null = null;
  proxy: ProxyProcess | null;
  listeners: Map<string, number>;
  /** Why the first start failed: the next case of the suite would only wait for the same. */
  #failure: unknown;

  constructor(program: ProxyProgram, stage: Stage) {
    this.program = program;
    this.stage = stage;
    this.upstreams = new Map();
    this.ports = new Map();
    this.tmp = '';
    this.proxy = null;
    this.listeners = new Map();
    this.#failure = null;
  }

  /** Starts what is not running; a proxy that has exited is started anew. */
  async start(): Promise<ProxyProcess> {
    if (this.proxy !== null && this.proxy.exitCode === null) return this.proxy;
    if (this.tmp === '') {
      this.tmp = await mkdtemp(join(tmpdir(), `${this.program.name}-tmp-`));
      await this.stage.prepare?.(this.tmp);
      for (const [name, script] of Object.entries(this.stage.upstreams ?? {})) {
        const upstream = new ScriptedUpstream(script);
        this.upstreams.set(name, upstream);
        this.ports.set(name, upstream.start());
      }
      if (this.stage.controlPlane !== undefined) {
        this.controlPlane = new ScriptedControlPlane();
        this.ports.set('xds', this.controlPlane.start());
        this.stage.controlPlane(this.controlPlane, this);
      }
      if (this.stage.companion !== undefined) {
        this.companion = await this.stage.companion();
        this.ports.set('xds', this.companion.port);
        await this.companion.ready?.(this);
      }
      for (const [name, content] of Object.entries(this.stage.files ?? {})) this.write(name, content);
    }
    const config = fillIn(withAdmin(this.stage.config), this.tmp, this.ports);
    if (this.#failure !== null) throw this.#failure;
    try {
      this.proxy = await ProxyProcess.start(this.program, this.tmp, config, this.stage.flags, this.stage.env);
    } catch (failure) {
      this.#failure = failure;
      throw failure;
    }
    this.listeners = await this.proxy.listenerPorts();
    return this.proxy;
  }

  get surroundings(): Surroundings {
    const ports = new Map<number, string>();
    for (const [name, port] of this.ports) ports.set(port, `port:${name}`);
    for (const [name, port] of this.listeners) ports.set(port, `port:${name}`);
    if (this.proxy !== null) ports.set(this.proxy.adminPort, 'port:admin');
    return { ports, tmp: this.tmp };
  }

  /** Puts a file in its place by one move, as tools that publish configuration do. */
  write(name: string, content: Config): void {
    const path = join(this.tmp, name);
    writeFileSync(`${path}.new`, fillIn(content, this.tmp, this.ports));
    renameSync(`${path}.new`, path);
  }

  /** The text of a file under the side's folder; empty where there is none. */
  file(name: string): string {
    const path = join(this.tmp, name);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  async stop(): Promise<void> {
    await this.proxy?.stop();
    for (const upstream of this.upstreams.values()) upstream.stop();
    this.controlPlane?.stop();
    await this.companion?.stop();
    if (this.tmp !== '') await rm(this.tmp, { recursive: true, force: true });
    this.proxy = null;
  }
}
