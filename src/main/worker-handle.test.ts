import { afterEach, expect, test } from 'bun:test';
import { deferred } from '../base/deferred.ts';
import type { WorkerOptions } from '../worker/messages.ts';
import { ThreadWorker, type WorkerObserver } from './worker-handle.ts';

const OPTIONS: WorkerOptions = {
  index: 1,
  workerCount: 2,
  local: { nodeId: '', clusterName: '', zone: '', address: '127.0.0.1' },
  logLevel: 'off',
  componentLevels: [],
  fileFlushIntervalMs: 1000,
  fileFlushMinBytes: 1024,
  runtime: {},
  sharedMemory: null,
  disabledExtensions: [],
  internalBufferBytes: 1024 * 1024,
  defaultTracer: null,
};

const running: ThreadWorker[] = [];
afterEach(() => {
  for (const worker of running.splice(0)) worker.terminate();
});

function start(code?: string) {
  const gone = deferred<number>();
  const bugs: string[] = [];
  const observer: WorkerObserver = {
    onWorkerBug: (_index, message) => void bugs.push(message),
    onWorkerDemand: () => {},
    onWorkerLog: () => {},
    onWorkerGone: (index) => gone.resolve(index),
  };
  const entry = code === undefined ? undefined : URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
  const worker = new ThreadWorker(OPTIONS, observer, entry);
  running.push(worker);
  return { worker, bugs, gone: gone.promise };
}

test('a thread that ends by itself is noticed, and leaves no request unanswered', async () => {
  const { worker, gone } = start(`self.onmessage = ({ data }) => {
    if (data.kind === 'start') postMessage({ kind: 'ready' });
    else process.exit(3);
  };`);
  await worker.ready;
  await expect(worker.request({ kind: 'stats' })).rejects.toThrow('worker 1 has ended');
  expect(await gone).toBe(1);
  await expect(worker.request({ kind: 'stop' })).rejects.toThrow('worker 1 has ended');
});

test('a thread that cannot begin rejects the start', async () => {
  const { worker } = start(`self.onmessage = () => postMessage({ kind: 'failed', id: 0, message: 'no luck' });`);
  await expect(worker.ready).rejects.toThrow('no luck');
});

test('an ended worker was asked to: nobody is told', async () => {
  const { worker, gone } = start();
  await worker.ready;
  expect((await worker.request({ kind: 'stop' })).kind).toBe('done');
  worker.terminate();
  await expect(worker.request({ kind: 'stats' })).rejects.toThrow();
  expect(await Promise.race([gone, Promise.resolve('nothing')])).toBe('nothing');
});

test('one that is ended before it was ready says so', async () => {
  const { worker } = start('self.onmessage = () => {};');
  worker.terminate();
  await expect(worker.ready).rejects.toThrow('worker 1 was ended');
});

test('an order that the real thread fails at is answered, and the thread goes on', async () => {
  const { worker } = start();
  await worker.ready;
  const garbage = new Uint8Array([255, 255, 255]);
  const order = { kind: 'clusters', changed: [garbage], removed: [], hosts: [], breakerCells: {} } as const;
  const answer = worker.request(order).then(
    () => 'carried out',
    (error: Error) => error.message,
  );
  expect(await answer).toContain('premature EOF');
  expect((await worker.request({ kind: 'stats' })).kind).toBe('stats');
});
