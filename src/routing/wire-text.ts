/**
 * Text of the configuration as it compares with headers and paths: those are latin1 strings that hold bytes, and Envoy
 * compares the bytes of UTF-8.
 */
export function wireText(text: string): string {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) >= 128) return Buffer.from(text, 'utf8').toString('latin1');
  }
  return text;
}
