import type { RequestHeaders } from '../../../http/header-map.ts';
import type { WorkerEnvironment } from '../../../pipeline/environment.ts';
import { Flow, HttpFilter } from '../../../pipeline/http-filter.ts';
import type { DemandWaiter } from '../../../pipeline/on-demand.ts';
import type { DemandOutcome } from '../../../routing/on-demand.ts';
import { ActionKind } from '../../../routing/route-action.ts';

/** Where clusters come from that a route names and nobody knows yet. */
export interface ClusterDiscovery {
  /** An encoded ConfigSource. */
  readonly source: Uint8Array;
  readonly timeoutMs: number;
}

export interface OnDemandSettings {
  /** Null: clusters are not fetched. */
  readonly clusters: ClusterDiscovery | null;
}

/** Holds a request until the route, or the cluster, that it needs has been fetched. Source: Envoy, OnDemandRouteUpdate. */
export class OnDemandFilter extends HttpFilter implements DemandWaiter {
  readonly #settings: OnDemandSettings;
  readonly #environment: WorkerEnvironment;

  constructor(settings: OnDemandSettings, environment: WorkerEnvironment) {
    super();
    this.#settings = settings;
    this.#environment = environment;
  }

  override onRequestHeaders(_headers: RequestHeaders, _end: boolean): Flow {
    const { stream } = this;
    const { route } = stream;
    if (route === null) return stream.demandRoutes(this) ? Flow.Pause : Flow.Continue;
    const { clusters } = (stream.routeConfig() as OnDemandSettings | undefined) ?? this.#settings;
    if (clusters === null || route.action.kind !== ActionKind.Forward || route.cluster === '') return Flow.Continue;
    if (this.#environment.clusters.get(route.cluster) !== null) return Flow.Continue;
    this.#environment.onDemand.ask({ kind: 'cluster', ...clusters, name: route.cluster }, this);
    return Flow.Pause;
  }

  /** Whatever was not found: those behind may know what to do. */
  onDemandSettled(_outcome: DemandOutcome): void {
    this.stream.continueRequest();
  }

  override onDestroy(): void {
    this.#environment.onDemand.forget(this);
  }
}
