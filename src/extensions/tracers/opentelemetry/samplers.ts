import type { FractionalPercent } from '../../../routing/runtime-fraction.ts';
import type { ParentContext } from './otel-span.ts';

/** Decides on traces that the proxy itself has decided to trace. */
export interface Sampler {
  /** @param parent null: the span begins a trace @param traceId 32 hexadecimal digits */
  samples(parent: ParentContext | null, traceId: string): boolean;
}

export const ALWAYS_ON: Sampler = { samples: () => true };

/** What the parent says; where there is none, what another one says. */
export class ParentBasedSampler implements Sampler {
  readonly #root: Sampler;

  constructor(root: Sampler) {
    this.#root = root;
  }

  samples(parent: ParentContext | null, traceId: string): boolean {
    return parent === null ? this.#root.samples(null, traceId) : parent.sampled;
  }
}

/** A share of all traces, by their ids: the first 8 bytes as a number, the lowest first. Source: Envoy, TraceIdRatioBasedSampler. */
export class TraceIdRatioSampler implements Sampler {
  readonly #share: FractionalPercent;

  constructor(share: FractionalPercent) {
    this.#share = share;
  }

  samples(_parent: ParentContext | null, traceId: string): boolean {
    const { numerator, denominator } = this.#share;
    if (numerator === 0) return false;
    let remainder = 0;
    for (let at = 14; at >= 0; at -= 2) {
      remainder = (remainder * 256 + Number.parseInt(traceId.slice(at, at + 2), 16)) % denominator;
    }
    return remainder < numerator;
  }
}
