import type { FilterStateObject, MetadataStruct, MetadataValue } from '../base/connection-state.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import { type IpAddress, ipAddress } from '../net/address.ts';
import { parseIpAndPort } from '../net/address-text.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { ClusterStats } from './cluster-stats.ts';
import { type Host, type HostSpec, hostSpec } from './host.ts';
import type { BalancerPolicy, LoadBalancerContext } from './load-balancer.ts';
import { DEFAULT_OVERPROVISIONING, type PrioritySet } from './priority-set.ts';

/** How a cluster of type ORIGINAL_DST finds its hosts: `original_dst_lb_config` and `cleanup_interval`. */
export interface OriginalDstSpec {
  /** Lower case; empty: no header tells. */
  readonly headerName: string;
  /** Null: no metadata tells. */
  readonly metadataKey: { readonly namespace: string; readonly path: readonly string[] } | null;
  /** -1: the destination's own. */
  readonly portOverride: number;
  readonly cleanupIntervalMs: number;
}

/** Key of an address that filters may leave in the filter state; it goes before all else. */
const DESTINATION_STATE = 'envoy.network.transport_socket.original_dst_address';

/** The balancer that a cluster brings itself. */
export const CLUSTER_PROVIDED: BalancerPolicy = {
  name: 'envoy.load_balancing_policies.cluster_provided',
  build: () => ({ chooseHost: () => null }),
};

/** Where a filter says that a connection is to go. */
export interface DestinationState extends FilterStateObject {
  readonly address: IpAddress;
}

interface Entry {
  readonly spec: HostSpec;
  /** Chosen since the last clean-up. */
  used: boolean;
}

/** What the hosts need of their cluster. */
export interface OriginalDstCluster {
  readonly name: string;
  readonly priorities: PrioritySet;
  readonly stats: ClusterStats;
  readonly dispatcher: Dispatcher;
  /** Some pool of the host has connections or waiters. */
  isInUse(host: Host): boolean;
}

/**
 * The hosts of an ORIGINAL_DST cluster: made when first asked for, removed when neither chosen since the last clean-up nor in use.
 * Each worker has its own. Source: Envoy, extensions/clusters/original_dst.
 */
export class OriginalDstHosts implements TimerTarget {
  readonly #spec: OriginalDstSpec;
  readonly #cluster: OriginalDstCluster;
  readonly #entries = new Map<string, Entry>();
  readonly #timer: Timer;

  constructor(spec: OriginalDstSpec, cluster: OriginalDstCluster) {
    this.#spec = spec;
    this.#cluster = cluster;
    this.#timer = cluster.dispatcher.createTimer(this);
    this.#timer.enable(spec.cleanupIntervalMs);
  }

  chooseHost(context: LoadBalancerContext | null): Host | null {
    if (context === null) return null;
    let address =
      this.#fromState(context) ?? this.#fromMetadata(context) ?? this.#fromHeader(context) ?? restoredAddress(context);
    if (address === null) return null;
    const { portOverride } = this.#spec;
    if (portOverride >= 0) address = ipAddress(address.ip, portOverride);
    const known = this.#entries.get(address.text);
    if (known !== undefined) known.used = true;
    else this.#add(address);
    return this.#cluster.priorities.hostByAddress(address.text);
  }

  #fromState(context: LoadBalancerContext): IpAddress | null {
    const own = context.streamState?.()?.filterState(DESTINATION_STATE);
    const object = own ?? context.downstreamConnection()?.state?.objects.get(DESTINATION_STATE);
    return object === undefined ? null : (object as DestinationState).address;
  }

  #fromMetadata(context: LoadBalancerContext): IpAddress | null {
    const key = this.#spec.metadataKey;
    if (key === null) return null;
    const own = textAt(context.streamState?.()?.dynamicMetadata(key.namespace), key.path);
    const text = own ?? textAt(context.downstreamConnection()?.state?.metadata.get(key.namespace), key.path);
    return text === null ? null : this.#parse(text);
  }

  #fromHeader(context: LoadBalancerContext): IpAddress | null {
    const { headerName } = this.#spec;
    if (headerName === '') return null;
    const value = context.requestHeaders()?.get(headerName) ?? null;
    return value === null ? null : this.#parse(value);
  }

  #parse(text: string): IpAddress | null {
    const address = parseIpAndPort(text);
    if (address === null) this.#cluster.stats.original_dst_host_invalid.inc();
    return address;
  }

  #add(address: IpAddress): void {
    const spec = hostSpec(address, { hostname: this.#cluster.name + address.text });
    this.#entries.set(address.text, { spec, used: true });
    this.#announce();
  }

  #announce(): void {
    const { priorities, dispatcher } = this.#cluster;
    const specs = [...this.#entries.values()].map((entry) => entry.spec);
    priorities.update(0, specs, [], DEFAULT_OVERPROVISIONING, false, dispatcher.nowMs);
  }

  onTimer(timer: Timer): void {
    const before = this.#entries.size;
    for (const [text, entry] of this.#entries) {
      if (entry.used) {
        entry.used = false;
        continue;
      }
      const host = this.#cluster.priorities.hostByAddress(text);
      if (host === null || !this.#cluster.isInUse(host)) this.#entries.delete(text);
    }
    if (this.#entries.size !== before) this.#announce();
    timer.enable(this.#spec.cleanupIntervalMs);
  }

  /** The cluster is gone. */
  close(): void {
    this.#timer.destroy();
  }
}

function restoredAddress(context: LoadBalancerContext): IpAddress | null {
  const connection = context.downstreamConnection();
  if (connection === null || !connection.localAddressRestored) return null;
  return connection.localAddress.kind === 'ip' ? connection.localAddress : null;
}

/** The text at a path; of a list, its first element. */
function textAt(root: MetadataStruct | null | undefined, path: readonly string[]): string | null {
  let value: MetadataValue | undefined = root ?? undefined;
  for (const key of path) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
    value = (value as MetadataStruct)[key];
  }
  if (Array.isArray(value)) value = value[0] as MetadataValue | undefined;
  return typeof value === 'string' ? value : null;
}
