import { ByteBuffer } from '../../base/byte-buffer.ts';
import type { AcceptedSocket } from '../filter.ts';
import type {
  Acceptor,
  ConnectSpec,
  ListeningSocket,
  ListenSpec,
  SocketFeatures,
  SocketRuntime,
  Transport,
  TransportError,
  TransportHandler,
} from '../transport.ts';
import {
  type DownstreamTransportSocket,
  NO_SOCKET_OPTIONS,
  type TlsEngine,
  type TlsStats,
  type UpstreamTransportSocket,
} from '../transport-socket.ts';
import { clientSettings, serverSettings } from './testdata/settings.ts';

const IGNORE = { inc() {} };
const NO_TLS_STATS: TlsStats = {
  connectionError: IGNORE,
  handshake: IGNORE,
  sessionReused: IGNORE,
  noCertificate: IGNORE,
  failVerifyNoCert: IGNORE,
  failVerifyError: IGNORE,
  failVerifySan: IGNORE,
  failVerifyCertHash: IGNORE,
  ocspStaplingFailed: IGNORE,
  ocspStaplingOmitted: IGNORE,
  ocspStaplingResponses: IGNORE,
  ocspStaplingRequests: IGNORE,
  wasKeyUsageInvalid: IGNORE,
  scope: { counter: () => IGNORE },
};

/** Waits for the handshake before the acceptor hears of a connection. */
class Handshaking implements TransportHandler {
  readonly #acceptor: Acceptor;
  transport!: Transport;

  constructor(acceptor: Acceptor) {
    this.#acceptor = acceptor;
  }

  onOpen(): void {
    this.#acceptor.onAccept(this.transport);
  }

  onBytes(): void {
    throw new Error('bytes before the handshake');
  }

  onDrain(): void {}

  onPeerEnd(): void {}

  onClosed(_error: TransportError | null): void {}
}

/** Sockets that all speak TLS, to be put to the contract of plain ones. */
export class TlsRuntime implements SocketRuntime {
  readonly features: SocketFeatures;
  readonly #sockets: SocketRuntime;
  readonly #server: DownstreamTransportSocket;
  readonly #client: UpstreamTransportSocket;

  constructor(sockets: SocketRuntime, engine: TlsEngine) {
    this.#sockets = sockets;
    this.features = sockets.features;
    const server = serverSettings();
    const client = clientSettings();
    this.#server = engine.serverSocket({ current: server }, NO_TLS_STATS);
    this.#client = engine.clientSocket({ current: client }, NO_TLS_STATS);
  }

  listen(spec: ListenSpec, acceptor: Acceptor): ListeningSocket {
    return this.#sockets.listen(spec, {
      onAccept: (raw) => {
        const waiting = new Handshaking(acceptor);
        waiting.transport = this.#server.accept(raw, {} as AcceptedSocket, new ByteBuffer(), false);
        waiting.transport.setHandler(waiting);
      },
    });
  }

  connect(spec: ConnectSpec, handler: TransportHandler): Transport {
    return this.#client.connect(this.#sockets, spec, { hostname: '' }, NO_SOCKET_OPTIONS, handler);
  }

  originalDestination(transport: Transport) {
    return this.#sockets.originalDestination(transport);
  }
}
