import type { ByteBuffer } from '../base/byte-buffer.ts';
import type { ConnectionState } from '../base/connection-state.ts';
import type { Address } from './address.ts';
import type { Connection } from './connection.ts';

/** What a network filter's hook answers. */
export const FilterStatus = { Continue: 0, Stop: 1 } as const;
export type FilterStatus = (typeof FilterStatus)[keyof typeof FilterStatus];

/** Lets a filter that stopped go on later. */
export interface FilterCallbacks {
  readonly connection: Connection;
  /** Continues with the filter behind this one, with whatever the read buffer holds. */
  continueReading(): void;
}

/**
 * A filter on a connection's bytes. Hooks default to Continue. Read hooks run in configured order, write hooks in reverse.
 * A filter that leaves bytes in `data` sees them again, together with the next ones.
 */
export abstract class NetworkFilter {
  /** Set before any hook runs. */
  callbacks!: FilterCallbacks;

  onNewConnection(): FilterStatus {
    return FilterStatus.Continue;
  }

  onRead(_data: ByteBuffer, _end: boolean): FilterStatus {
    return FilterStatus.Continue;
  }

  onWrite(_data: ByteBuffer, _end: boolean): FilterStatus {
    return FilterStatus.Continue;
  }

  /** The connection is gone, whoever closed it. Last call. */
  onClose(): void {}
}

/** Makes the filters of one connection. Built once per configuration. */
export interface NetworkFilterBuilder<Context> {
  /** A terminal filter must be the last of its chain, and the last must be terminal. */
  readonly isTerminal: boolean;
  createFilter(context: Context): NetworkFilter;
}

/** What listener filters learn and change before a filter chain is picked. */
export interface AcceptedSocket {
  readonly directRemoteAddress: Address;
  remoteAddress: Address;
  localAddress: Address;
  /** True once the local address was taken from the connection's original destination or a PROXY header. */
  localAddressRestored: boolean;
  requestedServerName: string;
  applicationProtocols: readonly string[];
  /** `raw_buffer` or `tls`, as detected; empty when nobody looked. */
  detectedTransportProtocol: string;
  ja3: string;
  ja4: string;
  readonly fd: number;
  /** What is known of the connection so far; null: nothing was set. */
  readonly state: ConnectionState | null;
  /** The same, made when it is not there yet. */
  ownState(): ConnectionState;
  /** Where iptables took the connection from (SO_ORIGINAL_DST); null when from nowhere else. */
  originalDestination(): Address | null;
}

/** What a listener filter's `onPeek` answers. */
export const PeekStatus = { Continue: 0, NeedMore: 1, Close: 2 } as const;
export type PeekStatus = (typeof PeekStatus)[keyof typeof PeekStatus];

/** A filter that reads a new connection's first bytes before a filter chain is picked. */
export abstract class ListenerFilter {
  /** How many bytes it may have to see; 0: none, `onAccept` alone decides. */
  abstract readonly maxPeekBytes: number;

  /** @returns NeedMore when it wants `onPeek` */
  onAccept(_socket: AcceptedSocket): PeekStatus {
    return this.maxPeekBytes === 0 ? PeekStatus.Continue : PeekStatus.NeedMore;
  }

  /** Sees everything received so far. May `drain` what it consumes (PROXY header); leaves the rest for the chain. */
  onPeek(_socket: AcceptedSocket, _data: ByteBuffer, _end: boolean): PeekStatus {
    return PeekStatus.Continue;
  }
}
