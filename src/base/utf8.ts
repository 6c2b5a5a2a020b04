/** Length of the UTF-8 sequence at `at`; 0: there is none. Source: RFC 3629, section 4. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return 1;
  const size =
    first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  if (size === 0 || at + size > bytes.length) return 0;
  for (let i = 1; i < size; i++) if (bytes[at + i]! >> 6 !== 2) return 0;
  const second = bytes[at + 1]!;
  // Too long a form, surrogates, beyond U+10FFFF.
  if (first === 0xe0 && second < 0xa0) return 0;
  if (first === 0xed && second >= 0xa0) return 0;
  if (first === 0xf0 && second < 0x90) return 0;
  return first === 0xf4 && second >= 0x90 ? 0 : size;
}

/** Text of UTF-8; every byte that is none becomes `!`. Source: Envoy, MessageUtil::sanitizeUtf8String. */
export function sanitizedUtf8(bytes: Uint8Array): string {
  let clean: Buffer | null = null;
  for (let at = 0; at < bytes.length; ) {
    const size = sequenceLength(bytes, at);
    if (size === 0) {
      clean ??= Buffer.from(bytes);
      clean[at] = 0x21;
    }
    at += Math.max(1, size);
  }
  return (clean ?? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)).toString('utf8');
}
