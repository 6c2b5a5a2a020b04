import { create, fromBinary, fromJson, type JsonObject, toBinary, toJson } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { type ApiRegistry, openApiRegistry } from '../../src/api/api-registry.ts';
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
  Resource,
} from '../../src/api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { GrpcServer } from '../../src/grpc/grpc-server.ts';
import type { GrpcServerCall, GrpcServerCallHandler } from '../../src/grpc/grpc-server-call.ts';
import { ipAddress } from '../../src/net/address.ts';
import { BunRuntime } from '../../src/net/bun/bun-runtime.ts';
import { Dispatcher } from '../../src/net/dispatcher.ts';
import type { ListeningSocket } from '../../src/net/transport.ts';

const DISCOVERY = 'envoy.service.discovery.v3';
const SHORT: Readonly<Record<string, string>> = {
  Cluster: 'CDS',
  ClusterLoadAssignment: 'EDS',
  Listener: 'LDS',
  RouteConfiguration: 'RDS',
  Secret: 'SDS',
  Runtime: 'RTDS',
  TypedExtensionConfig: 'ECDS',
  ScopedRouteConfiguration: 'SRDS',
  VirtualHost: 'VHDS',
};

/** A resource as JSON with its `@type`. */
export type JsonResource = Readonly<Record<string, unknown>>;

interface Held {
  readonly version: string;
  readonly resources: ReadonlyMap<string, JsonResource>;
}

function shortOf(typeUrl: string): string {
  return SHORT[typeUrl.slice(typeUrl.lastIndexOf('.') + 1)] ?? typeUrl;
}

/** One stream of one client. */
class Stream implements GrpcServerCallHandler {
  readonly plane: ScriptedControlPlane;
  readonly call: GrpcServerCall;
  readonly isDelta: boolean;
  /** By type URL: the names asked for; empty: all. */
  readonly interest = new Map<string, Set<string>>();
  /** What was sent last, by type and name. */
  readonly sent = new Map<string, Map<string, string>>();

  constructor(plane: ScriptedControlPlane, call: GrpcServerCall, isDelta: boolean) {
    this.plane = plane;
    this.call = call;
    this.isDelta = isDelta;
  }

  onMessage(bytes: Uint8Array): void {
    if (this.isDelta) this.#onDelta(bytes);
    else this.#onSotw(bytes);
  }

  #onSotw(bytes: Uint8Array): void {
    const request = this.plane.decode<DiscoveryRequest>('DiscoveryRequest', bytes);
    const { typeUrl } = request;
    this.plane.note(typeUrl, {
      version: request.versionInfo,
      nonce: request.responseNonce,
      names: [...request.resourceNames].sort(),
      refused: request.errorDetail !== undefined,
      node: request.node?.id ?? '',
    });
    const names = new Set(request.resourceNames);
    const known = this.interest.get(typeUrl);
    this.interest.set(typeUrl, names);
    const isNews = known === undefined || names.size !== known.size || [...names].some((name) => !known.has(name));
    if (isNews) this.push(typeUrl);
  }

  #onDelta(bytes: Uint8Array): void {
    const request = this.plane.decode<DeltaDiscoveryRequest>('DeltaDiscoveryRequest', bytes);
    const { typeUrl } = request;
    this.plane.note(typeUrl, {
      nonce: request.responseNonce,
      subscribe: [...request.resourceNamesSubscribe].sort(),
      unsubscribe: [...request.resourceNamesUnsubscribe].sort(),
      initial: Object.entries(request.initialResourceVersions)
        .map(([name, version]) => `${name}=${version}`)
        .sort(),
      refused: request.errorDetail !== undefined,
      node: request.node?.id ?? '',
    });
    const isFirst = !this.interest.has(typeUrl);
    const names = this.interest.get(typeUrl) ?? new Set<string>();
    for (const name of request.resourceNamesSubscribe) names.add(name);
    for (const name of request.resourceNamesUnsubscribe) names.delete(name);
    this.interest.set(typeUrl, names);
    if (isFirst) this.sent.set(typeUrl, new Map(Object.entries(request.initialResourceVersions)));
    if (isFirst || request.resourceNamesSubscribe.length > 0) this.push(typeUrl, request.resourceNamesSubscribe);
  }

  /** Sends what the client wants of a type, if there is any. */
  push(typeUrl: string, again: readonly string[] = []): void {
    const names = this.interest.get(typeUrl);
    const held = this.plane.held.get(typeUrl);
    if (names === undefined || held === undefined || this.call.isOver) return;
    const wanted = [...held.resources].filter(([name]) => names.size === 0 || names.has(name));
    const asksForNothing = names.size === 0 && this.plane.byNameOnly.has(typeUrl);
    if (this.isDelta) this.#pushDelta(typeUrl, held, asksForNothing ? [] : wanted, names, again);
    else if (wanted.length > 0 || names.size === 0) {
      const response = create(this.plane.desc('DiscoveryResponse')) as DiscoveryResponse;
      response.versionInfo = held.version;
      response.typeUrl = typeUrl;
      response.nonce = this.plane.nextNonce(typeUrl);
      response.controlPlane = { $typeName: 'envoy.config.core.v3.ControlPlane', identifier: 'scripted' };
      response.resources = wanted.map(([, resource]) => this.plane.pack(resource));
      this.call.send(toBinary(this.plane.desc('DiscoveryResponse'), response));
    }
  }

  #pushDelta(
    typeUrl: string,
    held: Held,
    wanted: readonly (readonly [string, JsonResource])[],
    names: ReadonlySet<string>,
    again: readonly string[],
  ): void {
    const sent = this.sent.get(typeUrl) ?? new Map<string, string>();
    const resources: Resource[] = [];
    for (const [name, resource] of wanted) {
      const text = JSON.stringify(resource);
      if (sent.get(name) === held.version || (sent.get(name) === text && !again.includes(name))) continue;
      sent.set(name, text);
      const isWrapped = String(resource['@type']).endsWith('.Resource');
      const wrapper = isWrapped ? this.plane.wrapper(resource) : (create(this.plane.desc('Resource')) as Resource);
      wrapper.name = name;
      wrapper.version = held.version;
      if (!isWrapped) wrapper.resource = this.plane.pack(resource);
      resources.push(wrapper);
    }
    const removed = [...sent.keys()].filter(
      (name) => !held.resources.has(name) && (names.size === 0 || names.has(name)),
    );
    for (const name of removed) sent.delete(name);
    this.sent.set(typeUrl, sent);
    if (resources.length + removed.length === 0) return;
    const response = create(this.plane.desc('DeltaDiscoveryResponse')) as DeltaDiscoveryResponse;
    response.systemVersionInfo = held.version;
    response.typeUrl = typeUrl;
    response.nonce = this.plane.nextNonce(typeUrl);
    response.resources = resources;
    response.removedResources = removed;
    this.call.send(toBinary(this.plane.desc('DeltaDiscoveryResponse'), response));
  }

  onHalfClose(): void {
    this.call.finish(0, '');
  }

  onReady(): void {}

  onCancelled(): void {
    this.plane.streams.delete(this);
  }
}

/** One stream of load reports. */
class LoadStream implements GrpcServerCallHandler {
  readonly plane: ScriptedControlPlane;
  readonly call: GrpcServerCall;

  constructor(plane: ScriptedControlPlane, call: GrpcServerCall) {
    this.plane = plane;
    this.call = call;
  }

  onMessage(bytes: Uint8Array): void {
    this.plane.loadReports.push(this.plane.loadReport(bytes));
    this.plane.onLoadReport(this);
  }

  /** @param response a LoadStatsResponse as JSON */
  ask(response: JsonObject): void {
    this.call.send(this.plane.loadResponse(response));
  }

  onHalfClose(): void {
    this.call.finish(0, '');
  }

  onReady(): void {}

  onCancelled(): void {
    this.plane.loadStreams.delete(this);
  }
}

let api: ApiRegistry | null = null;

/** A resource in JSON as the message that goes over the wire. */
export function packResource(resource: JsonResource): Any {
  api ??= openApiRegistry();
  const { '@type': typeUrl, ...fields } = resource;
  const desc = api.byTypeUrl(String(typeUrl))!;
  const message = fromJson(desc, fields as JsonObject, { registry: api.registry });
  return { $typeName: 'google.protobuf.Any', typeUrl: String(typeUrl), value: toBinary(desc, message) };
}

/** A control plane that says what a test tells it to, over ADS or a stream for each type, and notes what it is asked. */
export class ScriptedControlPlane {
  readonly held = new Map<string, Held>();
  /** Types of which nobody gets what it did not name. */
  readonly byNameOnly = new Set<string>();
  readonly streams = new Set<Stream>();
  /** Requests by short name of their type, in order. */
  readonly requests = new Map<string, JsonObject[]>();
  /** Load reports, as JSON. */
  readonly loadReports: JsonObject[] = [];
  readonly loadStreams = new Set<LoadStream>();
  /** What is asked of everybody who says its first word. */
  loadWish: JsonObject | null = null;
  readonly #dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
  readonly #server: GrpcServer;
  readonly #api: ApiRegistry;
  readonly #nonces = new Map<string, number>();
  #socket: ListeningSocket | null = null;
  #port = 0;

  constructor() {
    api ??= openApiRegistry();
    this.#api = api;
    this.#server = new GrpcServer({
      dispatcher: this.#dispatcher,
      maxMessageBytes: 1 << 24,
      maxConnections: 100,
      secure: null,
      services: {
        open: (method, call) => {
          if (method.endsWith('/StreamLoadStats')) {
            const stream = new LoadStream(this, call);
            this.loadStreams.add(stream);
            return stream;
          }
          const stream = new Stream(this, call, /\/Delta\w+$/.test(method));
          this.streams.add(stream);
          return stream;
        },
      },
    });
  }

  start(): number {
    const runtime = new BunRuntime(this.#dispatcher);
    this.#socket = runtime.listen(
      {
        address: ipAddress('127.0.0.1', this.#port),
        reusePort: false,
        backlog: 0,
        ipv6Only: true,
        transparent: false,
        freebind: false,
        socketOptions: [],
      },
      this.#server,
    );
    const { address } = this.#socket;
    this.#port = address.kind === 'ip' ? address.port : 0;
    return this.#port;
  }

  /** Ends listening and every connection; `start` opens the same port again. */
  stop(): void {
    this.#socket?.close();
    this.#socket = null;
    this.#server.close();
    this.streams.clear();
  }

  /** Ends every stream with a status. */
  cut(status = 14): void {
    for (const stream of [...this.streams, ...this.loadStreams]) stream.call.finish(status as 14, 'cut');
    this.streams.clear();
    this.loadStreams.clear();
  }

  onLoadReport(stream: LoadStream): void {
    if (this.loadWish !== null && this.loadReports.length === 1) stream.ask(this.loadWish);
  }

  /** Asks everybody for other reports. */
  askForLoad(wish: JsonObject): void {
    for (const stream of this.loadStreams) stream.ask(wish);
  }

  loadReport(bytes: Uint8Array): JsonObject {
    const desc = this.#api.message('envoy.service.load_stats.v3.LoadStatsRequest')!;
    return toJson(desc, fromBinary(desc, bytes), {
      registry: this.#api.registry,
      useProtoFieldName: true,
    }) as JsonObject;
  }

  loadResponse(response: JsonObject): Uint8Array {
    const desc = this.#api.message('envoy.service.load_stats.v3.LoadStatsResponse')!;
    return toBinary(desc, fromJson(desc, response));
  }

  /** The resources of one type from now on; everybody who wants them is sent them. */
  set(typeUrl: string, version: string, resources: readonly JsonResource[]): void {
    const named = resources.map((each) => [String(each.name ?? each.cluster_name), each] as const);
    this.setNamed(typeUrl, version, named);
  }

  /** The same, of resources that go by other names than their own. */
  setNamed(typeUrl: string, version: string, named: readonly (readonly [string, JsonResource])[]): void {
    this.held.set(typeUrl, { version, resources: new Map(named) });
    for (const stream of this.streams) stream.push(typeUrl);
  }

  /** Sends every stream one answer as it stands, in the form of the protocol that it speaks; a nonce is added. */
  sayAsIs(typeUrl: string, response: JsonObject): void {
    for (const stream of this.streams) {
      const desc = this.desc(stream.isDelta ? 'DeltaDiscoveryResponse' : 'DiscoveryResponse');
      const json = { ...response, type_url: typeUrl, nonce: this.nextNonce(typeUrl) };
      stream.call.send(toBinary(desc, fromJson(desc, json, { registry: this.#api.registry })));
    }
  }

  /** A Resource with a time to live. */
  wrapper(resource: JsonResource): Resource {
    const { '@type': _type, ...fields } = resource;
    return fromJson(this.desc('Resource'), fields as JsonObject, { registry: this.#api.registry }) as Resource;
  }

  /** Says on every delta stream that there are no resources of these names. */
  absent(typeUrl: string, names: readonly string[]): void {
    const response = create(this.desc('DeltaDiscoveryResponse')) as DeltaDiscoveryResponse;
    response.typeUrl = typeUrl;
    response.nonce = this.nextNonce(typeUrl);
    response.resources = names.map((name) => {
      const resource = create(this.desc('Resource')) as Resource;
      resource.name = name;
      resource.aliases = [name];
      resource.version = '0';
      return resource;
    });
    this.sendRaw(toBinary(this.desc('DeltaDiscoveryResponse'), response));
  }

  /** Sends raw bytes as one message on every stream. */
  sendRaw(bytes: Uint8Array): void {
    for (const stream of this.streams) stream.call.send(bytes);
  }

  note(typeUrl: string, request: JsonObject): void {
    const short = shortOf(typeUrl);
    const list = this.requests.get(short);
    if (list === undefined) this.requests.set(short, [request]);
    else list.push(request);
  }

  nextNonce(typeUrl: string): string {
    const next = (this.#nonces.get(typeUrl) ?? 0) + 1;
    this.#nonces.set(typeUrl, next);
    return `${shortOf(typeUrl)}-${next}`;
  }

  desc(name: string) {
    return this.#api.message(`${DISCOVERY}.${name}`)!;
  }

  decode<M>(name: string, bytes: Uint8Array): M {
    return fromBinary(this.desc(name), bytes) as M;
  }

  pack(resource: JsonResource): Any {
    return packResource(resource);
  }
}
