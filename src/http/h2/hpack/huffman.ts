/**
 * The Huffman code of RFC 7541 appendix B. It is canonical: the lengths alone say what the codes are.
 */

/** Length in bits of each byte's code; the last one is the end-of-string symbol, which never occurs. */
const CODE_LENGTHS =
  '13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28 6 10 10 12 13 ' +
  '6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10 13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 ' +
  '8 7 8 13 19 13 14 6 15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28 20 22 20 20 22 22 22 ' +
  '23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24 22 21 20 22 22 23 23 21 23 22 22 24 ' +
  '21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23 26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 ' +
  '21 26 27 27 26 27 24 21 21 26 26 28 27 27 27 20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 ' +
  '27 27 27 28 27 27 27 27 27 26 30';
const EOS = 256;
const MAX_BITS = 30;

const LENGTH = Uint8Array.from(CODE_LENGTHS.split(' ').map(Number));
const CODE = new Uint32Array(LENGTH.length);
/** Symbols by length, then by value: the order in which a canonical code counts up. */
const ORDERED = Uint16Array.from([...LENGTH.keys()].sort((a, b) => LENGTH[a]! - LENGTH[b]! || a - b));
/** By length: the first code, and where its symbols begin in ORDERED. */
const FIRST_CODE = new Uint32Array(MAX_BITS + 2);
const FIRST_INDEX = new Uint16Array(MAX_BITS + 2);

/** Codes of each length. */
const COUNT = new Uint16Array(MAX_BITS + 2);
for (const length of LENGTH) COUNT[length]!++;

/** Bits that one step of the decoder looks at. */
const STEP_BITS = 12;
const STEP_MASK = (1 << STEP_BITS) - 1;
/** By the next 12 bits: symbol, second symbol << 8, how many symbols << 16, bits they take << 20; 0: a longer code. */
const STEP = new Int32Array(1 << STEP_BITS);

{
  let code = 0;
  let bits = LENGTH[ORDERED[0]!]!;
  FIRST_INDEX.fill(ORDERED.length);
  for (let i = 0; i < ORDERED.length; i++) {
    const symbol = ORDERED[i]!;
    const length = LENGTH[symbol]!;
    code <<= length - bits;
    if (length !== bits || i === 0) {
      FIRST_CODE[length] = code;
      FIRST_INDEX[length] = i;
    }
    bits = length;
    CODE[symbol] = code;
    code++;
  }
}

/** Symbol whose code begins in the `bits` bits of `value`; -1 when it is longer. */
function shortSymbol(value: number, bits: number): number {
  for (let symbol = 0; symbol < EOS; symbol++) {
    const length = LENGTH[symbol]!;
    if (length <= bits && value >>> (bits - length) === CODE[symbol]) return symbol;
  }
  return -1;
}

{
  const firstOf = new Int16Array(1 << STEP_BITS);
  for (let value = 0; value <= STEP_MASK; value++) firstOf[value] = shortSymbol(value, STEP_BITS);
  for (let value = 0; value <= STEP_MASK; value++) {
    const first = firstOf[value]!;
    if (first < 0) continue;
    const used = LENGTH[first]!;
    const rest = (value << used) & STEP_MASK;
    const second = firstOf[rest]!;
    if (second >= 0 && used + LENGTH[second]! <= STEP_BITS) {
      STEP[value] = first | (second << 8) | (2 << 16) | ((used + LENGTH[second]!) << 20);
    } else {
      STEP[value] = first | (1 << 16) | (used << 20);
    }
  }
}

/** The most bytes that `size` bytes of Huffman code can stand for: the shortest codes have 5 bits. */
export function maxDecodedLength(size: number): number {
  return Math.floor((size * 8) / 5) + 2;
}

/**
 * Decodes `bytes[start..end)` to `out`, which has room for {@link maxDecodedLength}.
 * @returns how many bytes; -1 when the code is wrong (RFC 7541 section 5.2: EOS, padding of 8 bits and more or not of ones)
 */
export function decodeHuffman(bytes: Uint8Array, start: number, end: number, out: Uint8Array): number {
  let at = start;
  let to = 0;
  // The low `bits` bits of `held` have not been decoded.
  let held = 0;
  let bits = 0;
  for (;;) {
    while (bits <= 16 && at < end) {
      held = (held << 8) | bytes[at++]!;
      bits += 8;
    }
    if (bits < STEP_BITS) break;
    const step = STEP[(held >>> (bits - STEP_BITS)) & STEP_MASK]!;
    if (step !== 0) {
      out[to] = step;
      out[to + 1] = step >>> 8;
      to += (step >>> 16) & 3;
      bits -= step >>> 20;
      continue;
    }
    // A code of more than 12 bits: length by length. Held are 17 to 24 bits, unless the input ends; 25 and more with one byte.
    if (at < end) {
      held = (held << 8) | bytes[at++]!;
      bits += 8;
    }
    let length = STEP_BITS + 1;
    for (; length <= MAX_BITS; length++) {
      const missing = length - bits;
      let value: number;
      if (missing <= 0) {
        value = (held >>> -missing) & mask(length);
      } else {
        if (at >= end) return -1;
        value = ((held & mask(bits)) << missing) | (bytes[at]! >>> (8 - missing));
      }
      const index = value - FIRST_CODE[length]!;
      if (index >= 0 && index < COUNT[length]!) {
        const symbol = ORDERED[FIRST_INDEX[length]! + index]!;
        if (symbol === EOS) return -1;
        out[to++] = symbol;
        if (missing > 0) {
          held = bytes[at++]!;
          bits = 8 - missing;
        } else {
          bits = -missing;
        }
        break;
      }
    }
    if (length > MAX_BITS) return -1;
  }
  // Fewer than 12 bits are left: codes, then less than a byte of ones.
  while (bits > 0) {
    const rest = held & mask(bits);
    const padded = ((rest << (STEP_BITS - bits)) | mask(STEP_BITS - bits)) & STEP_MASK;
    const symbol = firstSymbol(padded);
    if (symbol < 0 || LENGTH[symbol]! > bits) {
      return bits < 8 && rest === mask(bits) ? to : -1;
    }
    out[to++] = symbol;
    bits -= LENGTH[symbol]!;
  }
  return to;
}

function mask(bits: number): number {
  return bits >= 32 ? -1 : (1 << bits) - 1;
}

function firstSymbol(value: number): number {
  const step = STEP[value]!;
  return step === 0 ? -1 : step & 0xff;
}

/** Bytes that `text` (latin1) takes in Huffman code. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += LENGTH[text.charCodeAt(i) & 0xff]!;
  return (bits + 7) >>> 3;
}

/** Encodes `text` (latin1) at `at`. @returns where it ends */
export function encodeHuffman(text: string, bytes: Uint8Array, at: number): number {
  let held = 0;
  let bits = 0;
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i) & 0xff;
    let length = LENGTH[symbol]!;
    let code = CODE[symbol]!;
    if (length > 24) {
      // In two parts: fewer than 8 bits are held, and `held` has 32.
      const low = length - 16;
      held = (held << 16) | (code >>> low);
      bits += 16;
      while (bits >= 8) {
        bits -= 8;
        bytes[at++] = held >>> bits;
      }
      code &= mask(low);
      length = low;
    }
    held = (held << length) | code;
    bits += length;
    while (bits >= 8) {
      bits -= 8;
      bytes[at++] = held >>> bits;
    }
  }
  if (bits > 0) bytes[at++] = (held << (8 - bits)) | mask(8 - bits);
  return at;
}
