import { openApiRegistry } from '../api/api-registry.ts';
import { SystemClock } from '../base/clock.ts';
import { beginStartUp, endStartUp } from '../base/jit-policy.ts';
import { SystemRandom } from '../base/random.ts';
import { ExtensionRegistry } from '../config/extension-registry.ts';
import { EXTENSIONS } from '../extensions/index.ts';
import { BunRuntime } from '../net/bun/bun-runtime.ts';
import type { FromWorker, ToWorker, WorkerOptions } from './messages.ts';
import { Worker as ProxyWorker } from './worker.ts';

declare const self: {
  postMessage(message: FromWorker): void;
  onmessage: ((event: { data: ToWorker | { kind: 'start'; options: WorkerOptions } }) => void) | null;
};

let worker: ProxyWorker | null = null;
beginStartUp();

/** Entry of a worker thread: the first message starts it, all others are its orders. */
self.onmessage = ({ data }) => {
  if (data.kind !== 'start') {
    worker?.handle(data);
    if (data.kind === 'listeners') endStartUp();
    return;
  }
  worker = new ProxyWorker(data.options, {
    api: openApiRegistry(),
    extensions: new ExtensionRegistry(
      EXTENSIONS.filter((factory) => !data.options.disabledExtensions.includes(factory.name)),
    ),
    clock: new SystemClock(),
    random: new SystemRandom(),
    logSink: {
      write: (level, logger, message) => self.postMessage({ kind: 'log', level, logger, message }),
    },
    createSockets: (dispatcher) => new BunRuntime(dispatcher),
    post: (message) => self.postMessage(message),
  });
  self.postMessage({ kind: 'ready' });
};
