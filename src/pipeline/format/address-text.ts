import type { Address } from '../../net/address.ts';

/** Which part of an address an operator shows. */
export const AddressPart = { Whole: 0, WithoutPort: 1, Port: 2 } as const;
export type AddressPart = (typeof AddressPart)[keyof typeof AddressPart];

export function addressText(address: Address, part: AddressPart): string {
  switch (part) {
    case AddressPart.Whole:
      return address.text;
    case AddressPart.WithoutPort:
      return address.kind === 'ip' ? address.ip : address.text;
    default:
      return address.kind === 'ip' ? String(address.port) : '';
  }
}

/**
 * An IP address as a CIDR range of `prefix` bits (`10.0.0.0/8`); more bits than the address has mean all of them, a
 * negative number gives an empty text. Other addresses stand as they are.
 */
export function maskedAddress(address: Address, prefix: number): string {
  if (address.kind !== 'ip') return address.text;
  if (prefix < 0) return '';
  if (address.version === 4) {
    const bits = Math.min(prefix, 32);
    const value = address.ip.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
    const kept = bits === 0 ? 0 : Math.floor(value / 2 ** (32 - bits)) * 2 ** (32 - bits);
    return `${[24, 16, 8, 0].map((shift) => Math.floor(kept / 2 ** shift) % 256).join('.')}/${bits}`;
  }
  const bits = Math.min(prefix, 128);
  const groups = ipv6Groups(address.ip).map((group, index) => {
    const keep = Math.min(16, Math.max(0, bits - index * 16));
    return keep === 0 ? 0 : group & (0xffff << (16 - keep)) & 0xffff;
  });
  return `${compressed(groups)}/${bits}`;
}

function ipv6Groups(text: string): number[] {
  const ip = text.includes('%') ? text.substring(0, text.indexOf('%')) : text;
  const [head, tail] = ip.split('::') as [string, string | undefined];
  const parse = (part: string): number[] =>
    part === ''
      ? []
      : part.split(':').flatMap((group) => {
          if (!group.includes('.')) return [Number.parseInt(group, 16)];
          const octets = group.split('.').map(Number);
          return [octets[0]! * 256 + octets[1]!, octets[2]! * 256 + octets[3]!];
        });
  const front = parse(head);
  if (tail === undefined) return front;
  const back = parse(tail);
  return [...front, ...new Array<number>(Math.max(0, 8 - front.length - back.length)).fill(0), ...back];
}

/** RFC 5952: the longest run of two or more zero groups becomes `::`. */
function compressed(groups: readonly number[]): string {
  let best = -1;
  let bestLength = 1;
  for (let i = 0; i < groups.length; ) {
    let end = i;
    while (end < groups.length && groups[end] === 0) end++;
    if (end - i > bestLength) {
      best = i;
      bestLength = end - i;
    }
    i = Math.max(end, i + 1);
  }
  const text = groups.map((group) => group.toString(16));
  if (best < 0) return text.join(':');
  return `${text.slice(0, best).join(':')}::${text.slice(best + bestLength).join(':')}`;
}
