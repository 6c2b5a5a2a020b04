import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../../http/header-map.ts';
import type { WorkerEnvironment } from '../../../pipeline/environment.ts';
import { Flow, HttpFilter } from '../../../pipeline/http-filter.ts';
import { ResponseFlag } from '../../../pipeline/response-flag.ts';
import { type HeaderMatcher, matchesAllHeaders } from '../../../routing/header-matcher.ts';
import type { HealthCheckCache } from './health-check-cache.ts';

export interface HealthCheckSettings {
  readonly passThrough: boolean;
  readonly headers: readonly HeaderMatcher[];
  /** Per cluster the share of hosts, percent, that must be healthy or degraded; by name. */
  readonly minHealthy: readonly { readonly cluster: string; readonly percent: number }[];
}

interface Verdict {
  readonly status: number;
  readonly details: string;
  readonly degraded: boolean;
}

/** Answers health checks, or lets them pass and remembers the answer. Source: Envoy, HealthCheckFilter. */
export class HealthCheckFilter extends HttpFilter {
  readonly #settings: HealthCheckSettings;
  readonly #cache: HealthCheckCache | null;
  readonly #environment: WorkerEnvironment;
  #isHealthCheck = false;
  /** Answered here, once the request is complete. */
  #handling = false;

  constructor(settings: HealthCheckSettings, cache: HealthCheckCache | null, environment: WorkerEnvironment) {
    super();
    this.#settings = settings;
    this.#cache = cache;
    this.#environment = environment;
  }

  get #nowMs(): number {
    return this.stream.dispatcher.nowMs + this.#environment.sharedClockOffsetMs;
  }

  override onRequestHeaders(headers: RequestHeaders, end: boolean): Flow {
    if (!matchesAllHeaders(headers, this.#settings.headers)) return Flow.Continue;
    this.#isHealthCheck = true;
    this.stream.info.healthCheck = true;
    // Nor is anything of it reported that was to be, whoever decided so.
    this.stream.trace?.span.setSampled(false);
    const cached = this.#cache !== null && this.#cache.answer(this.#nowMs) !== null;
    this.#handling = !this.#settings.passThrough || this.#environment.health.failed || cached;
    if (!this.#handling) return Flow.Continue;
    if (end) this.#answer();
    return Flow.PauseAndBuffer;
  }

  override onRequestData(data: ByteBuffer, end: boolean): Flow {
    if (!this.#handling) return Flow.Continue;
    data.clear();
    if (end) this.#answer();
    return Flow.PauseAndBuffer;
  }

  override onRequestTrailers(_trailers: HeaderMap): Flow {
    if (!this.#handling) return Flow.Continue;
    this.#answer();
    return Flow.PauseAndBuffer;
  }

  override onResponseHeaders(headers: ResponseHeaders, _end: boolean): Flow {
    if (this.#isHealthCheck) {
      this.#cache?.store(this.#nowMs, headers.status, headers.has('x-envoy-degraded'));
      headers.set('x-envoy-upstream-healthchecked-cluster', this.#environment.local.clusterName);
    } else if (this.#environment.health.failed) {
      headers.set('x-envoy-immediate-health-check-fail', 'true');
    }
    return Flow.Continue;
  }

  #answer(): void {
    const { status, details, degraded } = this.#verdict();
    if (status < 200 || status > 299) this.stream.info.setFlag(ResponseFlag.FailedLocalHealthCheck);
    this.stream.sendLocalReply({
      status,
      body: '',
      details,
      grpcStatus: null,
      modifyHeaders: degraded ? (headers) => headers.set('x-envoy-degraded', '') : null,
    });
  }

  #verdict(): Verdict {
    if (this.#environment.health.failed) return { status: 503, details: 'health_check_failed', degraded: false };
    if (this.#cache !== null) {
      const answer = this.#cache.answer(this.#nowMs) ?? 400;
      return { status: answer >> 1, details: 'health_check_cached', degraded: (answer & 1) === 1 };
    }
    const { minHealthy } = this.#settings;
    if (minHealthy.length === 0) return { status: 200, details: 'health_check_ok', degraded: false };
    for (const { cluster: name, percent } of minHealthy) {
      const failed = this.#clusterFailure(name, percent);
      if (failed !== null) return { status: 503, details: failed, degraded: false };
    }
    return { status: 200, details: 'health_check_ok_cluster_healthy', degraded: false };
  }

  /** Null: healthy enough. */
  #clusterFailure(name: string, percent: number): string | null {
    const cluster = this.#environment.clusters.get(name);
    if (cluster === null) return 'health_check_failed_no_cluster_found';
    let total = 0;
    let usable = 0;
    for (const set of cluster.priorities.hostSets) {
      total += set.hosts.length;
      usable += set.healthyHosts.length + set.degradedHosts.length;
    }
    if (total === 0) return percent === 0 ? null : 'health_check_failed_cluster_empty';
    return 100 * usable < total * percent ? 'health_check_failed_cluster_unhealthy' : null;
  }
}
