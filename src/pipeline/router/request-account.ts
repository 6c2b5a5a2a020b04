import { grpcStatusIn, httpStatusOfGrpc } from '../../http/grpc-headers.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import type { Route } from '../../routing/route.ts';
import type { Cluster } from '../../upstream/cluster.ts';
import type { Host } from '../../upstream/host.ts';
import type { StreamInfo } from '../stream-info.ts';
import type { ChargedRequest, RequestGroup } from './response-charging.ts';
import type { RouterConfig } from './router-config.ts';
import type { UpstreamRequest } from './upstream-request.ts';

/** What one request is charged to, and how its hosts did. */
export class RequestAccount implements ChargedRequest {
  readonly #config: RouterConfig;
  readonly #info: StreamInfo;
  cluster: Cluster;
  readonly isGrpc: boolean;
  readonly withoutCodes: boolean;
  readonly internal: boolean;
  virtualCluster: RequestGroup | null = null;
  routeGroup: RequestGroup | null = null;
  altStatName = '';

  constructor(config: RouterConfig, info: StreamInfo, cluster: Cluster, isGrpc: boolean, internal: boolean) {
    this.#config = config;
    this.#info = info;
    this.cluster = cluster;
    this.isGrpc = isGrpc;
    this.withoutCodes = isGrpc && config.suppressGrpcFailureCodeStats;
    this.internal = internal;
  }

  findGroups(route: Route, headers: RequestHeaders): void {
    const { charging } = this.#config;
    if (route.virtualHost.virtualClusters.length > 0) {
      const found = route.virtualHost.virtualCluster(headers);
      if (found !== null) {
        this.virtualCluster = charging.virtualCluster(route.virtualHost, found.name);
        // The one for all others has no name in logs.
        if (found.headers.length > 0) this.#info.virtualClusterName = found.name;
      }
    }
    if (route.statPrefix !== '') this.routeGroup = charging.routeGroup(route);
  }

  /** A counter that both groups have. */
  count(name: 'upstream_rq_total' | 'upstream_rq_timeout'): void {
    this.virtualCluster?.stats[name].inc();
    this.routeGroup?.stats[name].inc();
  }

  /** A response, the upstream's or our own. @param host null: none was reached */
  charge(status: number, canary: boolean, host: Host | null): void {
    if (!this.#config.dynamicStats || this.#info.healthCheck) return;
    this.#config.charging.chargeStatus(this, status, canary, host);
    if (host !== null && status >= 500) host.stats.rqError++;
  }

  chargeTime(ms: number, request: UpstreamRequest): void {
    if (!this.#config.dynamicStats || this.#info.healthCheck) return;
    this.#config.charging.chargeTime(this, ms, request.canary, request.host);
  }

  /** Response headers that another attempt will make good. */
  chargeRetried(request: UpstreamRequest, status: number): void {
    request.host.stats.rqError++;
    const { retry } = request.cluster.responses;
    if (this.withoutCodes) retry.chargeCompleted();
    else retry.charge(status);
  }

  /** Response headers that go to the client. */
  chargeHeaders(request: UpstreamRequest, headers: ResponseHeaders, end: boolean): void {
    const { host } = request;
    request.canary = isCanary(headers, host);
    this.charge(headers.status, request.canary, host);
    if (headers.status >= 500) return;
    if (!this.isGrpc) host.stats.rqSuccess++;
    else if (!end) request.grpcDeferred = true;
    else this.#chargeGrpc(request, headers);
  }

  chargeInformational(request: UpstreamRequest, headers: ResponseHeaders): void {
    this.charge(headers.status, isCanary(headers, request.host), request.host);
  }

  /** The answer is whole. @param trailers null: there were none, which is an error for gRPC */
  chargeEnd(request: UpstreamRequest, trailers: HeaderMap | null): void {
    if (!request.grpcDeferred) return;
    if (trailers === null) request.host.stats.rqError++;
    else this.#chargeGrpc(request, trailers);
  }

  #chargeGrpc(request: UpstreamRequest, headers: HeaderMap): void {
    const status = grpcStatusIn(headers);
    if (status >= 0 && httpStatusOfGrpc(status) < 500) request.host.stats.rqSuccess++;
    else request.host.stats.rqError++;
  }

  /** An attempt that ends without the whole answer. @param status of the reply in its place */
  chargeAbort(request: UpstreamRequest, status: number, responseStarted: boolean): void {
    const { host } = request;
    if (responseStarted) {
      if (!request.grpcDeferred) return;
      host.stats.rqError++;
      this.#config.stats.rq_reset_after_downstream_response_started.inc();
      return;
    }
    this.charge(status, host.isCanary, host);
    if (status < 500) host.stats.rqError++;
  }
}

function isCanary(headers: ResponseHeaders, host: Host): boolean {
  return host.isCanary || headers.get('x-envoy-upstream-canary') === 'true';
}
