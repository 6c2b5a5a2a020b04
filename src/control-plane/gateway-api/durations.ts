/**
 * A duration of the Gateway API (`1h2m3s4ms`, GEP-2257).
 * @returns ms; null: it is none
 */
export function durationMs(text: string): number | null {
  const parts = [...text.matchAll(/(\d{1,5})(h|ms|m|s)/g)];
  if (parts.length === 0 || parts.length > 4 || parts.map(([all]) => all).join('') !== text) return null;
  const unit: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
  return parts.reduce((sum, [, count, name]) => sum + Number(count) * unit[name!]!, 0);
}

/** As proto3 JSON has it. */
export function protoDuration(ms: number): string {
  return `${ms / 1000}s`;
}
