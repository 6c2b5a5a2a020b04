import type { Dispatcher } from '../net/dispatcher.ts';
import type {
  Acceptor,
  ConnectSpec,
  ListeningSocket,
  ListenSpec,
  SocketFeatures,
  SocketRuntime,
  Transport,
  TransportHandler,
} from '../net/transport.ts';

export type SocketsFactory = (dispatcher: Dispatcher) => SocketRuntime;

/** The sockets of the runtime that this process runs on: Bun's own calls, or `node:net`. */
export async function loadSockets(): Promise<SocketsFactory> {
  if ('Bun' in globalThis) {
    const { BunRuntime } = await import('../net/bun/bun-runtime.ts');
    return (dispatcher) => new BunRuntime(dispatcher);
  }
  const { NodeRuntime } = await import('../net/node/node-runtime.ts');
  return (dispatcher) => new SingleWorkerSockets(new NodeRuntime(dispatcher));
}

/** On Node there is one worker: listeners need no SO_REUSEPORT, which older releases do not have. */
class SingleWorkerSockets implements SocketRuntime {
  readonly #sockets: SocketRuntime;

  constructor(sockets: SocketRuntime) {
    this.#sockets = sockets;
  }

  get features(): SocketFeatures {
    return this.#sockets.features;
  }

  listen(spec: ListenSpec, acceptor: Acceptor): ListeningSocket {
    const reusePort = spec.reusePort && this.features.reusePort;
    return this.#sockets.listen({ ...spec, reusePort }, acceptor);
  }

  connect(spec: ConnectSpec, handler: TransportHandler): Transport {
    return this.#sockets.connect(spec, handler);
  }

  originalDestination(transport: Transport): ReturnType<SocketRuntime['originalDestination']> {
    return this.#sockets.originalDestination(transport);
  }
}
