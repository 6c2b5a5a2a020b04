import { beforeEach, expect, test } from 'bun:test';
import { FakeLoop } from '../../test/support/fake-transport.ts';
import type { GrpcCall, GrpcCallHandler, GrpcClient } from './grpc-client.ts';
import { GrpcStreamSupervisor, type SupervisedStreamHandler } from './grpc-stream-supervisor.ts';

class FakeCall implements GrpcCall {
  readonly handler: GrpcCallHandler;
  readonly sent: string[] = [];
  isOver = false;
  readonly isFull = false;
  cancelled = false;

  constructor(handler: GrpcCallHandler) {
    this.handler = handler;
  }

  send(message: Uint8Array): boolean {
    this.sent.push(Buffer.from(message).toString());
    return true;
  }

  endSend(): void {}
  pauseReads(): void {}
  resumeReads(): void {}

  cancel(): void {
    this.cancelled = true;
  }

  end(status: number): void {
    this.isOver = true;
    this.handler.onStatus(this, status, 'words', null);
  }
}

class FakeClient implements GrpcClient {
  readonly calls: FakeCall[] = [];

  open(method: string, handler: GrpcCallHandler): GrpcCall {
    expect(method).toBe('/p.S/M');
    const call = new FakeCall(handler);
    this.calls.push(call);
    return call;
  }

  get last(): FakeCall {
    return this.calls.at(-1)!;
  }
}

let loop: FakeLoop;
let client: FakeClient;
let log: string[];
let onMessage = (): void => {};
let waits: number[];
let supervisor: GrpcStreamSupervisor;
beforeEach(() => {
  loop = new FakeLoop();
  client = new FakeClient();
  log = [];
  waits = [];
  onMessage = () => {};
  const handler: SupervisedStreamHandler = {
    onStreamStarted: () => {
      log.push('started');
      supervisor.send(Buffer.from('hello'));
    },
    onInitialMetadata: () => log.push('metadata'),
    onMessage: (message) => {
      log.push(`message ${Buffer.from(message)}`);
      onMessage();
    },
    onReady: () => log.push('ready'),
    onStreamEnded: (status, message, retryMs, wasUp) => {
      waits.push(retryMs);
      log.push(`ended ${status} ${message} ${wasUp ? 'up' : 'down'}`);
    },
  };
  supervisor = new GrpcStreamSupervisor(client, loop.dispatcher, '/p.S/M', handler, { baseMs: 100, maxMs: 350 });
});

test('a stream is opened, and opened again after its end', () => {
  supervisor.start();
  supervisor.start();
  expect(client.calls.length).toBe(1);
  expect(client.last.sent).toEqual(['hello']);
  client.last.handler.onMessage(client.last, Buffer.from('m'));
  client.last.end(14);
  expect(log).toEqual(['started', 'message m', 'ended 14 words up']);
  expect(supervisor.isOpen).toBe(false);
  expect(supervisor.send(Buffer.from('lost'))).toBe(false);
  loop.advance(waits[0]! + 2);
  expect(client.calls.length).toBe(2);
  expect(client.last.sent).toEqual(['hello']);
});

test('waits are drawn below a bound that doubles up to its maximum, and begins anew with a message', () => {
  supervisor.start();
  const bounds = [100, 200, 350, 350, 350];
  const tops = bounds.map(() => 0);
  for (let round = 0; round < 60; round++) {
    for (const [i, bound] of bounds.entries()) {
      client.last.end(14);
      const wait = waits.at(-1)!;
      expect(wait).toBeLessThan(bound);
      tops[i] = Math.max(tops[i]!, wait);
      loop.advance(wait + 2);
    }
    client.last.handler.onMessage(client.last, Buffer.from('m'));
  }
  for (const [i, bound] of bounds.entries()) expect(tops[i]!).toBeGreaterThan(bound * 0.7);
  expect(log.filter((line) => line.endsWith(' up')).length).toBe(59);
});

test('after stop nothing is heard or opened', () => {
  supervisor.start();
  const first = client.last;
  supervisor.stop();
  expect(first.cancelled).toBe(true);
  first.handler.onMessage(first, Buffer.from('late'));
  first.end(0);
  loop.advance(1000);
  expect(log).toEqual(['started']);
  supervisor.start();
  client.last.end(14);
  supervisor.stop();
  loop.advance(1000);
  expect(client.calls.length).toBe(2);
});

test('restart opens at once', () => {
  supervisor.start();
  client.last.end(14);
  supervisor.restart();
  expect(client.calls.length).toBe(2);
  loop.advance(1000);
  expect(client.calls.length).toBe(2);
});

test('a stream that is given up for what the peer says is opened again after a wait that grows', () => {
  supervisor.start();
  const tops = [0, 0, 0];
  for (let round = 0; round < 60; round++) {
    for (const i of tops.keys()) {
      const { last } = client;
      onMessage = () => supervisor.abandon(13, 'rubbish');
      last.handler.onMessage(last, Buffer.from('m'));
      expect(last.cancelled).toBe(true);
      expect(log.at(-1)).toBe('ended 13 rubbish up');
      tops[i] = Math.max(tops[i]!, waits.at(-1)!);
      loop.advance(waits.at(-1)! + 2);
      onMessage = () => {};
    }
    client.last.handler.onMessage(client.last, Buffer.from('good'));
  }
  expect(tops[1]!).toBeGreaterThan(100);
  expect(tops[2]!).toBeGreaterThan(200);
});
