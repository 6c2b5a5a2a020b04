/** Writes DER (X.690): as much as certificates of our own need. Reading is in `net/tls/der.ts`. */

export const DerTag = {
  Integer: 0x02,
  BitString: 0x03,
  OctetString: 0x04,
  Oid: 0x06,
  Utf8String: 0x0c,
  Sequence: 0x30,
  Set: 0x31,
  UtcTime: 0x17,
  GeneralizedTime: 0x18,
} as const;

function lengthOf(size: number): Buffer {
  if (size < 0x80) return Buffer.of(size);
  const bytes: number[] = [];
  for (let rest = size; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Buffer.of(0x80 | bytes.length, ...bytes);
}

export function element(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.of(tag), lengthOf(content.length), content]);
}

export function sequence(...parts: readonly Uint8Array[]): Buffer {
  return element(DerTag.Sequence, ...parts);
}

/** A number that is not negative, of its bytes, highest first. */
export function positiveInteger(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const rest = bytes.subarray(start);
  // The highest bit is a sign.
  return element(DerTag.Integer, ...((rest[0] ?? 0) >= 0x80 ? [Buffer.of(0), rest] : [rest]));
}

/** @param text dotted */
export function objectId(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes: number[] = [];
  for (const value of [first * 40 + second, ...rest]) {
    const groups = [value % 128];
    for (let left = Math.floor(value / 128); left > 0; left = Math.floor(left / 128))
      groups.unshift((left % 128) | 0x80);
    bytes.push(...groups);
  }
  return element(DerTag.Oid, Buffer.from(bytes));
}

/** @param unused bits at the end that do not count */
export function bitString(bytes: Uint8Array, unused = 0): Buffer {
  return element(DerTag.BitString, Buffer.of(unused), bytes);
}

/** Two-digit years until 2049, four-digit ones behind (RFC 5280 section 4.1.2.5). Seconds are cut off below. */
export function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '');
  const isShort = ms < Date.UTC(2050, 0);
  return element(isShort ? DerTag.UtcTime : DerTag.GeneralizedTime, Buffer.from(isShort ? digits.slice(2) : digits));
}
