import type { Route } from '../../routing/route.ts';
import type { VirtualHost } from '../../routing/virtual-host.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { Scope } from '../../stats/store.ts';
import type { Cluster } from '../../upstream/cluster.ts';
import { ResponseStats } from '../../upstream/cluster-stats.ts';
import type { Host } from '../../upstream/host.ts';
import type { WorkerEnvironment } from '../environment.ts';
import { ROUTER_STATS, type RouterStats } from './router-config.ts';

const REQUEST_GROUP_STATS = defineStats({
  counters: [
    'upstream_rq_retry',
    'upstream_rq_retry_limit_exceeded',
    'upstream_rq_retry_overflow',
    'upstream_rq_retry_success',
    'upstream_rq_timeout',
    'upstream_rq_total',
  ],
} as const);

/** Counts of a virtual cluster (`vhost.<v>.vcluster.<c>.`) or of a route with a stat prefix (`vhost.<v>.route.<r>.`). */
export class RequestGroup {
  readonly name: string;
  readonly stats: ReturnType<typeof REQUEST_GROUP_STATS.create>;
  readonly responses: ResponseStats;

  constructor(name: string, scope: Scope) {
    this.name = name;
    this.stats = REQUEST_GROUP_STATS.create(scope);
    this.responses = new ResponseStats(scope, '');
  }
}

/** What decides where a response is counted. The router fills it for one request; a null group or empty name: nowhere. */
export interface ChargedRequest {
  readonly cluster: Cluster;
  readonly internal: boolean;
  readonly virtualCluster: RequestGroup | null;
  readonly routeGroup: RequestGroup | null;
  /** `x-envoy-upstream-alt-stat-name` */
  readonly altStatName: string;
  /** Only that there was a response is counted, not its status. */
  readonly withoutCodes: boolean;
}

/** Where Envoy counts upstream responses beside `cluster.<name>.`; one per router and worker. */
export class ResponseCharging {
  /** Requests of our own, mirrors for one. */
  readonly asyncClient: RouterStats;
  readonly #root: Scope;
  readonly #localZone: string;
  readonly #groups = new WeakMap<VirtualHost, Map<string, RequestGroup>>();

  constructor(environment: WorkerEnvironment) {
    this.#root = environment.stats;
    this.asyncClient = ROUTER_STATS.create(environment.stats, 'http.async-client');
    this.#localZone = environment.local.zone;
  }

  virtualCluster(host: VirtualHost, name: string): RequestGroup {
    return this.#group(host, 'vcluster', name);
  }

  routeGroup(route: Route): RequestGroup {
    return this.#group(route.virtualHost, 'route', route.statPrefix);
  }

  #group(host: VirtualHost, kind: string, name: string): RequestGroup {
    let groups = this.#groups.get(host);
    if (groups === undefined) {
      groups = new Map();
      this.#groups.set(host, groups);
    }
    const key = `${kind}.${name}`;
    let group = groups.get(key);
    if (group === undefined) {
      group = new RequestGroup(name, this.#root.createScope(`vhost.${host.name}.${key}`));
      groups.set(key, group);
    }
    return group;
  }

  /** Source: Envoy, CodeStatsImpl::chargeResponseStat. */
  chargeStatus(request: ChargedRequest, status: number, canary: boolean, host: Host | null): void {
    const { responses } = request.cluster;
    const codes = !request.withoutCodes;
    count(responses.all, status, codes);
    if (canary) responses.canary.charge(status);
    // Counted with their codes even where those are suppressed, as in Envoy.
    (request.internal ? responses.internal : responses.external).charge(status);
    if (request.virtualCluster !== null) count(request.virtualCluster.responses, status, codes);
    if (request.routeGroup !== null) count(request.routeGroup.responses, status, codes);
    const zones = this.#zones(host);
    if (zones !== '') count(responses.named(zones), status, codes);
    const alt = request.altStatName;
    if (alt === '') return;
    count(responses.named(`${alt}.`), status, codes);
    if (canary) count(responses.named(`${alt}.canary.`), status, codes);
    count(responses.named(request.internal ? `${alt}.internal.` : `${alt}.external.`), status, codes);
    if (zones !== '') count(responses.named(`${alt}.${zones}`), status, codes);
  }

  /** Source: Envoy, CodeStatsImpl::chargeResponseTiming. */
  chargeTime(request: ChargedRequest, ms: number, canary: boolean, host: Host | null): void {
    const { responses } = request.cluster;
    responses.all.recordTime(ms);
    if (canary) responses.canary.recordTime(ms);
    (request.internal ? responses.internal : responses.external).recordTime(ms);
    request.virtualCluster?.responses.recordTime(ms);
    request.routeGroup?.responses.recordTime(ms);
    const zones = this.#zones(host);
    if (zones !== '') responses.named(zones).recordTime(ms);
    const alt = request.altStatName;
    if (alt === '') return;
    responses.named(`${alt}.`).recordTime(ms);
    if (canary) responses.named(`${alt}.canary.`).recordTime(ms);
    responses.named(request.internal ? `${alt}.internal.` : `${alt}.external.`).recordTime(ms);
    if (zones !== '') responses.named(`${alt}.${zones}`).recordTime(ms);
  }

  #zones(host: Host | null): string {
    if (this.#localZone === '' || host === null || host.locality.zone === '') return '';
    return `zone.${this.#localZone}.${host.locality.zone}.`;
  }
}

function count(stats: ResponseStats, status: number, codes: boolean): void {
  if (codes) stats.charge(status);
  else stats.chargeCompleted();
}
