import type { RequestHeaders } from '../http/header-map.ts';
import { pathEnd } from './path.ts';
import { QueryParameters } from './query-parameter-matcher.ts';
import { literalPrefixOfPattern } from './regex-translation.ts';
import { PathKind, type QuerySource, type RouteMatch } from './route-match.ts';
import type { StreamView } from './stream-view.ts';
import { asciiLowerCase } from './string-matcher.ts';

const NO_ORDERS: readonly number[] = [];

/** What versions of a virtual host pass on: routes whose paths stay as they are need no other tree. */
export interface IndexMemory {
  last: RouteIndex | null;
}

/** A node of a radix tree: the text from its parent to here, and the routes whose literal text ends here. */
class TrieNode {
  label: string;
  children: Map<number, TrieNode> | null = null;
  /** Orders of routes that match whatever follows, ascending. */
  prefixes: number[] = [];
  /** Orders of routes that match when the path ends here, ascending. */
  exacts: number[] = [];
  /** Orders of routes that match when the path or its segment ends here, ascending. */
  separated: number[] = [];
  /** Orders of patterns and templates with this literal beginning: their own matcher decides. */
  patterns: number[] = [];

  constructor(label: string) {
    this.label = label;
  }

  /** The node at the end of `text`, made when missing. */
  reach(text: string): TrieNode {
    let node: TrieNode = this;
    let position = 0;
    while (position < text.length) {
      node.children ??= new Map();
      const first = text.charCodeAt(position);
      const child = node.children.get(first);
      if (child === undefined) {
        const leaf = new TrieNode(text.slice(position));
        node.children.set(first, leaf);
        return leaf;
      }
      const shared = sharedLength(child.label, text, position);
      if (shared < child.label.length) {
        const middle = new TrieNode(child.label.slice(0, shared));
        child.label = child.label.slice(shared);
        middle.children = new Map([[child.label.charCodeAt(0), child]]);
        node.children.set(first, middle);
        node = middle;
      } else {
        node = child;
      }
      position += shared;
    }
    return node;
  }
}

function sharedLength(label: string, text: string, position: number): number {
  let length = 0;
  while (
    length < label.length &&
    position + length < text.length &&
    label.charCodeAt(length) === text.charCodeAt(position + length)
  ) {
    length++;
  }
  return length;
}

/**
 * Finds the first of many routes, in their order, without trying each: literal beginnings of paths stand in a radix tree, so
 * that the cost follows the length of the path and the number of routes that could match, not the number of routes.
 */
export class RouteIndex implements QuerySource {
  readonly #matches: readonly RouteMatch[];
  readonly #ignoreParameters: boolean;
  readonly #root: TrieNode;
  /** Routes that ignore case, by folded text; null: there are none. */
  readonly #foldedRoot: TrieNode | null;
  readonly #connects: readonly number[];
  #parsedPath: string | null = null;
  #parameters: QueryParameters | null = null;

  /** @param known an index whose tree is used again if the paths are the same */
  constructor(matches: readonly RouteMatch[], ignorePathParameters: boolean, known: RouteIndex | null = null) {
    this.#matches = matches;
    this.#ignoreParameters = ignorePathParameters;
    if (known !== null && samePaths(known.#matches, matches)) {
      this.#root = known.#root;
      this.#foldedRoot = known.#foldedRoot;
      this.#connects = known.#connects;
      return;
    }
    this.#root = new TrieNode('');
    let foldedRoot: TrieNode | null = null;
    const connects: number[] = [];
    for (let order = 0; order < matches.length; order++) {
      const path = matches[order]!.path;
      if (path.kind === PathKind.Connect) {
        connects.push(order);
      } else if (path.kind === PathKind.Regex) {
        this.#root.reach(literalPrefixOfPattern(path.text)).patterns.push(order);
      } else if (path.kind === PathKind.Template) {
        this.#root.reach(path.template!.literalPrefix).patterns.push(order);
      } else {
        if (!path.caseSensitive) foldedRoot ??= new TrieNode('');
        const node = (path.caseSensitive ? this.#root : foldedRoot!).reach(path.folded);
        if (path.kind === PathKind.Prefix) node.prefixes.push(order);
        else if (path.kind === PathKind.Exact) node.exacts.push(order);
        else node.separated.push(order);
      }
    }
    this.#foldedRoot = foldedRoot;
    this.#connects = connects.length === 0 ? NO_ORDERS : connects;
  }

  /** @returns the order of the first route that matches, or -1 */
  find(headers: RequestHeaders, stream: StreamView): number {
    let best = this.#matches.length;
    const path = headers.path;
    if (path !== null) {
      const end = this.#ignoreParameters ? endBeforeParameters(path) : pathEnd(path);
      best = this.#walk(this.#root, path, end, headers, stream, best);
      if (this.#foldedRoot !== null) {
        const folded = asciiLowerCase(path.slice(0, end));
        best = this.#walk(this.#foldedRoot, folded, end, headers, stream, best);
      }
    }
    for (const order of this.#connects) {
      if (order >= best) break;
      const match = this.#matches[order]!;
      if (match.path.matches(path, headers) && this.#holds(match, headers, stream)) best = order;
    }
    if (this.#parsedPath !== null) {
      this.#parsedPath = null;
      this.#parameters = null;
    }
    return best === this.#matches.length ? -1 : best;
  }

  #walk(root: TrieNode, path: string, end: number, headers: RequestHeaders, stream: StreamView, best: number): number {
    let node = root;
    let position = 0;
    for (;;) {
      if (node.prefixes.length > 0) best = this.#first(node.prefixes, headers, stream, best);
      if (node.separated.length > 0 && (position === end || path.charCodeAt(position) === 47)) {
        best = this.#first(node.separated, headers, stream, best);
      }
      if (node.patterns.length > 0) best = this.#firstPattern(node.patterns, path.slice(0, end), headers, stream, best);
      if (position === end) {
        return node.exacts.length > 0 ? this.#first(node.exacts, headers, stream, best) : best;
      }
      if (node.children === null) return best;
      const child = node.children.get(path.charCodeAt(position));
      if (child === undefined) return best;
      const next = position + child.label.length;
      if (next > end || !path.startsWith(child.label, position)) return best;
      node = child;
      position = next;
    }
  }

  /** The first of `orders` that is before `best` and holds, else `best`. */
  #first(orders: readonly number[], headers: RequestHeaders, stream: StreamView, best: number): number {
    for (let i = 0; i < orders.length; i++) {
      const order = orders[i]!;
      if (order >= best) return best;
      if (this.#holds(this.#matches[order]!, headers, stream)) return order;
    }
    return best;
  }

  #firstPattern(
    orders: readonly number[],
    path: string,
    headers: RequestHeaders,
    stream: StreamView,
    best: number,
  ): number {
    for (let i = 0; i < orders.length; i++) {
      const order = orders[i]!;
      if (order >= best) return best;
      const match = this.#matches[order]!;
      if (this.#holds(match, headers, stream) && match.path.matches(path, headers)) return order;
    }
    return best;
  }

  #holds(match: RouteMatch, headers: RequestHeaders, stream: StreamView): boolean {
    return !match.conditional || match.conditionsHold(headers, stream, this);
  }

  queryParameters(headers: RequestHeaders): QueryParameters {
    const path = headers.path ?? '';
    if (this.#parsedPath !== path || this.#parameters === null) {
      this.#parsedPath = path;
      this.#parameters = new QueryParameters(path);
    }
    return this.#parameters;
  }
}

/** Nothing else decides the tree, and nobody changes it once it is made. */
function samePaths(a: readonly RouteMatch[], b: readonly RouteMatch[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    const x = a[i]!.path;
    const y = b[i]!.path;
    if (x === y) continue;
    if (x.kind !== y.kind || x.caseSensitive !== y.caseSensitive || x.folded !== y.folded) return false;
  }
  return true;
}

/** Envoy cuts at the first `;` of the whole value, in the query too, then at `?` or `#`. */
function endBeforeParameters(path: string): number {
  const end = pathEnd(path);
  const semicolon = path.indexOf(';');
  return semicolon >= 0 && semicolon < end ? semicolon : end;
}
