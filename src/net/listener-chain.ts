import { ByteBuffer } from '../base/byte-buffer.ts';
import { ConnectionState } from '../base/connection-state.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import type { Counter } from '../stats/counter.ts';
import type { Gauge } from '../stats/gauge.ts';
import type { Address } from './address.ts';
import { Admission, type ConnectionLimits } from './connection-limits.ts';
import type { Dispatcher } from './dispatcher.ts';
import { type AcceptedSocket, type ListenerFilter, PeekStatus } from './filter.ts';
import { InternalTransport } from './internal-transport.ts';
import type { ListenerDirectory } from './listener-directory.ts';
import type { Acceptor, SocketRuntime, Transport, TransportError, TransportHandler } from './transport.ts';

/**
 * A peer that sends on while a filter ponders is held back above this: more than any filter waits for (a PROXY header with
 * its extensions is of up to 65,551 bytes).
 */
const PENDING_READ_LIMIT = 65 * 1024;

/** Makes one listener filter per connection. Built once per configuration. */
export interface ListenerFilterBuilder {
  createFilter(): ListenerFilter;
}

export interface ListenerChainConfig {
  readonly filters: readonly ListenerFilterBuilder[];
  /** Configurations that filters among them need: while one is missing (null), connections are closed. */
  readonly discovered: readonly { readonly current: unknown }[];
  /** 0: no limit */
  readonly timeoutMs: number;
  readonly continueOnTimeout: boolean;
  /** Where connections go whose destination was restored: to the listener of that address, if there is one. Null: they stay. */
  readonly handOver: ListenerDirectory | null;
}

/** Why an accepted connection never became one. */
export type DropReason = 'refused' | 'timeout' | 'filter' | 'error' | 'remote_close' | 'listener_closed';

/** Closes a socket as the kernel does, which resets where bytes were not read: Envoy's listener filters only look at them. */
export function closeUnread(transport: Transport, unread: ByteBuffer): void {
  if (unread.length > 0) transport.reset();
  else transport.close();
}

/** Takes connections whose listener filters have run. */
export interface ConnectionReceiver {
  /**
   * Takes over the transport: sets its handler, or closes it, before it returns. `peeked` is what was read and not consumed;
   * `replay` gives it to a handler. The admission is the receiver's now: `limits.release()` when the connection ends.
   * @param peerEnded the peer's FIN came with the peeked bytes
   */
  onConnection(transport: Transport, socket: AcceptedSocket, peeked: ByteBuffer, peerEnded: boolean): void;
  /** It was closed before that (Envoy writes the listener's access log then). `socket` is null when it was refused. */
  onDropped?(reason: DropReason, transport: Transport, socket: AcceptedSocket | null): void;
}

/** Where counters and gauges come from: a stats scope. */
export interface ListenerStatScope {
  counter(name: string): Counter;
  gauge(name: string): Gauge;
}

/** Gives a handler what was read before it was there. */
export function replay(handler: TransportHandler, peeked: ByteBuffer, peerEnded: boolean): void {
  if (peeked.length > 0) {
    const bytes = peeked.toBytes();
    peeked.clear();
    handler.onBytes(bytes);
  }
  if (peerEnded) handler.onPeerEnd();
}

/**
 * A listener's accept path up to the filter chain: limits, then listener filters over peeked bytes under one timeout
 * (Envoy: ActiveTcpSocket). One per worker and listener; hand it to `SocketRuntime.listen` as the acceptor.
 */
export class ListenerRuntime implements Acceptor {
  readonly dispatcher: Dispatcher;
  readonly sockets: SocketRuntime;
  readonly config: ListenerChainConfig;
  readonly receiver: ConnectionReceiver;
  readonly limits: ConnectionLimits;
  readonly preActive: Gauge;
  readonly preTimeout: Counter;
  readonly filterError: Counter;
  readonly filterRemoteClose: Counter;
  readonly extensionConfigMissing: Counter;
  readonly #overflow: Counter;
  readonly #globalOverflow: Counter;
  readonly #overloadReject: Counter;
  readonly #pending = new Set<PendingSocket>();

  constructor(
    dispatcher: Dispatcher,
    sockets: SocketRuntime,
    config: ListenerChainConfig,
    limits: ConnectionLimits,
    scope: ListenerStatScope,
    receiver: ConnectionReceiver,
  ) {
    this.dispatcher = dispatcher;
    this.sockets = sockets;
    this.config = config;
    this.limits = limits;
    this.receiver = receiver;
    this.preActive = scope.gauge('downstream_pre_cx_active');
    this.preTimeout = scope.counter('downstream_pre_cx_timeout');
    this.filterError = scope.counter('downstream_listener_filter_error');
    this.filterRemoteClose = scope.counter('downstream_listener_filter_remote_close');
    this.extensionConfigMissing = scope.counter('extension_config_missing');
    this.#overflow = scope.counter('downstream_cx_overflow');
    this.#globalOverflow = scope.counter('downstream_global_cx_overflow');
    this.#overloadReject = scope.counter('downstream_cx_overload_reject');
  }

  /** Connections whose listener filters have not finished. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  onAccept(transport: Transport): void {
    if (!this.#admits(transport)) return;
    const socket = new PendingSocket(this, transport);
    this.#begin(socket);
  }

  /** Takes a connection over from another listener, with what its filters found out. */
  adopt(transport: Transport, facts: ConnectionFacts, peeked: ByteBuffer, peerEnded: boolean): void {
    if (!this.#admits(transport)) return;
    const socket = new PendingSocket(this, transport);
    socket.takeOver(facts, peeked, peerEnded);
    this.#begin(socket);
  }

  #admits(transport: Transport): boolean {
    const admission = this.limits.admit();
    if (admission === Admission.Admitted) return true;
    this.#countRefusal(admission);
    transport.close();
    this.receiver.onDropped?.('refused', transport, null);
    return false;
  }

  #begin(socket: PendingSocket): void {
    if (this.config.filters.length === 0) {
      socket.handOver();
      return;
    }
    this.#pending.add(socket);
    this.preActive.inc();
    socket.begin();
  }

  onOutOfDescriptors(): void {
    this.#overloadReject.inc();
  }

  #countRefusal(admission: Admission): void {
    if (admission === Admission.ListenerLimit) this.#overflow.inc();
    else if (admission === Admission.GlobalLimit) this.#globalOverflow.inc();
    else this.#overloadReject.inc();
  }

  /** For `PendingSocket`: it is no longer pending. */
  removePending(socket: PendingSocket): void {
    if (this.#pending.delete(socket)) this.preActive.dec();
  }

  /** Closes what has not become a connection yet (the listener is removed). */
  closePending(): void {
    for (const socket of [...this.#pending]) socket.drop('listener_closed');
  }
}

/** What stays known of a connection as another listener takes it over. */
type ConnectionFacts = Pick<
  AcceptedSocket,
  | 'remoteAddress'
  | 'localAddress'
  | 'localAddressRestored'
  | 'requestedServerName'
  | 'applicationProtocols'
  | 'detectedTransportProtocol'
  | 'ja3'
  | 'ja4'
>;

/** One accepted socket on its way through the listener filters. */
class PendingSocket implements AcceptedSocket, TransportHandler, TimerTarget {
  readonly directRemoteAddress: Address;
  remoteAddress: Address;
  localAddress: Address;
  localAddressRestored = false;
  requestedServerName = '';
  applicationProtocols: readonly string[] = [];
  detectedTransportProtocol = '';
  ja3 = '';
  ja4 = '';
  state: ConnectionState | null = null;
  readonly #runtime: ListenerRuntime;
  readonly #transport: Transport;
  readonly #peeked = new ByteBuffer();
  #filters: ListenerFilter[] | null = null;
  #index = 0;
  #timer: Timer | null = null;
  /** The filter at #index answered NeedMore. */
  #waiting = false;
  #peerEnded = false;
  #paused = false;
  #done = false;
  /** It comes from another listener and goes to no third one. */
  #adopted = false;

  constructor(runtime: ListenerRuntime, transport: Transport) {
    this.#runtime = runtime;
    this.#transport = transport;
    this.directRemoteAddress = this.remoteAddress = transport.remoteAddress;
    this.localAddress = transport.localAddress;
    // What the connecting side of an internal connection lets this one know.
    const passthrough = transport instanceof InternalTransport ? transport.passthrough : null;
    if (passthrough === null) return;
    const state = this.ownState();
    for (const [namespace, values] of passthrough.metadata) state.setMetadata(namespace, values);
    for (const [key, object] of passthrough.objects) state.objects.set(key, object);
  }

  get fd(): number {
    return this.#transport.fd;
  }

  ownState(): ConnectionState {
    this.state ??= new ConnectionState();
    return this.state;
  }

  originalDestination(): Address | null {
    return this.#runtime.sockets.originalDestination(this.#transport);
  }

  begin(): void {
    const { config, dispatcher } = this.#runtime;
    this.#transport.setHandler(this);
    try {
      if (config.discovered.every((extension) => extension.current !== null)) {
        this.#filters = config.filters.map((builder) => builder.createFilter());
        this.#advance();
      } else {
        this.#runtime.extensionConfigMissing.inc();
        this.drop('filter');
      }
    } catch (error) {
      this.#bug(error);
    }
    if (this.#done || config.timeoutMs <= 0) return;
    this.#timer = dispatcher.createTimer(this);
    this.#timer.enable(config.timeoutMs);
  }

  /** Runs filters from the present one until one waits, one refuses, or all are through. */
  #advance(): void {
    const filters = this.#filters!;
    while (!this.#done) {
      const filter = filters[this.#index];
      if (filter === undefined) {
        this.handOver();
        return;
      }
      let status = this.#waiting ? PeekStatus.NeedMore : filter.onAccept(this);
      if (status === PeekStatus.NeedMore) {
        this.#waiting = true;
        if (this.#peeked.length === 0 && !this.#peerEnded) return;
        // A FIN without bytes ends the wait of any filter (Envoy: peeking returns 0).
        status = this.#peeked.length === 0 ? PeekStatus.NeedMore : filter.onPeek(this, this.#peeked, this.#peerEnded);
        if (status === PeekStatus.NeedMore) {
          if (this.#peerEnded) {
            this.#runtime.filterRemoteClose.inc();
            this.drop('remote_close');
            return;
          }
          if (this.#peeked.length < filter.maxPeekBytes) return;
          // It has seen all that it may ask for and cannot tell: the next one.
          status = PeekStatus.Continue;
        }
      }
      if (status === PeekStatus.Close) {
        this.drop('filter');
        return;
      }
      this.#waiting = false;
      this.#index++;
    }
  }

  #step(): void {
    try {
      this.#advance();
    } catch (error) {
      this.#bug(error);
    }
    if (this.#done || this.#paused || this.#peeked.length < PENDING_READ_LIMIT) return;
    this.#paused = true;
    this.#transport.pause();
  }

  #bug(error: unknown): void {
    try {
      this.#runtime.dispatcher.onBug(error);
    } finally {
      this.drop('error');
    }
  }

  #leave(): boolean {
    if (this.#done) return false;
    this.#done = true;
    this.#timer?.destroy();
    this.#runtime.removePending(this);
    return true;
  }

  /** Before `begin`: goes on where another listener stopped. */
  takeOver(facts: ConnectionFacts, peeked: ByteBuffer, peerEnded: boolean): void {
    this.#adopted = true;
    this.remoteAddress = facts.remoteAddress;
    this.localAddress = facts.localAddress;
    this.localAddressRestored = facts.localAddressRestored;
    this.requestedServerName = facts.requestedServerName;
    this.applicationProtocols = facts.applicationProtocols;
    this.detectedTransportProtocol = facts.detectedTransportProtocol;
    this.ja3 = facts.ja3;
    this.ja4 = facts.ja4;
    this.#peeked.moveFrom(peeked);
    this.#peerEnded = peerEnded;
  }

  /** The listener of the restored destination; null: the connection stays. Source: Envoy, ActiveTcpSocket::newConnection. */
  #otherListener(): ListenerRuntime | null {
    const directory = this.#runtime.config.handOver;
    if (directory === null || this.#adopted || !this.localAddressRestored) return null;
    const other = directory.find(this.localAddress);
    return other === this.#runtime ? null : other;
  }

  /** All filters are through, or the timeout lets it pass. */
  handOver(): void {
    if (!this.#leave()) return;
    const other = this.#otherListener();
    if (other !== null) {
      if (this.#paused) this.#transport.resume();
      this.#runtime.limits.release();
      other.adopt(this.#transport, this, this.#peeked, this.#peerEnded);
      return;
    }
    if (this.detectedTransportProtocol === '') this.detectedTransportProtocol = 'raw_buffer';
    if (this.#paused) this.#transport.resume();
    try {
      this.#runtime.receiver.onConnection(this.#transport, this, this.#peeked, this.#peerEnded);
    } catch (error) {
      this.#transport.close();
      this.#runtime.dispatcher.onBug(error);
    }
  }

  drop(reason: DropReason): void {
    if (!this.#leave()) return;
    this.#runtime.limits.release();
    closeUnread(this.#transport, this.#peeked);
    this.#peeked.clear();
    this.#runtime.receiver.onDropped?.(reason, this.#transport, this);
  }

  // --- TransportHandler, while filters run ---

  onOpen(): void {}

  onDrain(): void {}

  onBytes(bytes: Buffer): void {
    if (this.#done) return;
    this.#peeked.append(bytes);
    this.#step();
  }

  onPeerEnd(): void {
    if (this.#done) return;
    this.#peerEnded = true;
    this.#step();
  }

  onClosed(_error: TransportError | null): void {
    if (this.#done) return;
    this.#runtime.filterError.inc();
    this.drop('error');
  }

  onTimer(_timer: Timer): void {
    if (this.#done) return;
    this.#runtime.preTimeout.inc();
    if (this.#runtime.config.continueOnTimeout) this.handOver();
    else this.drop('timeout');
  }
}
