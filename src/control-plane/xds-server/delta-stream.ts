import { fromBinary } from '@bufbuild/protobuf';
import type { DeltaDiscoveryRequest } from '../../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { soundEncoding } from '../../api/sound-encoding.ts';
import { GrpcStatus } from '../../http/grpc-headers.ts';
import { DiscoveryStream, reasonOf } from './discovery-stream.ts';
import { CLUSTER_URL, VIRTUAL_HOST_URL } from './resource-view.ts';
import type { DeltaItem } from './response-encodings.ts';
import type { SnapshotResource } from './snapshot.ts';
import { NAME_BYTES, type TypeSubscription } from './type-subscription.ts';
import { routeOf, virtualHostsOf } from './virtual-hosts.ts';

/** Changes alone. */
export class DeltaStream extends DiscoveryStream {
  readonly isDelta = true;
  /** Domains that were asked for since the last response. */
  readonly #askedAgain = new Set<string>();

  protected onRequest(message: Uint8Array): void {
    const { api } = this.context;
    let request: DeltaDiscoveryRequest;
    try {
      const desc = api.message('envoy.service.discovery.v3.DeltaDiscoveryRequest')!;
      request = fromBinary(desc, soundEncoding(desc, message)) as DeltaDiscoveryRequest;
    } catch (error) {
      this.end(GrpcStatus.InvalidArgument, `no DeltaDiscoveryRequest: ${(error as Error).message}`);
      return;
    }
    if (!this.identify(request.node)) return;
    const first = !this.subscriptions.has(request.typeUrl === '' ? this.onlyType : request.typeUrl);
    const subscription = this.subscriptionOf(request.typeUrl, request.resourceNamesSubscribe.length === 0);
    if (subscription === null) return;
    this.settle(subscription, request.responseNonce, reasonOf(request.errorDetail));
    if (first) this.#takeUp(subscription, request);
    if (this.isClosed) return;
    if (this.#changeNames(subscription, request, first) || first) subscription.due = true;
    if (subscription.wantsNothing) this.forgetAll(subscription);
    if (!this.keepsTooMuch(subscription) && subscription.due) this.flushLater();
  }

  /** What the client has from a server before this one. */
  #takeUp(subscription: TypeSubscription, { initialResourceVersions }: DeltaDiscoveryRequest): void {
    const held = Object.entries(initialResourceVersions);
    const { maxNames } = this.context.limits;
    if (held.length > maxNames) {
      this.exceed('names', `more than ${maxNames} names of one type`);
      return;
    }
    for (const [name, version] of held) {
      subscription.keptBytes += name.length + version.length + NAME_BYTES;
      // Of one that must be sent all the same it is known that it is there: when it is gone that has to be told.
      subscription.sent.set(name, this.mustSend(subscription.typeUrl, name) ? '' : version);
    }
    if (held.length > 0) subscription.heldVersion = 'initial_resource_versions';
  }

  #changeNames(subscription: TypeSubscription, request: DeltaDiscoveryRequest, first: boolean): boolean {
    const { sent, missing } = subscription;
    for (const name of request.resourceNamesUnsubscribe) {
      if (name === '*') subscription.wildcard = false;
      subscription.dropName(name);
      this.#askedAgain.delete(name);
      missing.delete(name);
      // Under a wildcard it is still wanted.
      if (!subscription.wildcard) sent.delete(name);
    }
    if (request.resourceNamesSubscribe.length > 0) subscription.named = true;
    for (const name of request.resourceNamesSubscribe) {
      if (name === '*') {
        subscription.wildcard = true;
        continue;
      }
      subscription.addName(name);
      // Who asks again has forgotten, and is to be told again.
      missing.delete(name);
      if (!Object.hasOwn(request.initialResourceVersions, name)) sent.delete(name);
    }
    if (subscription.typeUrl === VIRTUAL_HOST_URL && !first)
      this.#askAgain(subscription, request.resourceNamesSubscribe);
    return request.resourceNamesSubscribe.length > 0;
  }

  /** What serves a domain may have been sent before: whoever asks waits for an answer that bears the name all the same. */
  #askAgain({ sent }: TypeSubscription, names: readonly string[]): void {
    for (const name of names) if (name !== '*') this.#askedAgain.add(name);
    // Of a route configuration that is asked for again, all.
    for (const held of [...sent.keys()]) if (this.#askedAgain.has(routeOf(held))) sent.delete(held);
  }

  protected respond(subscription: TypeSubscription): void {
    const { typeUrl, wildcard, names, sent, missing } = subscription;
    const changed: DeltaItem[] = [];
    const present = new Set<string>();
    const consider = (resource: DeltaItem): void => {
      if (present.has(resource.name)) return;
      present.add(resource.name);
      if (sent.get(resource.name) !== resource.version) changed.push(resource);
    };
    const isVirtual = typeUrl === VIRTUAL_HOST_URL;
    if (isVirtual) {
      for (const item of virtualHostsOf(this.view.pure(typeUrl)!, names)) {
        if (item.aliases?.some((alias) => this.#askedAgain.has(alias)) === true) sent.delete(item.name);
        consider(item);
        for (const alias of item.aliases ?? []) present.add(alias);
      }
      this.#askedAgain.clear();
    }
    // Behind those with aliases, which somebody waits for.
    if (wildcard) for (const resource of this.view.all(typeUrl)) consider(resource);
    // Under a wildcard as well: what a client alone gets is not among all.
    for (const name of isVirtual ? [] : names) {
      const resource = this.view.get(typeUrl, name);
      if (resource !== null) consider(resource);
    }
    const gone = new Set<string>();
    for (const name of sent.keys()) if (!present.has(name)) gone.add(name);
    // The name of a route configuration is none of a virtual host.
    for (const name of isVirtual ? [] : names) if (!present.has(name) && !missing.has(name)) gone.add(name);
    const removed = [...gone];
    const version = this.view.versionOf(typeUrl);
    if (changed.length === 0 && removed.length === 0) {
      // The first answer comes even when there is nothing: the client waits for it, unless it has all that there is.
      if (subscription.sentVersion !== '') return;
      if (subscription.heldVersion !== '') {
        subscription.heldVersion = '';
        subscription.sentVersion = version;
        subscription.ackedVersion = version;
        return;
      }
    }
    // Of clusters that a client came back with it is known which it has otherwise.
    const rewarmed: SnapshotResource[] = [];
    for (const { name } of typeUrl === CLUSTER_URL ? changed : []) {
      const resource = sent.has(name) || subscription.retrying ? this.view.get(typeUrl, name) : null;
      if (resource !== null) rewarmed.push(resource);
    }
    for (const resource of changed) {
      sent.set(resource.name, resource.version);
      missing.delete(resource.name);
    }
    for (const name of removed) {
      sent.delete(name);
      if (names.has(name)) missing.add(name);
    }
    const nonce = this.begin(subscription, version, changed);
    this.call.send(this.context.encodings.delta(typeUrl, version, changed, removed, nonce));
    if (rewarmed.length > 0) this.rewarm(rewarmed);
  }
}
