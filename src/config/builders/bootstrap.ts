import { toBinary } from '@bufbuild/protobuf';
import type { Bootstrap } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.d.ts';
import type { Address } from '../../net/address.ts';
import type { ClusterSpec } from '../../upstream/cluster-spec.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildAddress } from './addresses.ts';
import { buildCluster } from './cluster.ts';
import { durationMsOr } from './durations.ts';
import { buildListener, type ListenerSpec } from './listener.ts';

export const BOOTSTRAP_SUPPORT: readonly FieldSupport[] = [
  {
    message: 'envoy.config.bootstrap.v3.Bootstrap',
    fields: `node static_resources admin stats_flush_interval layered_runtime`,
    inert: 'node_context_params flags_path',
  },
  { message: 'envoy.config.bootstrap.v3.Bootstrap.StaticResources', fields: 'listeners clusters' },
  { message: 'envoy.config.bootstrap.v3.Admin', fields: 'address access_log_path', inert: 'profile_path' },
  { message: 'envoy.config.core.v3.Node', fields: '*' },
  { message: 'envoy.config.core.v3.Locality', fields: '*' },
  { message: 'envoy.config.core.v3.Metadata', fields: '*' },
];

export interface AdminSpec {
  readonly address: Address;
  /** Empty: none. */
  readonly accessLogPath: string;
}

/** A resource of the configuration: how main checks it, and how it reaches the workers. */
export interface StaticResource<Spec> {
  readonly name: string;
  readonly spec: Spec;
  /** The encoded message. */
  readonly bytes: Uint8Array;
}

/** A bootstrap that can run. */
export interface BootstrapPlan {
  readonly message: Bootstrap;
  readonly admin: AdminSpec | null;
  readonly clusters: readonly StaticResource<ClusterSpec>[];
  readonly listeners: readonly StaticResource<ListenerSpec>[];
  readonly statsFlushIntervalMs: number;
}

/** Builds everything dry: with no sockets and no threads. @returns null when errors were reported */
export function buildBootstrap(context: BuildContext, message: Bootstrap): BootstrapPlan | null {
  const before = context.errorCount;
  const clusters: StaticResource<ClusterSpec>[] = [];
  const listeners: StaticResource<ListenerSpec>[] = [];
  const clusterType = context.shared.api.message('envoy.config.cluster.v3.Cluster')!;
  const listenerType = context.shared.api.message('envoy.config.listener.v3.Listener')!;
  const seenClusters = new Set<string>();
  message.staticResources?.clusters.forEach((cluster, index) => {
    const at = context.at(`static_resources.clusters[${index}]`);
    if (seenClusters.has(cluster.name)) at.refuse('name', `duplicate cluster name '${cluster.name}'`);
    seenClusters.add(cluster.name);
    const spec = buildCluster(at, cluster);
    if (spec !== null) clusters.push({ name: cluster.name, spec, bytes: toBinary(clusterType, cluster) });
  });
  const seenListeners = new Set<string>();
  const seenAddresses = new Map<string, string>();
  message.staticResources?.listeners.forEach((listener, index) => {
    const at = context.at(`static_resources.listeners[${index}]`);
    if (listener.name === '') listener.name = crypto.randomUUID();
    if (seenListeners.has(listener.name)) at.refuse('name', `duplicate listener name '${listener.name}'`);
    seenListeners.add(listener.name);
    const spec = buildListener(at, listener);
    if (spec === null) return;
    for (const address of spec.addresses) {
      if (!spec.bindToPort || (address.kind === 'ip' && address.port === 0)) continue;
      const other = seenAddresses.get(address.text);
      if (other !== undefined) {
        at.refuse(
          'address',
          `error adding listener: '${listener.name}' has duplicate address '${address.text}' as existing listener`,
          `'${other}' has it`,
        );
      }
      seenAddresses.set(address.text, listener.name);
    }
    listeners.push({ name: listener.name, spec, bytes: toBinary(listenerType, listener) });
  });
  const admin = buildAdmin(context, message);
  if (context.errorCount > before) return null;
  return {
    message,
    admin,
    clusters,
    listeners,
    statsFlushIntervalMs: durationMsOr(message.statsFlushInterval, 5_000),
  };
}

function buildAdmin(context: BuildContext, message: Bootstrap): AdminSpec | null {
  if (message.admin?.address === undefined) return null;
  const address = buildAddress(context, 'admin.address', message.admin.address);
  return address === null ? null : { address, accessLogPath: message.admin.accessLogPath };
}
