import type { ByteSink } from '../../codec.ts';
import type { Http2Options } from '../http2-options.ts';
import type { Http2CodecStats } from '../http2-stats.ts';

/** Places in the ring at the beginning; a power of two. */
const FIRST_ROOM = 64;

/**
 * Counts the frames that stand in the connection's output: a peer that makes us answer but does not read would fill it with
 * frames that no window holds back (Envoy: ProtocolConstraints, CVE-2019-9512 and its like).
 *
 * Bounds: one number per waiting frame, of which there are at most `maxOutboundFrames` and those of one turn.
 */
export class OutboundFrames {
  readonly #sink: ByteSink;
  readonly #stats: Http2CodecStats;
  readonly #maxFrames: number;
  readonly #maxControl: number;
  /** Where each waiting frame ends, counted from the connection's first byte; negative: a control frame. */
  #ends = new Float64Array(FIRST_ROOM);
  #head = 0;
  #tail = 0;
  #control = 0;
  #exceeded = false;
  /** Bytes written since the beginning. */
  #written = 0;
  /** What the gauges have been told. */
  #toldFrames = 0;
  #toldControl = 0;
  /** DATA frames that were ever sent: they earn the peer its WINDOW_UPDATE frames. */
  dataFrames = 0;

  constructor(sink: ByteSink, options: Http2Options, stats: Http2CodecStats) {
    this.#sink = sink;
    this.#stats = stats;
    this.#maxFrames = options.maxOutboundFrames;
    this.#maxControl = options.maxOutboundControlFrames;
  }

  /** A frame of `bytes` bytes, header included, is about to be appended. */
  add(bytes: number, control: boolean): void {
    if (this.#sink.output.length === 0) {
      this.#head = 0;
      this.#tail = 0;
      this.#control = 0;
    } else if (this.#tail - this.#head === this.#ends.length) {
      this.#reap();
      if (this.#tail - this.#head === this.#ends.length) this.#grow();
    }
    this.#written += bytes;
    this.#ends[this.#tail & (this.#ends.length - 1)] = control ? -this.#written : this.#written;
    this.#tail++;
    if (control) this.#control++;
  }

  /** @returns Envoy's words for what is too much, said once, or null */
  check(): string | null {
    if (this.#exceeded) return null;
    if (this.#tail - this.#head <= this.#maxFrames && this.#control <= this.#maxControl) return null;
    this.#reap();
    if (this.#tail - this.#head > this.#maxFrames) {
      this.#exceeded = true;
      this.#stats.outboundFlood.inc();
      return 'Too many frames in the outbound queue.';
    }
    if (this.#control > this.#maxControl) {
      this.#exceeded = true;
      this.#stats.outboundControlFlood.inc();
      return 'Too many control frames in the outbound queue.';
    }
    return null;
  }

  /** Brings the gauges up to date: after a flush, for what the kernel takes at once never waits. */
  report(): void {
    if (this.#tail !== this.#head) this.#reap();
    const frames = this.#tail - this.#head;
    if (frames !== this.#toldFrames) {
      this.#stats.outboundFramesActive.add(frames - this.#toldFrames);
      this.#toldFrames = frames;
    }
    if (this.#control !== this.#toldControl) {
      this.#stats.outboundControlFramesActive.add(this.#control - this.#toldControl);
      this.#toldControl = this.#control;
    }
  }

  /** The connection is gone, and what waited with it. */
  clear(): void {
    this.#head = 0;
    this.#tail = 0;
    this.#control = 0;
    this.#stats.outboundFramesActive.add(-this.#toldFrames);
    this.#stats.outboundControlFramesActive.add(-this.#toldControl);
    this.#toldFrames = 0;
    this.#toldControl = 0;
  }

  /** Forgets the frames that have left the output. */
  #reap(): void {
    const gone = this.#written - this.#sink.output.length;
    const mask = this.#ends.length - 1;
    let head = this.#head;
    while (head < this.#tail) {
      const end = this.#ends[head & mask]!;
      if ((end < 0 ? -end : end) > gone) break;
      if (end < 0) this.#control--;
      head++;
    }
    this.#head = head;
  }

  #grow(): void {
    const ends = new Float64Array(this.#ends.length * 2);
    const count = this.#tail - this.#head;
    for (let i = 0; i < count; i++) ends[i] = this.#ends[(this.#head + i) & (this.#ends.length - 1)]!;
    this.#ends = ends;
    this.#head = 0;
    this.#tail = count;
  }
}
