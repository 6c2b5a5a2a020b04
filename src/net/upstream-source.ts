import type { FilterStateObject } from '../base/connection-state.ts';
import type { IpAddress } from './address.ts';
import { ipAddress } from './address.ts';
import type { ConnectSpec, SocketOption } from './transport.ts';

/** Key of {@link UpstreamSource} in a connection's filter state; ours, not Envoy's, which keeps it as socket options. */
export const UPSTREAM_SOURCE_STATE = 'nuncio.upstream_source';

/** IP_TRANSPARENT, IPV6_TRANSPARENT and SO_MARK (Linux). */
const TRANSPARENT: Readonly<Record<4 | 6, SocketOption>> = {
  4: { level: 0, name: 19, value: 1, state: 'prebind' },
  6: { level: 41, name: 75, value: 1, state: 'prebind' },
};
const SOL_SOCKET = 1;
const SO_MARK = 36;

/** Connections to upstreams are to come from this address, which need not be the machine's. */
export class UpstreamSource implements FilterStateObject {
  readonly address: IpAddress;
  /** SO_MARK; 0: none. */
  readonly mark: number;

  constructor(client: IpAddress, mark: number) {
    this.address = ipAddress(client.ip, 0);
    this.mark = mark;
  }

  serialize(): string {
    return this.address.ip;
  }

  ipAddress(): string {
    return this.address.ip;
  }

  /** Connections of the same key may be shared. */
  get key(): string {
    return `${this.address.ip}|${this.mark}`;
  }

  applyTo(spec: ConnectSpec): ConnectSpec {
    const socketOptions = [...spec.socketOptions, TRANSPARENT[this.address.version]];
    if (this.mark !== 0) socketOptions.push({ level: SOL_SOCKET, name: SO_MARK, value: this.mark, state: 'prebind' });
    return { ...spec, bindAddress: this.address, socketOptions };
  }
}
