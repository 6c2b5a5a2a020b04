import type { Dispatcher } from '../net/dispatcher.ts';
import type { SocketRuntime } from '../net/transport.ts';

export type SocketsFactory = (dispatcher: Dispatcher) => SocketRuntime;

/** The sockets of the runtime that this process runs on: Bun's own calls, or `node:net`. */
export async function loadSockets(): Promise<SocketsFactory> {
  if ('Bun' in globalThis) {
    const { BunRuntime } = await import('../net/bun/bun-runtime.ts');
    return (dispatcher) => new BunRuntime(dispatcher);
  }
  const { NodeRuntime } = await import('../net/node/node-runtime.ts');
  return (dispatcher) => new NodeRuntime(dispatcher);
}
