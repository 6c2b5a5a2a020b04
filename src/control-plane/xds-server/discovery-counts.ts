import type { Counter } from '../../stats/counter.ts';
import type { Metrics } from '../metrics.ts';
import { TYPE_ORDER } from './resource-view.ts';

/** The last part of a type URL. */
export function shortType(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf('.') + 1);
}

class TypeCounts {
  readonly requests: Counter;
  readonly responses: Counter;
  readonly acks: Counter;
  readonly refusals: Counter;
  readonly retries: Counter;

  constructor(metrics: Metrics, type: string) {
    const count = (name: string, help: string): Counter => metrics.counter(name, help, { type });
    this.requests = count('requests', 'Discovery requests.');
    this.responses = count('responses', 'Discovery responses.');
    this.acks = count('acks', 'Responses that were acknowledged.');
    this.refusals = count('nacks', 'Responses that were refused.');
    this.retries = count('retries', 'Refused responses that were sent once more.');
  }
}

/** What discovery streams count. */
export class DiscoveryCounts {
  readonly #metrics: Metrics;
  readonly #byType: ReadonlyMap<string, TypeCounts>;
  /** Of types that clients invent. */
  readonly #others: TypeCounts;
  readonly streamsOpened: Counter;
  readonly heldResponses: Counter;
  readonly throttledRequests: Counter;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    this.#byType = new Map(TYPE_ORDER.map((typeUrl) => [typeUrl, new TypeCounts(metrics, shortType(typeUrl))]));
    this.#others = new TypeCounts(metrics, 'other');
    this.streamsOpened = metrics.counter('streams_opened', 'Discovery streams that were begun.');
    this.heldResponses = metrics.counter(
      'responses_held',
      'Responses that waited for earlier ones to be acknowledged.',
    );
    this.throttledRequests = metrics.counter('requests_throttled', 'Requests that were read later for their number.');
  }

  of(typeUrl: string): TypeCounts {
    return this.#byType.get(typeUrl) ?? this.#others;
  }

  /** A stream was ended for going beyond a limit. */
  limit(name: string): void {
    this.#metrics
      .counter('streams_limited', 'Streams that were ended for going beyond a limit.', { limit: name })
      .inc();
  }

  pushed(ms: number): void {
    this.#metrics.pushTimes.record(ms);
  }
}
