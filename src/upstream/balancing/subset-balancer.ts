import type { MetadataStruct } from '../../base/connection-state.ts';
import { canonicalText, criteriaKey, type MetadataCriteria } from '../../base/metadata-criteria.ts';
import { GaugeImportMode } from '../../stats/gauge.ts';
import type { Host } from '../host.ts';
import type { BalancerEnvironment, BalancerPolicy, LoadBalancer, LoadBalancerContext } from '../load-balancer.ts';
import { PrioritySet } from '../priority-set.ts';

/** Names are Envoy's, of the cluster's and of a selector's fallback. */
export const SubsetFallback = {
  NotDefined: 0,
  NoFallback: 1,
  AnyEndpoint: 2,
  DefaultSubset: 3,
  KeysSubset: 4,
} as const;
export type SubsetFallback = (typeof SubsetFallback)[keyof typeof SubsetFallback];

export interface SubsetSelector {
  /** Sorted. */
  readonly keys: readonly string[];
  readonly singleHost: boolean;
  readonly fallback: SubsetFallback;
  /** Of `KeysSubset`. */
  readonly fallbackKeys: ReadonlySet<string>;
}

export interface SubsetSettings {
  /** Never `NotDefined`. */
  readonly fallback: SubsetFallback;
  readonly defaultSubset: MetadataStruct;
  readonly selectors: readonly SubsetSelector[];
  readonly localityWeightAware: boolean;
  readonly scaleLocalityWeight: boolean;
  readonly panicModeAny: boolean;
  readonly listAsAny: boolean;
  /** Criteria may name more keys than a selector: the first selector whose keys are all among them counts. */
  readonly allowRedundantKeys: boolean;
  /** `fallback_list` in the criteria holds criteria to be tried one behind the other. */
  readonly fallbackList: boolean;
}

const NAMESPACE = 'envoy.lb';
const FALLBACK_LIST = 'fallback_list';

/** A selector's subsets by their values. */
type Subsets = Map<string, LoadBalancer>;

/**
 * Hosts grouped by their metadata; each group has a balancer of the cluster's usual policy. Source: Envoy, "Load balancer subsets",
 * SubsetLoadBalancer.
 */
class SubsetBalancer implements LoadBalancer {
  readonly settings: SubsetSettings;
  readonly subsets: ReadonlyMap<string, Subsets>;
  readonly any: LoadBalancer | null;
  readonly byDefault: LoadBalancer | null;
  readonly #environment: BalancerEnvironment;
  readonly #fallbacks: ReadonlyMap<string, SubsetSelector>;

  constructor(
    settings: SubsetSettings,
    fallbacks: ReadonlyMap<string, SubsetSelector>,
    environment: BalancerEnvironment,
    subsets: ReadonlyMap<string, Subsets>,
    any: LoadBalancer | null,
    byDefault: LoadBalancer | null,
  ) {
    this.settings = settings;
    this.#fallbacks = fallbacks;
    this.#environment = environment;
    this.subsets = subsets;
    this.any = any;
    this.byDefault = byDefault;
  }

  chooseHost(context: LoadBalancerContext | null): Host | null {
    const criteria = context === null ? null : context.metadataMatch();
    if (!this.settings.fallbackList || criteria === null) return this.#choose(context, criteria);
    const list = criteria.get(FALLBACK_LIST);
    if (!Array.isArray(list)) return this.#choose(context, criteria);
    const base = criteria.without(FALLBACK_LIST);
    if (list.length === 0) return this.#choose(context, base);
    for (const entry of list as readonly unknown[]) {
      if (typeof entry !== 'object' || entry === null) continue;
      const host = this.#choose(context, base.merge(entry as MetadataStruct));
      if (host !== null) return host;
    }
    return null;
  }

  #choose(context: LoadBalancerContext | null, asked: MetadataCriteria | null): Host | null {
    const { stats } = this.#environment;
    if (asked !== null) {
      const criteria = this.settings.allowRedundantKeys ? this.#withoutRedundantKeys(asked) : asked;
      const subset = this.subsets.get(criteria.namesKey)?.get(criteria.valuesKey);
      if (subset !== undefined) {
        stats.lb_subsets_selected.inc();
        return subset.chooseHost(context);
      }
      const selector = this.#fallbacks.get(criteria.namesKey);
      if (selector !== undefined) return this.#chooseBySelector(selector, context, criteria);
    }
    const fallback = this.#fallback(this.settings.fallback);
    if (fallback === null) return null;
    const host = fallback.chooseHost(context);
    if (host !== null) {
      stats.lb_subsets_fallback.inc();
      return host;
    }
    if (!this.settings.panicModeAny || this.any === null) return null;
    const last = this.any.chooseHost(context);
    if (last !== null) stats.lb_subsets_fallback_panic.inc();
    return last;
  }

  #withoutRedundantKeys(criteria: MetadataCriteria): MetadataCriteria {
    for (const { keys } of this.settings.selectors) {
      if (keys.every((key) => criteria.get(key) !== undefined)) return criteria.filter(new Set(keys));
    }
    return criteria;
  }

  #chooseBySelector(
    selector: SubsetSelector,
    context: LoadBalancerContext | null,
    criteria: MetadataCriteria,
  ): Host | null {
    if (selector.fallback === SubsetFallback.KeysSubset) {
      return this.#choose(context, criteria.filter(selector.fallbackKeys));
    }
    return this.#fallback(selector.fallback)?.chooseHost(context) ?? null;
  }

  #fallback(policy: SubsetFallback): LoadBalancer | null {
    if (policy === SubsetFallback.AnyEndpoint) return this.any;
    return policy === SubsetFallback.DefaultSubset ? this.byDefault : null;
  }
}

/** A subset of one host, which is picked whatever its health. */
class OneHost implements LoadBalancer {
  readonly #host: Host;

  constructor(host: Host) {
    this.#host = host;
  }

  chooseHost(): Host {
    return this.#host;
  }
}

/** `lb_subset_config`, or envoy.load_balancing_policies.subset, around a policy that balances within a subset. */
export class SubsetPolicy implements BalancerPolicy {
  readonly name = 'envoy.load_balancing_policies.subset';
  readonly settings: SubsetSettings;
  readonly #child: BalancerPolicy;
  /** Selectors with a fallback of their own, by their keys. */
  readonly #fallbacks = new Map<string, SubsetSelector>();

  constructor(settings: SubsetSettings, child: BalancerPolicy) {
    this.settings = settings;
    this.#child = child;
    const { selectors } = settings;
    selectors.forEach((selector, i) => {
      if (selector.fallback === SubsetFallback.NotDefined) return;
      // As in Envoy's tree of keys: the way to a longer selector that stands before it hides a selector's fallback.
      const hidden = selectors.slice(0, i).some(({ keys }) => selector.keys.every((key, k) => keys[k] === key));
      if (!hidden) this.#fallbacks.set(criteriaKey(selector.keys), selector);
    });
  }

  build(hosts: PrioritySet, environment: BalancerEnvironment, previous: LoadBalancer | null): LoadBalancer {
    const before = previous instanceof SubsetBalancer ? previous : null;
    const { settings } = this;
    const subsets = new Map<string, Subsets>();
    let duplicates = 0;
    for (const selector of settings.selectors) {
      const names = criteriaKey(selector.keys);
      if (subsets.has(names)) continue;
      const groups = this.#group(hosts, selector.keys);
      const made: Subsets = new Map();
      for (const [values, members] of groups) {
        if (selector.singleHost) {
          duplicates += members.size - 1;
          made.set(values, new OneHost(members.values().next().value!));
          continue;
        }
        const known = before?.subsets.get(names)?.get(values) ?? null;
        made.set(values, this.#child.build(this.#view(hosts, members), environment, known));
      }
      subsets.set(names, made);
    }
    const wanted = (policy: SubsetFallback): boolean =>
      settings.fallback === policy || settings.selectors.some((selector) => selector.fallback === policy);
    let any: LoadBalancer | null = null;
    if (wanted(SubsetFallback.AnyEndpoint) || settings.panicModeAny) {
      any = this.#child.build(this.#view(hosts, null), environment, before?.any ?? null);
    }
    let byDefault: LoadBalancer | null = null;
    if (wanted(SubsetFallback.DefaultSubset)) {
      const members = new Set<Host>();
      for (const host of hosts.allHosts()) if (this.#isDefault(host)) members.add(host);
      byDefault = this.#child.build(this.#view(hosts, members), environment, before?.byDefault ?? null);
    }
    environment.scope.gauge('lb_subsets_single_host_per_subset_duplicate', GaugeImportMode.NeverImport).set(duplicates);
    countChanges(environment, before?.subsets ?? new Map(), subsets);
    return new SubsetBalancer(settings, this.#fallbacks, environment, subsets, any, byDefault);
  }

  /** Hosts that have all of `keys`, by the values that they have there. */
  #group(hosts: PrioritySet, keys: readonly string[]): Map<string, Set<Host>> {
    const groups = new Map<string, Set<Host>>();
    for (const host of hosts.allHosts()) {
      for (const values of this.#valuesOf(host, keys)) {
        let group = groups.get(values);
        if (group === undefined) {
          group = new Set();
          groups.set(values, group);
        }
        group.add(host);
      }
    }
    return groups;
  }

  /** With `list_as_any` every element of a list is a value: the host is in several subsets. */
  #valuesOf(host: Host, keys: readonly string[]): string[] {
    const metadata = host.metadata[NAMESPACE];
    if (metadata === undefined) return [];
    let combinations: string[][] = [[]];
    for (const key of keys) {
      const value = metadata[key];
      if (value === undefined) return [];
      const choices = this.settings.listAsAny && Array.isArray(value) ? value : [value];
      const texts = choices.map(canonicalText);
      combinations = combinations.flatMap((each) => texts.map((text) => [...each, text]));
    }
    return combinations.map(criteriaKey);
  }

  #isDefault(host: Host): boolean {
    const metadata = host.metadata[NAMESPACE] ?? {};
    for (const [name, wanted] of Object.entries(this.settings.defaultSubset)) {
      const value = metadata[name];
      if (value === undefined) return false;
      const text = canonicalText(wanted);
      const choices = this.settings.listAsAny && Array.isArray(value) ? value : [value];
      if (!choices.some((each) => canonicalText(each) === text)) return false;
    }
    return true;
  }

  /** @param members null: all */
  #view(hosts: PrioritySet, members: ReadonlySet<Host> | null): PrioritySet {
    const { localityWeightAware, scaleLocalityWeight } = this.settings;
    return PrioritySet.viewOf(hosts, members, localityWeightAware, scaleLocalityWeight);
  }
}

function countChanges(
  environment: BalancerEnvironment,
  before: ReadonlyMap<string, Subsets>,
  now: ReadonlyMap<string, Subsets>,
): void {
  const { stats } = environment;
  let active = 0;
  for (const [names, subsets] of now) {
    active += subsets.size;
    for (const values of subsets.keys()) if (before.get(names)?.has(values) !== true) stats.lb_subsets_created.inc();
  }
  for (const [names, subsets] of before) {
    for (const values of subsets.keys()) if (now.get(names)?.has(values) !== true) stats.lb_subsets_removed.inc();
  }
  // As long as there was none, nothing is said.
  if (active !== stats.lb_subsets_active.value) stats.lb_subsets_active.set(active);
}
