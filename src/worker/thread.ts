import { openApiRegistry } from '../api/api-registry.ts';
import { SystemClock } from '../base/clock.ts';
import { beginStartUp, endStartUp } from '../base/jit-policy.ts';
import { SystemRandom } from '../base/random.ts';
import { ExtensionRegistry } from '../config/extension-registry.ts';
import { EXTENSIONS } from '../extensions/index.ts';
import { BunRuntime } from '../net/bun/bun-runtime.ts';
import { BunTlsEngine } from '../net/bun/bun-tls-engine.ts';
import type { FromWorker, ToWorker, WorkerOptions } from './messages.ts';
import { Worker as ProxyWorker } from './worker.ts';

declare const self: {
  postMessage(message: FromWorker): void;
  onmessage: ((event: { data: ToWorker | { kind: 'start'; options: WorkerOptions } }) => void) | null;
};

let worker: ProxyWorker | null = null;
beginStartUp();

// Unhandled, either would end the thread, and with it all its connections.
function onStray(error: unknown): void {
  self.postMessage({ kind: 'bug', message: describe(error) });
}
process.on('uncaughtException', onStray);
process.on('unhandledRejection', onStray);

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Entry of a worker thread: the first message starts it, all others are its orders. */
self.onmessage = ({ data }) => {
  try {
    if (data.kind === 'start') start(data.options);
    else if (worker === null) throw new Error('the worker has not started');
    else worker.handle(data);
  } catch (error) {
    // Somebody waits for an answer, whatever it is.
    if (data.kind === 'start') self.postMessage({ kind: 'failed', id: 0, message: describe(error) });
    else if ('id' in data) self.postMessage({ kind: 'failed', id: data.id, message: describe(error) });
    else onStray(error);
  }
  if (data.kind === 'listeners') endStartUp();
};

function start(options: WorkerOptions): void {
  worker = new ProxyWorker(options, {
    api: openApiRegistry(),
    extensions: new ExtensionRegistry(
      EXTENSIONS.filter((factory) => !options.disabledExtensions.includes(factory.name)),
    ),
    clock: new SystemClock(),
    random: new SystemRandom(),
    logSink: {
      write: (level, logger, message) => self.postMessage({ kind: 'log', level, logger, message }),
    },
    createSockets: (dispatcher) => new BunRuntime(dispatcher),
    createTls: (dispatcher) => new BunTlsEngine(dispatcher),
    post: (message) => self.postMessage(message),
  });
  self.postMessage({ kind: 'ready' });
}
