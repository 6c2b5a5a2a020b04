import type { Logger } from '../../base/log.ts';
import type { SourceSpec } from '../../config/builders/config-source.ts';
import type { Scope } from '../../stats/store.ts';
import { FileSource } from '../../xds/file-source.ts';
import type { ResourceDecoder } from '../../xds/resource-decoder.ts';
import type { Interest, ResourceSource, ResourceWatcher, Subscription } from '../../xds/resource-source.ts';
import { SubscriptionStats } from '../../xds/subscription-stats.ts';

/** Sources that need connections: gRPC and REST over the process's own clusters. */
export interface RemoteSources {
  /** @throws Error when the configuration cannot be carried out */
  sourceOf(spec: Exclude<SourceSpec, { kind: 'file' }>): ResourceSource;
}

/** Turns configuration sources into subscriptions. */
export class Subscriptions {
  readonly #decoder: ResourceDecoder;
  readonly #logger: Logger;
  readonly #remote: RemoteSources;

  constructor(decoder: ResourceDecoder, logger: Logger, remote: RemoteSources) {
    this.#decoder = decoder;
    this.#logger = logger;
    this.#remote = remote;
  }

  /** @param scope such as `cluster_manager.cds`: what the subscription counts goes there */
  open(spec: SourceSpec, interest: Interest, watcher: ResourceWatcher, scope: Scope): Subscription {
    const stats = new SubscriptionStats(scope);
    if (spec.kind === 'file') return new FileSource(spec, this.#decoder, this.#logger).watch(interest, watcher, stats);
    return this.#remote.sourceOf(spec).watch(interest, watcher, stats);
  }
}
