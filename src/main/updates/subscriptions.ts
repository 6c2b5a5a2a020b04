import type { Logger } from '../../base/log.ts';
import type { SourceSpec } from '../../config/builders/config-source.ts';
import type { Scope } from '../../stats/store.ts';
import { FileSource } from '../../xds/file-source.ts';
import type { ResourceDecoder } from '../../xds/resource-decoder.ts';
import type { Interest, ResourceWatcher, Subscription } from '../../xds/resource-source.ts';
import { SubscriptionStats } from '../../xds/subscription-stats.ts';
import { withCanonicalNames } from '../../xds/xdstp-names.ts';
import type { RemoteSources } from './remote-sources.ts';

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
    const timed = { ...interest, fetchTimeoutMs: spec.initialFetchTimeoutMs };
    const wire = withCanonicalNames(timed, watcher);
    return this.#remote.sourceOf(spec, interest.type, scope).watch(wire.interest, wire.watcher, stats);
  }
}
