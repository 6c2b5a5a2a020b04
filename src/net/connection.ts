import { ByteBuffer, type WatermarkObserver } from '../base/byte-buffer.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import type { Address } from './address.ts';
import type { Dispatcher, TurnTask } from './dispatcher.ts';
import { FilterStatus, NetworkFilter } from './filter.ts';
import type { Transport, TransportError, TransportHandler, TransportSecurity } from './transport.ts';

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

const State = { Connecting: 0, Open: 1, Flushing: 2, Delaying: 3, Closed: 4 } as const;
type State = (typeof State)[keyof typeof State];

/**
 * One connection, down- or upstream: owns its transport, buffers and network filters. Writes are collected and flushed once
 * at the end of the dispatcher's turn. Reads can be paused by several owners (counted); bytes that are left in the read
 * buffer are offered again when the last of them resumes.
 */
export class Connection implements TransportHandler, TurnTask, TimerTarget {
  readonly id: number;
  readonly dispatcher: Dispatcher;
  transport: Transport;
  /** Bytes received that no filter has taken yet. Bounded by the buffer limit: above it, reading stops. */
  readonly readBuffer = new ByteBuffer();
  /** Bytes that the kernel has not taken yet. A codec appends here as its `ByteSink`, then calls `written`. */
  readonly output: ByteBuffer;

  /** May differ from the transport's after PROXY protocol or original-destination filters. */
  localAddress: Address;
  remoteAddress: Address;
  readonly directLocalAddress: Address;
  readonly directRemoteAddress: Address;
  requestedServerName = '';
  ja3 = '';
  ja4 = '';
  /** Name of the filter chain that was picked. */
  filterChainName = '';
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
  /** errno name when the transport ended by an error; empty otherwise. */
  closeError = '';
  /** The peer ended by RST. */
  detectedRemoteReset = false;

  #state: State;
  #filters: NetworkFilter[] = [];
  #writeFilters: NetworkFilter[] = [];
  /** Filters before this index have had `onNewConnection`. */
  #initialized = 0;
  #events: ConnectionEvents[] = [];
  #stats: ConnectionStats | null = null;
  #readPauses = 0;
  #transportPaused = false;
  #halfCloseEnabled = false;
  #peerEnded = false;
  #peerEndDelivered = false;
  #endWritesRequested = false;
  #writesEnded = false;
  #flushScheduled = false;
  #readScheduled = false;
  #kernelFull = false;
  #dispatching = false;
  #closeDelayMs = 0;
  #closeTimer: Timer | null = null;
  #reportedRead = 0;
  #reportedWrite = 0;
  readonly #readTask: TurnTask = { onTurnEnd: () => this.#runScheduledRead() };

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

  get readsPaused(): boolean {
    return this.#readPauses > 0;
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

  /** With half-close, the peer's FIN arrives as `onRead(data, true)` and our own direction stays open. */
  enableHalfClose(on: boolean): void {
    this.#halfCloseEnabled = on;
  }

  /** Soft limit of both buffers in bytes; 0: none. */
  setBufferLimit(bytes: number): void {
    this.output.setWatermarks(bytes, bytes === 0 ? null : this.#writeWatermarks);
    this.readBuffer.setWatermarks(bytes, bytes === 0 ? null : this.#readWatermarks);
  }

  readonly #writeWatermarks: WatermarkObserver = {
    onAboveHighWatermark: () => {
      for (const events of this.#events) events.onAboveWriteHighWatermark();
    },
    onBelowLowWatermark: () => {
      for (const events of this.#events) events.onBelowWriteLowWatermark();
    },
  };

  readonly #readWatermarks: WatermarkObserver = {
    // Checked between reads: what a filter drains at once never pauses anything.
    onAboveHighWatermark: () => {},
    onBelowLowWatermark: () => this.#updateTransportReading(),
  };

  addFilter(filter: NetworkFilter): void {
    const index = this.#filters.length;
    this.#filters.push(filter);
    if (filter.onWrite !== NetworkFilter.prototype.onWrite) this.#writeFilters.unshift(filter);
    filter.callbacks = {
      connection: this,
      continueReading: () => {
        if (this.#state !== State.Closed) this.#runFilters(index + 1);
      },
    };
  }

  /** Runs `onNewConnection` of all filters, until one stops. */
  startFilters(): void {
    this.#guard(() => this.#initializeFilters());
  }

  #initializeFilters(): boolean {
    while (this.#initialized < this.#filters.length) {
      const filter = this.#filters[this.#initialized++]!;
      if (filter.onNewConnection() === FilterStatus.Stop || this.#state === State.Closed) return false;
    }
    return true;
  }

  #runFilters(from: number): void {
    for (let i = from; i < this.#filters.length; i++) {
      const filter = this.#filters[i]!;
      if (i >= this.#initialized) {
        this.#initialized = i + 1;
        if (filter.onNewConnection() === FilterStatus.Stop) return;
        if (!this.isOpen) return;
      }
      if (this.readBuffer.length === 0 && !this.#endToDeliver()) continue;
      const end = this.#endToDeliver();
      if (filter.onRead(this.readBuffer, end) === FilterStatus.Stop) return;
      if (!this.isOpen) return;
    }
  }

  #endToDeliver(): boolean {
    return this.#peerEnded && this.#halfCloseEnabled;
  }

  #deliver(): void {
    if (this.#dispatching || !this.isOpen) return;
    this.#dispatching = true;
    try {
      if (this.#endToDeliver()) this.#peerEndDelivered = true;
      this.#runFilters(0);
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
    this.#raise(ConnectionEvent.Connected);
    if (this.output.length > 0 || this.#endWritesRequested) this.written();
  }

  onBytes(bytes: Buffer): void {
    if (this.#state >= State.Delaying) return;
    this.bytesReceived += bytes.length;
    this.#stats?.onBytesReceived(bytes.length);
    if (this.#state === State.Flushing) return;
    this.readBuffer.append(bytes);
    if (this.#readPauses === 0) this.#deliver();
    else this.#reportReadBuffered();
  }

  onDrain(): void {
    this.#kernelFull = false;
    this.#flush();
  }

  onPeerEnd(): void {
    if (this.#peerEnded || this.#state === State.Closed) return;
    this.#peerEnded = true;
    if (this.#state === State.Delaying) {
      this.#closeNow();
      return;
    }
    if (this.#state === State.Flushing) return;
    if (this.#halfCloseEnabled) {
      if (this.#readPauses === 0) this.#deliver();
      this.#closeWhenBothEnded();
    } else {
      this.#finish(ConnectionEvent.RemoteClose);
      this.transport.close();
    }
  }

  onClosed(error: TransportError | null): void {
    if (this.#state === State.Closed) return;
    if (error !== null) {
      this.closeError = error.code;
      this.transportFailureReason = error.message;
      this.detectedRemoteReset = error.code === 'ECONNRESET';
    }
    const local = this.#state === State.Flushing || this.#state === State.Delaying;
    this.#finish(local ? ConnectionEvent.LocalClose : ConnectionEvent.RemoteClose);
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
    if (this.readBuffer.length > 0 || (this.#endToDeliver() && !this.#peerEndDelivered)) this.#scheduleRead();
  }

  #scheduleRead(): void {
    if (this.#readScheduled) return;
    this.#readScheduled = true;
    this.dispatcher.defer(this.#readTask);
  }

  #runScheduledRead(): void {
    this.#readScheduled = false;
    if (this.#readPauses === 0) this.#deliver();
  }

  #updateTransportReading(): void {
    if (this.#state === State.Closed) return;
    const want = this.#readPauses === 0 && !this.readBuffer.isAboveHighWatermark;
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
    for (const filter of this.#writeFilters) {
      if (filter.onWrite(data, end) === FilterStatus.Stop) return;
    }
    this.output.moveFrom(data);
    if (end) this.#endWritesRequested = true;
    this.written();
  }

  /** `output` has grown (see ByteSink). */
  written(): void {
    this.#reportWriteBuffered();
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.dispatcher.defer(this);
  }

  onTurnEnd(): void {
    this.#flushScheduled = false;
    this.#flush();
  }

  #flush(): void {
    if (this.#state === State.Closed || this.#state === State.Connecting || this.#kernelFull) return;
    const output = this.output;
    while (output.length > 0) {
      const slice = output.firstSlice()!;
      const size = slice.end - slice.start;
      const taken = this.transport.write(slice.bytes, slice.start, slice.end);
      if (taken < 0) return; // closed: onClosed follows
      if (taken > 0) {
        this.bytesSent += taken;
        this.#stats?.onBytesSent(taken);
        output.drain(taken);
      }
      if (taken < size) {
        this.#kernelFull = true;
        break;
      }
    }
    this.#reportWriteBuffered();
    if (output.length === 0) this.#onFlushed();
    else if (this.#closeTimer !== null && this.#closeDelayMs > 0) this.#closeTimer.enable(this.#closeDelayMs);
  }

  #onFlushed(): void {
    if (this.#endWritesRequested && !this.#writesEnded) {
      this.#writesEnded = true;
      this.transport.endWrites();
    }
    if (this.#state === State.Flushing) this.#afterFlush();
    else if (this.#halfCloseEnabled) this.#closeWhenBothEnded();
  }

  #closeWhenBothEnded(): void {
    if (this.#state === State.Open && this.#writesEnded && this.#peerEndDelivered) {
      this.#finish(ConnectionEvent.RemoteClose);
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
    if (reason !== '' && this.localCloseReason === '') this.localCloseReason = reason;
    if (type === CloseType.Abort) {
      this.#finish(ConnectionEvent.LocalClose);
      this.transport.reset();
      return;
    }
    if (type === CloseType.NoFlush || this.#state === State.Connecting) {
      this.#closeNow();
      return;
    }
    if (this.#state === State.Flushing || this.#state === State.Delaying) return;
    if (type === CloseType.FlushWrite && this.output.length === 0) {
      this.#closeNow();
      return;
    }
    this.#state = State.Flushing;
    this.readBuffer.clear();
    this.#reportReadBuffered();
    this.#closeDelayMs = delayMs;
    this.#delayAfterFlush = type === CloseType.FlushWriteAndDelay && delayMs > 0;
    if (delayMs > 0) {
      this.#closeTimer = this.dispatcher.createTimer(this);
      this.#closeTimer.enable(delayMs);
    }
    // Bytes that still come are read and dropped, so that the peer can finish sending and then read our answer.
    if (this.#transportPaused) {
      this.#transportPaused = false;
      this.transport.resume();
    }
    this.written();
  }

  #delayAfterFlush = false;

  #afterFlush(): void {
    if (!this.#delayAfterFlush || this.#peerEnded) {
      this.#closeNow();
      return;
    }
    this.#state = State.Delaying;
    this.#closeTimer?.enable(this.#closeDelayMs);
  }

  /** Called when the delayed-close timer ran out. Set by owners that count it (`downstream_cx_delayed_close_timeout`). */
  onDelayedCloseTimeout: (() => void) | null = null;

  onTimer(_timer: Timer): void {
    if (this.#state !== State.Flushing && this.#state !== State.Delaying) return;
    this.onDelayedCloseTimeout?.();
    this.#closeNow();
  }

  #closeNow(): void {
    this.#finish(ConnectionEvent.LocalClose);
    this.transport.close();
  }

  #finish(event: ConnectionEvent): void {
    if (this.#state === State.Closed) return;
    this.#state = State.Closed;
    this.#closeTimer?.destroy();
    this.#raise(event);
    for (const filter of this.#filters) this.#guard(() => filter.onClose());
    this.readBuffer.setWatermarks(0, null);
    this.output.setWatermarks(0, null);
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

  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#bug(error);
    }
  }

  #bug(error: unknown): void {
    this.dispatcher.onBug(error);
    if (this.#state !== State.Closed) this.#closeNow();
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
