/** Decimal exponent and significant digits of a finite number other than zero. */
function scientific(value: number, digits: number | undefined): { sign: string; digits: string; exponent: number } {
  const text = Math.abs(value).toExponential(digits === undefined ? undefined : digits - 1);
  const at = text.indexOf('e');
  return {
    sign: value < 0 ? '-' : '',
    digits: text.slice(0, at).replace('.', ''),
    exponent: Number(text.slice(at + 1)),
  };
}

function layOut(value: number, precision: number | undefined, fixedBelow: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
  if (value === 0) return '0';
  const { sign, digits: all, exponent } = scientific(value, precision);
  const digits = all.replace(/0+$/, '') || '0';
  if (exponent < -4 || exponent >= fixedBelow) {
    const magnitude = Math.abs(exponent);
    const mantissa = digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : digits;
    return `${sign}${mantissa}e${exponent < 0 ? '-' : '+'}${magnitude < 10 ? '0' : ''}${magnitude}`;
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  if (digits.length <= exponent + 1) return `${sign}${digits}${'0'.repeat(exponent + 1 - digits.length)}`;
  return `${sign}${digits.slice(0, exponent + 1)}.${digits.slice(exponent + 1)}`;
}

/** C's `%.<precision>g`. Envoy uses 6 digits for bucket bounds and 32 for Prometheus values. */
export function formatGeneral(value: number, precision: number): string {
  return layOut(value, precision, precision);
}

/** Shortest text that reads back as the same number, exponent form from 1e16 (the fmt library's `{}`). */
export function formatShortest(value: number): string {
  return layOut(value, undefined, 16);
}

/** The shorter of the shortest fixed and exponent forms, fixed when equal (C++ `std::to_chars`): Envoy's JSON numbers. */
export function formatCompact(value: number): string {
  if (!Number.isFinite(value) || value === 0) return layOut(value, undefined, 16);
  const { exponent } = scientific(value, undefined);
  const fixed = exponent < -4 ? null : layOut(value, undefined, exponent + 1);
  const exponential = layOut(value, undefined, Number.NEGATIVE_INFINITY);
  return fixed !== null && fixed.length <= exponential.length ? fixed : exponential;
}

/** A gauge as Envoy prints it: 64 bits without a sign, so that -1 is 2^64 - 1. */
export function gaugeText(value: number): string {
  return value < 0 ? BigInt.asUintN(64, BigInt(value)).toString() : String(value);
}

/** As {@link gaugeText}, with the digits that a double does not hold. @param exact see Gauge.exact */
export function wideGaugeText(value: number, exact: string): string {
  return exact === '' ? gaugeText(value) : exact;
}
