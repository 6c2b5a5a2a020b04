import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import { xxHash64 } from '../../base/xxhash64.ts';
import { MaglevPolicy } from '../../upstream/balancing/maglev.ts';
import { RingHashPolicy } from '../../upstream/balancing/ring-hash.ts';
import type { BalancerPolicy } from '../../upstream/load-balancer.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';

const COMMON = 'envoy.extensions.load_balancing_policies.common.v3';

/** Bounded load (`hash_balance_factor`) and a hash policy of the balancer's own are refused. */
export const CONSISTENT_HASH_SUPPORT: readonly FieldSupport[] = [
  { message: `${COMMON}.ConsistentHashingLbConfig`, fields: 'use_hostname_for_hashing' },
  { message: `${COMMON}.LocalityLbConfig.LocalityWeightedLbConfig`, fields: '*' },
];

const MIN_RING = 1024;
const MAX_RING = 8 * 1024 * 1024;
const MAGLEV_TABLE = 65_537;

export interface RingHashFields {
  readonly minimumRingSize: bigint | undefined;
  readonly maximumRingSize: bigint | undefined;
  /** MURMUR_HASH_2 is asked for. */
  readonly murmur: boolean;
  readonly useHostname: boolean;
  readonly localityWeighted: boolean;
}

/** @returns null when it was refused; fields are reported relative to `context` */
export function buildRingHash(context: BuildContext, fields: RingHashFields): BalancerPolicy | null {
  const minimumRingSize = Number(fields.minimumRingSize ?? MIN_RING);
  const maximumRingSize = Number(fields.maximumRingSize ?? MAX_RING);
  if (fields.murmur) {
    context.refuse('hash_function', 'MURMUR_HASH_2 is not supported yet', 'use XX_HASH');
    return null;
  }
  if (minimumRingSize > maximumRingSize) {
    context.refuse(
      'minimum_ring_size',
      `ring hash: minimum_ring_size (${minimumRingSize}) > maximum_ring_size (${maximumRingSize})`,
    );
    return null;
  }
  const { useHostname, localityWeighted } = fields;
  return new RingHashPolicy({ hash: xxHash64, useHostname, localityWeighted, minimumRingSize, maximumRingSize });
}

function isPrime(n: number): boolean {
  if (n < 2) return false;
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false;
  return true;
}

/** @returns null when it was refused */
export function buildMaglev(
  context: BuildContext,
  tableSizeField: bigint | undefined,
  useHostname: boolean,
  localityWeighted: boolean,
): BalancerPolicy | null {
  const tableSize = Number(tableSizeField ?? MAGLEV_TABLE);
  if (!isPrime(tableSize)) {
    context.refuse('table_size', 'The table size of maglev must be prime number');
    return null;
  }
  return new MaglevPolicy({ hash: xxHash64, useHostname, localityWeighted, tableSize });
}

/** `lb_policy: RING_HASH` and its messages. */
export function buildLegacyRingHash(context: BuildContext, message: Cluster): BalancerPolicy | null {
  const config = message.lbConfig.case === 'ringHashLbConfig' ? message.lbConfig.value : undefined;
  return buildRingHash(context.at('ring_hash_lb_config'), {
    minimumRingSize: config?.minimumRingSize,
    maximumRingSize: config?.maximumRingSize,
    murmur: config?.hashFunction === 1,
    ...legacyCommon(message),
  });
}

/** `lb_policy: MAGLEV` and its message. */
export function buildLegacyMaglev(context: BuildContext, message: Cluster): BalancerPolicy | null {
  const config = message.lbConfig.case === 'maglevLbConfig' ? message.lbConfig.value : undefined;
  const { useHostname, localityWeighted } = legacyCommon(message);
  return buildMaglev(context.at('maglev_lb_config'), config?.tableSize, useHostname, localityWeighted);
}

function legacyCommon(message: Cluster): { useHostname: boolean; localityWeighted: boolean } {
  const common = message.commonLbConfig;
  return {
    useHostname: common?.consistentHashingLbConfig?.useHostnameForHashing ?? false,
    localityWeighted: common?.localityConfigSpecifier.case === 'localityWeightedLbConfig',
  };
}
