import { openApiRegistry } from '../api/api-registry.ts';
import { LoggerRegistry, type LogLevel } from '../base/log.ts';
import type { ConfigError } from '../config/diagnostics/config-error.ts';
import { renderErrors } from '../config/diagnostics/render.ts';
import { ExtensionRegistry } from '../config/extension-registry.ts';
import { type ConfigInput, readConfigFile } from '../config/load/load-config.ts';
import { EXTENSIONS } from '../extensions/index.ts';
import { renderStats } from '../stats/render-stats.ts';
import { loadBootstrap } from './load-bootstrap.ts';
import type { LogDestination } from './logging/log-output.ts';
import { Server } from './server.ts';
import { DEFAULT_FLAGS, type ServerFlags } from './server-flags.ts';
import { loadSockets } from './socket-runtime.ts';
import { loadTls, tlsRefusal } from './tls-runtime.ts';

export type { LogLevel } from '../base/log.ts';
export type { ConfigError } from '../config/diagnostics/config-error.ts';

/** How a server is embedded. One of `config` and `configPath` is needed; both are merged, `config` over the file. */
export interface ServerSettings {
  /** A bootstrap as YAML (or JSON) text, or as a plain object in proto3 JSON form. */
  readonly config?: string | object;
  /** A bootstrap file, of any format that the command line takes. */
  readonly configPath?: string;
  /** 1 by default: everything runs in the calling thread. More start threads of their own (Bun only). */
  readonly concurrency?: number;
  /** `warning` by default. */
  readonly logLevel?: LogLevel;
  /** Takes the records of the application log; by default they go to standard error. */
  readonly log?: (level: LogLevel, logger: string, message: string) => void;
  /** Anything else that the command line could say. */
  readonly flags?: Partial<Omit<ServerFlags, 'configPath' | 'configYaml' | 'concurrency' | 'logLevel' | 'mode'>>;
}

/** A configuration that cannot run. `message` shows every error with its place. */
export class ConfigRefused extends Error {
  readonly errors: readonly ConfigError[];

  constructor(errors: readonly ConfigError[]) {
    super(renderErrors(errors, { colours: false }));
    this.name = 'ConfigRefused';
    this.errors = errors;
  }
}

/** A proxy inside this process. */
export class EmbeddedServer {
  readonly #server: Server;
  #started: Promise<void> | null = null;

  /** Made by {@link createServer}. */
  private constructor(server: Server) {
    this.#server = server;
  }

  /** @internal Keeps the server itself out of the published declarations. */
  static around(server: Server): EmbeddedServer {
    return new EmbeddedServer(server);
  }

  /** Opens admin and listeners. @throws Error when an address cannot be bound: everything opened is closed again */
  start(): Promise<void> {
    this.#started ??= this.#server.start().catch(async (error: unknown) => {
      await this.#server.stop();
      throw error;
    });
    return this.#started;
  }

  /** Closes listeners and connections at once. May be called more than once. */
  stop(): Promise<void> {
    return this.#server.stop();
  }

  /** Addresses with real ports by listener name, such as `127.0.0.1:10000`. Known once started. */
  get addresses(): ReadonlyMap<string, readonly string[]> {
    return new Map(this.#server.bound.map((listener) => [listener.name, listener.addresses]));
  }

  /** Of the admin server; null when the configuration has none. */
  get adminAddress(): string | null {
    return this.#server.adminAddress?.text ?? null;
  }

  /** Configuration warnings. */
  get warnings(): readonly ConfigError[] {
    return this.#server.bootstrap.warnings;
  }

  /** The text of `/stats`, with the same parameters (`filter`, `format`, ...). */
  async stats(parameters: Readonly<Record<string, string>> = {}): Promise<string> {
    await this.#server.collectStats();
    return renderStats(this.#server.stats, '/stats', new URLSearchParams(parameters)).body;
  }

  /** Sets the server-wide health, as `/healthcheck/fail` and `/healthcheck/ok` do. */
  setHealthFailed(failed: boolean): void {
    this.#server.setHealthFailed(failed);
  }
}

function standardError(level: LogLevel, logger: string, message: string): void {
  process.stderr.write(`[${level}][${logger}] ${message}\n`);
}

/** Loads and checks a configuration; nothing is opened before `start`. @throws ConfigRefused */
export async function createServer(settings: ServerSettings): Promise<EmbeddedServer> {
  const inputs: ConfigInput[] = [];
  if (settings.configPath !== undefined) {
    const file = readConfigFile(settings.configPath);
    if (!file.ok) throw new ConfigRefused(file.error);
    inputs.push(file.value);
  }
  const { config } = settings;
  if (typeof config === 'string') inputs.push({ name: 'config', format: 'yaml', content: config });
  else if (config !== undefined) inputs.push({ name: 'config', format: 'json', content: JSON.stringify(config) });
  if (inputs.length === 0) throw new Error('createServer needs config or configPath');
  const flags: ServerFlags = {
    ...DEFAULT_FLAGS,
    ...settings.flags,
    configPath: settings.configPath ?? '',
    concurrency: settings.concurrency ?? 1,
    logLevel: settings.logLevel ?? 'warning',
  };
  if (flags.concurrency > 1 && !('Bun' in globalThis)) {
    throw new Error('concurrency above 1 needs Bun: this runtime has no workers that could share a port');
  }
  const write = settings.log ?? standardError;
  const logOutput: LogDestination = { write, reopen: () => {} };
  const loggers = new LoggerRegistry(logOutput, flags.logLevel);
  const api = openApiRegistry();
  const extensions = new ExtensionRegistry(EXTENSIONS);
  const createTls = await loadTls();
  const unknownFields = flags.allowUnknownStaticFields ? 'warn' : 'reject';
  const { serviceNode, serviceCluster } = flags;
  const built = { statsTags: [], serviceNode, serviceCluster };
  const loaded = loadBootstrap(inputs, api, extensions, unknownFields, built, tlsRefusal(createTls));
  if (!loaded.ok) throw new ConfigRefused(loaded.error);
  const createSockets = await loadSockets();
  return EmbeddedServer.around(
    new Server(
      flags,
      { api, extensions, loggers, logOutput, componentLevels: [], createSockets, createTls, loadAgain: null },
      loaded.value,
    ),
  );
}
