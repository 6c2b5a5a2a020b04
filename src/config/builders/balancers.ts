import type {
  Cluster,
  Cluster_CommonLbConfig,
  Cluster_SlowStartConfig,
  LoadBalancingPolicy_Policy,
} from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type {
  LocalityLbConfig,
  SlowStartConfig,
} from '../../api/gen/envoy/extensions/load_balancing_policies/common/v3/common_pb.d.ts';
import {
  type LocalitySettings,
  NO_LOCALITY_SETTINGS,
  type SlowStartSettings,
} from '../../upstream/balancing/host-source-balancer.ts';
import { LeastRequestPolicy } from '../../upstream/balancing/least-request.ts';
import { RandomPolicy } from '../../upstream/balancing/random.ts';
import { RoundRobinPolicy } from '../../upstream/balancing/round-robin.ts';
import { SubsetPolicy } from '../../upstream/balancing/subset-balancer.ts';
import type { BalancerPolicy } from '../../upstream/load-balancer.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { durationMs } from './durations.ts';
import { buildLegacyMaglev, buildLegacyRingHash } from './hash-balancers.ts';
import { buildSubsetSettings } from './subsets.ts';

const COMMON = 'envoy.extensions.load_balancing_policies.common.v3';

/** Messages that the policies share; zone-aware routing needs a local cluster, which is refused where it is named. */
export const LOCALITY_LB_SUPPORT: readonly FieldSupport[] = [
  { message: `${COMMON}.LocalityLbConfig`, fields: 'zone_aware_lb_config locality_weighted_lb_config' },
  {
    message: `${COMMON}.LocalityLbConfig.ZoneAwareLbConfig`,
    fields: 'fail_traffic_on_panic',
    inert: 'routing_enabled min_cluster_size force_locality_direct_routing force_local_zone locality_basis',
  },
  { message: `${COMMON}.LocalityLbConfig.LocalityWeightedLbConfig`, fields: '*' },
  { message: `${COMMON}.SlowStartConfig`, fields: '*' },
  { message: 'envoy.config.core.v3.RuntimeDouble', fields: 'default_value' },
];

export function buildLocalitySettings(message: LocalityLbConfig | undefined): LocalitySettings {
  const config = message?.localityConfigSpecifier;
  switch (config?.case) {
    case 'localityWeightedLbConfig':
      return { localityWeighted: true, failTrafficOnPanic: false };
    case 'zoneAwareLbConfig':
      return { localityWeighted: false, failTrafficOnPanic: config.value.failTrafficOnPanic };
    default:
      return NO_LOCALITY_SETTINGS;
  }
}

/** Both messages of this name have the same fields. Null: no slow start. */
export function buildSlowStart(
  context: BuildContext,
  field: string,
  message: SlowStartConfig | Cluster_SlowStartConfig | undefined,
): SlowStartSettings | null {
  if (message === undefined || message.slowStartWindow === undefined) return null;
  if (message.aggression !== undefined && message.aggression.runtimeKey !== '') {
    context.refuse(`${field}.aggression.runtime_key`, 'a runtime override is not supported yet here');
  }
  const windowMs = durationMs(message.slowStartWindow);
  if (windowMs === 0) return null;
  const aggression = message.aggression?.defaultValue ?? 1;
  if (aggression <= 0) {
    context.refuse(`${field}.aggression.default_value`, 'must be greater than 0');
    return null;
  }
  return { windowMs, aggression, minWeight: (message.minWeightPercent?.value ?? 10) / 100 };
}

export function activeRequestBias(
  context: BuildContext,
  field: string,
  message: { readonly defaultValue: number; readonly runtimeKey: string } | undefined,
): number {
  if (message === undefined) return 1;
  if (message.runtimeKey !== '') {
    context.refuse(`${field}.runtime_key`, 'a runtime override is not supported yet here');
  }
  if (message.defaultValue < 0) context.refuse(`${field}.default_value`, 'must not be negative');
  return message.defaultValue;
}

/** Fields of `common_lb_config` that `load_balancing_policy` must carry itself. */
function hasPolicyFields(common: Cluster_CommonLbConfig | undefined): boolean {
  return (
    common !== undefined &&
    (common.localityConfigSpecifier.case !== undefined || common.consistentHashingLbConfig !== undefined)
  );
}

function legacyLocality(common: Cluster_CommonLbConfig | undefined): LocalitySettings {
  const config = common?.localityConfigSpecifier;
  switch (config?.case) {
    case 'localityWeightedLbConfig':
      return { localityWeighted: true, failTrafficOnPanic: false };
    case 'zoneAwareLbConfig':
      return { localityWeighted: false, failTrafficOnPanic: config.value.failTrafficOnPanic };
    default:
      return NO_LOCALITY_SETTINGS;
  }
}

const LB_POLICY_NAMES = [
  'ROUND_ROBIN',
  'LEAST_REQUEST',
  'RING_HASH',
  'RANDOM',
  '',
  'MAGLEV',
  'CLUSTER_PROVIDED',
  'LOAD_BALANCING_POLICY_CONFIG',
];

/** The balancer of a cluster: `load_balancing_policy`, else `lb_policy`. Null: refused. */
export function buildBalancerPolicy(context: BuildContext, message: Cluster): BalancerPolicy | null {
  if (message.loadBalancingPolicy !== undefined) return buildClusterPolicies(context, message);
  const policy = buildLegacyPolicy(context, message);
  const subsets = message.lbSubsetConfig;
  if (subsets === undefined) return policy;
  if (
    subsets.localityWeightAware &&
    message.commonLbConfig?.localityConfigSpecifier.case !== 'localityWeightedLbConfig'
  ) {
    context.refuse(
      'lb_subset_config.locality_weight_aware',
      `Locality weight aware subset LB requires that a locality_weighted_lb_config be set in ${message.name}`,
    );
  }
  const settings = buildSubsetSettings(context.at('lb_subset_config'), subsets);
  // Without selectors there are no subsets: Envoy takes it for switched off.
  return policy === null || settings.selectors.length === 0 ? policy : new SubsetPolicy(settings, policy);
}

function buildLegacyPolicy(context: BuildContext, message: Cluster): BalancerPolicy | null {
  const locality = legacyLocality(message.commonLbConfig);
  const name = LB_POLICY_NAMES[message.lbPolicy];
  switch (name) {
    case 'ROUND_ROBIN': {
      const config = message.lbConfig.case === 'roundRobinLbConfig' ? message.lbConfig.value : undefined;
      return new RoundRobinPolicy(
        locality,
        buildSlowStart(context, 'round_robin_lb_config.slow_start_config', config?.slowStartConfig),
      );
    }
    case 'LEAST_REQUEST': {
      const config = message.lbConfig.case === 'leastRequestLbConfig' ? message.lbConfig.value : undefined;
      return new LeastRequestPolicy({
        choiceCount: config?.choiceCount ?? 2,
        fullScan: false,
        activeRequestBias: activeRequestBias(
          context,
          'least_request_lb_config.active_request_bias',
          config?.activeRequestBias,
        ),
        locality,
        slowStart: buildSlowStart(context, 'least_request_lb_config.slow_start_config', config?.slowStartConfig),
      });
    }
    case 'RANDOM':
      return new RandomPolicy(locality);
    case 'RING_HASH':
      return buildLegacyRingHash(context, message);
    case 'MAGLEV':
      return buildLegacyMaglev(context, message);
    case 'CLUSTER_PROVIDED':
      context.refuse(
        'lb_policy',
        `cluster provided LB specified but cluster '${message.name}' did not provide one`,
        'this cluster type balances by ROUND_ROBIN, LEAST_REQUEST or RANDOM',
      );
      return null;
    case 'LOAD_BALANCING_POLICY_CONFIG':
      context.refuse('lb_policy', 'field load_balancing_policy need to be set');
      return null;
    default:
      context.refuse('lb_policy', `${name ?? message.lbPolicy} is not supported yet`);
      return null;
  }
}

function buildClusterPolicies(context: BuildContext, message: Cluster): BalancerPolicy | null {
  if (hasPolicyFields(message.commonLbConfig)) {
    context.refuse(
      'common_lb_config',
      'load_balancing_policy cannot be combined with partial fields (zone_aware_lb_config, locality_weighted_lb_config, consistent_hashing_lb_config) of common_lb_config',
      'move them into the policy',
    );
  }
  if (message.lbSubsetConfig !== undefined) {
    context.refuse('lb_subset_config', 'load_balancing_policy cannot be combined with lb_subset_config');
  }
  return buildPolicyList(context, 'load_balancing_policy', message.loadBalancingPolicy!.policies, message.name);
}

/** The first of `policies` that is known. @param field where they stand */
export function buildPolicyList(
  context: BuildContext,
  list: string,
  policies: readonly LoadBalancingPolicy_Policy[],
  cluster = '',
): BalancerPolicy | null {
  const skipped: string[] = [];
  for (let i = 0; i < policies.length; i++) {
    const config = policies[i]!.typedExtensionConfig;
    const field = `${list}.policies[${i}].typed_extension_config`;
    const any = config?.typedConfig;
    const typeName = any === undefined ? '' : any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1);
    if (context.shared.extensions.findByType('load-balancing-policy', typeName) === null) {
      skipped.push(config?.name ?? '');
      continue;
    }
    if (skipped.length > 0) {
      context.warn(
        list,
        `policies [${skipped.join(', ')}] are not supported yet: the next one, ${config!.name}, is used`,
      );
    }
    return context.shared.extensions.build(
      'load-balancing-policy',
      context,
      `${field}.typed_config`,
      config!.name,
      any,
    );
  }
  context.refuse(
    list,
    `didn't find a registered load balancer factory implementation for cluster: '${cluster}' with names from [${skipped.join(', ')}]`,
    'supported: round_robin, least_request, random, ring_hash, maglev, subset',
  );
  return null;
}
