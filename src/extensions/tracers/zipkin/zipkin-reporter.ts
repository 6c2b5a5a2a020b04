import type { Logger } from '../../../base/log.ts';
import { type ServiceHeader, serviceHeaders } from '../../../config/builders/http-service.ts';
import type { ResponseHeaders } from '../../../http/header-map.ts';
import type { WorkerEnvironment } from '../../../pipeline/environment.ts';
import { FlushTimer } from '../../../pipeline/trace/flush-timer.ts';
import { defineStats } from '../../../stats/stat-group.ts';
import { HttpCall, type HttpCallHandler } from '../../../upstream/http-call.ts';
import type { LocalEndpoint, SpanEncoder } from './span-encoding.ts';
import type { ZipkinSpan } from './zipkin-span.ts';

/** `tracing.zipkin.*` */
export const ZIPKIN_STATS = defineStats({
  counters: [
    'spans_sent',
    'timer_flushed',
    'reports_skipped_no_cluster',
    'reports_sent',
    'reports_dropped',
    'reports_failed',
  ],
} as const);
export type ZipkinStats = ReturnType<typeof ZIPKIN_STATS.create>;

/** Where spans go. */
export interface ZipkinCollector {
  readonly cluster: string;
  readonly host: string;
  readonly path: string;
  readonly headers: readonly ServiceHeader[];
  readonly contentType: string;
  readonly encode: SpanEncoder;
  readonly sharedSpanContext: boolean;
}

const DEFAULT_MIN_FLUSH_SPANS = 5;
const DEFAULT_TIMEOUT_MS = 5_000;
const ACCEPTED = 202;
/** Nobody reads what a collector says. */
const MAX_ANSWER_BYTES = 1_048_576;

/**
 * Collects spans and sends them to the collector: when there are `tracing.zipkin.min_flush_spans`, and at intervals. It never holds
 * more than that many; what comes when it is full is dropped, as in Envoy.
 */
export class ZipkinReporter implements HttpCallHandler {
  readonly #collector: ZipkinCollector;
  readonly #environment: WorkerEnvironment;
  readonly #stats: ZipkinStats;
  readonly #local: LocalEndpoint;
  readonly #logger: Logger;
  readonly #capacity: number;
  readonly #timer: FlushTimer;
  #spans: ZipkinSpan[] = [];

  constructor(collector: ZipkinCollector, environment: WorkerEnvironment, stats: ZipkinStats) {
    this.#collector = collector;
    this.#environment = environment;
    this.#stats = stats;
    const { local } = environment;
    this.#local = { serviceName: local.clusterName, address: local.address };
    this.#logger = environment.loggers.get('tracing');
    this.#capacity = this.#minFlushSpans;
    this.#timer = new FlushTimer(environment.dispatcher, environment.runtime, 'tracing.zipkin.flush_interval_ms', () =>
      this.#onTick(),
    );
  }

  get #minFlushSpans(): number {
    return this.#environment.runtime.integer('tracing.zipkin.min_flush_spans', DEFAULT_MIN_FLUSH_SPANS);
  }

  report(span: ZipkinSpan): void {
    if (this.#spans.length >= this.#capacity) return;
    this.#spans.push(span);
    this.#timer.touch();
    if (this.#spans.length === this.#minFlushSpans) this.#flush();
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
    const { dispatcher, clusters, runtime, local } = this.#environment;
    const { host, path, headers, contentType, encode, sharedSpanContext } = this.#collector;
    const cluster = clusters.get(this.#collector.cluster);
    if (cluster === null) {
      this.#logger.debug(`collector cluster '${this.#collector.cluster}' does not exist`);
      this.#stats.reports_skipped_no_cluster.inc();
      return;
    }
    new HttpCall(
      dispatcher,
      cluster,
      {
        method: 'POST',
        path,
        authority: host,
        headers: serviceHeaders(headers, [['content-type', contentType]], dispatcher.wallMs, dispatcher.nowMs),
        body: encode(spans, this.#local, sharedSpanContext),
        timeoutMs: runtime.integer('tracing.zipkin.request_timeout', DEFAULT_TIMEOUT_MS),
        maxAnswerBytes: MAX_ANSWER_BYTES,
        localAddress: local.address,
      },
      this,
    );
  }

  // --- HttpCallHandler ---

  onAnswer(status: number, _headers: ResponseHeaders, _body: Uint8Array): void {
    if (status === ACCEPTED) this.#stats.reports_sent.inc();
    else this.#stats.reports_dropped.inc();
  }

  /** What did not begin to answer has answered with a 503 of ours, to Envoy. */
  onFailure(reason: string, begun: boolean): void {
    this.#logger.debug(`no answer of collector cluster '${this.#collector.cluster}': ${reason}`);
    if (begun) this.#stats.reports_failed.inc();
    else this.#stats.reports_dropped.inc();
  }
}
