import { toBinary } from '@bufbuild/protobuf';
import type { Node } from '../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { Logger } from '../base/log.ts';
import type { GrpcStreamSupervisor, SupervisedStreamHandler } from '../grpc/grpc-stream-supervisor.ts';
import { GrpcStatus } from '../http/grpc-headers.ts';
import { defineStats } from '../stats/stat-group.ts';
import type { Scope } from '../stats/store.ts';
import { TypeEngine, Watch } from './delta-engine.ts';
import type { ResourceDecoder } from './resource-decoder.ts';
import {
  type Interest,
  type ResourceSource,
  type ResourceWatcher,
  refusalText,
  type Subscription,
} from './resource-source.ts';
import type { ResourceType } from './resource-type.ts';
import { type Answer, DeltaProtocol, readAnswer, SotwProtocol, type TypeProtocol } from './stream-protocol.ts';
import type { SubscriptionStats } from './subscription-stats.ts';

const CONTROL_PLANE_STATS = defineStats({
  counters: ['rate_limit_enforced'],
  neverImportGauges: ['connected_state', 'pending_requests'],
  textReadouts: ['identifier'],
} as const);

/** Answers that may wait to be applied; the server is then asked to wait, by flow control. */
const MAX_WAITING_ANSWERS = 16;
/** The longest wait for a token, ms: a bucket that fills slowly is looked at now and then. */
const MAX_REFILL_MS = 60_000;

/** `rate_limit_settings`: how many requests may go out. */
export interface RequestRate {
  readonly maxTokens: number;
  /** Tokens a second. */
  readonly fillRate: number;
}

export interface DiscoveryStreamSettings {
  readonly isDelta: boolean;
  /** `/package.Service/Method` */
  readonly method: string;
  readonly nodeOnFirstMessageOnly: boolean;
  /** Null: no limit. */
  readonly rate: RequestRate | null;
  readonly node: Node;
}

/** One type on the stream. */
class StreamType {
  readonly engine: TypeEngine;
  readonly protocol: TypeProtocol;
  /** Its first request on this stream has gone out. */
  asked = false;
  /** The nonce to acknowledge; null: no answer waits for it. */
  nonce: string | null = null;
  refusal = '';
  lastNonce = '';

  constructor(engine: TypeEngine, protocol: TypeProtocol) {
    this.engine = engine;
    this.protocol = protocol;
  }
}

/**
 * A stream to a control plane: of one type, or of all of them (ADS). Answers are applied one after the other; each is
 * acknowledged or refused when it has been applied. Source: Envoy, api-docs/xds_protocol.
 */
export class DiscoveryStream implements ResourceSource, SupervisedStreamHandler {
  readonly #settings: DiscoveryStreamSettings;
  readonly #decoder: ResourceDecoder;
  readonly #logger: Logger;
  readonly #stats;
  readonly #stream: GrpcStreamSupervisor;
  readonly #types = new Map<string, StreamType>();
  #started = false;
  #nodeSent = false;
  /** Null: not encoded yet. */
  #node: Uint8Array | null = null;
  #flushing = false;
  #tokens: number;
  #filledMs: number;
  #refill: ReturnType<typeof setTimeout> | null = null;
  /** Answers that wait to be applied, of this stream and of earlier ones. */
  #waiting = 0;
  #paused = false;
  /** Applies answers in order. */
  #queue: Promise<void> = Promise.resolve();
  /** Grows with every stream: what an older one brought is not acknowledged on a newer one. */
  #generation = 0;

  /** @param scope where `control_plane.*` goes */
  constructor(
    openStream: (handler: SupervisedStreamHandler) => GrpcStreamSupervisor,
    settings: DiscoveryStreamSettings,
    decoder: ResourceDecoder,
    logger: Logger,
    scope: Scope,
  ) {
    this.#settings = settings;
    this.#decoder = decoder;
    this.#logger = logger;
    this.#stats = CONTROL_PLANE_STATS.create(scope, 'control_plane');
    this.#stats.connected_state.set(0);
    this.#stats.pending_requests.set(0);
    this.#stream = openStream(this);
    this.#tokens = settings.rate?.maxTokens ?? 0;
    this.#filledMs = performance.now();
  }

  watch(interest: Interest, watcher: ResourceWatcher, stats: SubscriptionStats): Subscription {
    const watch = new Watch(interest, watcher, stats);
    return {
      start: () => {
        const { engine } = this.#typeOf(interest.type);
        engine.add(watch);
        this.#inOrder(() => engine.replay(watch));
        watch.start(interest.fetchTimeoutMs ?? 0);
        if (this.#started) this.#flushSoon();
        else this.#start();
      },
      want: (names) => {
        const { engine } = this.#typeOf(interest.type);
        engine.want(watch, names);
        this.#inOrder(() => engine.replay(watch, names));
        this.#flushSoon();
      },
      unwant: (names) => {
        this.#typeOf(interest.type).engine.unwant(watch, names);
        this.#flushSoon();
      },
      stop: () => {
        watch.answered();
        this.#typeOf(interest.type).engine.forget(watch);
        this.#flushSoon();
      },
    };
  }

  #typeOf(type: ResourceType): StreamType {
    let found = this.#types.get(type.typeUrl);
    if (found === undefined) {
      const engine = new TypeEngine(type, this.#decoder);
      const onExpired = (name: string): void => this.#expired(type, name);
      const { api } = this.#decoder;
      const protocol = this.#settings.isDelta
        ? new DeltaProtocol(api, engine, onExpired)
        : new SotwProtocol(api, engine, onExpired);
      found = new StreamType(engine, protocol);
      this.#types.set(type.typeUrl, found);
    }
    return found;
  }

  #start(): void {
    this.#started = true;
    this.#stream.start();
  }

  stop(): void {
    this.#generation++;
    this.#started = false;
    this.#stream.stop();
    if (this.#refill !== null) clearTimeout(this.#refill);
    for (const { engine } of this.#types.values()) engine.stop();
  }

  // --- requests ---

  /** Several changes of interest in one turn are one request. */
  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (!this.#stream.isOpen) return;
    let waiting = 0;
    for (const type of this.#types.values()) {
      if (type.nonce === null && !type.protocol.isBehind) continue;
      if (!this.#takeToken()) {
        waiting++;
        continue;
      }
      this.#send(type);
    }
    this.#stats.pending_requests.set(waiting);
  }

  #send(type: StreamType): void {
    const skipsNode = this.#settings.nodeOnFirstMessageOnly && this.#nodeSent;
    const bytes = type.protocol.request({
      node: skipsNode ? null : this.#encodedNode(),
      nonce: type.nonce ?? (this.#settings.isDelta ? '' : type.lastNonce),
      refusal: type.refusal,
    });
    this.#nodeSent = true;
    type.asked = true;
    type.nonce = null;
    type.refusal = '';
    this.#stream.send(bytes);
  }

  #encodedNode(): Uint8Array {
    if (this.#node === null) {
      const { node } = this.#settings;
      this.#node = toBinary(this.#decoder.api.message(node.$typeName)!, node);
    }
    return this.#node;
  }

  #takeToken(): boolean {
    const { rate } = this.#settings;
    if (rate === null) return true;
    const now = performance.now();
    this.#tokens = Math.min(rate.maxTokens, this.#tokens + ((now - this.#filledMs) / 1000) * rate.fillRate);
    this.#filledMs = now;
    if (this.#tokens >= 1) {
      this.#tokens--;
      return true;
    }
    this.#stats.rate_limit_enforced.inc();
    this.#refill ??= setTimeout(
      () => {
        this.#refill = null;
        this.#flush();
      },
      Math.min(Math.ceil(((1 - this.#tokens) / rate.fillRate) * 1000), MAX_REFILL_MS),
    );
    return false;
  }

  // --- SupervisedStreamHandler ---

  onStreamStarted(): void {
    this.#generation++;
    this.#nodeSent = false;
    this.#paused = false;
    this.#stats.connected_state.set(1);
    for (const type of this.#types.values()) {
      type.asked = false;
      type.nonce = null;
      type.refusal = '';
      type.lastNonce = '';
      type.protocol.reset();
    }
    this.#flushSoon();
  }

  onInitialMetadata(): void {}

  onReady(): void {}

  onStreamEnded(status: number, message: string, retryMs: number, wasUp: boolean): void {
    this.#generation++;
    this.#stats.connected_state.set(0);
    const what = `${this.#settings.method} gRPC config stream to the control plane closed: ${status}, ${message}`;
    this.#logger.log(wasUp && status === 0 ? 'info' : 'warning', `${what} (again in ${Math.round(retryMs)} ms)`);
    for (const { engine } of this.#types.values()) engine.onConnectionFailure(message);
  }

  onMessage(bytes: Uint8Array): void {
    let answer: Answer;
    try {
      answer = readAnswer(this.#decoder.api, this.#settings.isDelta, bytes);
    } catch (error) {
      this.#stream.abandon(GrpcStatus.Internal, `an answer cannot be read: ${(error as Error).message}`);
      return;
    }
    if (answer.controlPlane !== '') this.#stats.identifier.set(answer.controlPlane);
    const type = this.#types.get(answer.typeUrl);
    if (type === undefined) {
      this.#logger.warning(`Ignoring the message for type URL ${answer.typeUrl} as it has no current subscribers.`);
      return;
    }
    const generation = this.#generation;
    this.#waiting++;
    this.#holdBack();
    this.#inOrder(async () => {
      this.#waiting--;
      await this.#apply(type, answer, generation);
      this.#holdBack();
    });
  }

  /** A server that says more than can be applied has to wait. */
  #holdBack(): void {
    if (!this.#paused && this.#waiting >= MAX_WAITING_ANSWERS) {
      this.#paused = true;
      this.#stream.pauseReads();
    } else if (this.#paused && this.#waiting < MAX_WAITING_ANSWERS / 2) {
      this.#paused = false;
      this.#stream.resumeReads();
    }
  }

  #inOrder(step: () => Promise<void>): void {
    this.#queue = this.#queue
      .then(step)
      .catch((error: unknown) => this.#logger.error(`applying an answer failed: ${String(error)}`));
  }

  async #apply(type: StreamType, answer: Answer, generation: number): Promise<void> {
    if (!this.#started) return;
    if (generation === this.#generation) type.lastNonce = answer.nonce;
    const { engine, protocol } = type;
    const delta = protocol.translate(answer.message);
    let refusal = '';
    if (typeof delta === 'string') {
      refusal = delta;
      engine.reject(delta);
    } else {
      const refusals = await engine.apply(delta, !this.#settings.isDelta);
      if (refusals.length === 0) protocol.accepted(delta);
      else {
        protocol.refused(delta);
        refusal = refusalText(engine.type, refusals);
      }
    }
    if (refusal !== '')
      this.#logger.warning(`${this.#settings.method} gRPC config for ${answer.typeUrl} rejected: ${refusal}`);
    if (generation !== this.#generation) return;
    type.nonce = answer.nonce;
    type.refusal = refusal;
    this.#flush();
  }

  /** A resource whose time is over is removed as if the server had said so. */
  #expired(type: ResourceType, name: string): void {
    const { engine } = this.#typeOf(type);
    this.#inOrder(async () => {
      await engine.apply({ changed: [], removed: [name], version: '' }, false);
    });
  }
}
