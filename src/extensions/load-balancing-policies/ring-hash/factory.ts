import type { RingHash } from '../../../api/gen/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash_pb.d.ts';
import { buildRingHash, CONSISTENT_HASH_SUPPORT } from '../../../config/builders/hash-balancers.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';

const MURMUR_HASH_2 = 2;

/** Source: envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash. */
export const ringHashPolicy: ExtensionFactory<'load-balancing-policy', RingHash> = {
  kind: 'load-balancing-policy',
  name: 'envoy.load_balancing_policies.ring_hash',
  configType: 'envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash',
  support: [
    {
      message: 'envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash',
      fields: `hash_function minimum_ring_size maximum_ring_size use_hostname_for_hashing
        consistent_hashing_lb_config locality_weighted_lb_config`,
    },
    ...CONSISTENT_HASH_SUPPORT,
  ],
  build(config, context) {
    return buildRingHash(context, {
      minimumRingSize: config.minimumRingSize,
      maximumRingSize: config.maximumRingSize,
      murmur: config.hashFunction === MURMUR_HASH_2,
      useHostname: config.consistentHashingLbConfig?.useHostnameForHashing ?? config.useHostnameForHashing,
      localityWeighted: config.localityWeightedLbConfig !== undefined,
    });
  },
};
