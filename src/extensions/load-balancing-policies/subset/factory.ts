import type { Subset } from '../../../api/gen/envoy/extensions/load_balancing_policies/subset/v3/subset_pb.d.ts';
import { buildPolicyList } from '../../../config/builders/balancers.ts';
import { buildSubsetSettings, SUBSET_SUPPORT } from '../../../config/builders/subsets.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { SubsetPolicy } from '../../../upstream/balancing/subset-balancer.ts';

/** Source: envoy.extensions.load_balancing_policies.subset.v3.Subset. */
export const subsetPolicy: ExtensionFactory<'load-balancing-policy', Subset> = {
  kind: 'load-balancing-policy',
  name: 'envoy.load_balancing_policies.subset',
  configType: 'envoy.extensions.load_balancing_policies.subset.v3.Subset',
  support: SUBSET_SUPPORT,
  build(config, context) {
    const before = context.errorCount;
    const settings = buildSubsetSettings(context, config);
    const child = buildPolicyList(context, 'subset_lb_policy', config.subsetLbPolicy?.policies ?? []);
    return child === null || context.errorCount > before ? null : new SubsetPolicy(settings, child);
  },
};
