import type { Http2Options } from '../http2-options.ts';
import type { Http2CodecStats } from '../http2-stats.ts';
import type { OutboundFrames } from './outbound-frames.ts';

/** Frames that cost the peer little and us work, counted as Envoy's ProtocolConstraints does. Seven numbers per connection. */
export class InboundLimits {
  readonly #stats: Http2CodecStats;
  readonly #outbound: OutboundFrames;
  readonly #streams: { readonly size: number };
  readonly #maxEmpty: number;
  readonly #maxPriority: number;
  readonly #maxWindowUpdates: number;
  #empty = 0;
  #priority = 0;
  #windowUpdates = 0;
  readonly #resetBurst: number;
  readonly #resetRate: number;
  #resetsLeft: number;
  #resetSecond = 0;

  /** @param streams those that are open: what has ended earns the peer nothing any more */
  constructor(
    options: Http2Options,
    stats: Http2CodecStats,
    outbound: OutboundFrames,
    streams: { readonly size: number },
  ) {
    this.#streams = streams;
    this.#stats = stats;
    this.#outbound = outbound;
    this.#maxEmpty = options.maxConsecutiveInboundFramesWithEmptyPayload;
    this.#maxPriority = options.maxInboundPriorityFramesPerStream;
    this.#maxWindowUpdates = options.maxInboundWindowUpdateFramesPerDataFrameSent;
    this.#resetBurst = options.streamResetBurst;
    this.#resetRate = options.streamResetRate;
    this.#resetsLeft = options.streamResetBurst;
  }

  /** DATA, HEADERS or CONTINUATION. @returns Envoy's words for what is too much, or null */
  onMessageFrame(payloadBytes: number, endStream: boolean): string | null {
    if (payloadBytes > 0 || endStream) {
      this.#empty = 0;
      return null;
    }
    if (++this.#empty <= this.#maxEmpty) return null;
    this.#stats.inboundEmptyFramesFlood.inc();
    return 'Too many consecutive frames with an empty payload';
  }

  onPriority(): string | null {
    if (++this.#priority <= this.#maxPriority * (1 + this.#streams.size)) return null;
    this.#stats.inboundPriorityFramesFlood.inc();
    return 'Too many PRIORITY frames';
  }

  /**
   * RST_STREAM: a bucket of tokens that fills up by the second. Source: nghttp2_option_set_stream_reset_rate_limit.
   * @param nowMs monotonic
   * @returns false: there are too many
   */
  takesReset(nowMs: number): boolean {
    const second = Math.floor(nowMs / 1000);
    if (this.#resetSecond < second) {
      this.#resetsLeft = Math.min(this.#resetBurst, this.#resetsLeft + (second - this.#resetSecond) * this.#resetRate);
      this.#resetSecond = second;
    }
    if (this.#resetsLeft < 1) return false;
    this.#resetsLeft--;
    return true;
  }

  onWindowUpdate(): string | null {
    this.#windowUpdates++;
    const earned = this.#streams.size + this.#maxWindowUpdates * this.#outbound.dataFrames;
    if (this.#windowUpdates <= 5 + 2 * earned) return null;
    this.#stats.inboundWindowUpdateFramesFlood.inc();
    return 'Too many WINDOW_UPDATE frames';
  }
}
