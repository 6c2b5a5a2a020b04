import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import type { GrpcServerCall, GrpcServerCallHandler } from '../../grpc/grpc-server-call.ts';
import { GrpcStatus } from '../../http/grpc-headers.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import { type ClientLimits, RequestBudget } from './client-limits.ts';
import type { DiscoveryCounts } from './discovery-counts.ts';
import type { PersonalResources } from './personal-resources.ts';
import {
  ENDPOINT_URL,
  isNaming,
  lingers,
  ResourceView,
  SECRET_URL,
  TYPE_ORDER,
  VIRTUAL_HOST_URL,
} from './resource-view.ts';
import type { ResponseEncodings } from './response-encodings.ts';
import { EMPTY_SNAPSHOT, type Snapshot, type SnapshotResource } from './snapshot.ts';
import type { SnapshotCache, SnapshotWatcher } from './snapshot-cache.ts';
import { TypeSubscription } from './type-subscription.ts';
import { virtualHostsOf } from './virtual-hosts.ts';

/** Types that one stream may carry. */
const MAX_TYPES = 64;
/** What was refused is sent once more after this, then after twice as long, and so on, ms. */
const RETRY_MS = 10_000;
const MAX_RETRY_MS = 600_000;
/** Requests that came too fast are kept for as many seconds of what is permitted; more end the stream. */
const THROTTLED_SECONDS = 60;
/** Characters of a refusal that are kept: whoever refuses may say anything. */
const MAX_REASON = 4000;

/** What the streams of a server share. */
export interface DiscoveryContext {
  readonly api: ApiRegistry;
  readonly cache: SnapshotCache;
  readonly encodings: ResponseEncodings;
  readonly dispatcher: Dispatcher;
  readonly limits: ClientLimits;
  readonly counts: DiscoveryCounts;
  /** Which group a node is of; null: it is not served. */
  readonly groupOf: (node: Node) => string | null;
  /**
   * What a client alone gets; absent: nobody gets anything.
   * @param onChange to be told when it is another
   */
  readonly personal?: (call: GrpcServerCall, node: Node, onChange: (typeUrl: string) => void) => PersonalResources;
  readonly onRefusal: (stream: DiscoveryStream, subscription: TypeSubscription) => void;
  readonly onClosed: (stream: DiscoveryStream) => void;
}

/**
 * One stream of discovery: aggregated or of one type. Only what differs between state of the world and delta is in the
 * subclasses. Source: Envoy, "xDS REST and gRPC protocol".
 */
export abstract class DiscoveryStream implements GrpcServerCallHandler, SnapshotWatcher, TimerTarget {
  readonly context: DiscoveryContext;
  readonly call: GrpcServerCall;
  /** The one type of the stream; empty: aggregated. */
  readonly onlyType: string;
  /** Wall clock, ms. */
  readonly openedAtMs: number;
  node: Node | null = null;
  group = '';
  requests = 0;
  readonly subscriptions = new Map<string, TypeSubscription>();
  protected readonly view = new ResourceView(EMPTY_SNAPSHOT);
  /** Endpoints whose clusters were sent changed on this stream: the proxy waits for them again. Null: all of them. */
  #rewarmed: Set<string> | null = new Set();
  #unwatch: (() => void) | null = null;
  /** The group has, or had, resources. Until then it is not known what the client is to have: nothing is not the answer. */
  #isServed = false;
  #nonces = 0;
  #flushWanted = false;
  #closed = false;
  readonly #budget: RequestBudget;
  /** Requests that came too fast. */
  readonly #throttled: Uint8Array[] = [];
  #throttle: Timer | null = null;
  #retry: Timer | null = null;

  constructor(context: DiscoveryContext, call: GrpcServerCall, onlyType: string) {
    const { dispatcher, limits } = context;
    this.context = context;
    this.call = call;
    this.onlyType = onlyType;
    this.openedAtMs = dispatcher.wallMs;
    this.#budget = new RequestBudget(limits.requestsPerSecond, dispatcher.nowMs);
  }

  abstract readonly isDelta: boolean;

  /** Sends what `subscription` is owed; nothing when that is nothing. */
  protected abstract respond(subscription: TypeSubscription): void;

  protected abstract onRequest(message: Uint8Array): void;

  // --- requests ---

  onMessage(message: Uint8Array): void {
    if (this.#closed) return;
    if (this.#throttled.length === 0 && this.#budget.take(this.context.dispatcher.nowMs)) {
      this.#take(message);
      return;
    }
    // Whoever asks too much is read no further; what had come by then waits.
    this.context.counts.throttledRequests.inc();
    if (this.#throttled.length === 0) {
      this.call.pauseReads();
      this.#throttle ??= this.context.dispatcher.createTimer(this);
      this.#throttle.enable(this.#budget.waitMs);
    }
    if (this.#throttled.length >= THROTTLED_SECONDS * this.context.limits.requestsPerSecond) {
      this.exceed('requests', 'too many requests at once');
      return;
    }
    if (this.#hold(message.length)) this.#throttled.push(message);
  }

  #take(message: Uint8Array): void {
    this.requests++;
    const isFirst = this.node === null;
    this.onRequest(message);
    // Its node is kept.
    if (isFirst && !this.#closed) this.#hold(message.length);
  }

  onTimer(timer: Timer): void {
    if (timer === this.#retry) {
      this.#sendAgain();
      return;
    }
    while (this.#throttled.length > 0 && this.#budget.take(this.context.dispatcher.nowMs)) {
      const message = this.#throttled.shift()!;
      this.call.release(message.length);
      this.#take(message);
      if (this.#closed) return;
    }
    if (this.#throttled.length > 0) this.#throttle!.enable(this.#budget.waitMs);
    else this.call.resumeReads();
  }

  /** @returns whether the stream goes on */
  protected identify(node: Node | undefined): boolean {
    if (this.node !== null) return true;
    if (node === undefined) {
      this.end(GrpcStatus.InvalidArgument, 'the first request must name its node');
      return false;
    }
    const group = this.context.groupOf(node);
    if (group === null) {
      this.end(GrpcStatus.PermissionDenied, `no configuration is meant for node ${node.id}`);
      return false;
    }
    this.node = node;
    this.group = group;
    this.#isServed = this.context.cache.has(group);
    this.view.replace(this.context.cache.get(group), false);
    this.#unwatch = this.context.cache.watch(group, this);
    this.view.personal = this.context.personal?.(this.call, node, (typeUrl) => this.#onPersonal(typeUrl)) ?? null;
    return true;
  }

  /** The groups have changed: the node may be of another one. A group that does not exist (any more) leaves it what it has. */
  regroup(): void {
    if (this.node === null || this.#closed) return;
    const { cache, groupOf } = this.context;
    const group = groupOf(this.node);
    if (group === null || group === this.group || !cache.has(group)) return;
    this.#unwatch?.();
    this.group = group;
    this.#unwatch = cache.watch(group, this);
    this.onSnapshot(cache.get(group));
  }

  /** @returns null when the stream has been ended */
  protected subscriptionOf(typeUrl: string, wildcard: boolean): TypeSubscription | null {
    const url = typeUrl === '' ? this.onlyType : typeUrl;
    if (url === '' || (this.onlyType !== '' && url !== this.onlyType)) {
      this.end(GrpcStatus.InvalidArgument, url === '' ? 'type_url is missing' : `${url} is not served by this stream`);
      return null;
    }
    let subscription = this.subscriptions.get(url);
    if (subscription === undefined) {
      if (this.subscriptions.size >= MAX_TYPES) {
        this.exceed('types', `more than ${MAX_TYPES} types on one stream`);
        return null;
      }
      subscription = new TypeSubscription(url, wildcard);
      this.subscriptions.set(url, subscription);
    }
    this.context.counts.of(url).requests.inc();
    return subscription;
  }

  /** Ends the stream. */
  protected exceed(limit: string, message: string): void {
    this.context.counts.limit(limit);
    this.end(GrpcStatus.ResourceExhausted, message);
  }

  /** Takes the answer to a response. @returns false: it answers another one than the last, and says nothing */
  protected settle(subscription: TypeSubscription, nonce: string, error: string | null): boolean {
    if (nonce === '') return false;
    const { pending, awaiting } = subscription;
    const { dispatcher, counts, limits } = this.context;
    const isHeld = pending.length >= limits.maxPendingResponses;
    // An answer answers what came before, too.
    const answered = Number(nonce);
    while (pending.length > 0 && pending[0]! <= answered) pending.shift();
    if (isHeld && pending.length < limits.maxPendingResponses) this.flushLater();
    if (nonce !== subscription.nonce) return false;
    // It was answered before: other names are asked for by the same nonce, whether it was taken or refused.
    if (!awaiting) return true;
    if (error === null) {
      if (subscription.ackedVersion !== subscription.sentVersion) counts.of(subscription.typeUrl).acks.inc();
      subscription.ackedVersion = subscription.sentVersion;
      subscription.refusal = null;
      subscription.lastSent = [];
      subscription.ackedAtMs = dispatcher.wallMs;
      if (subscription.changedAtMs >= 0 && !subscription.due) {
        subscription.pushMs = dispatcher.nowMs - subscription.changedAtMs;
        subscription.changedAtMs = -1;
        counts.pushed(subscription.pushMs);
      }
    } else {
      this.#refuse(subscription, error);
    }
    if (isNaming(subscription.typeUrl)) this.#releaseLingering();
    else if (!this.#isMaking) this.flushLater();
    return true;
  }

  /**
   * The client wants nothing of the type any more. Some (grpc-java) answer nothing that comes for it from then on: whatever waits for
   * such an answer would wait for ever.
   */
  protected forgetAll(subscription: TypeSubscription): void {
    subscription.pending.length = 0;
    subscription.sent.clear();
    subscription.sentType = null;
    subscription.due = false;
    subscription.changedAtMs = -1;
    this.flushLater();
  }

  /** Clusters or endpoints are on their way: what names them has to wait, or it would name what is not warm yet. */
  get #isMaking(): boolean {
    for (const subscription of this.subscriptions.values()) {
      if (lingers(subscription.typeUrl) && subscription.awaiting) return true;
    }
    return false;
  }

  /** @returns whether the stream has been ended for it */
  protected keepsTooMuch(subscription: TypeSubscription): boolean {
    const { maxNames } = this.context.limits;
    if (subscription.names.size > maxNames) {
      this.exceed('names', `more than ${maxNames} names of one type`);
      return true;
    }
    const more = subscription.keptBytes - subscription.countedBytes;
    subscription.countedBytes = subscription.keptBytes;
    if (more < 0) this.call.release(-more);
    return more > 0 && !this.#hold(more);
  }

  /** @returns false: the stream has been ended for it */
  #hold(bytes: number): boolean {
    if (!this.call.hold(bytes)) this.exceed('connection_bytes', 'the connection holds too much memory');
    return !this.#closed;
  }

  // --- refusals ---

  /** What was refused would be refused again, unless it was for the moment (an address in use): it is tried again, ever later. */
  #refuse(subscription: TypeSubscription, reason: string): void {
    const { dispatcher, counts, onRefusal } = this.context;
    const count = (subscription.refusal?.count ?? 0) + 1;
    const wait = Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (count - 1)) * (0.8 + 0.4 * dispatcher.random.float());
    const atMs = dispatcher.wallMs;
    const version = subscription.sentVersion;
    subscription.refusal = { version, reason, atMs, count, retryAtMs: atMs + wait };
    subscription.changedAtMs = -1;
    counts.of(subscription.typeUrl).refusals.inc();
    onRefusal(this, subscription);
    this.#armRetry();
  }

  #armRetry(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const { refusal, awaiting } of this.subscriptions.values()) {
      if (refusal !== null && !awaiting) next = Math.min(next, refusal.retryAtMs);
    }
    if (next === Number.POSITIVE_INFINITY) return;
    this.#retry ??= this.context.dispatcher.createTimer(this);
    this.#retry.enable(Math.max(1, next - this.context.dispatcher.wallMs));
  }

  #sendAgain(): void {
    const { dispatcher, counts } = this.context;
    for (const subscription of this.subscriptions.values()) {
      const { refusal, awaiting, typeUrl, lastSent, sent } = subscription;
      if (refusal === null || awaiting || refusal.retryAtMs > dispatcher.wallMs) continue;
      for (const { name } of lastSent) sent.delete(name);
      subscription.retrying = true;
      subscription.due = true;
      counts.of(typeUrl).retries.inc();
    }
    this.#armRetry();
    this.flushLater();
  }

  // --- responses ---

  /** To be called for each response just before it is sent. @returns its nonce */
  protected begin(
    subscription: TypeSubscription,
    version: string,
    changed: readonly { readonly name: string }[],
  ): string {
    const { dispatcher, counts } = this.context;
    subscription.nonce = String(++this.#nonces);
    subscription.pending.push(this.#nonces);
    subscription.sentVersion = version;
    subscription.heldVersion = '';
    subscription.lastSent = changed;
    subscription.retrying = false;
    subscription.sentAtMs = dispatcher.wallMs;
    subscription.responses++;
    counts.of(subscription.typeUrl).responses.inc();
    return subscription.nonce;
  }

  /**
   * A proxy that gets another version of a cluster waits for its endpoints again, though it has them, and asks nobody: they are sent
   * once more. Source: Envoy, xDS protocol, "Resource warming".
   * @param clusters null: it is not known which of them are others to it
   */
  protected rewarm(clusters: readonly SnapshotResource[] | null): void {
    const endpoints = this.subscriptions.get(ENDPOINT_URL);
    if (clusters === null) {
      this.#rewarmed = null;
      endpoints?.sent.clear();
    } else {
      for (const { endpoints: name } of clusters) {
        if (name === '') continue;
        this.#rewarmed?.add(name);
        endpoints?.sent.delete(name);
      }
    }
    if (endpoints === undefined) return;
    endpoints.heldVersion = '';
    endpoints.due = true;
  }

  /** Something was sent on this stream. */
  protected get hasResponded(): boolean {
    for (const { responses } of this.subscriptions.values()) if (responses > 0) return true;
    return false;
  }

  /** Whether a client that comes back with a resource has to be sent it all the same. */
  protected mustSend(typeUrl: string, name: string): boolean {
    return typeUrl === ENDPOINT_URL && (this.#rewarmed === null || this.#rewarmed.has(name));
  }

  /** What was removed may go once nothing that could name it waits for an answer. */
  #releaseLingering(): void {
    if (!this.view.isLingering) return;
    for (const subscription of this.subscriptions.values()) {
      if (!isNaming(subscription.typeUrl)) continue;
      // Whoever refuses keeps what it had, and that may name what was removed.
      if (subscription.awaiting || subscription.due || subscription.refusal !== null) return;
    }
    for (const typeUrl of this.view.letGo()) {
      const subscription = this.subscriptions.get(typeUrl);
      if (subscription !== undefined) subscription.due = true;
    }
    this.flushLater();
  }

  // --- changes ---

  onSnapshot(snapshot: Snapshot): void {
    this.#isServed = true;
    const named = [...this.subscriptions.keys()].some(isNaming) && [...this.subscriptions.keys()].some(lingers);
    this.view.replace(snapshot, named);
    const { nowMs } = this.context.dispatcher;
    for (const subscription of this.subscriptions.values()) {
      subscription.due = true;
      // The earliest counts that was not acknowledged yet.
      if (subscription.changedAtMs < 0) subscription.changedAtMs = nowMs;
    }
    this.flushLater();
  }

  #onPersonal(typeUrl: string): void {
    const subscription = this.subscriptions.get(typeUrl);
    if (subscription === undefined) return;
    subscription.due = true;
    this.flushLater();
  }

  protected flushLater(): void {
    if (this.#flushWanted || this.#closed) return;
    this.#flushWanted = true;
    this.context.dispatcher.defer(this);
  }

  onTurnEnd(): void {
    this.#flushWanted = false;
    this.#flush();
  }

  #flush(): void {
    if (this.#closed) return;
    const { limits, counts } = this.context;
    for (const typeUrl of this.#inOrder()) {
      // A client that does not read is sent nothing more: what comes later will be newer.
      if (this.call.isFull) return;
      const subscription = this.subscriptions.get(typeUrl)!;
      if (!this.#isServed && (typeUrl !== SECRET_URL || this.view.personal === null)) continue;
      if (!subscription.due || (isNaming(typeUrl) && this.#isMaking)) continue;
      if (subscription.pending.length >= limits.maxPendingResponses) {
        counts.heldResponses.inc();
        continue;
      }
      // Before a response is made that would not be kept.
      if (!this.#hold(0)) return;
      subscription.due = false;
      const { responses } = subscription;
      this.respond(subscription);
      // Nothing of it was for this client.
      if (subscription.responses === responses && !subscription.awaiting) subscription.changedAtMs = -1;
    }
    this.#releaseLingering();
  }

  /** What is wanted by name, and what is there of all by a wildcard. */
  *wantedOf({ typeUrl, wildcard, names }: TypeSubscription): IterableIterator<{
    readonly name: string;
    readonly resource: SnapshotResource | null;
  }> {
    if (wildcard) for (const resource of this.view.all(typeUrl)) yield { name: resource.name, resource };
    const held = typeUrl === VIRTUAL_HOST_URL ? virtualHostsOf(this.view.pure(typeUrl)!, names) : null;
    for (const name of held?.map((item) => item.name) ?? names) {
      const resource = this.view.get(typeUrl, name);
      if (!wildcard || resource === null || this.view.personal?.get(typeUrl, name)) yield { name, resource };
    }
  }

  #inOrder(): string[] {
    const known = TYPE_ORDER.filter((typeUrl) => this.subscriptions.has(typeUrl));
    const others = [...this.subscriptions.keys()].filter((typeUrl) => !TYPE_ORDER.includes(typeUrl));
    return [...known, ...others];
  }

  // --- the call ---

  onReady(): void {
    this.flushLater();
  }

  onHalfClose(): void {
    this.end(GrpcStatus.Ok, '');
  }

  onCancelled(): void {
    this.#close();
  }

  end(status: GrpcStatus, message: string): void {
    this.#close();
    this.call.finish(status, message);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#unwatch?.();
    this.#throttle?.destroy();
    this.#retry?.destroy();
    this.#throttled.length = 0;
    this.view.personal?.close();
    this.view.personal = null;
    this.context.onClosed(this);
  }
}

/** `error_detail`, as a text. */
export function reasonOf(detail: { readonly code: number; readonly message: string } | undefined): string | null {
  if (detail === undefined) return null;
  return detail.message === '' ? `code ${detail.code}` : detail.message.slice(0, MAX_REASON);
}
