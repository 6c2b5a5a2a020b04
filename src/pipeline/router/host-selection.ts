import { MetadataCriteria } from '../../base/metadata-criteria.ts';
import type { HeaderMap, RequestHeaders } from '../../http/header-map.ts';
import type { Connection } from '../../net/connection.ts';
import { hashRequest } from '../../routing/request-hash.ts';
import type { Route } from '../../routing/route.ts';
import type { ForwardAction } from '../../routing/route-action.ts';
import type { Host } from '../../upstream/host.ts';
import type { LoadBalancerContext, PriorityLoads, StreamState } from '../../upstream/load-balancer.ts';
import type { PrioritySet } from '../../upstream/priority-set.ts';
import type { FilterStream } from '../http-filter.ts';
import type { RetryState } from './retry-state.ts';

const LB_NAMESPACE = 'envoy.lb';

/** What balancers may ask about one request. */
export class HostSelection implements LoadBalancerContext {
  readonly #stream: FilterStream;
  readonly #headers: RequestHeaders;
  readonly #route: Route;
  readonly #action: ForwardAction;
  /** Of the retry that is being placed; null for the first attempt. */
  retry: RetryState | null = null;
  #hash: bigint | null = null;
  #hashed = false;

  constructor(stream: FilterStream, headers: RequestHeaders, route: Route, action: ForwardAction) {
    this.#stream = stream;
    this.#headers = headers;
    this.#route = route;
    this.#action = action;
  }

  requestHeaders(): HeaderMap {
    return this.#headers;
  }

  streamState(): StreamState {
    return this.#stream.info;
  }

  hashKey(): bigint | null {
    if (!this.#hashed) {
      this.#hashed = true;
      const policies = this.#action.hashPolicies;
      if (policies.length > 0) this.#hash = hashRequest(policies, this.#headers, this.#stream.info);
    }
    return this.#hash;
  }

  /** What filters left for the request goes before the route's criteria, and before what they left for its connection. */
  metadataMatch(): MetadataCriteria | null {
    const { info, connection } = this.#stream;
    const ofConnection = connection.state?.metadata.get(LB_NAMESPACE) ?? null;
    const ofRequest = info.dynamicMetadata(LB_NAMESPACE);
    let criteria = this.#route.metadataMatch;
    for (const each of [ofConnection, ofRequest]) {
      if (each !== null) criteria = criteria === null ? new MetadataCriteria(each) : criteria.merge(each);
    }
    return criteria;
  }

  downstreamConnection(): Connection | null {
    return this.#stream.connection;
  }

  shouldSelectAnotherHost(host: Host): boolean {
    return this.retry?.shouldSelectAnotherHost(host) ?? false;
  }

  get hostSelectionRetryCount(): number {
    return this.retry === null ? 1 : this.retry.hostSelectionMaxAttempts;
  }

  priorityLoad(priorities: PrioritySet, loads: PriorityLoads): PriorityLoads {
    return this.retry === null ? loads : this.retry.priorityLoad(priorities, loads);
  }

  overrideHost(): { readonly address: string; readonly strict: boolean } | null {
    return null;
  }
}
