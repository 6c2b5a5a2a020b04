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

/**
 * Holds a request until the route, and then the cluster, that it needs has been fetched. The filters stay those that the request began
 * with, whatever its route says of them. Source: Envoy, OnDemandRouteUpdate.
 */
export class OnDemandFilter extends HttpFilter implements DemandWaiter {
  readonly #settings: OnDemandSettings;
  readonly #environment: WorkerEnvironment;
  #waitsForRoute = false;

  constructor(settings: OnDemandSettings, environment: WorkerEnvironment) {
    super();
    this.#settings = settings;
    this.#environment = environment;
  }

  override onRequestHeaders(_headers: RequestHeaders, _end: boolean): Flow {
    this.#waitsForRoute = this.stream.route === null && this.stream.demandRoutes(this);
    return this.#waitsForRoute || this.#asksForCluster() ? Flow.Pause : Flow.Continue;
  }

  #asksForCluster(): boolean {
    const { route } = this.stream;
    if (route === null || route.action.kind !== ActionKind.Forward || route.cluster === '') return false;
    const { clusters } = (this.stream.routeConfig() as OnDemandSettings | undefined) ?? this.#settings;
    if (clusters === null || this.#environment.clusters.get(route.cluster) !== null) return false;
    this.#environment.onDemand.ask({ kind: 'cluster', ...clusters, name: route.cluster }, this);
    return true;
  }

  /** Whatever was not found: the filters behind may know what to do. */
  onDemandSettled(_outcome: DemandOutcome): void {
    const waited = this.#waitsForRoute;
    this.#waitsForRoute = false;
    if (!waited || !this.#asksForCluster()) this.stream.continueRequest();
  }

  override onDestroy(): void {
    this.#environment.onDemand.forget(this);
  }
}
