/**
 * Decodes base64 with its padding, strictly: no other alphabet, no padding but at the end, no bits that say nothing.
 *
 * @param text length a multiple of four
 * @returns null: not valid
 */
export function decodeBase64(text: string): Buffer | null {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  const bytes = Buffer.from(text, 'base64');
  if (!text.endsWith('=')) return bytes;
  // The last group is padded: it must be what encoding gives.
  const tail = text.slice(-4);
  return Buffer.from(tail, 'base64').toString('base64') === tail ? bytes : null;
}
