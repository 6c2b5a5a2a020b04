/** A share: numerator of denominator (100, 10,000 or 1,000,000). */
export class FractionalPercent {
  static readonly ALWAYS = new FractionalPercent(100, 100);
  static readonly NEVER = new FractionalPercent(0, 100);

  readonly numerator: number;
  readonly denominator: number;

  constructor(numerator: number, denominator: number) {
    this.numerator = numerator;
    this.denominator = denominator;
  }

  /** @param random integer in [0, 2^53) */
  includes(random: number): boolean {
    return this.numerator >= this.denominator || random % this.denominator < this.numerator;
  }
}

/** The runtime layers as the data path reads them: long-lived, its values change beneath. */
export interface RuntimeReader {
  /** A fraction; an integer in the layers counts as a percentage (Envoy's legacy rule). Null when unset or of another type. */
  fractionalPercent(key: string): FractionalPercent | null;
  integer(key: string, fallback: number): number;
  boolean(key: string, fallback: boolean): boolean;
  /** The value as text; null when unset. */
  text(key: string): string | null;
}

/** Runtime without layers: every key has its default. */
export const EMPTY_RUNTIME: RuntimeReader = {
  fractionalPercent: () => null,
  integer: (_key, fallback) => fallback,
  boolean: (_key, fallback) => fallback,
  text: () => null,
};

/** `RuntimeFractionalPercent`: a default share that a runtime key may override. */
export class RuntimeFraction {
  static readonly ALWAYS = new RuntimeFraction(FractionalPercent.ALWAYS, '', EMPTY_RUNTIME);

  readonly fallback: FractionalPercent;
  /** Empty: no override. */
  readonly runtimeKey: string;
  readonly #runtime: RuntimeReader;

  constructor(fallback: FractionalPercent, runtimeKey: string, runtime: RuntimeReader) {
    this.fallback = fallback;
    this.runtimeKey = runtimeKey;
    this.#runtime = runtime;
  }

  current(): FractionalPercent {
    return this.runtimeKey === '' ? this.fallback : (this.#runtime.fractionalPercent(this.runtimeKey) ?? this.fallback);
  }

  /** As `current`, with another share where runtime says nothing. */
  currentOr(fallback: FractionalPercent): FractionalPercent {
    return this.runtimeKey === '' ? fallback : (this.#runtime.fractionalPercent(this.runtimeKey) ?? fallback);
  }

  /** @param random integer in [0, 2^53), such as `StreamView.stableRandom` */
  enabled(random: number): boolean {
    return this.current().includes(random);
  }
}
