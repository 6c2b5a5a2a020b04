/** One element of a DER text (X.690): as much as certificates and PKCS#12 need. */
export interface DerElement {
  /** With class and form. */
  readonly tag: number;
  readonly content: Buffer;
  /** With tag and length. */
  readonly whole: Buffer;
}

/** Deepest nesting that is looked into; what comes from a file must not overflow the stack. */
const MAX_DEPTH = 32;

export class DerError extends Error {}

/**
 * The element at `at`. Indefinite lengths (BER) are understood for constructed elements, as older exporters write them.
 * @throws DerError
 */
export function readDer(bytes: Buffer, at = 0, depth = 0): DerElement {
  if (depth > MAX_DEPTH) throw new DerError('nested too deeply');
  if (at + 2 > bytes.length) throw new DerError('cut off');
  const tag = bytes[at]!;
  if ((tag & 0x1f) === 0x1f) throw new DerError('tag of several bytes');
  const first = bytes[at + 1]!;
  if (first === 0x80) return indefinite(bytes, at, tag, depth);
  let start = at + 2;
  let length = first;
  if (first > 0x80) {
    const count = first & 0x7f;
    if (count > 4 || start + count > bytes.length) throw new DerError('length of too many bytes');
    length = bytes.readUIntBE(start, count);
    start += count;
  }
  if (start + length > bytes.length) throw new DerError('cut off');
  return { tag, content: bytes.subarray(start, start + length), whole: bytes.subarray(at, start + length) };
}

function indefinite(bytes: Buffer, at: number, tag: number, depth: number): DerElement {
  if ((tag & 0x20) === 0) throw new DerError('a primitive element without length');
  let end = at + 2;
  while (end + 2 <= bytes.length && (bytes[end] !== 0 || bytes[end + 1] !== 0)) {
    end += readDer(bytes, end, depth + 1).whole.length;
  }
  if (end + 2 > bytes.length) throw new DerError('cut off');
  return { tag, content: bytes.subarray(at + 2, end), whole: bytes.subarray(at, end + 2) };
}

/** The elements within a constructed one. @throws DerError */
export function childrenOf(element: DerElement): DerElement[] {
  const out: DerElement[] = [];
  for (let at = 0; at < element.content.length; ) {
    const child = readDer(element.content, at);
    out.push(child);
    at += child.whole.length;
  }
  return out;
}

/** Dotted text of an object identifier. @throws DerError */
export function oidOf(element: DerElement | undefined): string {
  if (element === undefined || element.tag !== 0x06 || element.content.length === 0) {
    throw new DerError('an object identifier is missing');
  }
  const parts: number[] = [];
  let value = 0;
  for (const byte of element.content) {
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) {
      parts.push(value);
      value = 0;
    }
  }
  const first = Math.min(2, Math.floor(parts[0]! / 40));
  return [first, parts[0]! - first * 40, ...parts.slice(1)].join('.');
}

export function integerOf(element: DerElement | undefined): number {
  if (element === undefined || element.tag !== 0x02 || element.content.length === 0 || element.content.length > 6) {
    throw new DerError('a number is missing');
  }
  return element.content.readUIntBE(0, element.content.length);
}

/** The bytes of an octet string, one of several pieces included. */
export function octetsOf(element: DerElement | undefined): Buffer {
  if (element === undefined) throw new DerError('bytes are missing');
  return (element.tag & 0x20) === 0 ? element.content : Buffer.concat(childrenOf(element).map(octetsOf));
}
