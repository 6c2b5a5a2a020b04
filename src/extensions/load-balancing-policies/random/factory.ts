import type { Random } from '../../../api/gen/envoy/extensions/load_balancing_policies/random/v3/random_pb.d.ts';
import { buildLocalitySettings, LOCALITY_LB_SUPPORT } from '../../../config/builders/balancers.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { RandomPolicy } from '../../../upstream/balancing/random.ts';

/** Source: envoy.extensions.load_balancing_policies.random.v3.Random. */
export const randomPolicy: ExtensionFactory<'load-balancing-policy', Random> = {
  kind: 'load-balancing-policy',
  name: 'envoy.load_balancing_policies.random',
  configType: 'envoy.extensions.load_balancing_policies.random.v3.Random',
  support: [
    { message: 'envoy.extensions.load_balancing_policies.random.v3.Random', fields: '*' },
    ...LOCALITY_LB_SUPPORT,
  ],
  build(config) {
    return new RandomPolicy(buildLocalitySettings(config.localityLbConfig));
  },
};
