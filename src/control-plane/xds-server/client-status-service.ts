import { create, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { ClientStatusRequest } from '../../api/gen/envoy/service/status/v3/csds_pb.d.ts';
import { soundEncoding } from '../../api/sound-encoding.ts';
import { buildNodeMatchers } from '../../config/builders/node-matcher.ts';
import type { GrpcServerCall, GrpcServerCallHandler, GrpcServices } from '../../grpc/grpc-server-call.ts';
import { GrpcStatus } from '../../http/grpc-headers.ts';
import type { DiscoveryStream } from './discovery-stream.ts';
import { SECRET_URL } from './resource-view.ts';
import type { SnapshotResource } from './snapshot.ts';
import type { TypeSubscription } from './type-subscription.ts';

const SERVICE = '/envoy.service.status.v3.ClientStatusDiscoveryService/';
const PACKAGE = 'envoy.service.status.v3.';
/** Questions of one call that may wait. */
const MAX_WAITING = 100;

/** envoy.service.status.v3.ConfigStatus */
const ConfigStatus = { Unknown: 0, Synced: 1, NotSent: 2, Stale: 3, Error: 4 } as const;
/** envoy.admin.v3.ClientResourceStatus */
const ResourceStatus = { Requested: 1, DoesNotExist: 2, Acked: 3, Nacked: 4 } as const;

const timestamp = (ms: number): object => ({
  seconds: BigInt(Math.floor(ms / 1000)),
  nanos: Math.floor((ms % 1000) * 1e6),
});

/**
 * The server's side of the client status discovery service: which client holds which resources, in which versions, and what it said to
 * them. Contents of secrets are never given out. Source: envoy.service.status.v3.
 */
export class ClientStatusService implements GrpcServices {
  readonly #api: ApiRegistry;
  readonly #streams: ReadonlySet<DiscoveryStream>;

  constructor(api: ApiRegistry, streams: ReadonlySet<DiscoveryStream>) {
    this.#api = api;
    this.#streams = streams;
  }

  open(method: string, call: GrpcServerCall): GrpcServerCallHandler | null {
    if (method !== `${SERVICE}FetchClientStatus` && method !== `${SERVICE}StreamClientStatus`) return null;
    return new StatusCall(this, call, method === `${SERVICE}StreamClientStatus`);
  }

  /** @returns what is wrong with the request; null: it was answered */
  answer(message: Uint8Array, call: GrpcServerCall): string | null {
    let request: ClientStatusRequest;
    try {
      const desc = this.#api.message(`${PACKAGE}ClientStatusRequest`)!;
      request = fromBinary(desc, soundEncoding(desc, message)) as ClientStatusRequest;
    } catch (error) {
      return `no ClientStatusRequest: ${(error as Error).message}`;
    }
    const fits = buildNodeMatchers(this.#api, request.nodeMatchers);
    if (!fits.ok) return fits.error;
    const config = this.#configs(fits.value, !request.excludeResourceContents);
    const desc = this.#api.message(`${PACKAGE}ClientStatusResponse`)!;
    call.send(toBinary(desc, create(desc, { config } as Record<string, unknown>) as Message));
    return null;
  }

  /** One for each node: it may have several streams. */
  #configs(fits: (node: Node) => boolean, withContents: boolean): object[] {
    const byNode = new Map<string, { node: Node; genericXdsConfigs: object[] }>();
    for (const stream of this.#streams) {
      const { node } = stream;
      if (node === null || !fits(node)) continue;
      const key = `${node.id} ${node.cluster}`;
      const config = byNode.get(key) ?? { node, genericXdsConfigs: [] };
      byNode.set(key, config);
      for (const subscription of stream.subscriptions.values()) {
        const shows = withContents && subscription.typeUrl !== SECRET_URL;
        for (const { name, resource } of stream.wantedOf(subscription)) {
          config.genericXdsConfigs.push(this.#resource(subscription, name, resource, shows));
        }
      }
    }
    return [...byNode.values()];
  }

  #resource(
    subscription: TypeSubscription,
    name: string,
    resource: SnapshotResource | null,
    withContents: boolean,
  ): object {
    const { typeUrl, refusal, sentAtMs } = subscription;
    const held = subscription.heldOf(name);
    const isRefused = refusal !== null && (subscription.lastSent.length === 0 || isAmong(subscription.lastSent, name));
    const error = isRefused ? refusal : null;
    return {
      typeUrl,
      name,
      versionInfo: held,
      configStatus: configStatusOf(held, resource, error !== null, subscription.awaiting),
      clientStatus: resourceStatusOf(held, resource, error !== null, subscription.awaiting),
      ...(held === '' || sentAtMs === 0 ? {} : { lastUpdated: timestamp(sentAtMs) }),
      ...(withContents && resource !== null && held === resource.version
        ? { xdsConfig: fromBinary(this.#api.message('google.protobuf.Any')!, resource.any) }
        : {}),
      ...(error === null
        ? {}
        : {
            errorState: {
              details: error.reason,
              versionInfo: error.version,
              lastUpdateAttempt: timestamp(error.atMs),
            },
          }),
    };
  }
}

function isAmong(list: readonly { readonly name: string }[], name: string): boolean {
  return list.some((each) => each.name === name);
}

function configStatusOf(held: string, resource: SnapshotResource | null, isRefused: boolean, awaits: boolean): number {
  if (isRefused) return ConfigStatus.Error;
  if (held === '') return ConfigStatus.NotSent;
  return resource?.version === held && !awaits ? ConfigStatus.Synced : ConfigStatus.Stale;
}

function resourceStatusOf(
  held: string,
  resource: SnapshotResource | null,
  isRefused: boolean,
  awaits: boolean,
): number {
  if (isRefused) return ResourceStatus.Nacked;
  if (resource === null) return ResourceStatus.DoesNotExist;
  return held === '' || awaits ? ResourceStatus.Requested : ResourceStatus.Acked;
}

class StatusCall implements GrpcServerCallHandler {
  readonly #service: ClientStatusService;
  readonly #call: GrpcServerCall;
  readonly #isStream: boolean;

  /** Questions that wait until the client has read the answers to those before. */
  readonly #waiting: Uint8Array[] = [];
  #isEnded = false;

  constructor(service: ClientStatusService, call: GrpcServerCall, isStream: boolean) {
    this.#service = service;
    this.#call = call;
    this.#isStream = isStream;
  }

  onMessage(message: Uint8Array): void {
    // An answer is as large as the configuration of all: whoever does not read must not fill memory with them.
    if (!this.#call.isFull && this.#waiting.length === 0) {
      this.#answer(message);
      return;
    }
    if (this.#waiting.length >= MAX_WAITING || !this.#call.hold(message.length)) {
      this.#call.finish(GrpcStatus.ResourceExhausted, 'answers are not read');
      return;
    }
    if (this.#waiting.push(message) === 1) this.#call.pauseReads();
  }

  #answer(message: Uint8Array): void {
    const problem = this.#service.answer(message, this.#call);
    if (problem !== null) this.#call.finish(GrpcStatus.InvalidArgument, problem);
    else if (!this.#isStream) this.#call.finish(GrpcStatus.Ok, '');
  }

  onHalfClose(): void {
    this.#isEnded = true;
    if (this.#waiting.length > 0) return;
    if (this.#isStream) this.#call.finish(GrpcStatus.Ok, '');
    else if (!this.#call.isOver) this.#call.finish(GrpcStatus.InvalidArgument, 'a request is missing');
  }

  onReady(): void {
    if (this.#waiting.length === 0) return;
    while (this.#waiting.length > 0 && !this.#call.isFull && !this.#call.isOver) {
      const message = this.#waiting.shift()!;
      this.#call.release(message.length);
      this.#answer(message);
    }
    if (this.#call.isOver || this.#waiting.length > 0) return;
    this.#call.resumeReads();
    if (this.#isEnded) this.onHalfClose();
  }

  onCancelled(): void {}
}
