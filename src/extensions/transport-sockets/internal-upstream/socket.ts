import type { FilterStateObject, MetadataStruct } from '../../../base/connection-state.ts';
import type { InternalPassthrough } from '../../../net/internal-transport.ts';
import type { ConnectSpec, SocketRuntime, Transport, TransportHandler } from '../../../net/transport.ts';
import type { SocketPeer, TransportSocketOptions, UpstreamTransportSocket } from '../../../net/transport-socket.ts';
import type { Counter } from '../../../stats/counter.ts';

/** A namespace of metadata that the internal listener gets to know. */
export interface PassedMetadata {
  readonly from: 'host' | 'cluster';
  readonly name: string;
}

/** Gives connections to internal listeners metadata and filter state along. */
export class InternalUpstreamSocket implements UpstreamTransportSocket {
  readonly isSecure: boolean;
  readonly supportsAlpn: boolean;
  readonly #sources: readonly PassedMetadata[];
  readonly #inner: UpstreamTransportSocket;
  readonly #noMetadata: Counter;

  constructor(sources: readonly PassedMetadata[], inner: UpstreamTransportSocket, noMetadata: Counter) {
    this.#sources = sources;
    this.#inner = inner;
    this.#noMetadata = noMetadata;
    this.isSecure = inner.isSecure;
    this.supportsAlpn = inner.supportsAlpn;
  }

  connect(
    sockets: SocketRuntime,
    spec: ConnectSpec,
    peer: SocketPeer,
    options: TransportSocketOptions,
    handler: TransportHandler,
  ): Transport {
    const metadata = new Map<string, MetadataStruct>();
    for (const { from, name } of this.#sources) {
      const all = from === 'host' ? peer.metadata : peer.clusterMetadata;
      const found = all !== undefined && Object.hasOwn(all, name) ? all[name] : undefined;
      if (found === undefined) this.#noMetadata.inc();
      else metadata.set(name, found as MetadataStruct);
    }
    const objects = options.passthrough as ReadonlyMap<string, FilterStateObject> | null;
    const passthrough: InternalPassthrough = { metadata, objects: objects ?? new Map() };
    return this.#inner.connect(sockets, { ...spec, passthrough }, peer, options, handler);
  }
}
