import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type {
  DeltaDiscoveryRequest,
  DiscoveryRequest,
} from '../../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { decodeMessage } from '../../api/message-codec.ts';
import type { GrpcServerCall, GrpcServerCallHandler } from '../../grpc/grpc-server.ts';
import { GrpcStatus } from '../../http/grpc-headers.ts';
import type { PersonalResources } from './personal-resources.ts';
import { isNaming, lingers, ResourceView, TYPE_ORDER } from './resource-view.ts';
import type { ResponseEncodings } from './response-encodings.ts';
import { EMPTY_SNAPSHOT, type Snapshot } from './snapshot.ts';
import type { SnapshotCache, SnapshotWatcher } from './snapshot-cache.ts';
import { TypeSubscription } from './type-subscription.ts';

/** Names that one client may ask for by type. */
const MAX_NAMES = 200_000;
/** Types that one stream may carry. */
const MAX_TYPES = 64;
/** Resources of these types come all at once in state of the world: what is left out is removed. */
const FULL_STATE: ReadonlySet<string> = new Set([
  'type.googleapis.com/envoy.config.listener.v3.Listener',
  'type.googleapis.com/envoy.config.cluster.v3.Cluster',
]);

/** What the streams of a server share. */
export interface DiscoveryContext {
  readonly api: ApiRegistry;
  readonly cache: SnapshotCache;
  readonly encodings: ResponseEncodings;
  /** Which group a node is of; null: it is not served. */
  readonly groupOf: (node: Node) => string | null;
  /**
   * What a client alone gets; absent: nobody gets anything.
   * @param onChange to be told when it is another
   */
  readonly personal?: (call: GrpcServerCall, node: Node, onChange: (typeUrl: string) => void) => PersonalResources;
  /** Puts off `task` to the end of the turn. */
  readonly defer: (task: () => void) => void;
  readonly nowMs: () => number;
  readonly onRefusal: (stream: DiscoveryStream, subscription: TypeSubscription) => void;
  readonly onClosed: (stream: DiscoveryStream) => void;
}

/**
 * One stream of discovery: aggregated or of one type. Only what differs between state of the world and delta is in the
 * subclasses. Source: Envoy, "xDS REST and gRPC protocol".
 */
export abstract class DiscoveryStream implements GrpcServerCallHandler, SnapshotWatcher {
  readonly context: DiscoveryContext;
  readonly call: GrpcServerCall;
  /** The one type of the stream; empty: aggregated. */
  readonly onlyType: string;
  node: Node | null = null;
  group = '';
  readonly subscriptions = new Map<string, TypeSubscription>();
  protected readonly view = new ResourceView(EMPTY_SNAPSHOT);
  #unwatch: (() => void) | null = null;
  #nonces = 0;
  #flushWanted = false;
  #closed = false;

  constructor(context: DiscoveryContext, call: GrpcServerCall, onlyType: string) {
    this.context = context;
    this.call = call;
    this.onlyType = onlyType;
  }

  /** Sends what `subscription` is owed; nothing when that is nothing. */
  protected abstract respond(subscription: TypeSubscription): void;

  // --- requests ---

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
        this.end(GrpcStatus.ResourceExhausted, `more than ${MAX_TYPES} types on one stream`);
        return null;
      }
      subscription = new TypeSubscription(url, wildcard);
      this.subscriptions.set(url, subscription);
    }
    return subscription;
  }

  /** Takes the answer to a response. @returns false: it answers another one than the last, and says nothing */
  protected settle(subscription: TypeSubscription, nonce: string, error: string | null): boolean {
    if (nonce === '' || nonce !== subscription.nonce) return false;
    subscription.awaiting = false;
    if (error === null) {
      subscription.ackedVersion = subscription.sentVersion;
      subscription.refusal = null;
    } else {
      subscription.refusal = { version: subscription.sentVersion, reason: error, atMs: this.context.nowMs() };
      this.context.onRefusal(this, subscription);
    }
    if (isNaming(subscription.typeUrl)) this.#releaseLingering();
    else if (!this.#isMaking) this.flushLater();
    return true;
  }

  /** Clusters or endpoints are on their way: what names them has to wait, or it would name what is not warm yet. */
  get #isMaking(): boolean {
    for (const subscription of this.subscriptions.values()) {
      if (lingers(subscription.typeUrl) && subscription.awaiting) return true;
    }
    return false;
  }

  protected tooManyNames(subscription: TypeSubscription): boolean {
    if (subscription.names.size <= MAX_NAMES) return false;
    this.end(GrpcStatus.ResourceExhausted, `more than ${MAX_NAMES} names of one type`);
    return true;
  }

  protected nextNonce(subscription: TypeSubscription): string {
    subscription.nonce = String(++this.#nonces);
    subscription.awaiting = true;
    return subscription.nonce;
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
    const named = [...this.subscriptions.keys()].some(isNaming) && [...this.subscriptions.keys()].some(lingers);
    this.view.replace(snapshot, named);
    for (const subscription of this.subscriptions.values()) subscription.due = true;
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
    this.context.defer(() => {
      this.#flushWanted = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#closed) return;
    for (const typeUrl of this.#inOrder()) {
      // A client that does not read is sent nothing more: what comes later will be newer.
      if (this.call.isFull) return;
      const subscription = this.subscriptions.get(typeUrl)!;
      if (!subscription.due || (isNaming(typeUrl) && this.#isMaking)) continue;
      subscription.due = false;
      this.respond(subscription);
    }
    this.#releaseLingering();
  }

  #inOrder(): string[] {
    const known = TYPE_ORDER.filter((typeUrl) => this.subscriptions.has(typeUrl));
    const others = [...this.subscriptions.keys()].filter((typeUrl) => !TYPE_ORDER.includes(typeUrl));
    return [...known, ...others];
  }

  // --- the call ---

  abstract onMessage(message: Uint8Array): void;

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
    this.view.personal?.close();
    this.view.personal = null;
    this.context.onClosed(this);
  }
}

/** `error_detail`, as a text. */
function reasonOf(detail: { readonly code: number; readonly message: string } | undefined): string | null {
  return detail === undefined ? null : detail.message === '' ? `code ${detail.code}` : detail.message;
}

export class SotwStream extends DiscoveryStream {
  onMessage(message: Uint8Array): void {
    if (this.isClosed) return;
    const { api } = this.context;
    let request: DiscoveryRequest;
    try {
      request = decodeMessage(api.message('envoy.service.discovery.v3.DiscoveryRequest')!, message) as DiscoveryRequest;
    } catch (error) {
      this.end(GrpcStatus.InvalidArgument, `no DiscoveryRequest: ${(error as Error).message}`);
      return;
    }
    if (!this.identify(request.node)) return;
    const first = !this.subscriptions.has(request.typeUrl === '' ? this.onlyType : request.typeUrl);
    const { resourceNames } = request;
    const subscription = this.subscriptionOf(
      request.typeUrl,
      resourceNames.length === 0 || resourceNames.includes('*'),
    );
    if (subscription === null) return;
    const answersLast = this.settle(subscription, request.responseNonce, reasonOf(request.errorDetail));
    // An answer to an earlier response was overtaken: what it asks for is asked again with the next one.
    // One without a nonce answers nothing: it says what is wanted, as of a client that adds names before it was sent anything.
    if (!first && !answersLast && request.responseNonce !== '') return;
    if (first && request.versionInfo !== '') subscription.ackedVersion = request.versionInfo;
    if (this.#setNames(subscription, resourceNames)) {
      subscription.namesChanged = true;
      subscription.due = true;
    }
    if (!this.tooManyNames(subscription) && subscription.due) this.flushLater();
  }

  /** @returns whether anything is wanted that was not wanted before */
  #setNames(subscription: TypeSubscription, names: readonly string[]): boolean {
    const wanted = new Set(names.filter((name) => name !== '*'));
    // Whoever once named something and names nothing now wants nothing (no wildcard by that).
    if (names.includes('*')) subscription.wildcard = true;
    else if (names.length > 0) subscription.wildcard = false;
    let more = false;
    for (const name of [...subscription.names]) {
      if (wanted.has(name)) continue;
      subscription.names.delete(name);
      subscription.sent.delete(name);
    }
    for (const name of wanted) {
      if (subscription.names.has(name)) continue;
      subscription.names.add(name);
      more = true;
    }
    return more;
  }

  protected respond(subscription: TypeSubscription): void {
    const { typeUrl, wildcard, names, sent } = subscription;
    const { encodings } = this.context;
    const version = this.view.versionOf(typeUrl);
    const full = FULL_STATE.has(typeUrl);
    // What was refused once would be refused again: only another version is worth a try.
    if (full && version === subscription.sentVersion && !subscription.namesChanged) return;
    subscription.namesChanged = false;
    const pure = wildcard && full ? this.view.pure(typeUrl) : null;
    if (pure !== null) {
      subscription.sentVersion = version;
      this.call.send(encodings.sotwType(pure, this.nextNonce(subscription)));
      return;
    }
    const wanted = wildcard ? [...this.view.all(typeUrl)] : [];
    for (const name of wildcard ? [] : names) {
      const resource = this.view.get(typeUrl, name);
      if (resource !== null) wanted.push(resource);
    }
    const present = new Set(wanted.map((resource) => resource.name));
    for (const name of [...sent.keys()]) if (!present.has(name)) sent.delete(name);
    const changed = full ? wanted : wanted.filter((resource) => sent.get(resource.name) !== resource.version);
    if (!full && changed.length === 0) return;
    if (!full) for (const resource of changed) sent.set(resource.name, resource.version);
    subscription.sentVersion = version;
    this.call.send(encodings.sotw(typeUrl, version, changed, this.nextNonce(subscription)));
  }
}

export class DeltaStream extends DiscoveryStream {
  onMessage(message: Uint8Array): void {
    if (this.isClosed) return;
    const { api } = this.context;
    let request: DeltaDiscoveryRequest;
    try {
      const desc = api.message('envoy.service.discovery.v3.DeltaDiscoveryRequest')!;
      request = decodeMessage(desc, message) as DeltaDiscoveryRequest;
    } catch (error) {
      this.end(GrpcStatus.InvalidArgument, `no DeltaDiscoveryRequest: ${(error as Error).message}`);
      return;
    }
    if (!this.identify(request.node)) return;
    const first = !this.subscriptions.has(request.typeUrl === '' ? this.onlyType : request.typeUrl);
    const subscription = this.subscriptionOf(request.typeUrl, request.resourceNamesSubscribe.length === 0);
    if (subscription === null) return;
    this.settle(subscription, request.responseNonce, reasonOf(request.errorDetail));
    if (first) {
      for (const [name, version] of Object.entries(request.initialResourceVersions))
        subscription.sent.set(name, version);
    }
    if (this.#changeNames(subscription, request) || first) subscription.due = true;
    if (!this.tooManyNames(subscription) && subscription.due) this.flushLater();
  }

  #changeNames(subscription: TypeSubscription, request: DeltaDiscoveryRequest): boolean {
    const { names, sent, missing } = subscription;
    for (const name of request.resourceNamesUnsubscribe) {
      if (name === '*') subscription.wildcard = false;
      names.delete(name);
      missing.delete(name);
      // Under a wildcard it is still wanted.
      if (!subscription.wildcard) sent.delete(name);
    }
    for (const name of request.resourceNamesSubscribe) {
      if (name === '*') {
        subscription.wildcard = true;
        continue;
      }
      names.add(name);
      // Who asks again has forgotten, and is to be told again.
      missing.delete(name);
      if (request.initialResourceVersions[name] === undefined) sent.delete(name);
    }
    return request.resourceNamesSubscribe.length > 0;
  }

  protected respond(subscription: TypeSubscription): void {
    const { typeUrl, wildcard, names, sent, missing } = subscription;
    const changed = [];
    const present = new Set<string>();
    const wanted = wildcard ? this.view.all(typeUrl) : this.#named(subscription);
    for (const resource of wanted) {
      present.add(resource.name);
      if (sent.get(resource.name) !== resource.version) changed.push(resource);
    }
    const gone = new Set<string>();
    for (const name of sent.keys()) if (!present.has(name)) gone.add(name);
    for (const name of names) if (!present.has(name) && !missing.has(name)) gone.add(name);
    const removed = [...gone];
    // The first answer comes even when there is nothing: the client waits for it.
    if (changed.length === 0 && removed.length === 0 && subscription.sentVersion !== '') return;
    for (const resource of changed) {
      sent.set(resource.name, resource.version);
      missing.delete(resource.name);
    }
    for (const name of removed) {
      sent.delete(name);
      if (names.has(name)) missing.add(name);
    }
    subscription.sentVersion = this.view.versionOf(typeUrl);
    const { encodings } = this.context;
    this.call.send(encodings.delta(typeUrl, subscription.sentVersion, changed, removed, this.nextNonce(subscription)));
  }

  *#named({ typeUrl, names }: TypeSubscription) {
    for (const name of names) {
      const resource = this.view.get(typeUrl, name);
      if (resource !== null) yield resource;
    }
  }
}
