import type { RoundRobin } from '../../../api/gen/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin_pb.d.ts';
import { buildLocalitySettings, buildSlowStart, LOCALITY_LB_SUPPORT } from '../../../config/builders/balancers.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { RoundRobinPolicy } from '../../../upstream/balancing/round-robin.ts';

/** Source: envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin. */
export const roundRobinPolicy: ExtensionFactory<'load-balancing-policy', RoundRobin> = {
  kind: 'load-balancing-policy',
  name: 'envoy.load_balancing_policies.round_robin',
  configType: 'envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin',
  support: [
    { message: 'envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin', fields: '*' },
    ...LOCALITY_LB_SUPPORT,
  ],
  build(config, context) {
    const slowStart = buildSlowStart(context, 'slow_start_config', config.slowStartConfig);
    return new RoundRobinPolicy(buildLocalitySettings(config.localityLbConfig), slowStart);
  },
};
