/** An unsigned 64-bit decimal, as absl::SimpleAtoi reads it; null: it is none. */
export function parseUint64(text: string): number | null {
  const digits = text.trim();
  if (!/^\+?[0-9]+$/.test(digits)) return null;
  const value = Number(digits);
  return value >= 2 ** 64 ? null : value;
}
