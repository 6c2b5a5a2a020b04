/** PITABLE of RFC 2268. */
const TABLE = Buffer.from(
  `d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0b
   f09521225c6b4e8254d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb6266fbf0eda4669075727f21d9bbc944303
   f811c7f690ef3ee706c3d52fc8661ed708e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ecc2e0416e0f51cbcc
   2491af50a1f47039997c3a8523b8b47afc02365b25559731 2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a9
   0d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad`.replace(/\s+/g, ''),
  'hex',
);
const BLOCK_BYTES = 8;

/** 64 words of 16 bits (RFC 2268 section 2). */
function expandKey(key: Buffer, effectiveBits: number): Uint16Array {
  const bytes = new Uint8Array(128);
  bytes.set(key);
  const length = key.length;
  for (let i = length; i < 128; i++) bytes[i] = TABLE[(bytes[i - 1]! + bytes[i - length]!) & 0xff]!;
  const kept = Math.ceil(effectiveBits / 8);
  const mask = 0xff >> (8 * kept - effectiveBits);
  bytes[128 - kept] = TABLE[bytes[128 - kept]! & mask]!;
  for (let i = 127 - kept; i >= 0; i--) bytes[i] = TABLE[bytes[i + 1]! ^ bytes[i + kept]!]!;
  return Uint16Array.from({ length: 64 }, (_none, i) => bytes[2 * i]! | (bytes[2 * i + 1]! << 8));
}

/**
 * RC2 in CBC mode with PKCS#7 padding: what older tools wrap the certificates of PKCS#12 files in (RFC 2268). It protects
 * nothing: what it hides is public.
 * @throws Error when the padding is wrong
 */
export function decryptRc2(key: Buffer, effectiveBits: number, iv: Buffer, encrypted: Buffer): Buffer {
  if (encrypted.length === 0 || encrypted.length % BLOCK_BYTES !== 0) throw new Error('no whole blocks');
  const words = expandKey(key, effectiveBits);
  const out = Buffer.alloc(encrypted.length);
  let previous = iv;
  for (let at = 0; at < encrypted.length; at += BLOCK_BYTES) {
    const block = encrypted.subarray(at, at + BLOCK_BYTES);
    const state = Uint16Array.from({ length: 4 }, (_none, i) => block.readUInt16LE(2 * i));
    decryptBlock(state, words);
    for (let i = 0; i < 4; i++) out.writeUInt16LE(state[i]! ^ previous.readUInt16LE(2 * i), at + 2 * i);
    previous = block;
  }
  const padding = out[out.length - 1]!;
  if (padding === 0 || padding > BLOCK_BYTES) throw new Error('the padding is wrong');
  return out.subarray(0, out.length - padding);
}

const SHIFTS = [1, 2, 3, 5] as const;

/** Sixteen mixing rounds backwards, with a mashing round behind the fifth and the eleventh. */
function decryptBlock(state: Uint16Array, words: Uint16Array): void {
  let at = 63;
  for (let round = 0; round < 16; round++) {
    for (let i = 3; i >= 0; i--) {
      const shift = SHIFTS[i]!;
      const value = state[i]!;
      const turned = ((value >>> shift) | (value << (16 - shift))) & 0xffff;
      const a = state[(i + 3) & 3]!;
      const b = state[(i + 2) & 3]!;
      const c = state[(i + 1) & 3]!;
      state[i] = turned - words[at--]! - (a & b) - (~a & c);
    }
    if (round === 4 || round === 10) {
      for (let i = 3; i >= 0; i--) state[i] = state[i]! - words[state[(i + 3) & 3]! & 63]!;
    }
  }
}
