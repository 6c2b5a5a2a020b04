/**
 * Where a field stands in a configuration, such as `listeners[2].name`. Its text is made when somebody asks: nearly all places that
 * are looked at are in order, and a large configuration has many.
 */
export class FieldPath {
  readonly #parent: FieldPath | null;
  readonly #step: string | number;

  /** @param step a field (or several: `a.b[1]`), `[...]`, an index, or nothing */
  constructor(step: string | number, parent: FieldPath | null = null) {
    this.#step = step;
    this.#parent = parent;
  }

  /** @param step as the constructor's */
  at(step: string | number): FieldPath {
    return new FieldPath(step, this);
  }

  /** An entry of a map. */
  key(key: string): FieldPath {
    return new FieldPath(`[${JSON.stringify(key)}]`, this);
  }

  get text(): string {
    const step = typeof this.#step === 'number' ? `[${this.#step}]` : this.#step;
    const outer = this.#parent === null ? '' : this.#parent.text;
    if (step === '') return outer;
    if (outer === '') return step;
    return step.startsWith('[') ? outer + step : `${outer}.${step}`;
  }
}
