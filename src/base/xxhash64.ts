const MASK = 0xffff_ffff_ffff_ffffn;
const P1 = 0x9e37_79b1_85eb_ca87n;
const P2 = 0xc2b2_ae3d_27d4_eb4fn;
const P3 = 0x1656_67b1_9e37_79f9n;
const P4 = 0x85eb_ca77_c2b2_ae63n;
const P5 = 0x27d4_eb2f_1656_67c5n;

function rotate(value: bigint, bits: bigint): bigint {
  return ((value << bits) | (value >> (64n - bits))) & MASK;
}

function round(state: bigint, lane: bigint): bigint {
  return (rotate((state + lane * P2) & MASK, 31n) * P1) & MASK;
}

function merge(state: bigint, lane: bigint): bigint {
  return ((state ^ round(0n, lane)) * P1 + P4) & MASK;
}

/** xxHash64 of a latin1 string's bytes. Source: the xxHash specification, Envoy's HashUtil. */
export function xxHash64(text: string, seed = 0n): bigint {
  const bytes = Buffer.from(text, 'latin1');
  const length = bytes.length;
  let at = 0;
  let hash: bigint;
  if (length >= 32) {
    let a = (seed + P1 + P2) & MASK;
    let b = (seed + P2) & MASK;
    let c = seed;
    let d = (seed - P1) & MASK;
    for (; at + 32 <= length; at += 32) {
      a = round(a, bytes.readBigUInt64LE(at));
      b = round(b, bytes.readBigUInt64LE(at + 8));
      c = round(c, bytes.readBigUInt64LE(at + 16));
      d = round(d, bytes.readBigUInt64LE(at + 24));
    }
    hash = (rotate(a, 1n) + rotate(b, 7n) + rotate(c, 12n) + rotate(d, 18n)) & MASK;
    hash = merge(merge(merge(merge(hash, a), b), c), d);
  } else {
    hash = (seed + P5) & MASK;
  }
  hash = (hash + BigInt(length)) & MASK;
  for (; at + 8 <= length; at += 8) {
    hash = (rotate(hash ^ round(0n, bytes.readBigUInt64LE(at)), 27n) * P1 + P4) & MASK;
  }
  if (at + 4 <= length) {
    hash = (rotate(hash ^ ((BigInt(bytes.readUInt32LE(at)) * P1) & MASK), 23n) * P2 + P3) & MASK;
    at += 4;
  }
  for (; at < length; at++) hash = (rotate(hash ^ ((BigInt(bytes[at]!) * P5) & MASK), 11n) * P1) & MASK;
  hash = ((hash ^ (hash >> 33n)) * P2) & MASK;
  hash = ((hash ^ (hash >> 29n)) * P3) & MASK;
  return hash ^ (hash >> 32n);
}
