/** One thing that somebody waits for. */
export class InitTarget {
  readonly name: string;
  /** Wall-clock ms since when it is waited for. */
  readonly sinceMs = Date.now();
  /** Why it is not there yet, when something came and was refused; empty: nothing came. */
  lastRefusal = '';
  readonly #owner: InitTargets;

  constructor(name: string, owner: InitTargets) {
    this.name = name;
    this.#owner = owner;
  }

  /** It is there, or will not be waited for any longer. */
  ready(): void {
    this.#owner.settle(this);
  }
}

/** What a start, or the warming of one resource, waits for. Source: Envoy, Init::Manager. */
export class InitTargets {
  /** As `/init_dump` names it. */
  readonly name: string;
  readonly #unready = new Set<InitTarget>();
  #waiting: (() => void)[] = [];

  constructor(name: string) {
    this.name = name;
  }

  add(name: string): InitTarget {
    const target = new InitTarget(name, this);
    this.#unready.add(target);
    return target;
  }

  settle(target: InitTarget): void {
    if (!this.#unready.delete(target) || this.#unready.size > 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const go of waiting) go();
  }

  get unready(): readonly InitTarget[] {
    return [...this.#unready];
  }

  get isReady(): boolean {
    return this.#unready.size === 0;
  }

  /** Calls `go` once everything is there: now, when it is already. */
  whenReady(go: () => void): void {
    if (this.#unready.size === 0) go();
    else this.#waiting.push(go);
  }
}
