import type { RequestHeaders } from '../../http/header-map.ts';
import type { TagSink } from '../../routing/span-tag.ts';
import type { StreamInfo } from '../stream-info.ts';

/** What a tracer asks of the place that is traced. */
export interface SpanSettings {
  /** Requests go out, to other services; else they come in. */
  readonly egress: boolean;
  /** Attempts towards upstreams have spans of their own: this proxy is a hop of the trace. */
  readonly spawnUpstreamSpan: boolean;
}

/**
 * One piece of work of one request. All text is as in header maps: one UTF-16 unit per byte.
 *
 * A span that is not sampled exists only to carry the trace on: nobody reads its tags, so whoever sets some asks
 * {@link sampled} first.
 */
export interface Span extends TagSink {
  /** It will be reported. */
  readonly sampled: boolean;
  /** The proxy decided that, not who called: another route may decide anew. */
  readonly usesLocalDecision: boolean;
  /** `%TRACE_ID%`; empty: none. */
  readonly traceId: string;
  /** `%SPAN_ID%`; empty: none. */
  readonly spanId: string;
  setSampled(sampled: boolean): void;
  setOperation(name: string): void;
  /** @param wallMs since the epoch */
  log(wallMs: number, event: string): void;
  /** Tells the next hop whose child it is. */
  inject(headers: RequestHeaders): void;
  /** @param startWallMs since the epoch */
  spawnChild(settings: SpanSettings, operation: string, startWallMs: number): Span;
  /** The end: reports it where it is sampled. Nothing may be done with it afterwards. */
  finish(): void;
}

/** Makes spans and reports them. One per worker and configuration. */
export interface Tracer {
  /**
   * The span of a request that has come.
   *
   * @param operation its name, as far as no route and no caller gives another one
   * @param traced what the proxy decided; a decision in the request's headers may go before it
   * @returns null: the context in the headers cannot be read, so the request is not traced
   */
  startSpan(
    settings: SpanSettings,
    headers: RequestHeaders,
    info: StreamInfo,
    operation: string,
    traced: boolean,
  ): Span | null;
}
