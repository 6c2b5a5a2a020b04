import { MetadataCriteria } from '../../base/metadata-criteria.ts';
import { xxHash64 } from '../../base/xxhash64.ts';
import type { HeaderMap } from '../../http/header-map.ts';
import type { Connection } from '../../net/connection.ts';
import type { Host } from '../../upstream/host.ts';
import type { LoadBalancerContext, PriorityLoads } from '../../upstream/load-balancer.ts';
import type { PrioritySet } from '../../upstream/priority-set.ts';
import type { StreamInfo } from '../stream-info.ts';
import type { TcpProxyConfig } from './tcp-proxy-config.ts';

/** What balancers may ask about one connection that is passed on byte by byte. */
export class TcpHostSelection implements LoadBalancerContext {
  readonly #config: TcpProxyConfig;
  readonly #connection: Connection;
  readonly #stream: StreamInfo;
  readonly #criteria: MetadataCriteria | null;

  /** @param criteria what the chosen cluster's hosts have to be like */
  constructor(config: TcpProxyConfig, connection: Connection, stream: StreamInfo, criteria: MetadataCriteria | null) {
    this.#config = config;
    this.#connection = connection;
    this.#stream = stream;
    this.#criteria = criteria;
  }

  hashKey(): bigint | null {
    if (!this.#config.hashBySourceIp) return null;
    const { remoteAddress } = this.#connection;
    return remoteAddress.kind === 'ip' ? xxHash64(remoteAddress.ip) : null;
  }

  metadataMatch(): MetadataCriteria | null {
    const own = this.#criteria;
    const ofConnection = this.#connection.state?.metadata.get('envoy.lb') ?? null;
    if (ofConnection === null) return own;
    return own === null ? new MetadataCriteria(ofConnection) : own.merge(ofConnection);
  }

  downstreamConnection(): Connection {
    return this.#connection;
  }

  /** Not an HTTP request. */
  requestHeaders(): HeaderMap | null {
    return null;
  }

  streamState(): StreamInfo {
    return this.#stream;
  }

  shouldSelectAnotherHost(_host: Host): boolean {
    return false;
  }

  get hostSelectionRetryCount(): number {
    return 1;
  }

  priorityLoad(_priorities: PrioritySet, loads: PriorityLoads): PriorityLoads {
    return loads;
  }

  overrideHost(): { readonly address: string; readonly strict: boolean } | null {
    return null;
  }
}
