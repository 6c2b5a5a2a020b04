import type { Address } from './address.ts';
import { ipBytes } from './cidr.ts';

/** A range of IP addresses. */
export interface AddressRange {
  /** 4 or 16 bytes; those behind `bits` have no meaning. */
  readonly prefix: Uint8Array;
  /** At most as many as the prefix has. */
  readonly bits: number;
}

/**
 * What stands for an address that is none of IP (pipes, internal listeners): it is found only in ranges that hold all
 * addresses or, by the way, this one. Source: Envoy, FilterChainManagerImpl, fakeAddress.
 */
const NOT_IP = Uint8Array.of(255, 255, 255, 255);

/** A prefix in the tree. Every node's prefix begins with its parent's and is longer. */
class PrefixNode<T> {
  readonly bytes: Uint8Array;
  readonly bits: number;
  /** undefined: only a fork */
  value: T | undefined = undefined;
  zero: PrefixNode<T> | null = null;
  one: PrefixNode<T> | null = null;

  constructor(bytes: Uint8Array, bits: number) {
    this.bytes = bytes;
    this.bits = bits;
  }
}

/**
 * Values by address range, found by the longest one that holds an address: a path-compressed binary tree for each IP version, so
 * that a search takes at most one step per bit, however many ranges there are. Filled once, then read.
 */
export class PrefixTable<T> {
  #v4: PrefixNode<T> | null = null;
  #v6: PrefixNode<T> | null = null;
  #any: T | undefined = undefined;

  /**
   * The value of a range, made by `make` when it is new.
   * @param range null: no range was asked for, which every address fits, also one that is none of IP. A range of all addresses
   *   is another and is preferred.
   */
  getOrAdd(range: AddressRange | null, make: () => T): T {
    if (range === null) {
      this.#any ??= make();
      return this.#any;
    }
    const node = insert(this.#root(range.prefix.length), range);
    node.value ??= make();
    return node.value;
  }

  #root(length: number): PrefixNode<T> {
    if (length === 4) {
      this.#v4 ??= new PrefixNode<T>(new Uint8Array(4), 0);
      return this.#v4;
    }
    this.#v6 ??= new PrefixNode<T>(new Uint8Array(16), 0);
    return this.#v6;
  }

  /** The values of all ranges that hold an IP address, the narrowest first. */
  findAll(ip: string): T[] {
    const bytes = ipBytes(ip);
    if (bytes === null) return [];
    const root = bytes.length === 4 ? this.#v4 : this.#v6;
    const found: T[] = [];
    if (this.#any !== undefined) found.push(this.#any);
    if (root !== null) search(root, bytes, found);
    return found.reverse();
  }

  /** @returns undefined when no range holds it */
  find(address: Address): T | undefined {
    if (this.#v4 === null && this.#v6 === null) return this.#any;
    const bytes = (address.kind === 'ip' ? ipBytes(address.ip) : null) ?? NOT_IP;
    const root = bytes.length === 4 ? this.#v4 : this.#v6;
    return (root === null ? undefined : search(root, bytes)) ?? this.#any;
  }
}

function insert<T>(root: PrefixNode<T>, { prefix, bits }: AddressRange): PrefixNode<T> {
  let parent = root;
  while (parent.bits < bits) {
    const child = childOf(parent, prefix);
    const common = child === null ? 0 : commonBits(child.bytes, prefix, parent.bits, Math.min(child.bits, bits));
    if (child !== null && common === child.bits) {
      parent = child;
      continue;
    }
    // A new end or, where the child goes elsewhere behind `common`, a new fork before it.
    const node = new PrefixNode<T>(prefix, child === null ? bits : common);
    if (bitAt(prefix, parent.bits) === 0) parent.zero = node;
    else parent.one = node;
    if (child !== null) {
      if (bitAt(child.bytes, common) === 0) node.zero = child;
      else node.one = child;
    }
    parent = node;
  }
  return parent;
}

/** @param found takes every value on the way, the widest range's first */
function search<T>(root: PrefixNode<T>, bytes: Uint8Array, found: T[] | null = null): T | undefined {
  const length = bytes.length * 8;
  let best = root.value;
  if (best !== undefined) found?.push(best);
  let node = root;
  while (node.bits < length) {
    const child = childOf(node, bytes);
    if (child === null || commonBits(child.bytes, bytes, node.bits, child.bits) < child.bits) break;
    if (child.value !== undefined) {
      best = child.value;
      found?.push(best);
    }
    node = child;
  }
  return best;
}

function childOf<T>(node: PrefixNode<T>, bytes: Uint8Array): PrefixNode<T> | null {
  return bitAt(bytes, node.bits) === 0 ? node.zero : node.one;
}

function bitAt(bytes: Uint8Array, bit: number): number {
  return (bytes[bit >> 3]! >> (7 - (bit & 7))) & 1;
}

/** How many leading bits are the same, at most `limit`; the first `known` are. */
function commonBits(a: Uint8Array, b: Uint8Array, known: number, limit: number): number {
  for (let at = known >> 3; at * 8 < limit; at++) {
    const differ = a[at]! ^ b[at]!;
    if (differ !== 0) return Math.min(limit, at * 8 + Math.clz32(differ) - 24);
  }
  return limit;
}
