import type { RequestHeaders } from '../../../http/header-map.ts';
import type { WorkerEnvironment } from '../../../pipeline/environment.ts';
import type { StreamInfo } from '../../../pipeline/stream-info.ts';
import { FlushTimer } from '../../../pipeline/trace/flush-timer.ts';
import type { Span, SpanSettings, Tracer } from '../../../pipeline/trace/span.ts';
import { randomId } from '../../../pipeline/trace/trace-ids.ts';
import { parseTraceparent } from '../../../pipeline/trace/w3c-context.ts';
import { defineStats } from '../../../stats/stat-group.ts';
import { OtelSpan, type ParentContext, SpanKind } from './otel-span.ts';
import type { Sampler } from './samplers.ts';
import type { SpanExporter } from './span-exporter.ts';

/** `tracing.opentelemetry.*` */
export const OTEL_STATS = defineStats({
  counters: ['spans_sent', 'spans_dropped', 'timer_flushed'],
} as const);
export type OtelStats = ReturnType<typeof OTEL_STATS.create>;

const DEFAULT_MIN_FLUSH_SPANS = 5;

/** Source: Envoy, source/extensions/tracers/opentelemetry. */
export class OtelTracer implements Tracer {
  readonly #environment: WorkerEnvironment;
  readonly #stats: OtelStats;
  /** Null: what the proxy decided holds. */
  readonly #sampler: Sampler | null;
  readonly #exporter: SpanExporter;
  /** Spans that wait; more are dropped. */
  readonly #maxSpans: number;
  readonly #timer: FlushTimer;
  #spans: OtelSpan[] = [];

  constructor(
    environment: WorkerEnvironment,
    stats: OtelStats,
    sampler: Sampler | null,
    exporter: SpanExporter,
    maxSpans: number,
  ) {
    this.#environment = environment;
    this.#stats = stats;
    this.#sampler = sampler;
    this.#exporter = exporter;
    this.#maxSpans = maxSpans;
    this.#timer = new FlushTimer(
      environment.dispatcher,
      environment.runtime,
      'tracing.opentelemetry.flush_interval_ms',
      () => this.#onTick(),
    );
  }

  get wallMs(): number {
    return this.#environment.dispatcher.wallMs;
  }

  startSpan(
    settings: SpanSettings,
    headers: RequestHeaders,
    info: StreamInfo,
    operation: string,
    traced: boolean,
  ): Span | null {
    const kind = settings.egress && !settings.spawnUpstreamSpan ? SpanKind.Client : SpanKind.Server;
    const traceparent = headers.get('traceparent');
    if (traceparent === null) return this.#begin(kind, operation, traced, info.startWallMs);
    const found = parseTraceparent(traceparent);
    if (found === null) return null;
    const parent: ParentContext = {
      traceId: found.traceId,
      spanId: found.parentId,
      sampled: found.sampled,
      traceState: headers.getJoined('tracestate', ',') ?? '',
      isRemote: true,
    };
    // Since 1.39 a request that the proxy does not trace is not traced, whatever its caller says.
    const sampled = traced && this.#samples(parent, parent.traceId, parent.sampled);
    return this.#spanOf(kind, parent.traceId, parent, operation, sampled, false, info.startWallMs);
  }

  #begin(kind: SpanKind, name: string, traced: boolean, startWallMs: number): OtelSpan {
    const { random } = this.#environment.dispatcher;
    const traceId = randomId(random) + randomId(random);
    const sampled = traced && this.#samples(null, traceId, true);
    return this.#spanOf(kind, traceId, null, name, sampled, this.#sampler === null, startWallMs);
  }

  #samples(parent: ParentContext | null, traceId: string, fallback: boolean): boolean {
    return this.#sampler === null ? fallback : this.#sampler.samples(parent, traceId);
  }

  #spanOf(
    kind: SpanKind,
    traceId: string,
    parent: ParentContext | null,
    name: string,
    sampled: boolean,
    local: boolean,
    startWallMs: number,
  ): OtelSpan {
    const id = randomId(this.#environment.dispatcher.random);
    return new OtelSpan(this, kind, traceId, id, parent, name, sampled, local, startWallMs);
  }

  childOf(span: OtelSpan, name: string, startWallMs: number): OtelSpan {
    const { traceId, spanId, sampled, traceState } = span;
    const parent: ParentContext = { traceId, spanId, sampled, traceState, isRemote: false };
    const childSampled = this.#samples(parent, traceId, sampled);
    return this.#spanOf(SpanKind.Client, traceId, parent, name, childSampled, false, startWallMs);
  }

  report(span: OtelSpan): void {
    this.#timer.touch();
    if (this.#spans.length >= this.#maxSpans) {
      this.#stats.spans_dropped.inc();
      this.#flush();
      return;
    }
    this.#spans.push(span);
    const { runtime } = this.#environment;
    if (this.#spans.length >= runtime.integer('tracing.opentelemetry.min_flush_spans', DEFAULT_MIN_FLUSH_SPANS)) {
      this.#flush();
    }
  }

  #onTick(): void {
    this.#stats.timer_flushed.inc();
    this.#flush();
  }

  #flush(): void {
    const spans = this.#spans;
    if (spans.length === 0) return;
    this.#spans = [];
    this.#stats.spans_sent.add(spans.length);
    this.#exporter.export(spans);
  }
}
