/** Tags of ASN.1 (X.680) with class and form, as they stand in certificates. */
export const DerTag = {
  Boolean: 0x01,
  Integer: 0x02,
  BitString: 0x03,
  OctetString: 0x04,
  Oid: 0x06,
  Utf8String: 0x0c,
  PrintableString: 0x13,
  TeletexString: 0x14,
  Ia5String: 0x16,
  UtcTime: 0x17,
  GeneralizedTime: 0x18,
  UniversalString: 0x1c,
  BmpString: 0x1e,
  Sequence: 0x30,
  Set: 0x31,
} as const;

/** Where one element of a DER text lies; `tag` -1: there is none. */
export class DerReader {
  readonly bytes: Buffer;
  readonly end: number;
  at: number;
  /** Of the element read last. */
  tag = -1;
  elementStart = 0;
  contentStart = 0;
  contentEnd = 0;

  constructor(bytes: Buffer, start = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
  }

  get isDone(): boolean {
    return this.at >= this.end;
  }

  /** Goes to the next element. @returns false: there is none, or it is malformed; then nothing more is found */
  next(): boolean {
    this.tag = -1;
    const { bytes } = this;
    let at = this.at;
    this.elementStart = at;
    const broken = (): boolean => {
      this.at = this.end;
      return false;
    };
    if (at + 2 > this.end) return broken();
    const tag = bytes[at++]!;
    if ((tag & 0x1f) === 0x1f) return broken();
    let length = bytes[at++]!;
    if (length > 0x7f) {
      const count = length & 0x7f;
      if (count === 0 || count > 4 || at + count > this.end) return broken();
      length = bytes.readUIntBE(at, count);
      at += count;
    }
    if (at + length > this.end) return broken();
    this.tag = tag;
    this.contentStart = at;
    this.contentEnd = this.at = at + length;
    return true;
  }

  /** The next element, if it is of this tag; otherwise stays. */
  nextIf(tag: number): boolean {
    return this.at < this.end && this.bytes[this.at] === tag && this.next();
  }

  /** Reads within the element read last. */
  inside(): DerReader {
    return new DerReader(this.bytes, this.contentStart, this.contentEnd);
  }

  content(): Buffer {
    return this.bytes.subarray(this.contentStart, this.contentEnd);
  }

  whole(): Buffer {
    return this.bytes.subarray(this.elementStart, this.contentEnd);
  }

  oid(): string {
    return oidText(this.content());
  }

  /** Of at most 6 bytes; -1: larger or negative. */
  smallInteger(): number {
    const size = this.contentEnd - this.contentStart;
    if (size === 0 || size > 6 || this.bytes[this.contentStart]! > 0x7f) return -1;
    return this.bytes.readUIntBE(this.contentStart, size);
  }
}

/** Dotted text of an object identifier. */
export function oidText(content: Buffer): string {
  const parts: bigint[] = [];
  let value = 0n;
  for (const byte of content) {
    value = value * 128n + BigInt(byte & 0x7f);
    if (byte > 0x7f) continue;
    if (parts.length > 0) {
      parts.push(value);
    } else {
      const first = value < 40n ? 0n : value < 80n ? 1n : 2n;
      parts.push(first, value - 40n * first);
    }
    value = 0n;
  }
  return parts.join('.');
}

/** UTCTime or GeneralizedTime in UTC as Unix ms; NaN: neither. */
export function derTime(tag: number, text: string): number {
  const digits = tag === DerTag.UtcTime ? text : tag === DerTag.GeneralizedTime ? text.slice(2) : '';
  if (!/^\d{12}Z$/.test(digits)) return Number.NaN;
  const two = Number(digits.slice(0, 2));
  const century = tag === DerTag.GeneralizedTime ? Number(text.slice(0, 2)) * 100 : two < 50 ? 2000 : 1900;
  const part = (at: number) => Number(digits.slice(at, at + 2));
  return Date.UTC(century + two, part(2) - 1, part(4), part(6), part(8), part(10));
}
