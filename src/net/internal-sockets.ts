import type { Address } from './address.ts';
import type { Dispatcher } from './dispatcher.ts';
import { DEFAULT_INTERNAL_BUFFER_BYTES, type InternalPassthrough, InternalTransport } from './internal-transport.ts';
import type { ListenerDirectory } from './listener-directory.ts';
import type {
  Acceptor,
  ConnectSpec,
  ListeningSocket,
  ListenSpec,
  SocketFeatures,
  SocketRuntime,
  Transport,
  TransportHandler,
} from './transport.ts';

/** A worker's sockets, and connections to its own internal listeners beside them. */
export class InternalSockets implements SocketRuntime {
  readonly features: SocketFeatures;
  /** `buffer_size_kb` of `envoy.bootstrap.internal_listener`, in bytes. */
  bufferBytes = DEFAULT_INTERNAL_BUFFER_BYTES;
  readonly #sockets: SocketRuntime;
  readonly #dispatcher: Dispatcher;
  readonly #listeners: ListenerDirectory;

  constructor(sockets: SocketRuntime, dispatcher: Dispatcher, listeners: ListenerDirectory) {
    this.#sockets = sockets;
    this.#dispatcher = dispatcher;
    this.#listeners = listeners;
    this.features = sockets.features;
  }

  listen(spec: ListenSpec, acceptor: Acceptor): ListeningSocket {
    return this.#sockets.listen(spec, acceptor);
  }

  connect(spec: ConnectSpec, handler: TransportHandler): Transport {
    const { address } = spec;
    if (address.kind !== 'internal') return this.#sockets.connect(spec, handler);
    const listener = this.#listeners.internal(address.listenerName);
    const transport =
      listener === null
        ? InternalTransport.refused(this.#dispatcher, address)
        : this.#connected(address, listener, spec);
    transport.setHandler(handler);
    return transport;
  }

  #connected(address: Address, listener: Acceptor, spec: ConnectSpec): InternalTransport {
    const { client, server } = InternalTransport.pair(this.#dispatcher, this.bufferBytes, address, listener);
    server.passthrough = (spec.passthrough as InternalPassthrough | undefined) ?? null;
    return client;
  }

  originalDestination(transport: Transport): Address | null {
    return transport instanceof InternalTransport ? null : this.#sockets.originalDestination(transport);
  }
}
