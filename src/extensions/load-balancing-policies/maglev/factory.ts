import type { Maglev } from '../../../api/gen/envoy/extensions/load_balancing_policies/maglev/v3/maglev_pb.d.ts';
import { buildMaglev, CONSISTENT_HASH_SUPPORT } from '../../../config/builders/hash-balancers.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';

/** Source: envoy.extensions.load_balancing_policies.maglev.v3.Maglev. */
export const maglevPolicy: ExtensionFactory<'load-balancing-policy', Maglev> = {
  kind: 'load-balancing-policy',
  name: 'envoy.load_balancing_policies.maglev',
  configType: 'envoy.extensions.load_balancing_policies.maglev.v3.Maglev',
  support: [
    { message: 'envoy.extensions.load_balancing_policies.maglev.v3.Maglev', fields: '*' },
    ...CONSISTENT_HASH_SUPPORT,
  ],
  build(config, context) {
    return buildMaglev(
      context,
      config.tableSize,
      config.consistentHashingLbConfig?.useHostnameForHashing ?? false,
      config.localityWeightedLbConfig !== undefined,
    );
  },
};
