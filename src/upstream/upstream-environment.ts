import type { ClientCodec, ClientCodecEvents, CodecTransport } from '../http/codec.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { ConnectSpec, SocketRuntime, Transport, TransportHandler } from '../net/transport.ts';
import type { Scope } from '../stats/store.ts';
import type { RuntimeIntegers } from './circuit-breaker.ts';
import type { ClusterSpec } from './cluster-spec.ts';
import type { Host } from './host.ts';

/** Makes client codecs for the connections of one cluster. */
export type ClientCodecFactory = (
  transport: CodecTransport,
  events: ClientCodecEvents,
  cluster: ClusterSpec,
) => ClientCodec;

/** How a cluster reaches its hosts: raw sockets, or TLS and the like on top of them. */
export interface UpstreamConnector {
  /** Begins to connect. `handler` hears of it later, never inside this call. @throws when no socket could be made */
  connect(spec: ConnectSpec, host: Host, handler: TransportHandler): Transport;
}

export class RawConnector implements UpstreamConnector {
  readonly #sockets: SocketRuntime;

  constructor(sockets: SocketRuntime) {
    this.#sockets = sockets;
  }

  connect(spec: ConnectSpec, _host: Host, handler: TransportHandler): Transport {
    return this.#sockets.connect(spec, handler);
  }
}

/** What clusters of one worker need from it. */
export interface UpstreamEnvironment {
  readonly dispatcher: Dispatcher;
  /** Root scope of the worker's store. */
  readonly stats: Scope;
  readonly runtime: RuntimeIntegers;
  readonly createHttp1Codec: ClientCodecFactory;
  /** By the cluster's transport socket; raw ones for now. */
  connectorFor(cluster: ClusterSpec): UpstreamConnector;
  /** Circuit-breaker counts that all workers share ({@link CELLS_PER_CLUSTER} cells); null: each counts for itself. */
  sharedCells(cluster: string): Int32Array | null;
}
