import { type Deferred, deferred } from '../base/deferred.ts';
import type { Demand } from '../routing/on-demand.ts';
import type { FromWorker, ToWorker, WorkerOptions } from '../worker/messages.ts';
import { Worker as ProxyWorker, type WorkerParts } from '../worker/worker.ts';

type Reply = Extract<FromWorker, { readonly id: number }>;
type Order = ToWorker extends infer T ? (T extends { readonly id: number } ? Omit<T, 'id'> : never) : never;

/** Main's end of one worker. */
export interface WorkerHandle {
  readonly index: number;
  /** Resolves when the worker takes orders. */
  readonly ready: Promise<void>;
  send(message: ToWorker): void;
  /** Sends an order and resolves with its answer. Rejects when the worker fails at it, or has ended. */
  request(order: Order): Promise<Reply>;
  terminate(): void;
}

/** Told what workers say unasked. */
export interface WorkerObserver {
  onWorkerBug(index: number, message: string): void;
  /** A request needs what only main can fetch: `settled` answers. */
  onWorkerDemand(index: number, demandId: number, demand: Demand): void;
  onWorkerLog(message: Extract<FromWorker, { kind: 'log' }>): void;
  /** The worker's thread has ended without being asked to. */
  onWorkerGone(index: number): void;
}

class Requests {
  readonly #waiting = new Map<number, Deferred<Reply>>();
  #next = 1;

  begin(): { id: number; reply: Promise<Reply> } {
    const id = this.#next++;
    const waiting = deferred<Reply>();
    this.#waiting.set(id, waiting);
    return { id, reply: waiting.promise };
  }

  settle(message: FromWorker): boolean {
    if (!('id' in message)) return false;
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.kind === 'failed') waiting?.reject(new Error(message.message));
    else waiting?.resolve(message);
    return true;
  }

  /** Nothing will be answered any more. */
  abandon(error: Error): void {
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}

/** Where a thread begins. The executable and the library hold it as a file of its own, see tools/build.ts. */
function threadEntry(): string {
  const own = import.meta.url;
  if (own.includes('$bunfs')) return '/$bunfs/root/worker/thread.js';
  return new URL(own.endsWith('.ts') ? '../worker/thread.ts' : './worker/thread.js', own).href;
}

/** A worker in a thread of its own. */
export class ThreadWorker implements WorkerHandle {
  readonly index: number;
  readonly ready: Promise<void>;
  readonly #thread: globalThis.Worker;
  readonly #requests = new Requests();
  readonly #failReady: (error: Error) => void;
  #ended = false;

  /** @param entry URL of the thread's code */
  constructor(options: WorkerOptions, observer: WorkerObserver, entry = threadEntry()) {
    this.index = options.index;
    this.#thread = new globalThis.Worker(entry);
    const { promise, resolve, reject } = deferred<void>();
    this.ready = promise;
    // Nobody may be waiting for it by then.
    promise.catch(() => {});
    this.#failReady = reject;
    this.#thread.onerror = (event) => {
      observer.onWorkerBug(this.index, event.message);
      reject(new Error(event.message));
    };
    this.#thread.onmessage = ({ data }: { data: FromWorker }) => {
      if (data.kind === 'failed' && data.id === 0) {
        reject(new Error(data.message));
        return;
      }
      if (this.#requests.settle(data)) return;
      if (data.kind === 'ready') resolve();
      else if (data.kind === 'bug') observer.onWorkerBug(this.index, data.message);
      else if (data.kind === 'log') observer.onWorkerLog(data);
      else if (data.kind === 'demand') observer.onWorkerDemand(this.index, data.demandId, data.demand);
    };
    this.#thread.addEventListener('close', () => {
      if (this.#ended) return;
      this.#ended = true;
      const error = new Error(`worker ${this.index} has ended`);
      reject(error);
      this.#requests.abandon(error);
      observer.onWorkerGone(this.index);
    });
    this.#thread.postMessage({ kind: 'start', options });
  }

  send(message: ToWorker): void {
    this.#thread.postMessage(message);
  }

  request(order: Order): Promise<Reply> {
    if (this.#ended) return Promise.reject(new Error(`worker ${this.index} has ended`));
    const { id, reply } = this.#requests.begin();
    this.send({ ...order, id } as ToWorker);
    return reply;
  }

  terminate(): void {
    if (this.#ended) return;
    this.#ended = true;
    const error = new Error(`worker ${this.index} was ended`);
    this.#failReady(error);
    this.#requests.abandon(error);
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
        else if (message.kind === 'demand') observer.onWorkerDemand(this.index, message.demandId, message.demand);
      },
    });
  }

  send(message: ToWorker): void {
    this.worker.handle(message);
  }

  request(order: Order): Promise<Reply> {
    const { id, reply } = this.#requests.begin();
    try {
      this.send({ ...order, id } as ToWorker);
    } catch (error) {
      this.#requests.settle({ kind: 'failed', id, message: (error as Error).message });
    }
    return reply;
  }

  terminate(): void {}
}
