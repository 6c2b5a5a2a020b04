import { fromBinary } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { LoadStatsResponse } from '../../api/gen/envoy/service/load_stats/v3/lrs_pb.d.ts';
import { soundEncoding } from '../../api/sound-encoding.ts';
import type { Logger } from '../../base/log.ts';
import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import type { GrpcCall, GrpcCallHandler, GrpcClient } from '../../grpc/grpc-client.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { Scope } from '../../stats/store.ts';
import type { ClusterLoad } from '../../worker/load-counts.ts';
import { encodeReport } from './load-report.ts';

const METHOD = '/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats';
/** Envoy: RETRY_DELAY_MS. */
const RETRY_MS = 5000;
/** Says that a server may ask for all clusters without naming them. */
const SUPPORTS_ALL = 'envoy.lrs.supports_send_all_clusters';

const STATS = defineStats({ counters: ['errors', 'requests', 'responses', 'retries'] } as const);

export interface LoadReporterParts {
  readonly client: GrpcClient;
  readonly api: ApiRegistry;
  readonly dispatcher: Dispatcher;
  readonly logger: Logger;
  /** Root of main's store. */
  readonly stats: Scope;
  readonly node: Node;
  /** Clusters that serve. */
  readonly clusters: ReadonlyMap<string, { readonly spec: { readonly serviceName: string } }>;
  /** What workers have counted since they were asked last, by worker. */
  collect(names: readonly string[]): Promise<readonly (readonly ClusterLoad[])[]>;
}

/** What the server wants to hear. */
interface Wish {
  readonly all: boolean;
  readonly names: readonly string[];
  readonly intervalMs: number;
  readonly byEndpoint: boolean;
}

/** Tells a control plane how much load clusters carry, as often as it asks for. Source: Envoy, LoadStatsReporterImpl. */
export class LoadReporter implements GrpcCallHandler, TimerTarget {
  readonly #parts: LoadReporterParts;
  readonly #stats;
  readonly #node: Node;
  readonly #retry: Timer;
  readonly #period: Timer;
  #call: GrpcCall | null = null;
  /** The server's last word, also of an earlier stream; null: it has not said anything yet. */
  #wish: Wish | null = null;
  /** By name: since when (monotonic ms) what a cluster carries was not reported. */
  #tracked = new Map<string, number>();
  #stopped = false;

  constructor(parts: LoadReporterParts) {
    this.#parts = parts;
    this.#stats = STATS.create(parts.stats, 'load_reporter');
    this.#node = { ...parts.node, clientFeatures: [...parts.node.clientFeatures, SUPPORTS_ALL] };
    this.#retry = parts.dispatcher.createTimer(this);
    this.#period = parts.dispatcher.createTimer(this);
  }

  start(): void {
    this.#open();
  }

  stop(): void {
    this.#stopped = true;
    this.#retry.destroy();
    this.#period.destroy();
    this.#call?.cancel();
    this.#call = null;
  }

  #open(): void {
    this.#call = this.#parts.client.open(METHOD, this);
    this.#report();
  }

  onTimer(timer: Timer): void {
    if (timer === this.#retry) {
      this.#stats.retries.inc();
      this.#open();
    } else {
      this.#report();
    }
  }

  #report(): void {
    const call = this.#call;
    if (call === null) return;
    if (call.isFull) {
      // The server does not read: what is counted meanwhile goes into the next report.
      this.#startPeriod();
      return;
    }
    void this.#send(call).catch((error: unknown) => {
      if (this.#stopped) return;
      this.#parts.logger.error(`a load report failed: ${String(error)}`);
      // The next one may do.
      if (this.#call === call) this.#startPeriod();
    });
  }

  async #send(call: GrpcCall): Promise<void> {
    const { api, clusters, dispatcher, collect } = this.#parts;
    const names = [...this.#tracked.keys()].filter((name) => clusters.has(name));
    const workers = names.length === 0 ? [] : await collect(names);
    if (this.#call !== call || call.isOver) return;
    const loads = new Map<string, ClusterLoad[]>();
    for (const load of workers.flat()) {
      const list = loads.get(load.cluster);
      if (list === undefined) loads.set(load.cluster, [load]);
      else list.push(load);
    }
    const untilMs = dispatcher.clock.monotonicMs();
    const reported = names.map((name) => ({
      name,
      serviceName: clusters.get(name)?.spec.serviceName ?? '',
      sinceMs: this.#tracked.get(name) ?? untilMs,
      untilMs,
      loads: loads.get(name) ?? [],
    }));
    for (const name of names) this.#tracked.set(name, untilMs);
    call.send(encodeReport(api, this.#node, reported, this.#wish?.byEndpoint === true));
    this.#stats.responses.inc();
    this.#startPeriod();
  }

  /** Clusters that are reported for the first time begin at zero. */
  #startPeriod(): void {
    const wish = this.#wish;
    if (wish === null || this.#stopped) return;
    const { clusters, dispatcher, collect } = this.#parts;
    const now = dispatcher.clock.monotonicMs();
    const names = wish.all ? [...clusters.keys()] : wish.names;
    const fresh = names.filter((name) => !this.#tracked.has(name));
    this.#tracked = new Map(names.map((name) => [name, this.#tracked.get(name) ?? now]));
    if (fresh.length > 0) void collect(fresh).catch(() => {});
    this.#period.enable(Math.max(wish.intervalMs, 1));
  }

  // --- GrpcCallHandler ---

  onInitialMetadata(): void {}

  onMessage(call: GrpcCall, bytes: Uint8Array): void {
    const desc = this.#parts.api.message('envoy.service.load_stats.v3.LoadStatsResponse')!;
    let response: LoadStatsResponse;
    try {
      response = fromBinary(desc, soundEncoding(desc, bytes)) as LoadStatsResponse;
    } catch {
      call.cancel();
      this.#ended('an answer cannot be read', true);
      return;
    }
    const interval = response.loadReportingInterval;
    this.#wish = {
      all: response.sendAllClusters,
      names: response.clusters,
      intervalMs: interval === undefined ? 0 : Number(interval.seconds) * 1000 + interval.nanos / 1e6,
      byEndpoint: response.reportEndpointGranularity,
    };
    this.#startPeriod();
    this.#stats.requests.inc();
  }

  onReady(): void {}

  onStatus(_call: GrpcCall, status: number, message: string): void {
    this.#ended(`StreamLoadStats gRPC config stream closed: ${status}, ${message}`, status !== 0);
  }

  #ended(why: string, isFault: boolean): void {
    this.#call = null;
    this.#period.disable();
    this.#parts.logger.log(isFault ? 'warning' : 'debug', why);
    if (isFault) this.#stats.errors.inc();
    this.#retry.enable(RETRY_MS);
  }
}
