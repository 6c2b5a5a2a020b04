import type { Logger } from '../base/log.ts';
import { errorLine } from '../config/diagnostics/render.ts';
import { readConfigFile } from '../config/load/load-config.ts';
import { MovedFileWatch } from './moved-file-watch.ts';
import type { ResourceDecoder } from './resource-decoder.ts';
import {
  type Interest,
  type ResourceSource,
  type ResourceUpdate,
  type ResourceWatcher,
  refusalText,
  type Subscription,
} from './resource-source.ts';
import type { SubscriptionStats } from './subscription-stats.ts';
import { AnswerFault, readTextAnswer } from './text-answer.ts';

/** What of a `path_config_source` counts here. */
export interface FilePlace {
  readonly path: string;
  /** Empty: moves over the path itself are watched. */
  readonly watchedDirectory: string;
}

/** A DiscoveryResponse in a file, read again whenever it is moved into place. Source: Envoy, xDS over the filesystem. */
export class FileSource implements ResourceSource {
  readonly #place: FilePlace;
  readonly #decoder: ResourceDecoder;
  readonly #logger: Logger;

  constructor(place: FilePlace, decoder: ResourceDecoder, logger: Logger) {
    this.#place = place;
    this.#decoder = decoder;
    this.#logger = logger;
  }

  watch(interest: Interest, watcher: ResourceWatcher, stats: SubscriptionStats): Subscription {
    return new FileSubscription(this.#place, interest, watcher, stats, this.#decoder, this.#logger);
  }
}

class FileSubscription implements Subscription {
  readonly #place: FilePlace;
  readonly #interest: Interest;
  readonly #watcher: ResourceWatcher;
  readonly #stats: SubscriptionStats;
  readonly #decoder: ResourceDecoder;
  readonly #logger: Logger;
  #watch: MovedFileWatch | null = null;
  /** Names of the last file: what the next one lacks is removed. */
  #held = new Set<string>();
  #reading = false;
  #readAgain = false;
  #stopped = false;

  constructor(
    place: FilePlace,
    interest: Interest,
    watcher: ResourceWatcher,
    stats: SubscriptionStats,
    decoder: ResourceDecoder,
    logger: Logger,
  ) {
    this.#place = place;
    this.#interest = interest;
    this.#watcher = watcher;
    this.#stats = stats;
    this.#decoder = decoder;
    this.#logger = logger;
  }

  start(): void {
    try {
      this.#watch = new MovedFileWatch(this.#place.path, this.#place.watchedDirectory, () => this.#refresh());
    } catch (error) {
      this.#logger.warning(`unable to watch ${this.#place.path}: ${(error as Error).message}`);
    }
    this.#refresh();
  }

  /** A file holds what it holds. */
  want(): void {}

  unwant(): void {}

  stop(): void {
    this.#stopped = true;
    this.#watch?.close();
    this.#watch = null;
  }

  /** One reading at a time; what changes meanwhile is read afterwards. */
  #refresh(): void {
    if (this.#reading) {
      this.#readAgain = true;
      return;
    }
    this.#reading = true;
    void this.#read().finally(() => {
      this.#reading = false;
      if (!this.#readAgain || this.#stopped) return;
      this.#readAgain = false;
      this.#refresh();
    });
  }

  async #read(): Promise<void> {
    const { path } = this.#place;
    this.#stats.onAttempt();
    try {
      const update = this.#load();
      const startMs = performance.now();
      const refusals = await this.#watcher.onUpdate(update);
      this.#held = new Set(update.changed.map((resource) => resource.name));
      if (refusals.length > 0) throw new AnswerFault(refusalText(this.#interest.type, refusals), 'rejected');
      this.#stats.onSuccess(update.version, Date.now(), Math.round(performance.now() - startMs));
    } catch (error) {
      const { message } = error as Error;
      if (error instanceof AnswerFault && error.counts === 'failure') {
        this.#stats.onFailure();
        this.#logger.warning(`Filesystem config update failure: in ${path}, ${message}`);
      } else {
        this.#stats.onRejected();
        this.#logger.warning(`Filesystem config update rejected: ${message}`);
      }
      this.#watcher.onFailure('rejected', message);
    }
  }

  #load(): ResourceUpdate {
    const input = readConfigFile(this.#place.path);
    if (!input.ok) throw new AnswerFault(input.error.map(errorLine).join('\n'), 'failure');
    return readTextAnswer(input.value, this.#interest, this.#held, this.#decoder, this.#logger);
  }
}
