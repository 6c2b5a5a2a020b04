import type { CidrRange } from '../../api/gen/envoy/config/core/v3/address_pb.d.ts';
import { CidrSet, ipBytes } from '../../net/cidr.ts';
import type { BuildContext } from '../build-context.ts';

/** What a range gives; structural, so that ranges of other API packages serve too. */
type Range = Pick<CidrRange, 'addressPrefix' | 'prefixLen'>;

/**
 * Whether an IP address lies in one of the ranges. Malformed addresses are refused; a prefix longer than the address stands for
 * the whole address, as in Envoy.
 */
export function buildCidrMatcher(
  context: BuildContext,
  field: string,
  ranges: readonly Range[],
): (ip: string) => boolean {
  const set = new CidrSet();
  ranges.forEach((range, index) => {
    const prefix = ipBytes(range.addressPrefix);
    if (prefix === null) {
      context.refuse(`${field}[${index}].address_prefix`, `malformed IP address: ${range.addressPrefix}`);
    } else {
      set.add(prefix, range.prefixLen ?? 0);
    }
  });
  return (ip) => set.has(ip);
}
