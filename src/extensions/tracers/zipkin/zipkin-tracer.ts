import type { RequestHeaders } from '../../../http/header-map.ts';
import type { Dispatcher } from '../../../net/dispatcher.ts';
import type { StreamInfo } from '../../../pipeline/stream-info.ts';
import type { Span, SpanSettings, Tracer } from '../../../pipeline/trace/span.ts';
import { hex32, randomId } from '../../../pipeline/trace/trace-ids.ts';
import { type B3Context, contextIn, injectContext, sampledIn, UNREADABLE } from './b3-context.ts';
import type { ZipkinReporter } from './zipkin-reporter.ts';
import { ZipkinSpan } from './zipkin-span.ts';

/** envoy.config.trace.v3.ZipkinConfig, as far as it shapes spans. */
export interface ZipkinSettings {
  readonly traceId128Bit: boolean;
  /** A server's span is the same as its client's. */
  readonly sharedSpanContext: boolean;
  readonly splitSpansForRequest: boolean;
  /** B3 first, and `traceparent` where there is none; both are sent on. */
  readonly withW3c: boolean;
  /** Trace ids begin with the time, in seconds. */
  readonly timestampTraceIds: boolean;
}

/** Source: Envoy, source/extensions/tracers/zipkin. */
export class ZipkinTracer implements Tracer {
  readonly #settings: ZipkinSettings;
  readonly #dispatcher: Dispatcher;
  readonly #reporter: ZipkinReporter;

  constructor(settings: ZipkinSettings, dispatcher: Dispatcher, reporter: ZipkinReporter) {
    this.#settings = settings;
    this.#dispatcher = dispatcher;
    this.#reporter = reporter;
  }

  get nowMs(): number {
    return this.#dispatcher.nowMs;
  }

  get wallMs(): number {
    return this.#dispatcher.wallMs;
  }

  /** The span is called after the host, not by `operation`. */
  startSpan(
    settings: SpanSettings,
    headers: RequestHeaders,
    info: StreamInfo,
    _operation: string,
    traced: boolean,
  ): Span | null {
    const { withW3c } = this.#settings;
    const decided = sampledIn(headers, withW3c);
    const sampled = decided ?? traced;
    const context = contextIn(headers, sampled, withW3c);
    if (context === UNREADABLE) return null;
    const name = headers.authority ?? '';
    if (context !== null) return this.#continue(context, settings, false, name, sampled, info.startWallMs);
    return this.#begin(settings, name, sampled, decided === null, info.startWallMs);
  }

  #begin(settings: SpanSettings, name: string, sampled: boolean, local: boolean, startWallMs: number): ZipkinSpan {
    const { random } = this.#dispatcher;
    const { traceId128Bit, timestampTraceIds } = this.#settings;
    const id = randomId(random);
    let traceIdLow = id;
    let traceIdHigh = traceId128Bit ? randomId(random) : '';
    if (timestampTraceIds) {
      const stamped = hex32(Math.floor(startWallMs / 1000) >>> 0) + hex32(random.uint32());
      if (traceId128Bit) traceIdHigh = stamped;
      else traceIdLow = stamped;
    }
    const ids = { traceIdHigh, traceIdLow, id, parentId: '' };
    return new ZipkinSpan(this, ids, this.#isServer(settings, false), name, sampled, local, startWallMs);
  }

  /** @param upstream it is of a request that we send */
  #isServer(settings: SpanSettings, upstream: boolean): boolean {
    return this.#settings.splitSpansForRequest || settings.spawnUpstreamSpan ? !upstream : !settings.egress;
  }

  #continue(
    context: B3Context,
    settings: SpanSettings,
    upstream: boolean,
    name: string,
    sampled: boolean,
    startWallMs: number,
  ): ZipkinSpan {
    const isServer = this.#isServer(settings, upstream);
    const { traceIdHigh, traceIdLow } = context;
    const ids =
      isServer && this.#settings.sharedSpanContext
        ? { traceIdHigh, traceIdLow, id: context.spanId, parentId: context.parentId }
        : { traceIdHigh, traceIdLow, id: randomId(this.#dispatcher.random), parentId: context.spanId };
    return new ZipkinSpan(this, ids, isServer, name, sampled, false, startWallMs);
  }

  childOf(parent: ZipkinSpan, settings: SpanSettings, name: string, startWallMs: number): ZipkinSpan {
    return this.#continue(contextOf(parent), settings, true, name, parent.sampled, startWallMs);
  }

  inject(headers: RequestHeaders, span: ZipkinSpan): void {
    injectContext(headers, contextOf(span), this.#settings.withW3c);
  }

  report(span: ZipkinSpan): void {
    this.#reporter.report(span);
  }
}

function contextOf(span: ZipkinSpan): B3Context {
  const { traceIdHigh, traceIdLow, id, parentId, sampled } = span;
  return { traceIdHigh, traceIdLow, spanId: id, parentId, sampled };
}
