import { ByteBuffer, type WatermarkObserver } from '../base/byte-buffer.ts';
import { ConnectionState } from '../base/connection-state.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import type { Address } from './address.ts';
import type { Dispatcher, TurnTask } from './dispatcher.ts';
import { type FilterCallbacks, FilterStatus, NetworkFilter } from './filter.ts';
import type { Transport, TransportError, TransportHandler, TransportSecurity } from './transport.ts';

/** Longest run of small slices that is copied together so that one system call sends it. */
const GATHER_BYTES = 64 * 1024;
/** A first slice of this size or more is worth a system call of its own. */
const GATHER_SLICE_BYTES = 16 * 1024;

export const CloseType = {
  /** Write what is buffered, then close. */
  FlushWrite: 0,
  /** Close at once, dropping what is buffered. */
  NoFlush: 1,
  /** Flush, then wait for the peer to close, at most the delayed-close timeout. */
  FlushWriteAndDelay: 2,
  /** RST. */
  Abort: 3,
} as const;
export type CloseType = (typeof CloseType)[keyof typeof CloseType];

export const ConnectionEvent = { Connected: 0, RemoteClose: 1, LocalClose: 2 } as const;
export type ConnectionEvent = (typeof ConnectionEvent)[keyof typeof ConnectionEvent];

/** Observes a connection. Events come inside a dispatcher turn; after a close event nothing follows. */
export interface ConnectionEvents {
  onConnectionEvent(event: ConnectionEvent): void;
  onAboveWriteHighWatermark(): void;
  onBelowWriteLowWatermark(): void;
}

/** Byte counts of a connection, by Envoy's `*_cx_{rx,tx}_bytes_*`. Implemented over counters and gauges. */
export interface ConnectionStats {
  onBytesReceived(count: number): void;
  onBytesSent(count: number): void;
  onReadBufferedChange(delta: number): void;
  onWriteBufferedChange(delta: number): void;
}

/**
 * Connecting -> Open -> Flushing (writing the rest) -> Delaying (waiting for the peer) -> Closed; any of them may be skipped,
 * none is entered again.
 */
const State = { Connecting: 0, Open: 1, Flushing: 2, Delaying: 3, Closed: 4 } as const;
type State = (typeof State)[keyof typeof State];

/** What a filter gets as its callbacks: its place in the chain. */
class FilterSlot implements FilterCallbacks {
  readonly connection: Connection;
  readonly #index: number;

  constructor(connection: Connection, index: number) {
    this.connection = connection;
    this.#index = index;
  }

  continueReading(): void {
    this.connection.continueFrom(this.#index + 1);
  }
}

/** Lets reading go on once filters have taken enough. Pausing is decided between reads, see `#updateTransportReading`. */
class ReadWatermarks implements WatermarkObserver {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  // What a filter drains at once never pauses anything.
  onAboveHighWatermark(): void {}

  onBelowLowWatermark(): void {
    this.#connection.onReadBufferLow();
  }
}

const NO_FILTERS: readonly NetworkFilter[] = [];

/**
 * One connection, down- or upstream: owns its transport, buffers and network filters. Writes are collected and flushed once
 * at the end of the dispatcher's turn. Reads can be paused by several owners (counted); bytes that are left in the read
 * buffer are offered again when the last of them resumes.
 *
 * (Longer than most files: reading, writing and closing share one state, and each may happen within the other.)
 */
export class Connection implements TransportHandler, TurnTask, TimerTarget, WatermarkObserver {
  readonly id: number;
  readonly dispatcher: Dispatcher;
  transport: Transport;
  /** The transport socket encrypts (Envoy: `ssl()`); known before the handshake is done. */
  isSecure = false;
  /** Bytes received that no filter has taken yet. Bounded by the buffer limit: above it, reading stops. */
  readonly readBuffer = new ByteBuffer();
  /** Bytes that the kernel has not taken yet. A codec appends here as its `ByteSink`, then calls `written`. */
  readonly output: ByteBuffer;

  /** May differ from the transport's after PROXY protocol or original-destination filters. */
  localAddress: Address;
  /** It is where the client meant to go, not where the connection came in. */
  localAddressRestored = false;
  remoteAddress: Address;
  /** The socket's own; of an outgoing connection known once it is open. */
  directLocalAddress: Address;
  readonly directRemoteAddress: Address;
  requestedServerName = '';
  ja3 = '';
  ja4 = '';
  /** Name of the filter chain that was picked. */
  filterChainName = '';
  /** What filters left for those behind them; null: nothing. */
  state: ConnectionState | null = null;
  /** Monotonic ms. */
  readonly startMs: number;
  bytesReceived = 0;
  bytesSent = 0;
  /** `%DOWNSTREAM_TRANSPORT_FAILURE_REASON%`. */
  transportFailureReason = '';
  /** `%DOWNSTREAM_LOCAL_CLOSE_REASON%`: why we closed. */
  localCloseReason = '';
  /** `%CONNECTION_TERMINATION_DETAILS%`. */
  terminationDetails = '';
  /** `%RESPONSE_CODE_DETAILS%` of the listener's access log; set by filters, without meaning here. */
  responseCodeDetails = '';
  /** Marks that the listener's access log is to show; set by filters, without meaning here. */
  marks = 0;
  /** Number of the protocol that the listener's access log is to show; set by filters, without meaning here. */
  protocol: number | null = null;
  /** errno name when the transport ended by an error; empty otherwise. */
  closeError = '';
  /** The peer ended by RST. */
  detectedRemoteReset = false;
  /** We ended it by RST. */
  sentReset = false;

  /**
   * What is written in the turns of several sockets is sent in a row behind them. An HTTP/2 connection then sends the frames of
   * many streams together. For HTTP/1 it is the peers that gain: one that has been woken still runs when the next write reaches
   * it, where a write after each turn would find it asleep again, and waking is the dearest part of a small write.
   */
  gathersWrites = false;
  /** Called when the delayed-close timer ran out. Set by owners that count it (`downstream_cx_delayed_close_timeout`). */
  onDelayedCloseTimeout: (() => void) | null = null;

  #state: State;
  #filters: NetworkFilter[] = [];
  /** Those with an `onWrite`, last filter first. Shared while there is none: most chains have none. */
  #writeFilters: readonly NetworkFilter[] = NO_FILTERS;
  /** Filters before this index have had `onNewConnection`. */
  #initialized = 0;
  #events: ConnectionEvents[] = [];
  #stats: ConnectionStats | null = null;
  #readPauses = 0;
  #transportPaused = false;
  #halfCloseEnabled = false;
  #peerEnded = false;
  #peerEndDelivered = false;
  /** The peer ended, or the transport is gone, while reads were paused: closes once what was read is delivered. */
  #closeAfterReads = false;
  /** The transport has said its last word: nothing that is flushed can be sent, and no event ends the wait for it. */
  #transportGone = false;
  #endWritesRequested = false;
  #writesEnded = false;
  #turnTaskQueued = false;
  #flushWanted = false;
  #readWanted = false;
  #kernelFull = false;
  #dispatching = false;
  #closeDelayMs = 0;
  #delayAfterFlush = false;
  #closeTimer: Timer | null = null;
  #reportedRead = 0;
  #reportedWrite = 0;
  #roundTripMs = -1;

  /** @param open false while an outgoing connect is under way */
  constructor(dispatcher: Dispatcher, transport: Transport, open: boolean) {
    this.dispatcher = dispatcher;
    this.transport = transport;
    this.id = dispatcher.nextConnectionId++;
    this.output = new ByteBuffer(dispatcher.slabs);
    this.localAddress = this.directLocalAddress = transport.localAddress;
    this.remoteAddress = this.directRemoteAddress = transport.remoteAddress;
    this.startMs = dispatcher.nowMs;
    this.#state = open ? State.Open : State.Connecting;
  }

  /** `state`, made when it is not there yet. */
  ownState(): ConnectionState {
    this.state ??= new ConnectionState();
    return this.state;
  }

  get security(): TransportSecurity | null {
    return this.transport.security;
  }

  /** Open for reading and writing by filters: not closed and not on its way there. */
  get isOpen(): boolean {
    return this.#state === State.Open || this.#state === State.Connecting;
  }

  get isClosed(): boolean {
    return this.#state === State.Closed;
  }

  get isConnecting(): boolean {
    return this.#state === State.Connecting;
  }

  /** The peer's FIN has been seen. */
  get peerEnded(): boolean {
    return this.#peerEnded;
  }

  /**
   * The kernel's round-trip time in whole ms, as last read: behind the connection's end that is what was read before. -1: not known.
   * Costs a system call: ask for what is wanted alone.
   */
  roundTripMs(): number {
    const now = this.transport.roundTripMs?.() ?? -1;
    if (now >= 0) this.#roundTripMs = now;
    return this.#roundTripMs;
  }

  addEvents(events: ConnectionEvents): void {
    this.#events.push(events);
  }

  removeEvents(events: ConnectionEvents): void {
    const at = this.#events.indexOf(events);
    if (at >= 0) this.#events = this.#events.toSpliced(at, 1);
  }

  setStats(stats: ConnectionStats | null): void {
    this.#stats = stats;
  }

  /**
   * With half-close, the peer's FIN arrives as `onRead(data, true)`, behind all that was read (upstream connections must not lose an
   * answer), and our own direction stays open. Without, a FIN that is seen while reads are paused ends the connection at once, and
   * what is unread is dropped; a runtime may not notice it before reading resumes.
   */
  enableHalfClose(on: boolean): void {
    this.#halfCloseEnabled = on;
  }

  /** Soft limit of both buffers in bytes; 0: none. */
  setBufferLimit(bytes: number): void {
    if (this.#state === State.Closed) return;
    this.output.setWatermarks(bytes, bytes === 0 ? null : this);
    this.readBuffer.setWatermarks(bytes, bytes === 0 ? null : new ReadWatermarks(this));
  }

  /** `output` has crossed its limit. */
  onAboveHighWatermark(): void {
    const events = this.#events;
    for (let i = 0; i < events.length; i++) events[i]!.onAboveWriteHighWatermark();
  }

  onBelowLowWatermark(): void {
    const events = this.#events;
    for (let i = 0; i < events.length; i++) events[i]!.onBelowWriteLowWatermark();
  }

  /** Not for users: `readBuffer` has fallen to its low watermark. */
  onReadBufferLow(): void {
    if (!this.#dispatching) this.#updateTransportReading();
  }

  // --- filters ---

  addFilter(filter: NetworkFilter): void {
    filter.callbacks = new FilterSlot(this, this.#filters.length);
    this.#filters.push(filter);
    if (filter.onWrite !== NetworkFilter.prototype.onWrite) this.#writeFilters = [filter, ...this.#writeFilters];
  }

  /** Runs `onNewConnection` of all filters, until one stops. */
  startFilters(): void {
    try {
      while (this.#initialized < this.#filters.length && this.isOpen) {
        const filter = this.#filters[this.#initialized++]!;
        if (filter.onNewConnection() === FilterStatus.Stop) return;
      }
    } catch (error) {
      this.#bug(error);
    }
  }

  /** Not for users (see FilterCallbacks): the filters from `index` on are offered what the read buffer holds. */
  continueFrom(index: number): void {
    if (!this.isOpen) return;
    if (this.#dispatching) this.#runFilters(index);
    else this.#dispatch(index);
  }

  #runFilters(from: number): void {
    for (let i = from; i < this.#filters.length; i++) {
      const filter = this.#filters[i]!;
      if (i >= this.#initialized) {
        this.#initialized = i + 1;
        if (filter.onNewConnection() === FilterStatus.Stop || !this.isOpen) return;
      }
      const end = this.#endToDeliver();
      if (this.readBuffer.length === 0 && !end) continue;
      if (filter.onRead(this.readBuffer, end) === FilterStatus.Stop || !this.isOpen) return;
    }
  }

  #endToDeliver(): boolean {
    return this.#peerEnded && this.#halfCloseEnabled;
  }

  #deliver(): void {
    if (this.#dispatching || !this.isOpen) return;
    if (this.readBuffer.length > 0 || (this.#endToDeliver() && !this.#peerEndDelivered)) {
      if (this.#endToDeliver()) this.#peerEndDelivered = true;
      this.#dispatch(0);
    }
    if (this.#closeAfterReads && this.#readPauses === 0 && this.isOpen) this.#closeByPeer();
  }

  #dispatch(from: number): void {
    this.#dispatching = true;
    try {
      this.#runFilters(from);
    } catch (error) {
      this.#bug(error);
    } finally {
      this.#dispatching = false;
    }
    this.#reportReadBuffered();
    this.#updateTransportReading();
  }

  // --- TransportHandler ---

  onOpen(): void {
    if (this.#state !== State.Connecting) return;
    this.#state = State.Open;
    if (this.localAddress === this.directLocalAddress) this.localAddress = this.transport.localAddress;
    this.directLocalAddress = this.transport.localAddress;
    this.#raise(ConnectionEvent.Connected);
    if (this.output.length > 0 || this.#endWritesRequested) this.written();
  }

  onBytes(bytes: Buffer): void {
    if (this.#state === State.Closed) return;
    this.bytesReceived += bytes.length;
    this.#stats?.onBytesReceived(bytes.length);
    if (this.#state >= State.Flushing) return;
    this.readBuffer.appendReceived(bytes);
    if (this.#readPauses === 0) this.#deliver();
    else this.#reportReadBuffered();
  }

  onOwnBytesSent(count: number): void {
    this.bytesSent += count;
    this.#stats?.onBytesSent(count);
  }

  onDrain(): void {
    this.#kernelFull = false;
    try {
      this.#flush();
    } catch (error) {
      this.#bug(error);
    }
  }

  onPeerEnd(): void {
    if (this.#peerEnded || this.#state === State.Closed) return;
    this.#peerEnded = true;
    if (this.#halfCloseEnabled) {
      // Flushing goes on: only our direction is left, and the peer still reads.
      if (this.#state === State.Delaying) this.#closeByPeer();
      if (this.#state >= State.Flushing) return;
      if (this.#readPauses === 0) this.#deliver();
      this.#closeWhenBothEnded(ConnectionEvent.RemoteClose);
      return;
    }
    // Without half-close a FIN means the peer has gone (Envoy: what is still unsent is dropped).
    if (this.#readPauses === 0 && this.#hasUndelivered()) {
      this.#closeAfterReads = true;
      this.#deliver();
      return;
    }
    this.#closeByPeer();
  }

  onEarlyClose(): void {
    if (this.#state === State.Open && !this.#halfCloseEnabled) this.#closeByPeer();
  }

  onClosed(error: TransportError | null): void {
    if (this.#state === State.Closed) return;
    if (error !== null) {
      this.closeError = error.code;
      this.transportFailureReason = error.message;
      this.detectedRemoteReset = error.code === 'ECONNRESET';
    } else if (this.#halfCloseEnabled && this.#hasUndelivered()) {
      // Both directions ended in order, but a paused reader has not had everything yet.
      this.#closeAfterReads = true;
      this.#transportGone = true;
      if (this.#readPauses === 0) this.#deliver();
      return;
    }
    this.#finish(error?.local === true ? ConnectionEvent.LocalClose : ConnectionEvent.RemoteClose);
  }

  /** Bytes, or the peer's end, that no filter could see because reads are paused or about to resume. */
  #hasUndelivered(): boolean {
    if (this.#state >= State.Flushing || this.#dispatching) return false;
    if (this.#readPauses === 0 && !this.#readWanted) return false;
    return this.readBuffer.length > 0 || (this.#endToDeliver() && !this.#peerEndDelivered);
  }

  // --- reading ---

  pauseReads(): void {
    this.#readPauses++;
    this.#updateTransportReading();
  }

  resumeReads(): void {
    if (this.#readPauses === 0) throw new Error('resumeReads without pauseReads');
    if (--this.#readPauses > 0) return;
    this.#updateTransportReading();
    if (this.readBuffer.length > 0 || this.#closeAfterReads || (this.#endToDeliver() && !this.#peerEndDelivered)) {
      this.#readWanted = true;
      this.#queueTurnTask();
    }
  }

  #updateTransportReading(): void {
    if (this.#state === State.Closed) return;
    // On its way to close, bytes are read and dropped, so that the peer can finish sending and then read our answer.
    const want = this.#state >= State.Flushing || (this.#readPauses === 0 && !this.readBuffer.isAboveHighWatermark);
    if (want === !this.#transportPaused) return;
    this.#transportPaused = !want;
    if (want) this.transport.resume();
    else this.transport.pause();
  }

  // --- writing ---

  /** Runs the write filters over `data`, takes it, and flushes by the end of the turn. `end` sends FIN behind it. */
  write(data: ByteBuffer, end: boolean): void {
    if (!this.isOpen || this.#endWritesRequested) {
      data.clear();
      return;
    }
    const filters = this.#writeFilters;
    for (let i = 0; i < filters.length; i++) {
      if (filters[i]!.onWrite(data, end) === FilterStatus.Stop) return;
    }
    this.output.moveFrom(data);
    if (end) this.#endWritesRequested = true;
    this.written();
  }

  /** `output` has grown (see ByteSink). */
  written(): void {
    if (this.#state === State.Closed) {
      this.output.clear();
      return;
    }
    if (this.#flushWanted) return;
    this.#flushWanted = true;
    this.#queueTurnTask();
  }

  #queueTurnTask(): void {
    if (this.#turnTaskQueued) return;
    this.#turnTaskQueued = true;
    if (this.gathersWrites && this.#state === State.Open && this.output.length < GATHER_BYTES) {
      this.dispatcher.deferToPollEnd(this);
    } else {
      this.dispatcher.defer(this);
    }
  }

  onTurnEnd(): void {
    this.#turnTaskQueued = false;
    try {
      if (this.#readWanted) {
        this.#readWanted = false;
        if (this.#readPauses === 0) this.#deliver();
      }
      if (this.#flushWanted) {
        this.#flushWanted = false;
        this.#flush();
      }
    } catch (error) {
      this.#bug(error);
    }
  }

  #flush(): void {
    if (this.#state === State.Closed) return;
    if (this.#state === State.Connecting || this.#kernelFull) {
      this.#reportWriteBuffered();
      return;
    }
    const sentBefore = this.bytesSent;
    if (!this.#sendOutput(this.#stats)) return; // the transport is closed: onClosed follows
    this.#reportWriteBuffered();
    // The delayed-close timeout is one of inactivity: any progress restarts it.
    if (this.#closeTimer !== null && this.bytesSent > sentBefore) this.#closeTimer.enable(this.#closeDelayMs);
    // Watermark observers have run: the state may be another.
    if (this.output.length === 0) this.#onFlushed();
  }

  /** Offers `output` to the kernel until it takes no more. @returns false when the transport is closed */
  #sendOutput(stats: ConnectionStats | null): boolean {
    const output = this.output;
    while (output.length > 0) {
      const slice = output.firstSlice()!;
      let size = slice.end - slice.start;
      let taken: number;
      if (size < GATHER_SLICE_BYTES && output.sliceCount > 1) {
        const scratch = this.dispatcher.scratch(GATHER_BYTES);
        size = Math.min(output.length, GATHER_BYTES);
        output.copyTo(scratch, 0, 0, size);
        taken = this.transport.write(scratch, 0, size);
      } else {
        taken = this.transport.write(slice.bytes, slice.start, slice.end);
      }
      if (taken < 0) return false;
      if (taken > 0) {
        this.bytesSent += taken;
        stats?.onBytesSent(taken);
      }
      if (taken < size) this.#kernelFull = true;
      if (taken > 0) output.drain(taken);
      if (this.#kernelFull) break;
    }
    return true;
  }

  #onFlushed(): void {
    if (this.#endWritesRequested && !this.#writesEnded) {
      this.#writesEnded = true;
      this.transport.endWrites();
    }
    if (this.#state === State.Flushing) this.#afterFlush();
    else if (this.#halfCloseEnabled) this.#closeWhenBothEnded(ConnectionEvent.LocalClose);
  }

  #closeWhenBothEnded(event: ConnectionEvent): void {
    if (this.#state === State.Open && this.#writesEnded && this.#peerEndDelivered) {
      this.#finish(event);
      this.transport.close();
    }
  }

  // --- closing ---

  /**
   * Begins to close. The close event comes at once, or after the flush.
   * @param delayMs for FlushWriteAndDelay: the longest wait for the peer, and for a flush that makes no progress
   */
  close(type: CloseType, reason = '', delayMs = 0): void {
    if (this.#state === State.Closed) return;
    if (reason !== '') this.localCloseReason = reason;
    if (type === CloseType.Abort) {
      this.sentReset = true;
      this.#finish(ConnectionEvent.LocalClose);
      this.transport.reset();
      return;
    }
    if (type === CloseType.NoFlush || this.#state === State.Connecting || this.#transportGone) {
      // Envoy: not waiting for a flush, but what the kernel takes now is sent; its statistics do not count that.
      if (this.#state !== State.Connecting && !this.#kernelFull) this.#sendOutput(null);
      this.#closeNow();
      return;
    }
    this.#delayAfterFlush = type === CloseType.FlushWriteAndDelay && delayMs > 0;
    if (this.#state >= State.Flushing) {
      // A second close: the later one decides how it ends (Envoy: closeInternal).
      if (this.#state === State.Delaying && !this.#delayAfterFlush) this.#closeNow();
      return;
    }
    if (this.output.length === 0 && !this.#delayAfterFlush) {
      this.#closeNow();
      return;
    }
    this.#state = State.Flushing;
    this.readBuffer.clear();
    this.#reportReadBuffered();
    this.#closeDelayMs = delayMs;
    if (delayMs > 0) {
      this.#closeTimer = this.dispatcher.createTimer(this);
      this.#closeTimer.enable(delayMs);
    }
    this.#updateTransportReading();
    this.written();
  }

  #afterFlush(): void {
    if (!this.#delayAfterFlush || this.#peerEnded) this.#closeNow();
    else this.#state = State.Delaying;
  }

  onTimer(_timer: Timer): void {
    if (this.#state !== State.Flushing && this.#state !== State.Delaying) return;
    if (this.#flushWanted) {
      // It was us who took so long: the peer has not been offered anything yet. What it takes starts the timer again.
      const sentBefore = this.bytesSent;
      this.#flushWanted = false;
      this.#flush();
      if (this.bytesSent > sentBefore || (this.#state as State) === State.Closed) return;
    }
    this.localCloseReason = 'triggered_delayed_close_timeout';
    try {
      this.onDelayedCloseTimeout?.();
    } finally {
      this.#closeNow();
    }
  }

  #closeNow(): void {
    this.#finish(ConnectionEvent.LocalClose);
    this.transport.close();
  }

  #closeByPeer(): void {
    this.#finish(ConnectionEvent.RemoteClose);
    this.transport.close();
  }

  #finish(event: ConnectionEvent): void {
    if (this.#state === State.Closed) return;
    this.#state = State.Closed;
    this.#closeTimer?.destroy();
    // A flush under way may have come here by a watermark: it must not start the timer again.
    this.#closeTimer = null;
    this.readBuffer.setWatermarks(0, null);
    this.output.setWatermarks(0, null);
    this.#raise(event);
    for (const filter of this.#filters) {
      try {
        filter.onClose();
      } catch (error) {
        this.#bug(error);
      }
    }
    this.readBuffer.clear();
    this.output.clear();
    this.#reportReadBuffered();
    this.#reportWriteBuffered();
    this.#events = [];
  }

  #raise(event: ConnectionEvent): void {
    const events = this.#events;
    for (let i = 0; i < events.length; i++) {
      try {
        events[i]!.onConnectionEvent(event);
      } catch (error) {
        this.#bug(error);
      }
    }
  }

  #bug(error: unknown): void {
    try {
      this.dispatcher.onBug(error);
    } finally {
      if (this.#state !== State.Closed) this.#closeNow();
    }
  }

  #reportReadBuffered(): void {
    if (this.#stats === null) return;
    const now = this.readBuffer.length;
    if (now !== this.#reportedRead) {
      this.#stats.onReadBufferedChange(now - this.#reportedRead);
      this.#reportedRead = now;
    }
  }

  #reportWriteBuffered(): void {
    if (this.#stats === null) return;
    const now = this.output.length;
    if (now !== this.#reportedWrite) {
      this.#stats.onWriteBufferedChange(now - this.#reportedWrite);
      this.#reportedWrite = now;
    }
  }
}
