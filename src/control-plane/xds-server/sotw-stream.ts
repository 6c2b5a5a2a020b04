import { fromBinary } from '@bufbuild/protobuf';
import type { DiscoveryRequest } from '../../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { soundEncoding } from '../../api/sound-encoding.ts';
import { GrpcStatus } from '../../http/grpc-headers.ts';
import { DiscoveryStream, reasonOf } from './discovery-stream.ts';
import { CLUSTER_URL, LISTENER_URL, SCOPED_ROUTE_URL } from './resource-view.ts';
import { SetVersion, type SnapshotResource } from './snapshot.ts';
import type { TypeSubscription } from './type-subscription.ts';

/**
 * Resources of these types come all at once in state of the world: what is left out is removed. Source: Envoy, xDS protocol, for
 * listeners and clusters; its code (ScopedRdsConfigSubscription::onConfigUpdate) for scopes of routes.
 */
const FULL_STATE: ReadonlySet<string> = new Set([LISTENER_URL, CLUSTER_URL, SCOPED_ROUTE_URL]);

/** State of the world. */
export class SotwStream extends DiscoveryStream {
  readonly isDelta = false;

  protected onRequest(message: Uint8Array): void {
    const { api } = this.context;
    let request: DiscoveryRequest;
    try {
      const desc = api.message('envoy.service.discovery.v3.DiscoveryRequest')!;
      request = fromBinary(desc, soundEncoding(desc, message)) as DiscoveryRequest;
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
    if (!first && !answersLast && request.responseNonce !== '') {
      // Who gives the type up may never answer what is on its way.
      if (resourceNames.length > 0 || !subscription.named) return;
    }
    // What it has from a server before this one; a nonce of that one says nothing here. What it asks for once it was sent something
    // may be new to it (the routes of a listener), though the version is of a set that was the same. Source: Envoy, xDS protocol,
    // "ACK/NACK and resource type instance version".
    if (first && (FULL_STATE.has(subscription.typeUrl) || !this.hasResponded)) {
      subscription.heldVersion = request.versionInfo;
    }
    if (this.#setNames(subscription, resourceNames)) {
      subscription.namesChanged = true;
      subscription.due = true;
    }
    if (subscription.wantsNothing) this.forgetAll(subscription);
    if (!this.keepsTooMuch(subscription) && subscription.due) this.flushLater();
  }

  /** @returns whether anything is wanted that was not wanted before */
  #setNames(subscription: TypeSubscription, names: readonly string[]): boolean {
    const wanted = new Set(names.filter((name) => name !== '*'));
    const hasStar = names.includes('*');
    let more = hasStar && !subscription.wildcard;
    if (names.length > 0) subscription.named = true;
    // Whoever once named something (be it the star) and names nothing now wants nothing (no wildcard by that).
    if (subscription.named) subscription.wildcard = hasStar;
    for (const name of [...subscription.names]) {
      if (wanted.has(name)) continue;
      subscription.dropName(name);
      subscription.sent.delete(name);
    }
    for (const name of wanted) {
      if (subscription.addName(name)) more = true;
    }
    return more;
  }

  protected respond(subscription: TypeSubscription): void {
    const { typeUrl, wildcard } = subscription;
    if (subscription.wantsNothing) return;
    const full = FULL_STATE.has(typeUrl);
    const pure = wildcard && full ? this.view.pure(typeUrl) : null;
    if (pure !== null && subscription.heldVersion !== pure.version) {
      // What was refused once would be refused again: only another version is worth a try, or a later one of the same.
      if (pure.version === subscription.sentVersion && !subscription.namesChanged && !subscription.retrying) return;
      const before = subscription.sentType;
      subscription.namesChanged = false;
      const changed = before === null || subscription.retrying ? null : pure.changesSince(before);
      const nonce = this.begin(subscription, pure.version, []);
      subscription.sentType = pure;
      this.call.send(this.context.encodings.sotwType(pure, nonce));
      if (typeUrl === CLUSTER_URL) this.rewarm(changed);
      return;
    }
    const wanted = this.#wanted(subscription);
    const version = new SetVersion();
    for (const resource of wanted) version.add(resource);
    if (subscription.heldVersion === version.text) this.#takeUp(subscription, wanted, version.text);
    else if (full) this.#respondFull(subscription, wanted, version.text);
    else this.#respondChanged(subscription, wanted, version.text);
  }

  #wanted({ typeUrl, wildcard, names }: TypeSubscription): SnapshotResource[] {
    if (wildcard) return [...this.view.all(typeUrl)];
    const wanted: SnapshotResource[] = [];
    for (const name of names) {
      const resource = this.view.get(typeUrl, name);
      if (resource !== null) wanted.push(resource);
    }
    return wanted;
  }

  /** The client has just this, from a server before: nothing is sent. */
  #takeUp(subscription: TypeSubscription, wanted: readonly SnapshotResource[], version: string): void {
    const { typeUrl, wildcard, sent } = subscription;
    subscription.heldVersion = '';
    subscription.namesChanged = false;
    const isFull = FULL_STATE.has(typeUrl);
    if (isFull && wildcard) subscription.sentType = this.view.pure(typeUrl);
    for (const resource of isFull && subscription.sentType !== null ? [] : wanted) {
      if (!this.mustSend(typeUrl, resource.name)) sent.set(resource.name, resource.version);
    }
    subscription.sentVersion = version;
    subscription.ackedVersion = version;
    if (sent.size < wanted.length && !isFull) this.#respondChanged(subscription, wanted, version);
  }

  #respondFull(subscription: TypeSubscription, wanted: readonly SnapshotResource[], version: string): void {
    const { typeUrl, sent, sentType } = subscription;
    if (version === subscription.sentVersion && !subscription.namesChanged && !subscription.retrying) return;
    const isUnknown = subscription.sentVersion === '' || subscription.retrying;
    subscription.namesChanged = false;
    const changed = wanted.filter(
      ({ name, version: own }) => (sent.get(name) ?? sentType?.resources.get(name)?.version) !== own,
    );
    subscription.sentType = null;
    sent.clear();
    for (const resource of wanted) sent.set(resource.name, resource.version);
    const nonce = this.begin(subscription, version, []);
    this.call.send(this.context.encodings.sotw(typeUrl, version, wanted, nonce));
    if (typeUrl === CLUSTER_URL) this.rewarm(isUnknown ? null : changed);
  }

  #respondChanged(subscription: TypeSubscription, wanted: readonly SnapshotResource[], version: string): void {
    const { typeUrl, sent } = subscription;
    subscription.namesChanged = false;
    const present = new Set(wanted.map((resource) => resource.name));
    for (const name of [...sent.keys()]) if (!present.has(name)) sent.delete(name);
    const changed = wanted.filter((resource) => sent.get(resource.name) !== resource.version);
    if (changed.length === 0) return;
    for (const resource of changed) sent.set(resource.name, resource.version);
    const nonce = this.begin(subscription, version, changed);
    this.call.send(this.context.encodings.sotw(typeUrl, version, changed, nonce));
  }
}
