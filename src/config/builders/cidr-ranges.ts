import { BlockList, isIP } from 'node:net';
import type { CidrRange } from '../../api/gen/envoy/config/core/v3/address_pb.d.ts';
import type { BuildContext } from '../build-context.ts';

/** Whether an IP address lies in one of the ranges. Malformed ranges are refused. */
export function buildCidrMatcher(
  context: BuildContext,
  field: string,
  ranges: readonly Pick<CidrRange, 'addressPrefix' | 'prefixLen'>[],
): (ip: string) => boolean {
  const list = new BlockList();
  ranges.forEach((range, index) => {
    const version = isIP(range.addressPrefix);
    const length = range.prefixLen ?? 0;
    if (version === 0) {
      context.refuse(`${field}[${index}].address_prefix`, `malformed IP address: ${range.addressPrefix}`);
    } else if (length > (version === 4 ? 32 : 128)) {
      context.refuse(
        `${field}[${index}].prefix_len`,
        `an IPv${version} prefix has at most ${version === 4 ? 32 : 128} bits`,
      );
    } else {
      list.addSubnet(range.addressPrefix, length, version === 4 ? 'ipv4' : 'ipv6');
    }
  });
  return (ip) => list.check(ip, ip.includes(':') ? 'ipv6' : 'ipv4');
}
