import { FractionalPercent, type RuntimeReader } from '../routing/runtime-fraction.ts';

const DENOMINATORS: Readonly<Record<string, number>> = { HUNDRED: 100, TEN_THOUSAND: 10_000, MILLION: 1_000_000 };

/** The merged runtime layers of one thread: what main posts, replaced as a whole. Source: Envoy, Runtime::SnapshotImpl. */
export class RuntimeSnapshot implements RuntimeReader {
  #values: Readonly<Record<string, unknown>>;

  /** @param values flat: `a.b.c` → scalar, or a FractionalPercent's JSON */
  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  replace(values: Readonly<Record<string, unknown>>): void {
    this.#values = values;
  }

  fractionalPercent(key: string): FractionalPercent | null {
    const value = this.#values[key];
    if (value === undefined) return null;
    if (typeof value === 'object' && value !== null) {
      const { numerator, denominator } = value as { numerator?: number; denominator?: string };
      return new FractionalPercent(numerator ?? 0, DENOMINATORS[denominator ?? 'HUNDRED'] ?? 100);
    }
    const number = toNumber(value);
    return number === null || !Number.isInteger(number) || number < 0 ? null : new FractionalPercent(number, 100);
  }

  integer(key: string, fallback: number): number {
    const number = toNumber(this.#values[key]);
    return number === null || number < 0 ? fallback : Math.floor(number);
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.#values[key];
    if (typeof value === 'boolean') return value;
    if (typeof value === 'string' && /^(true|false)$/i.test(value)) return value.toLowerCase() === 'true';
    return fallback;
  }

  text(key: string): string | null {
    const value = this.#values[key];
    return value === undefined ? null : typeof value === 'object' ? JSON.stringify(value) : String(value);
  }
}

function toNumber(value: unknown): number | null {
  if (typeof value === 'number') return value;
  if (typeof value !== 'string' || value.trim() === '') return null;
  const number = Number(value);
  return Number.isNaN(number) ? null : number;
}
