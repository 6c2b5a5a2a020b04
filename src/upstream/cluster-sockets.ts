import type { Dispatcher } from '../net/dispatcher.ts';
import { InternalTransport } from '../net/internal-transport.ts';
import type { ConnectSpec, Transport, TransportError, TransportHandler } from '../net/transport.ts';
import {
  RAW_UPSTREAM_SOCKET,
  type SocketPeer,
  type TransportSocketEnvironment,
  type TransportSocketOptions,
  type UpstreamTransportSocket,
} from '../net/transport-socket.ts';
import type { Scope } from '../stats/store.ts';
import type { ClusterSpec, UpstreamSocketMaker } from './cluster-spec.ts';
import type { Host, Metadata } from './host.ts';
import type { UpstreamEnvironment, UpstreamSockets } from './upstream-environment.ts';

/** Metadata of hosts by which `transport_socket_matches` choose. */
const MATCH_METADATA = 'envoy.transport_socket_match';

const NO_TLS_INSIDE: TransportError = {
  code: 'TLS',
  message: 'TLS is not supported on connections to internal listeners',
  local: true,
};

interface BuiltMatch {
  readonly criteria: readonly (readonly [key: string, value: string])[];
  readonly socket: UpstreamTransportSocket;
}

/** The transport sockets of one cluster in one worker: the default one, and those for hosts with certain metadata. */
export class ClusterSockets {
  readonly #sockets: UpstreamSockets | null;
  readonly #clusterMetadata: Metadata;
  readonly #default: UpstreamTransportSocket;
  readonly #matches: readonly BuiltMatch[];
  readonly #dispatcher: Dispatcher;
  #releases: (() => void)[] = [];

  constructor(spec: ClusterSpec, environment: UpstreamEnvironment, scope: Scope) {
    this.#sockets = environment.sockets;
    this.#dispatcher = environment.dispatcher;
    this.#clusterMetadata = spec.metadata;
    this.#default = this.#build(spec.transportSocket, scope);
    this.#matches = spec.transportSocketMatches.map((match) => ({
      criteria: Object.entries(match.criteria).map(([key, value]) => [key, JSON.stringify(value)] as const),
      socket: this.#build(match.socket, scope),
    }));
  }

  #build(make: UpstreamSocketMaker | null, scope: Scope): UpstreamTransportSocket {
    if (make === null || this.#sockets === null) return RAW_UPSTREAM_SOCKET;
    const environment: TransportSocketEnvironment = {
      ...this.#sockets.services,
      scope,
      onRelease: (release) => this.#releases.push(release),
    };
    return make(environment);
  }

  /** By the host's metadata, else by its locality's; the first match counts. */
  socketOf(host: Host): UpstreamTransportSocket {
    if (this.#matches.length === 0) return this.#default;
    for (const metadata of [host.metadata[MATCH_METADATA], host.localityMetadata[MATCH_METADATA]]) {
      for (const match of this.#matches) if (fulfils(metadata, match)) return match.socket;
    }
    return this.#default;
  }

  /**
   * Begins to connect; `handler` hears of it later, never inside this call.
   * @throws when no socket could be made
   */
  connect(spec: ConnectSpec, host: Host, options: TransportSocketOptions, handler: TransportHandler): Transport {
    if (this.#sockets === null) throw new Error('no upstream connections are made here');
    const socket = this.socketOf(host);
    if (spec.address.kind === 'internal' && socket.isSecure) {
      // Of hosts that were known then, the configuration has been refused.
      const transport = InternalTransport.refused(this.#dispatcher, spec.address, NO_TLS_INSIDE);
      transport.setHandler(handler);
      return transport;
    }
    return socket.connect(this.#sockets.runtime, spec, this.#peerOf(host), options, handler);
  }

  #peerOf(host: Host): SocketPeer {
    return { hostname: host.hostname, metadata: host.metadata, clusterMetadata: this.#clusterMetadata };
  }

  /** The cluster is gone. */
  release(): void {
    const releases = this.#releases;
    this.#releases = [];
    for (const release of releases) release();
  }
}

function fulfils(metadata: Readonly<Record<string, unknown>> | undefined, match: BuiltMatch): boolean {
  return match.criteria.every(([key, value]) => metadata !== undefined && JSON.stringify(metadata[key]) === value);
}
