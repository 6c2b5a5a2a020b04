import type { FromWorker, ToWorker, WorkerOptions } from '../worker/messages.ts';
import { Worker as ProxyWorker, type WorkerParts } from '../worker/worker.ts';
import { deferred } from './deferred.ts';

type Reply = Extract<FromWorker, { readonly id: number }>;
type Order = ToWorker extends infer T ? (T extends { readonly id: number } ? Omit<T, 'id'> : never) : never;

/** Main's end of one worker. */
export interface WorkerHandle {
  readonly index: number;
  /** Resolves when the worker takes orders. */
  readonly ready: Promise<void>;
  send(message: ToWorker): void;
  /** Sends an order and resolves with its answer. */
  request(order: Order): Promise<Reply>;
  terminate(): void;
}

/** Told what workers say unasked. */
export interface WorkerObserver {
  onWorkerBug(index: number, message: string): void;
  onWorkerLog(message: Extract<FromWorker, { kind: 'log' }>): void;
}

class Requests {
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  #next = 1;

  begin(): { id: number; reply: Promise<Reply> } {
    const id = this.#next++;
    const { promise, resolve } = deferred<Reply>();
    this.#waiting.set(id, resolve);
    return { id, reply: promise };
  }

  settle(message: FromWorker): boolean {
    if (!('id' in message)) return false;
    const resolve = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    resolve?.(message);
    return true;
  }
}

/** Where a thread begins. The executable holds it as a file of its own, see tools/build.ts. */
function threadEntry(): string {
  const own = import.meta.url;
  return own.includes('$bunfs') ? '/$bunfs/root/worker/thread.js' : new URL('../worker/thread.ts', own).href;
}

/** A worker in a thread of its own. */
export class ThreadWorker implements WorkerHandle {
  readonly index: number;
  readonly ready: Promise<void>;
  readonly #thread: globalThis.Worker;
  readonly #requests = new Requests();

  constructor(options: WorkerOptions, observer: WorkerObserver) {
    this.index = options.index;
    this.#thread = new globalThis.Worker(threadEntry());
    const { promise, resolve, reject } = deferred<void>();
    this.ready = promise;
    this.#thread.onerror = (event) => {
      observer.onWorkerBug(this.index, event.message);
      reject(new Error(event.message));
    };
    this.#thread.onmessage = ({ data }: { data: FromWorker }) => {
      if (this.#requests.settle(data)) return;
      if (data.kind === 'ready') resolve();
      else if (data.kind === 'bug') observer.onWorkerBug(this.index, data.message);
      else if (data.kind === 'log') observer.onWorkerLog(data);
    };
    this.#thread.postMessage({ kind: 'start', options });
  }

  send(message: ToWorker): void {
    this.#thread.postMessage(message);
  }

  request(order: Order): Promise<Reply> {
    const { id, reply } = this.#requests.begin();
    this.send({ ...order, id } as ToWorker);
    return reply;
  }

  terminate(): void {
    this.#thread.terminate();
  }
}

/** A worker on the calling thread: what embedding and a concurrency of one use. */
export class InlineWorker implements WorkerHandle {
  readonly index: number;
  readonly ready = Promise.resolve();
  readonly worker: ProxyWorker;
  readonly #requests = new Requests();

  constructor(options: WorkerOptions, parts: Omit<WorkerParts, 'post'>, observer: WorkerObserver) {
    this.index = options.index;
    this.worker = new ProxyWorker(options, {
      ...parts,
      post: (message) => {
        if (this.#requests.settle(message)) return;
        if (message.kind === 'bug') observer.onWorkerBug(this.index, message.message);
        else if (message.kind === 'log') observer.onWorkerLog(message);
      },
    });
  }

  send(message: ToWorker): void {
    this.worker.handle(message);
  }

  request(order: Order): Promise<Reply> {
    const { id, reply } = this.#requests.begin();
    this.send({ ...order, id } as ToWorker);
    return reply;
  }

  terminate(): void {}
}
