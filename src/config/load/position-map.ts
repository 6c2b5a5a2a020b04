import type { ConfigError } from '../diagnostics/config-error.ts';
import type { Position, SourceFile } from '../diagnostics/source-file.ts';
import type { TreeEntry, TreeMapping, TreeNode } from './tree.ts';

export interface Place {
  readonly source: SourceFile;
  readonly start: number;
  readonly end: number;
}

/**
 * Finds where a field of the message stands in the text, by walking the trees that the message was made of. Nothing is
 * recorded per field: a position costs something only when an error asks for it.
 */
export class PositionMap {
  #trees: readonly TreeNode[] | null;
  readonly #read: () => readonly TreeNode[];

  /** @param trees in the order in which they were merged into the message; or what reads them when a place is asked for */
  constructor(trees: readonly TreeNode[] | (() => readonly TreeNode[])) {
    this.#trees = typeof trees === 'function' ? null : trees;
    this.#read = typeof trees === 'function' ? trees : () => trees;
  }

  /**
   * The position of a field such as `static_resources.listeners[0].name` or `metadata.filter_metadata["a"]`; of the
   * nearest message around it when the text does not hold it; undefined when there is no text.
   */
  locate(path: string): Position | undefined {
    const place = this.place(path);
    return place === undefined ? undefined : place.source.position(place.start, place.end);
  }

  place(path: string): Place | undefined {
    this.#trees ??= this.#read();
    let nodes: readonly TreeNode[] = this.#trees;
    const first = nodes[0];
    let best: Place | undefined =
      first === undefined ? undefined : { source: first.source, start: first.start, end: first.start };
    for (const segment of splitPath(path)) {
      const next: TreeNode[] = [];
      const found = typeof segment === 'number' ? this.#index(nodes, segment, next) : this.#key(nodes, segment, next);
      if (found === undefined) break;
      best = found;
      nodes = next;
    }
    return best;
  }

  /** The error with its position, if the text holds its field. */
  attach(error: {
    readonly path: string;
    readonly reason: string;
    readonly hint?: string;
    readonly severity?: ConfigError['severity'];
  }): ConfigError {
    const place = this.place(error.path);
    return {
      severity: error.severity ?? 'error',
      path: error.path,
      reason: error.reason,
      ...(error.hint === undefined || error.hint === '' ? {} : { hint: error.hint }),
      ...(place === undefined ? {} : { position: place.source.position(place.start, place.end), source: place.source }),
    };
  }

  #index(nodes: readonly TreeNode[], index: number, into: TreeNode[]): Place | undefined {
    let rest = index;
    for (const node of nodes) {
      // One value stands for a list of one.
      const items = node.kind === 'sequence' ? node.items : [node];
      const item = items[rest];
      if (item !== undefined) {
        into.push(item);
        return { source: item.source, start: item.start, end: item.kind === 'scalar' ? item.end : item.start };
      }
      rest -= items.length;
    }
    return undefined;
  }

  #key(nodes: readonly TreeNode[], name: string, into: TreeNode[]): Place | undefined {
    let last: TreeEntry | undefined;
    for (const node of nodes) {
      if (node.kind !== 'mapping') continue;
      const entries = entriesOf(node, name);
      for (const entry of entries) {
        into.push(entry.value);
        last = entry;
      }
    }
    if (last === undefined) return undefined;
    const value = last.value;
    return value.kind === 'scalar' && value.end > value.start && value.form !== 'null'
      ? { source: value.source, start: value.start, end: value.end }
      : { source: last.source, start: last.keyStart, end: last.keyEnd };
  }
}

/** Entries for a proto field name: also by its JSON name, and inside the `value` of a TypedStruct. */
function entriesOf(node: TreeMapping, name: string): TreeEntry[] {
  const json = jsonName(name);
  const found = node.entries.filter((entry) => entry.key === name || entry.key === json);
  if (found.length > 0) return found;
  const value = node.get('@type') === undefined ? undefined : node.get('value');
  return value?.kind === 'mapping' ? entriesOf(value, name) : [];
}

function jsonName(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** `a.b[0]["x.y"].c` to `['a', 'b', 0, 'x.y', 'c']`. */
export function splitPath(path: string): (string | number)[] {
  const segments: (string | number)[] = [];
  const pattern = /\[("(?:[^"\\]|\\.)*"|[^\]]*)\]|([^.[\]]+)/g;
  for (const match of path.matchAll(pattern)) {
    const bracket = match[1];
    if (bracket === undefined) segments.push(match[2] ?? '');
    else if (bracket.startsWith('"')) segments.push(unquote(bracket));
    else if (/^[0-9]+$/.test(bracket)) segments.push(Number(bracket));
    else segments.push(bracket);
  }
  return segments;
}

function unquote(text: string): string {
  try {
    return String(JSON.parse(text));
  } catch {
    return text.slice(1, -1);
  }
}
