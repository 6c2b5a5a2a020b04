import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { OriginalDstSpec } from '../../upstream/original-dst.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { durationMsOr } from './durations.ts';

export const ORIGINAL_DST_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.cluster.v3.Cluster', fields: 'cleanup_interval original_dst_lb_config' },
  { message: 'envoy.config.cluster.v3.Cluster.OriginalDstLbConfig', fields: '*' },
  { message: 'envoy.type.metadata.v3.MetadataKey', fields: '*' },
  { message: 'envoy.type.metadata.v3.MetadataKey.PathSegment', fields: '*' },
];

const CLUSTER_PROVIDED = 6;
const POLICY_NAMES: readonly string[] = ['ROUND_ROBIN', 'LEAST_REQUEST', 'RING_HASH', 'RANDOM', '', 'MAGLEV'];
const DEFAULT_CLEANUP_MS = 5000;
const DEFAULT_HEADER = 'x-envoy-original-dst-host';

/** Of a cluster of type ORIGINAL_DST. Refusals are Envoy's. */
export function buildOriginalDst(context: BuildContext, message: Cluster): OriginalDstSpec {
  if (message.loadBalancingPolicy === undefined && message.lbPolicy !== CLUSTER_PROVIDED) {
    context.refuse(
      'lb_policy',
      `cluster: LB policy ${POLICY_NAMES[message.lbPolicy] ?? message.lbPolicy} is not valid for Cluster type ORIGINAL_DST. ` +
        "Only 'CLUSTER_PROVIDED' is allowed with cluster type 'ORIGINAL_DST'",
    );
  }
  if (message.loadAssignment !== undefined) {
    context.refuse('load_assignment', 'ORIGINAL_DST clusters must have no load assignment configured');
  }
  const config = message.lbConfig.case === 'originalDstLbConfig' ? message.lbConfig.value : undefined;
  const name = config?.httpHeaderName ?? '';
  if (name !== '' && config?.useHttpHeader !== true) {
    context.refuse(
      'original_dst_lb_config.http_header_name',
      `ORIGINAL_DST cluster: invalid config http_header_name=${name} and use_http_header is false. ` +
        'Set use_http_header to true if http_header_name is desired.',
    );
  }
  const key = config?.metadataKey;
  return {
    headerName: config?.useHttpHeader === true ? (name === '' ? DEFAULT_HEADER : wireText(name).toLowerCase()) : '',
    metadataKey:
      key === undefined
        ? null
        : {
            namespace: key.key,
            path: key.path.map((step) => (step.segment.case === 'key' ? step.segment.value : '')),
          },
    portOverride: config?.upstreamPortOverride ?? -1,
    cleanupIntervalMs: durationMsOr(message.cleanupInterval, DEFAULT_CLEANUP_MS),
  };
}
