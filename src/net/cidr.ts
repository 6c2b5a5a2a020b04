import { ipVersion } from './ip-version.ts';

/** The bytes of an IP address: 4 or 16; null when the text is none. */
export function ipBytes(text: string): Uint8Array | null {
  const version = ipVersion(text);
  if (version === 4) return Uint8Array.from(text.split('.'), Number);
  if (version !== 6) return null;
  const bytes = new Uint8Array(16);
  const gap = text.indexOf('::');
  const front = groups(gap < 0 ? text : text.slice(0, gap));
  const back = gap < 0 ? [] : groups(text.slice(gap + 2));
  front.forEach((group, index) => {
    bytes[index * 2] = group >> 8;
    bytes[index * 2 + 1] = group & 0xff;
  });
  back.forEach((group, index) => {
    const at = 16 - (back.length - index) * 2;
    bytes[at] = group >> 8;
    bytes[at + 1] = group & 0xff;
  });
  return bytes;
}

/** 16-bit groups of a part of an IPv6 address; a dotted tail counts as two. */
function groups(text: string): number[] {
  if (text === '') return [];
  const out: number[] = [];
  for (const part of text.split(':')) {
    if (part.includes('.')) {
      const [a, b, c, d] = part.split('.').map(Number) as [number, number, number, number];
      out.push((a << 8) | b, (c << 8) | d);
    } else {
      out.push(Number.parseInt(part, 16));
    }
  }
  return out;
}

/** A set of address ranges of both versions. */
export class CidrSet {
  readonly #ranges: { readonly prefix: Uint8Array; readonly bits: number }[] = [];

  /** @param bits prefix length; more than the address has stands for all of it */
  add(prefix: Uint8Array, bits: number): void {
    this.#ranges.push({ prefix, bits: Math.min(bits, prefix.length * 8) });
  }

  has(ip: string): boolean {
    if (this.#ranges.length === 0) return false;
    const bytes = ipBytes(ip);
    return bytes !== null && this.#ranges.some((range) => startsWith(bytes, range.prefix, range.bits));
  }
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array, bits: number): boolean {
  if (bytes.length !== prefix.length) return false;
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (bytes[i] !== prefix[i]) return false;
  const rest = bits & 7;
  return rest === 0 || (bytes[whole]! ^ prefix[whole]!) >> (8 - rest) === 0;
}
