import type { SharedTable } from '../../../base/shared-table.ts';
import { TokenBucket } from '../../../base/token-bucket.ts';
import type { RateLimitDescriptor } from '../../../pipeline/rate-limit-descriptors.ts';

/** A token bucket as configured. */
export interface BucketSpec {
  readonly maxTokens: number;
  readonly tokensPerFill: number;
  readonly fillIntervalMs: number;
}

export interface DescriptorSpec {
  /** `[key, value, ...]`; an empty value stands for any. */
  readonly entries: readonly string[];
  readonly bucket: BucketSpec;
  /** Counted, not enforced. */
  readonly shadow: boolean;
}

export interface LimiterSpec {
  /** Null: no default limit. */
  readonly bucket: BucketSpec | null;
  readonly descriptors: readonly DescriptorSpec[];
  readonly alwaysConsumeDefault: boolean;
  /** Buckets that a descriptor with empty values may make. */
  readonly maxDynamicDescriptors: number;
}

export interface LimitBucket {
  readonly tokens: TokenBucket;
  readonly shadow: boolean;
}

export interface LimitResult {
  readonly allowed: boolean;
  /** The bucket that decided, which rate limit headers tell of; null: none. */
  readonly bucket: LimitBucket | null;
}

/** Makes the buckets of a limiter: shared by the workers, or of one connection. */
export type BucketMaker = (spec: BucketSpec, name: string) => TokenBucket;

export function sharedBuckets(table: SharedTable, key: string): BucketMaker {
  return (spec, name) =>
    new TokenBucket(spec.maxTokens, spec.tokensPerFill, spec.fillIntervalMs, table.cell(key + name));
}

export const privateBuckets: BucketMaker = (spec) =>
  new TokenBucket(spec.maxTokens, spec.tokensPerFill, spec.fillIntervalMs);

/** Buckets that a descriptor with empty values makes as requests come; the least recently used is dropped. */
class DynamicBuckets {
  readonly #spec: DescriptorSpec;
  readonly #max: number;
  readonly #buckets = new Map<string, LimitBucket>();

  constructor(spec: DescriptorSpec, max: number) {
    this.#spec = spec;
    this.#max = max;
  }

  find(entries: readonly string[]): LimitBucket | null {
    const wanted = this.#spec.entries;
    if (entries.length !== wanted.length) return null;
    for (let i = 0; i < entries.length; i += 2) {
      if (entries[i] !== wanted[i] || (wanted[i + 1] !== '' && entries[i + 1] !== wanted[i + 1])) return null;
    }
    const key = entriesKey(entries);
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) bucket = { tokens: privateBuckets(this.#spec.bucket, ''), shadow: this.#spec.shadow };
    else this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#max) this.#buckets.delete(this.#buckets.keys().next().value!);
    return bucket;
  }
}

export function entriesKey(entries: readonly string[]): string {
  return JSON.stringify(entries);
}

export function hasWildcard(descriptor: DescriptorSpec): boolean {
  return descriptor.entries.some((text, i) => i % 2 === 1 && text === '');
}

/** Decides by token buckets. Source: Envoy, LocalRateLimiterImpl. */
export class Limiter {
  readonly #default: LimitBucket | null;
  readonly #denyByDefault: boolean;
  readonly #alwaysConsumeDefault: boolean;
  readonly #fixed = new Map<string, LimitBucket>();
  readonly #dynamic: DynamicBuckets[] = [];

  constructor(spec: LimiterSpec, make: BucketMaker) {
    const { bucket } = spec;
    this.#denyByDefault = bucket !== null && bucket.maxTokens === 0;
    this.#default = bucket === null || this.#denyByDefault ? null : { tokens: make(bucket, '|default'), shadow: false };
    this.#alwaysConsumeDefault = spec.alwaysConsumeDefault;
    for (const descriptor of spec.descriptors) {
      if (hasWildcard(descriptor)) {
        this.#dynamic.push(new DynamicBuckets(descriptor, spec.maxDynamicDescriptors));
        continue;
      }
      const key = entriesKey(descriptor.entries);
      this.#fixed.set(key, { tokens: make(descriptor.bucket, `|${key}`), shadow: descriptor.shadow });
    }
  }

  #find(entries: readonly string[]): LimitBucket | null {
    const fixed = this.#fixed.size === 0 ? undefined : this.#fixed.get(entriesKey(entries));
    if (fixed !== undefined) return fixed;
    for (const dynamic of this.#dynamic) {
      const bucket = dynamic.find(entries);
      if (bucket !== null) return bucket;
    }
    return null;
  }

  /** @param nowMs of a clock that all workers share */
  take(nowMs: number, descriptors: readonly RateLimitDescriptor[]): LimitResult {
    let first: LimitBucket | null = null;
    if (descriptors.length > 0) {
      const matches: { bucket: LimitBucket; hits: number | null }[] = [];
      for (const { entries, hits } of descriptors) {
        const bucket = this.#find(entries);
        if (bucket !== null) matches.push({ bucket, hits });
      }
      // The strictest first: what it refuses takes nothing from the others.
      if (matches.length > 1) matches.sort((a, b) => a.bucket.tokens.tokensPerMs - b.bucket.tokens.tokensPerMs);
      for (const { bucket, hits } of matches) {
        if (hits !== null && hits < 0) bucket.tokens.giveBack(nowMs, -hits);
        else if (!bucket.tokens.take(nowMs, hits ?? 1)) return { allowed: false, bucket };
      }
      if (matches.length > 0) first = matches[0]!.bucket;
    }
    if (first !== null && !this.#alwaysConsumeDefault) return { allowed: true, bucket: first };
    if (this.#default === null) {
      return this.#denyByDefault ? { allowed: false, bucket: null } : { allowed: true, bucket: first };
    }
    if (!this.#default.tokens.take(nowMs)) return { allowed: false, bucket: this.#default };
    return { allowed: true, bucket: first ?? this.#default };
  }
}
