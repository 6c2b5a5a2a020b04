/**
 * Log-linear bins with two significant decimal digits: the bins of circllhist, which Envoy uses
 * (https://arxiv.org/abs/2001.06561). Bin (m, e), m in 10..99, holds [m/10 x 10^e, (m+1)/10 x 10^e); zero is a
 * bin of its own with width 0. Only integers >= 0 are recorded, as in Envoy, so e runs from 0 to 15 (2^53).
 *
 * A bin is named by one number, its key: 0 for zero, else e * 90 + m - 9.
 */
const BINS_PER_DECADE = 90;
const DECADES = 16;
const LAST_DECADE = DECADES - 1;
const POWERS = Array.from({ length: DECADES + 1 }, (_, exponent) => 10 ** exponent);

/** The lower edge of a bin. */
export function binLowerBound(key: number): number {
  if (key === 0) return 0;
  const exponent = Math.floor((key - 1) / BINS_PER_DECADE);
  // The same two roundings in the same order as circllhist: mantissa / 10, then times the power.
  return ((((key - 1) % BINS_PER_DECADE) + 10) / 10) * POWERS[exponent]!;
}

/** The width of a bin. */
export function binWidth(key: number): number {
  return key === 0 ? 0 : POWERS[Math.floor((key - 1) / BINS_PER_DECADE)]! / 10;
}

/** The value that stands for a bin in sums: weighted towards the lower edge, exact in expectation for log-uniform data. */
export function binMidpoint(key: number): number {
  const bottom = binLowerBound(key);
  if (bottom === 0) return 0;
  const width = binWidth(key);
  const top = bottom + width;
  return bottom + width * (bottom / (bottom + top));
}

/** The decimal exponent of an integer >= 10, at most the last decade. */
function exponentOf(value: number): number {
  if (value < 1e4) return value < 1e2 ? 1 : value < 1e3 ? 2 : 3;
  if (value < 1e8) return value < 1e6 ? (value < 1e5 ? 4 : 5) : value < 1e7 ? 6 : 7;
  let exponent = 8;
  while (exponent < LAST_DECADE && value >= POWERS[exponent + 1]!) exponent++;
  return exponent;
}

/** The mantissa, 10..99, of an integer >= 10. One division is exact here: quotients below 100 are never that close to an edge. */
function mantissaOf(value: number, exponent: number): number {
  return Math.min(Math.floor(value / POWERS[exponent - 1]!), 99);
}

/** The key of the bin that holds an integer >= 0. */
export function binKey(value: number): number {
  if (!(value >= 1)) return 0;
  if (value < 10) return Math.floor(value) * 10 - 9;
  const exponent = exponentOf(value);
  return exponent * BINS_PER_DECADE + mantissaOf(value, exponent) - 9;
}

/** A set of bins with counts; decades are allocated when first hit, so an unused histogram costs next to nothing. */
export class HistogramBins {
  /** Sum of all counts. */
  count: number;
  private zeros: number;
  private decades: (Float64Array | null)[] | null;

  constructor() {
    this.count = 0;
    this.zeros = 0;
    this.decades = null;
  }

  /** Counts one integer >= 0. */
  insert(value: number): void {
    this.count++;
    if (!(value >= 1)) {
      this.zeros++;
      return;
    }
    let exponent = 0;
    let mantissa: number;
    if (value < 10) {
      mantissa = Math.floor(value) * 10;
    } else {
      exponent = exponentOf(value);
      mantissa = mantissaOf(value, exponent);
    }
    const decades = this.decades;
    const decade = decades === null ? null : decades[exponent]!;
    (decade ?? this.allocate(exponent))[mantissa - 10]!++;
  }

  /** Adds `count` samples to the bin named `key`. */
  addToBin(key: number, count: number): void {
    this.count += count;
    if (key === 0) {
      this.zeros += count;
      return;
    }
    const exponent = Math.floor((key - 1) / BINS_PER_DECADE);
    const decade = (this.decades === null ? null : this.decades[exponent]) ?? this.allocate(exponent);
    decade[(key - 1) % BINS_PER_DECADE]! += count;
  }

  /** Adds every bin of `other`. */
  addAll(other: HistogramBins): void {
    if (other.count > 0)
      other.forEach((key, count) => {
        this.addToBin(key, count);
      });
  }

  /** Visits the bins that are not empty, in ascending order. */
  forEach(visit: (key: number, count: number) => void): void {
    if (this.zeros > 0) visit(0, this.zeros);
    if (this.decades === null) return;
    for (let exponent = 0; exponent < DECADES; exponent++) {
      const decade = this.decades[exponent];
      if (!decade) continue;
      for (let i = 0; i < BINS_PER_DECADE; i++) {
        const count = decade[i]!;
        if (count > 0) visit(exponent * BINS_PER_DECADE + i + 1, count);
      }
    }
  }

  /** Empties all bins, keeping what is allocated. */
  clear(): void {
    this.count = 0;
    this.zeros = 0;
    if (this.decades !== null) for (const decade of this.decades) decade?.fill(0);
  }

  private allocate(exponent: number): Float64Array {
    this.decades ??= new Array<Float64Array | null>(DECADES).fill(null);
    const decade = new Float64Array(BINS_PER_DECADE);
    this.decades[exponent] = decade;
    return decade;
  }
}
