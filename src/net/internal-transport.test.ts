import { describe, expect, test } from 'bun:test';
import { SystemClock } from '../base/clock.ts';
import { SystemRandom } from '../base/random.ts';
import { type Address, internalAddress, ipAddress } from './address.ts';
import { Dispatcher } from './dispatcher.ts';
import { SocketError } from './errno.ts';
import { InternalTransport } from './internal-transport.ts';
import { transportContract } from './transport.contract.ts';
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

/** Gives transports of this kind the addresses of sockets, so that the suite may run over them. */
class InMemoryRuntime implements SocketRuntime {
  readonly features: SocketFeatures = { socketOptions: false, reusePort: false, originalDestination: false };
  readonly #dispatcher: Dispatcher;
  readonly #acceptors = new Map<string, Acceptor>();
  #nextPort = 1;

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher;
  }

  listen(spec: ListenSpec, acceptor: Acceptor): ListeningSocket {
    const { address: asked } = spec;
    const address = asked.kind === 'ip' && asked.port === 0 ? ipAddress(asked.ip, this.#nextPort++) : asked;
    if (this.#acceptors.has(address.text)) throw new SocketError('EADDRINUSE', 'in use');
    this.#acceptors.set(address.text, acceptor);
    return { address, close: () => this.#acceptors.delete(address.text) };
  }

  connect(spec: ConnectSpec, handler: TransportHandler): Transport {
    const acceptor = this.#acceptors.get(spec.address.text);
    const from = spec.address.kind === 'ip' ? ipAddress(spec.address.ip, this.#nextPort++) : spec.address;
    const nobody: Acceptor = { onAccept: (transport) => transport.reset() };
    const { client } = InternalTransport.pair(this.#dispatcher, 64 * 1024, spec.address, acceptor ?? nobody, from);
    client.setHandler(handler);
    return client;
  }

  originalDestination(_transport: Transport): Address | null {
    return null;
  }
}

describe('InternalTransport', () => {
  // There is always somebody to connect to, and no file system or kernel whose refusals could be met.
  const kernelOnly =
    /refus|fail|reset before|in use|pipe|Unix|unix|bind|local address of|IPv6|abstract|listen|port|option/;
  transportContract(
    (name, body) => {
      if (!kernelOnly.test(name)) test(name, body);
    },
    (dispatcher) => new InMemoryRuntime(dispatcher),
  );
});

test('what is on its way is limited', () => {
  const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
  const { client } = InternalTransport.pair(dispatcher, 10, internalAddress('l'), { onAccept() {} });
  expect(client.write(Buffer.alloc(8), 0, 8)).toBe(8);
  expect(client.write(Buffer.alloc(8), 0, 8)).toBe(2);
  expect(client.write(Buffer.alloc(8), 0, 8)).toBe(0);
});
