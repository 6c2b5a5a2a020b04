import type { Counter } from '../stats/counter.ts';
import { HistogramUnit } from '../stats/histogram.ts';
import type { Scope } from '../stats/store.ts';
import type { Cluster } from '../upstream/cluster.ts';

/** Service and method of a call. */
export interface MethodName {
  readonly service: string;
  readonly method: string;
}

/** Of `/package.Service/Method`, with or without a query; null for other paths. Source: Envoy, resolveServiceAndMethod. */
export function methodOfPath(path: string | null): MethodName | null {
  if (path === null) return null;
  const query = path.indexOf('?');
  const parts = (query < 0 ? path : path.slice(0, query)).split('/').filter((part) => part !== '');
  return parts.length === 2 ? { service: parts[0]!, method: parts[1]! } : null;
}

/** First part of the names: the protocol that the client speaks. */
export type MethodProtocol = 'grpc' | 'grpc-web';

/**
 * Counts of the calls of one method, or of all, in `cluster.<name>.<protocol>.[<service>.<method>.]`. Made when first touched,
 * as in Envoy (Grpc::ContextImpl).
 */
export class MethodStats {
  readonly #scope: Scope;
  readonly #prefix: string;
  readonly #counters = new Map<string, Counter>();

  constructor(scope: Scope, prefix: string) {
    this.#scope = scope;
    this.#prefix = prefix;
  }

  #counter(name: string): Counter {
    let counter = this.#counters.get(name);
    if (counter === undefined) {
      counter = this.#scope.counter(this.#prefix + name);
      this.#counters.set(name, counter);
    }
    return counter;
  }

  /** @param status value of `grpc-status` as it came; null: nothing is counted */
  chargeStatus(status: string | null): void {
    if (status === null) return;
    this.#counter(status).inc();
    this.chargeOutcome(status === '0');
  }

  chargeOutcome(success: boolean): void {
    this.#counter(success ? 'success' : 'failure').inc();
    this.#counter('total').inc();
  }

  chargeRequestMessages(count: number): void {
    this.#counter('request_message_count').add(count);
  }

  chargeResponseMessages(count: number): void {
    this.#counter('response_message_count').add(count);
  }

  /** From the last byte of the request to the last of the response, ms. */
  recordUpstreamTime(ms: number): void {
    this.#scope.histogram(`${this.#prefix}upstream_rq_time`, HistogramUnit.Milliseconds).recordValue(ms);
  }
}

/** The counts of each cluster, kept as long as the cluster. */
export class MethodStatsTable {
  readonly #protocol: MethodProtocol;
  readonly #tables = new WeakMap<Cluster, Map<string, MethodStats>>();

  constructor(protocol: MethodProtocol) {
    this.#protocol = protocol;
  }

  /** @param name null: counted without service and method */
  of(cluster: Cluster, name: MethodName | null): MethodStats {
    let table = this.#tables.get(cluster);
    if (table === undefined) {
      table = new Map();
      this.#tables.set(cluster, table);
    }
    const key = name === null ? '' : `${name.service}.${name.method}.`;
    let stats = table.get(key);
    if (stats === undefined) {
      stats = new MethodStats(cluster.scope, `${this.#protocol}.${key}`);
      table.set(key, stats);
    }
    return stats;
  }
}
