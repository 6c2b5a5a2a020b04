/**
 * Text of a span, which is one UTF-16 unit per byte, as Unicode. What is not UTF-8 is replaced, or a collector would refuse the
 * whole report.
 */
export function spanText(bytes: string): string {
  for (let i = 0; i < bytes.length; i++) {
    if (bytes.charCodeAt(i) > 0x7f) return Buffer.from(bytes, 'latin1').toString('utf8');
  }
  return bytes;
}
