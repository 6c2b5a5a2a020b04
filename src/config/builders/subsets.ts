import type {
  Cluster_LbSubsetConfig,
  Cluster_LbSubsetConfig_LbSubsetSelector,
} from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type {
  Subset,
  Subset_LbSubsetSelector,
} from '../../api/gen/envoy/extensions/load_balancing_policies/subset/v3/subset_pb.d.ts';
import type { MetadataStruct } from '../../base/connection-state.ts';
import { SubsetFallback, type SubsetSelector, type SubsetSettings } from '../../upstream/balancing/subset-balancer.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';

const SUBSET = 'envoy.extensions.load_balancing_policies.subset.v3.Subset';
const LEGACY = 'envoy.config.cluster.v3.Cluster.LbSubsetConfig';

export const SUBSET_SUPPORT: readonly FieldSupport[] = [
  {
    message: SUBSET,
    fields: `fallback_policy default_subset subset_selectors allow_redundant_keys locality_weight_aware scale_locality_weight
      panic_mode_any list_as_any metadata_fallback_policy subset_lb_policy`,
  },
  { message: `${SUBSET}.LbSubsetSelector`, fields: '*' },
];
export const LEGACY_SUBSET_SUPPORT: readonly FieldSupport[] = [
  {
    message: LEGACY,
    fields: `fallback_policy default_subset subset_selectors locality_weight_aware scale_locality_weight panic_mode_any
      list_as_any metadata_fallback_policy`,
  },
  { message: `${LEGACY}.LbSubsetSelector`, fields: '*' },
];

/** Both messages have the same fields. */
export function buildSubsetSettings(context: BuildContext, message: Subset | Cluster_LbSubsetConfig): SubsetSettings {
  return {
    // The cluster's enumeration begins with NO_FALLBACK.
    fallback: (message.fallbackPolicy + 1) as SubsetFallback,
    defaultSubset: (message.defaultSubset ?? {}) as MetadataStruct,
    selectors: message.subsetSelectors.map((each, i) => buildSelector(context, `subset_selectors[${i}]`, each)),
    localityWeightAware: message.localityWeightAware,
    scaleLocalityWeight: message.scaleLocalityWeight,
    panicModeAny: message.panicModeAny,
    listAsAny: message.listAsAny,
    allowRedundantKeys: 'allowRedundantKeys' in message && message.allowRedundantKeys,
    fallbackList: message.metadataFallbackPolicy === 1,
  };
}

function buildSelector(
  context: BuildContext,
  field: string,
  message: Subset_LbSubsetSelector | Cluster_LbSubsetConfig_LbSubsetSelector,
): SubsetSelector {
  const keys = [...new Set(message.keys)].sort();
  const fallbackKeys = new Set(message.fallbackKeysSubset);
  const fallback = message.fallbackPolicy as SubsetFallback;
  if (fallback === SubsetFallback.KeysSubset) {
    const at = `${field}.fallback_keys_subset`;
    if (fallbackKeys.size === 0) context.refuse(at, 'fallback_keys_subset cannot be empty');
    else if (![...fallbackKeys].every((key) => keys.includes(key))) {
      context.refuse(at, 'fallback_keys_subset must be a subset of selector keys');
    } else if (fallbackKeys.size === keys.length) {
      context.refuse(at, 'fallback_keys_subset cannot be equal to keys');
    }
  } else if (fallbackKeys.size > 0) {
    context.refuse(
      `${field}.fallback_keys_subset`,
      'fallback_keys_subset can be set only for KEYS_SUBSET fallback_policy',
    );
  }
  if (message.singleHostPerSubset && keys.length !== 1) {
    context.refuse(
      `${field}.single_host_per_subset`,
      'subset_lb selector: single_host_per_subset requires exactly 1 key',
    );
  }
  return { keys, singleHost: message.singleHostPerSubset, fallback, fallbackKeys };
}
