import type { StatShape } from './delta.ts';
import { SparseList } from './sparse-list.ts';

/** Stats of equal names and kinds under one prefix, as one or several sources have announced them. */
export class MergedGroup<Entry> {
  readonly prefix: string;
  readonly shapes: readonly StatShape[];
  /** By source number and first id. */
  readonly members: { readonly source: number; readonly firstId: number }[] = [];
  /** By shape; absent: no source has said anything of it yet. Most stats of most clusters stay so. */
  readonly entries = new SparseList<Entry>();

  constructor(prefix: string, shapes: readonly StatShape[]) {
    this.prefix = prefix;
    this.shapes = shapes;
  }

  removeMember(source: number, firstId: number): void {
    const at = this.members.findIndex((member) => member.source === source && member.firstId === firstId);
    if (at >= 0) this.members.splice(at, 1);
  }
}

/** The groups of all sources by prefix; there is one for each list of shapes. */
export class MergedGroups<Entry> {
  readonly #byPrefix = new Map<string, MergedGroup<Entry>[]>();
  /** Lists with the same content are one: a group is found by it. */
  readonly #shapes = new Map<string, readonly StatShape[]>();

  /** The one list that stands for all with this content. */
  shared(shapes: readonly StatShape[]): readonly StatShape[] {
    const key = JSON.stringify(shapes);
    let known = this.#shapes.get(key);
    if (known === undefined) {
      known = shapes;
      this.#shapes.set(key, known);
    }
    return known;
  }

  /** @param shapes as `shared` gave them */
  join(prefix: string, shapes: readonly StatShape[]): MergedGroup<Entry> {
    let list = this.#byPrefix.get(prefix);
    if (list === undefined) {
      list = [];
      this.#byPrefix.set(prefix, list);
    }
    let group = list.find((each) => each.shapes === shapes);
    if (group === undefined) {
      group = new MergedGroup<Entry>(prefix, shapes);
      list.push(group);
    }
    return group;
  }

  remove(group: MergedGroup<Entry>): void {
    const list = this.#byPrefix.get(group.prefix) ?? [];
    const rest = list.filter((each) => each !== group);
    if (rest.length > 0) this.#byPrefix.set(group.prefix, rest);
    else this.#byPrefix.delete(group.prefix);
  }

  /** Another group with a stat of this name, of which nothing is said there yet; null: there is none. */
  heir(
    of: MergedGroup<Entry>,
    shape: StatShape,
  ): { readonly group: MergedGroup<Entry>; readonly index: number } | null {
    for (const group of this.#byPrefix.get(of.prefix) ?? []) {
      if (group === of) continue;
      const index = group.shapes.findIndex((each) => each.name === shape.name && each.kind === shape.kind);
      if (index >= 0 && group.entries.get(index) === undefined) return { group, index };
    }
    return null;
  }

  *[Symbol.iterator](): IterableIterator<MergedGroup<Entry>> {
    for (const list of this.#byPrefix.values()) yield* list;
  }
}

/** Which group of one source an id belongs to. */
export class GroupIds<Entry> {
  readonly #groups = new Map<number, MergedGroup<Entry>>();
  /** First ids, ascending: a source counts upwards. Those of groups that are gone are taken out now and then. */
  #firstIds: number[] = [];

  add(firstId: number, group: MergedGroup<Entry>): void {
    this.#groups.set(firstId, group);
    this.#firstIds.push(firstId);
  }

  /** @returns the group that begins with this id; undefined: none does */
  take(firstId: number): MergedGroup<Entry> | undefined {
    const group = this.#groups.get(firstId);
    if (group === undefined) return undefined;
    this.#groups.delete(firstId);
    if (this.#firstIds.length > 64 && this.#firstIds.length > 2 * this.#groups.size) {
      this.#firstIds = this.#firstIds.filter((id) => this.#groups.has(id));
    }
    return group;
  }

  /** The first id of the group that has `id`; -1: none does. */
  firstIdOf(id: number): number {
    let low = 0;
    let high = this.#firstIds.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#firstIds[middle]! <= id) low = middle + 1;
      else high = middle;
    }
    const firstId = low === 0 ? -1 : this.#firstIds[low - 1]!;
    const group = this.#groups.get(firstId);
    return group !== undefined && id < firstId + group.shapes.length ? firstId : -1;
  }

  get(firstId: number): MergedGroup<Entry> {
    return this.#groups.get(firstId)!;
  }

  get firstIds(): readonly number[] {
    return [...this.#groups.keys()];
  }
}
