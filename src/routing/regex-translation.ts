import { type CharSet, engineSource, parseRegex, type RegexNode } from './regex-syntax.ts';

/** Beyond this many character positions the proof is not tried. */
const MAX_POSITIONS = 400;

/** What Glushkov's construction knows of a part of the pattern. */
interface Part {
  readonly nullable: boolean;
  readonly first: readonly number[];
  readonly last: readonly number[];
}

/** Two ways to the same place, so that an engine might try both. */
class Ambiguous extends Error {}

/**
 * Position automaton of a pattern (Glushkov). If from no place two next places accept a common character, an engine that
 * backtracks never has a second choice that leads on: its time is linear.
 */
class PositionAutomaton {
  readonly sets: CharSet[] = [];
  readonly follow: Set<number>[] = [];
  readonly whole: Part;

  constructor(root: RegexNode) {
    this.whole = this.#build(root);
  }

  #build(node: RegexNode): Part {
    switch (node.kind) {
      case 'assert':
        return { nullable: true, first: [], last: [] };
      case 'set': {
        if (this.sets.length >= MAX_POSITIONS) throw new Ambiguous();
        const position = this.sets.length;
        this.sets.push(node.set);
        this.follow.push(new Set());
        return { nullable: false, first: [position], last: [position] };
      }
      case 'group':
        return this.#build(node.item);
      case 'concat':
        return node.items.reduce<Part>((part, item) => this.#join(part, this.#build(item)), EMPTY_PART);
      case 'alternate': {
        const parts = node.items.map((item) => this.#build(item));
        if (parts.filter((part) => part.nullable).length > 1) throw new Ambiguous();
        return {
          nullable: parts.some((part) => part.nullable),
          first: parts.flatMap((part) => part.first),
          last: parts.flatMap((part) => part.last),
        };
      }
      case 'repeat':
        return this.#repeat(node.item, node.min, node.max);
    }
  }

  #repeat(item: RegexNode, min: number, max: number): Part {
    let part = EMPTY_PART;
    for (let i = 0; i < min; i++) part = this.#join(part, this.#build(item));
    if (max < 0) {
      const body = this.#build(item);
      // A body that may be empty, or that loops at its own end, can be split in many ways.
      if (body.nullable) throw new Ambiguous();
      this.#connect(body.last, body.first);
      return this.#join(part, { nullable: true, first: body.first, last: body.last });
    }
    let tail = EMPTY_PART;
    for (let i = min; i < max; i++) {
      const body = this.#build(item);
      if (body.nullable) throw new Ambiguous();
      tail = { ...this.#join(body, tail), nullable: true };
    }
    return this.#join(part, tail);
  }

  #join(left: Part, right: Part): Part {
    this.#connect(left.last, right.first);
    return {
      nullable: left.nullable && right.nullable,
      first: left.nullable ? [...left.first, ...right.first] : left.first,
      last: right.nullable ? [...left.last, ...right.last] : right.last,
    };
  }

  #connect(from: readonly number[], to: readonly number[]): void {
    for (const source of from) {
      for (const target of to) {
        if (this.follow[source]!.has(target)) throw new Ambiguous();
        this.follow[source]!.add(target);
      }
    }
  }

  /** Pairs of next places that a common character could both enter; the source is not told. */
  conflicts(): [number, number][] {
    const found: [number, number][] = [];
    const choices = [this.whole.first, ...this.follow.map((targets) => [...targets])];
    for (const targets of choices) {
      for (let i = 0; i < targets.length; i++) {
        for (let j = i + 1; j < targets.length; j++) {
          if (overlap(this.sets[targets[i]!]!, this.sets[targets[j]!]!)) found.push([targets[i]!, targets[j]!]);
        }
      }
    }
    return found;
  }

  /** Places reachable from the ways out of a loop of one place. */
  #beyond(loop: number): Set<number> {
    const seen = new Set<number>();
    const queue = [...this.follow[loop]!].filter((place) => place !== loop);
    for (let place = queue.pop(); place !== undefined; place = queue.pop()) {
      if (seen.has(place)) continue;
      seen.add(place);
      queue.push(...this.follow[place]!);
    }
    return seen;
  }

  #hasCycle(places: ReadonlySet<number>): boolean {
    // Places are numbered from left to right: only a loop leads back.
    for (const place of places) {
      for (const next of this.follow[place]!) {
        if (next <= place) return true;
      }
    }
    return false;
  }

  /**
   * Deterministic; or with one loop of one place whose end is a matter of choice, while what follows it is deterministic and
   * of bounded length: then each place of the text is tried a bounded number of times.
   */
  get isLinear(): boolean {
    const conflicts = this.conflicts();
    if (conflicts.length === 0) return true;
    for (const loop of conflicts[0]!) {
      if (!this.follow[loop]!.has(loop)) continue;
      const beyond = this.#beyond(loop);
      if (beyond.has(loop) || this.#hasCycle(beyond)) continue;
      if (conflicts.every(([a, b]) => (a === loop && beyond.has(b)) || (b === loop && beyond.has(a)))) return true;
    }
    return false;
  }

  /** No failed attempt can run far: loops stand only at the end, where they cannot fail. */
  get failsEarly(): boolean {
    if (this.conflicts().length > 0) return false;
    return this.follow.every((targets, place) => {
      for (const target of targets) {
        if (target <= place && !(target === place && targets.size === 1)) return false;
      }
      return true;
    });
  }
}

const EMPTY_PART: Part = { nullable: true, first: [], last: [] };

function overlap(a: CharSet, b: CharSet): boolean {
  for (let i = 0; i < 256; i++) {
    if (a[i] === 1 && b[i] === 1) return true;
  }
  return false;
}

function itemsOf(node: RegexNode): readonly RegexNode[] {
  return node.kind === 'concat' ? node.items : [node];
}

function isAssert(node: RegexNode | undefined, source: string): boolean {
  return node?.kind === 'assert' && node.source === source;
}

/** `.*`: takes whatever is left of a text without line feeds. */
function isAnything(node: RegexNode | undefined): boolean {
  if (node?.kind === 'group') return isAnything(node.item);
  return (
    node?.kind === 'repeat' &&
    node.min === 0 &&
    node.max < 0 &&
    node.item.kind === 'set' &&
    node.item.set.every((bit, code) => bit === 1 || code === 10)
  );
}

function hasRepeatedCapture(node: RegexNode, repeated: boolean): boolean {
  switch (node.kind) {
    case 'group':
      return repeated || hasRepeatedCapture(node.item, repeated);
    case 'repeat':
      return hasRepeatedCapture(node.item, repeated || node.max !== 1);
    case 'concat':
    case 'alternate':
      return node.items.some((item) => hasRepeatedCapture(item, repeated));
    default:
      return false;
  }
}

function automaton(node: RegexNode): PositionAutomaton | null {
  try {
    return new PositionAutomaton(node);
  } catch (error) {
    if (error instanceof Ambiguous) return null;
    throw error;
  }
}

function wholeMatchOf(root: RegexNode): RegExp | null {
  const items = [...itemsOf(root)];
  while (isAssert(items[0], '^')) items.shift();
  while (isAssert(items.at(-1), '$')) items.pop();
  let open = false;
  while (isAnything(items.at(-1))) {
    items.pop();
    open = true;
  }
  const node: RegexNode = { kind: 'concat', items };
  if (automaton(node)?.isLinear !== true) return null;
  return new RegExp(`^(?:${engineSource(node, false)})${open ? '' : '$'}`);
}

function searchOf(root: RegexNode): RegExp | null {
  // The engine forgets a group at each round of a loop, RE2 keeps the last.
  if (hasRepeatedCapture(root, false)) return null;
  const positions = automaton(root);
  if (positions === null) return null;
  const anchored = isAssert(itemsOf(root)[0], '^');
  if (anchored ? !positions.isLinear : !positions.failsEarly) return null;
  return new RegExp(engineSource(root, true), 'g');
}

/**
 * Says whether a whole text without line feeds matches. Null: not proved to take linear time.
 * @param pattern in wire text, known to be good RE2 syntax
 */
export function wholeMatchEngine(pattern: string): RegExp | null {
  const parsed = parseRegex(pattern);
  return parsed === null ? null : wholeMatchOf(parsed.root);
}

/** Finds matches with their groups (`g` flag). Null: not proved to take linear time. */
export function searchEngine(pattern: string): RegExp | null {
  const parsed = parseRegex(pattern);
  return parsed === null ? null : searchOf(parsed.root);
}

/** The text with which every match of the pattern begins; empty where that is not plain to see. */
export function literalPrefixOfPattern(pattern: string): string {
  const parsed = parseRegex(pattern);
  if (parsed === null || parsed.ignoreCase) return '';
  let prefix = '';
  for (const item of itemsOf(parsed.root)) {
    if (isAssert(item, '^')) continue;
    if (item.kind !== 'set') break;
    const code = item.set.indexOf(1);
    if (code < 0 || item.set.indexOf(1, code + 1) >= 0) break;
    prefix += String.fromCharCode(code);
  }
  return prefix;
}
