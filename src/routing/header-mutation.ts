import { type HeaderMap, RequestHeaders } from '../http/header-map.ts';
import { isRequestListHeader, isResponseListHeader } from './list-headers.ts';
import type { FormatContext, ValueFormatter } from './stream-view.ts';

/** Values of `HeaderValueOption.append_action`. */
export const AppendAction = {
  AppendIfExistsOrAdd: 0,
  AddIfAbsent: 1,
  OverwriteIfExistsOrAdd: 2,
  OverwriteIfExists: 3,
} as const;
export type AppendAction = (typeof AppendAction)[keyof typeof AppendAction];

/** One header to add or overwrite. `host` and names with a colon are refused by the builder, as Envoy refuses them. */
export class HeaderMutation {
  /** Lower case. */
  readonly name: string;
  readonly value: ValueFormatter;
  readonly action: AppendAction;
  /** False: an empty value changes nothing. */
  readonly keepEmptyValue: boolean;

  constructor(name: string, value: ValueFormatter, action: AppendAction, keepEmptyValue: boolean) {
    this.name = name;
    this.value = value;
    this.action = action;
    this.keepEmptyValue = keepEmptyValue;
  }
}

/** What one level (weighted cluster, route, virtual host or table) does to headers: removals first, then additions. */
export class HeaderMutations {
  static readonly NONE = new HeaderMutations([], []);

  /** Lower-case names. */
  readonly removals: readonly string[];
  readonly additions: readonly HeaderMutation[];
  /** Constants that are all appended, or all overwrite: each is applied as it is read. */
  readonly #direct: boolean;

  constructor(removals: readonly string[], additions: readonly HeaderMutation[]) {
    this.removals = removals;
    this.additions = additions;
    const first = additions.length === 0 ? AppendAction.AppendIfExistsOrAdd : additions[0]!.action;
    this.#direct =
      additions.length < 2 ||
      ((first === AppendAction.AppendIfExistsOrAdd || first === AppendAction.OverwriteIfExistsOrAdd) &&
        additions.every((each) => each.value.constant !== null && each.action === first));
  }

  get isEmpty(): boolean {
    return this.removals.length === 0 && this.additions.length === 0;
  }

  /**
   * Changes `headers`. All values are computed before any is set, overwriting comes before appending (Envoy,
   * HeaderParser::evaluateHeaders).
   */
  apply(headers: HeaderMap, context: FormatContext): void {
    const removals = this.removals;
    for (let i = 0; i < removals.length; i++) headers.remove(removals[i]!);
    const additions = this.additions;
    if (additions.length === 0) return;
    if (this.#direct) {
      for (let i = 0; i < additions.length; i++) {
        const mutation = additions[i]!;
        const value = mutation.value.constant ?? mutation.value.format(context);
        if (value === '' && !mutation.keepEmptyValue) continue;
        switch (mutation.action) {
          case AppendAction.AppendIfExistsOrAdd:
            appendHeader(headers, mutation.name, value);
            break;
          case AppendAction.AddIfAbsent:
            if (headers.lookup(mutation.name) === null) appendHeader(headers, mutation.name, value);
            break;
          case AppendAction.OverwriteIfExists:
            if (headers.lookup(mutation.name) !== null) overwriteHeader(headers, mutation.name, value);
            break;
          default:
            overwriteHeader(headers, mutation.name, value);
        }
      }
      return;
    }
    this.#applyInTwoPhases(headers, context);
  }

  #applyInTwoPhases(headers: HeaderMap, context: FormatContext): void {
    const overwrites: string[] = [];
    const appends: string[] = [];
    for (const mutation of this.additions) {
      const value = mutation.value.constant ?? mutation.value.format(context);
      if (value === '' && !mutation.keepEmptyValue) continue;
      switch (mutation.action) {
        case AppendAction.AppendIfExistsOrAdd:
          appends.push(mutation.name, value);
          break;
        case AppendAction.AddIfAbsent:
          if (headers.lookup(mutation.name) === null) appends.push(mutation.name, value);
          break;
        case AppendAction.OverwriteIfExists:
          if (headers.lookup(mutation.name) !== null) overwrites.push(mutation.name, value);
          break;
        default:
          overwrites.push(mutation.name, value);
      }
    }
    for (let i = 0; i < overwrites.length; i += 2) overwriteHeader(headers, overwrites[i]!, overwrites[i + 1]!);
    for (let i = 0; i < appends.length; i += 2) appendHeader(headers, appends[i]!, appends[i + 1]!);
  }
}

/** The levels of one route in the order in which they run, empty ones left out: one flat list. */
export class HeaderMutationPlan {
  static readonly NONE = new HeaderMutationPlan([]);

  readonly levels: readonly HeaderMutations[];

  private constructor(levels: readonly HeaderMutations[]) {
    this.levels = levels;
  }

  /** @param levels in the order in which they run */
  static of(levels: readonly HeaderMutations[]): HeaderMutationPlan {
    const filled = levels.filter((level) => !level.isEmpty);
    return filled.length === 0 ? HeaderMutationPlan.NONE : new HeaderMutationPlan(filled);
  }

  get isEmpty(): boolean {
    return this.levels.length === 0;
  }

  apply(headers: HeaderMap, context: FormatContext): void {
    const levels = this.levels;
    for (let i = 0; i < levels.length; i++) levels[i]!.apply(headers, context);
  }
}

/** Adds as Envoy's header map does: a header that it knows as a list grows by `,`, any other gets a further line. */
export function appendHeader(headers: HeaderMap, name: string, value: string): void {
  if (headers instanceof RequestHeaders ? isRequestListHeader(name) : isResponseListHeader(name)) {
    headers.append(name, value);
  } else {
    headers.add(name, value);
  }
}

/** The new value stands last, as in Envoy (HeaderMapImpl::setReferenceKey removes and adds). */
export function overwriteHeader(headers: HeaderMap, name: string, value: string): void {
  headers.remove(name);
  headers.add(name, value);
}
