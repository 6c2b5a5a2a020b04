import { create, toJson } from '@bufbuild/protobuf';
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { DiscoveryRequest } from '../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import type { Logger } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { ResourceDecoder } from './resource-decoder.ts';
import {
  type Interest,
  type ResourceSource,
  type ResourceWatcher,
  refusalText,
  type Subscription,
} from './resource-source.ts';
import type { SubscriptionStats } from './subscription-stats.ts';
import { AnswerFault, readTextAnswer } from './text-answer.ts';

/** The longest delay that the runtime's own timer takes; a longer one would fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** Told of the end of one request: one of the two, once, and never inside `post`. */
export interface RestHandler {
  onAnswer(status: number, body: string): void;
  onFailure(reason: string): void;
}

/** Posts JSON to a control plane. */
export interface RestClient {
  post(path: string, json: string, handler: RestHandler): { cancel(): void };
}

export interface RestSettings {
  /** At least this long between two requests, and at most twice as long, ms. */
  readonly refreshMs: number;
  readonly node: Node;
}

/** A control plane that is asked again and again over HTTP. Source: Envoy, HttpSubscriptionImpl and RestApiFetcher. */
export class RestSource implements ResourceSource {
  readonly #client: RestClient;
  readonly #settings: RestSettings;
  readonly #decoder: ResourceDecoder;
  readonly #logger: Logger;
  readonly #random: Random;

  constructor(client: RestClient, settings: RestSettings, decoder: ResourceDecoder, logger: Logger, random: Random) {
    this.#client = client;
    this.#settings = settings;
    this.#decoder = decoder;
    this.#logger = logger;
    this.#random = random;
  }

  watch(interest: Interest, watcher: ResourceWatcher, stats: SubscriptionStats): Subscription {
    const parts = { client: this.#client, settings: this.#settings, decoder: this.#decoder, logger: this.#logger };
    return new RestSubscription({ ...parts, random: this.#random }, interest, watcher, stats);
  }
}

interface RestParts {
  readonly client: RestClient;
  readonly settings: RestSettings;
  readonly decoder: ResourceDecoder;
  readonly logger: Logger;
  readonly random: Random;
}

class RestSubscription implements Subscription, RestHandler {
  readonly #parts: RestParts;
  readonly #interest: Interest;
  readonly #watcher: ResourceWatcher;
  readonly #stats: SubscriptionStats;
  #version = '';
  /** Names of the last answer: what the next one lacks is removed. */
  #held: ReadonlySet<string> = new Set();
  #call: { cancel(): void } | null = null;
  #refresh: ReturnType<typeof setTimeout> | null = null;
  #timeout: ReturnType<typeof setTimeout> | null = null;
  #stopped = false;

  constructor(parts: RestParts, interest: Interest, watcher: ResourceWatcher, stats: SubscriptionStats) {
    this.#parts = parts;
    this.#interest = interest;
    this.#watcher = watcher;
    this.#stats = stats;
  }

  start(): void {
    const timeoutMs = this.#interest.fetchTimeoutMs ?? 0;
    if (timeoutMs > 0) this.#timeout = setTimeout(() => this.#onTimeout(), Math.min(timeoutMs, MAX_DELAY_MS));
    this.#ask();
  }

  /** Nothing is fetched on demand over REST. */
  want(): void {}

  unwant(): void {}

  stop(): void {
    this.#stopped = true;
    this.#call?.cancel();
    this.#call = null;
    if (this.#refresh !== null) clearTimeout(this.#refresh);
    this.#answered();
  }

  get #path(): string {
    return this.#interest.type.restPath;
  }

  #onTimeout(): void {
    this.#timeout = null;
    this.#parts.logger.warning(`REST config: initial fetch timeout for ${this.#path}`);
    this.#stats.onTimeout();
    this.#watcher.onFailure('timeout', '');
  }

  #answered(): void {
    if (this.#timeout !== null) clearTimeout(this.#timeout);
    this.#timeout = null;
  }

  #ask(): void {
    const { client, settings, decoder } = this.#parts;
    const { type, names } = this.#interest;
    this.#stats.onAttempt();
    const desc = decoder.api.message('envoy.service.discovery.v3.DiscoveryRequest')!;
    const request = create(desc) as DiscoveryRequest;
    request.versionInfo = this.#version;
    request.node = settings.node;
    request.resourceNames = [...(names ?? [])].sort();
    request.typeUrl = type.typeUrl;
    const json = JSON.stringify(toJson(desc, request, { registry: decoder.api.registry, useProtoFieldName: true }));
    this.#call = client.post(this.#path, json, this);
  }

  // --- RestHandler ---

  onAnswer(status: number, body: string): void {
    this.#call = null;
    if (status === 200) {
      void this.#take(body).finally(() => this.#askLater());
      return;
    }
    // 304: there is nothing new.
    if (status !== 304) this.#failed(`the server answered with HTTP status ${status}`);
    this.#askLater();
  }

  onFailure(reason: string): void {
    this.#call = null;
    this.#failed(reason);
    this.#askLater();
  }

  #failed(reason: string): void {
    this.#parts.logger.warning(`REST update for ${this.#path} failed: ${reason}`);
    this.#stats.onFailure();
    this.#watcher.onFailure('connection', reason);
  }

  #askLater(): void {
    if (this.#stopped) return;
    const { settings, random } = this.#parts;
    const waitMs = settings.refreshMs + Math.floor(random.float() * settings.refreshMs);
    this.#refresh = setTimeout(() => this.#ask(), Math.min(waitMs, MAX_DELAY_MS));
    this.#refresh.unref?.();
  }

  async #take(body: string): Promise<void> {
    const { decoder, logger } = this.#parts;
    this.#answered();
    try {
      const input = { name: this.#path, format: 'json', content: body } as const;
      const update = readTextAnswer(input, this.#interest, this.#held, decoder, logger);
      const refusals = await this.#watcher.onUpdate(update);
      this.#held = new Set(update.changed.map((resource) => resource.name));
      if (refusals.length > 0) throw new AnswerFault(refusalText(this.#interest.type, refusals), 'rejected');
      this.#version = update.version;
      this.#stats.onSuccess(update.version, Date.now(), -1);
    } catch (error) {
      const { message } = error as Error;
      this.#stats.onRejected();
      logger.warning(`REST config for ${this.#path} rejected: ${message}`);
      this.#watcher.onFailure('rejected', message);
    }
  }
}
