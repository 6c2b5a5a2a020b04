import type { ApiRegistry } from '../api/api-registry.ts';
import { SystemClock } from '../base/clock.ts';
import type { LoggerRegistry, LogLevel, LogSink } from '../base/log.ts';
import { SystemRandom } from '../base/random.ts';
import type { BootstrapPlan } from '../config/builders/bootstrap.ts';
import type { ExtensionRegistry } from '../config/extension-registry.ts';
import { BunRuntime } from '../net/bun/bun-runtime.ts';
import type { LocalInfo } from '../pipeline/environment.ts';
import type { WorkerOptions } from '../worker/messages.ts';
import { InlineWorker, ThreadWorker, type WorkerHandle, type WorkerObserver } from './worker-handle.ts';

export interface ServerOptions {
  readonly concurrency: number;
  readonly local: LocalInfo;
  readonly logLevel: LogLevel;
  readonly componentLevels: readonly (readonly [string, LogLevel])[];
  readonly fileFlushIntervalMs: number;
  readonly fileFlushMinBytes: number;
}

export interface ServerParts {
  readonly api: ApiRegistry;
  readonly extensions: ExtensionRegistry;
  readonly loggers: LoggerRegistry;
  readonly logSink: LogSink;
}

/** A listening address as `/listeners` shows it. */
export interface BoundListener {
  readonly name: string;
  /** With real ports, in configured order. */
  readonly addresses: string[];
}

/** The process: owns workers and tells them what to run. */
export class Server implements WorkerObserver {
  readonly #options: ServerOptions;
  readonly #parts: ServerParts;
  readonly #plan: BootstrapPlan;
  readonly workers: WorkerHandle[] = [];
  readonly bound: BoundListener[] = [];

  constructor(options: ServerOptions, parts: ServerParts, plan: BootstrapPlan) {
    this.#options = options;
    this.#parts = parts;
    this.#plan = plan;
  }

  /** Starts workers and listeners. @throws Error when a listener cannot be opened */
  async start(): Promise<void> {
    for (let index = 0; index < this.#options.concurrency; index++) this.workers.push(this.#createWorker(index));
    await Promise.all(this.workers.map((worker) => worker.ready));
    const clusters = this.#plan.clusters.map((cluster) => cluster.bytes);
    await Promise.all(
      this.workers.map((worker) => worker.request({ kind: 'clusters', changed: clusters, removed: [] })),
    );
    await this.#openListeners();
  }

  #createWorker(index: number): WorkerHandle {
    const options: WorkerOptions = {
      index,
      workerCount: this.#options.concurrency,
      local: this.#options.local,
      logLevel: this.#options.logLevel,
      componentLevels: this.#options.componentLevels,
      fileFlushIntervalMs: this.#options.fileFlushIntervalMs,
      fileFlushMinBytes: this.#options.fileFlushMinBytes,
      runtime: {},
    };
    if (this.#options.concurrency > 1) return new ThreadWorker(options, this);
    return new InlineWorker(
      options,
      {
        api: this.#parts.api,
        extensions: this.#parts.extensions,
        clock: new SystemClock(),
        random: new SystemRandom(),
        logSink: this.#parts.logSink,
        createSockets: (dispatcher) => new BunRuntime(dispatcher),
      },
      this,
    );
  }

  /** The first worker opens every address, so that ports the system chose are known to the others. */
  async #openListeners(): Promise<void> {
    const changed = this.#plan.listeners.map((listener) => listener.bytes);
    const ports: Record<string, number> = {};
    for (const listener of this.#plan.listeners) this.bound.push({ name: listener.name, addresses: [] });
    for (const worker of this.workers) {
      const reply = await worker.request({ kind: 'listeners', changed, removed: [], ports });
      if (reply.kind !== 'listening') continue;
      for (const outcome of reply.outcomes) {
        if (outcome.error !== '') throw new Error(`listener ${outcome.listener}: ${outcome.error}`);
        const entry = this.bound.find((each) => each.name === outcome.listener);
        if (entry !== undefined) entry.addresses[outcome.addressIndex] = outcome.address;
        const port = Number(/:(\d+)$/.exec(outcome.address)?.[1] ?? -1);
        if (port >= 0) ports[`${outcome.listener}|${outcome.addressIndex}`] = port;
      }
    }
  }

  onWorkerBug(index: number, message: string): void {
    this.#parts.loggers.get('main').error(`worker ${index}: ${message}`);
  }

  onWorkerLog(message: { readonly level: LogLevel; readonly logger: string; readonly message: string }): void {
    this.#parts.logSink.write(message.level, message.logger, message.message);
  }

  async stop(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.request({ kind: 'stop' })));
    for (const worker of this.workers) worker.terminate();
  }
}
