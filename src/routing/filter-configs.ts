/** `typed_per_filter_config` of one level: name of the filter's entry → what its builder made, or the order to switch it off. */
export class FilterConfigs {
  static readonly NONE = new FilterConfigs(new Map(), new Map());

  readonly configs: ReadonlyMap<string, unknown>;
  /** Only where a level says so (`FilterConfig.disabled`); an entry without it switches the filter on. */
  readonly disabled: ReadonlyMap<string, boolean>;

  constructor(configs: ReadonlyMap<string, unknown>, disabled: ReadonlyMap<string, boolean>) {
    this.configs = configs;
    this.disabled = disabled;
  }
}

/** The levels of one route put together: asked once per filter and stream. */
export class ResolvedFilterConfigs {
  static readonly NONE = new ResolvedFilterConfigs([]);

  /** Nothing was configured: the chain skips all lookups. */
  readonly isEmpty: boolean;
  readonly #mostSpecific: Map<string, unknown>;
  readonly #all: Map<string, unknown[]>;
  readonly #disabled: Map<string, boolean>;

  private constructor(levels: readonly FilterConfigs[]) {
    this.#mostSpecific = new Map();
    this.#all = new Map();
    this.#disabled = new Map();
    for (const level of levels) {
      for (const [name, config] of level.configs) {
        this.#mostSpecific.set(name, config);
        const list = this.#all.get(name);
        if (list === undefined) this.#all.set(name, [config]);
        else list.push(config);
      }
      for (const [name, disabled] of level.disabled) this.#disabled.set(name, disabled);
    }
    this.isEmpty = this.#all.size === 0 && this.#disabled.size === 0;
  }

  /** @param levels from table to weighted cluster, least specific first */
  static of(levels: readonly FilterConfigs[]): ResolvedFilterConfigs {
    return levels.every((level) => level.configs.size === 0 && level.disabled.size === 0)
      ? ResolvedFilterConfigs.NONE
      : new ResolvedFilterConfigs(levels);
  }

  /** The most specific configuration; undefined when no level has one. */
  get(name: string): unknown {
    return this.#mostSpecific.get(name);
  }

  /** All configurations, least specific first, for filters that merge them. */
  all(name: string): readonly unknown[] {
    return this.#all.get(name) ?? NO_CONFIGS;
  }

  /** True or false where a level decides; null: as the filter chain says. */
  disabled(name: string): boolean | null {
    return this.#disabled.get(name) ?? null;
  }
}

const NO_CONFIGS: readonly unknown[] = [];
