import { create, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Any, Duration } from '@bufbuild/protobuf/wkt';
import type { ApiRegistry } from '../api/api-registry.ts';
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
  Resource,
} from '../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { soundEncoding } from '../api/sound-encoding.ts';
import type { TypeDelta, TypeEngine } from './delta-engine.ts';
import type { DiscoveredResource, ResourceOrigin } from './resource-source.ts';
import { RESOURCE_WRAPPER } from './resource-type.ts';

const DISCOVERY = 'envoy.service.discovery.v3';
/** google.rpc.Code: what Envoy puts in `error_detail`. */
const INTERNAL = 13;
/** Envoy cuts details of refusals to it. */
const MAX_DETAILS = 4096;
const BINARY: ResourceOrigin = { positions: null, path: '', anys: null };

/** One answer, as far as both forms agree. */
export interface Answer {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly controlPlane: string;
  readonly message: DiscoveryResponse | DeltaDiscoveryResponse;
}

/** What a request says beside its type's state. */
export interface RequestFacts {
  /** Encoded: it is the same in each request, and by far the largest part of most. Null: it was sent before on this stream. */
  readonly node: Uint8Array | null;
  /** Of the answer that is acknowledged; empty: none is. */
  readonly nonce: string;
  /** Why it is refused; empty: it is not. */
  readonly refusal: string;
}

/** One of the two forms of the protocol, for one type on one stream. */
export interface TypeProtocol {
  /** Begins anew: nothing was said yet on the stream. */
  reset(): void;
  /** Whether what is wanted differs from what the server knows. */
  readonly isBehind: boolean;
  request(facts: RequestFacts): Uint8Array;
  /** @returns the change, or why the answer cannot be read */
  translate(message: Message): TypeDelta | string;
  /** The answer was taken as a whole. */
  accepted(delta: TypeDelta): void;
  /** Some of it was refused: the rest is in force. */
  refused(delta: TypeDelta): void;
}

const NO_NAMES: ReadonlySet<string> = new Set();
const ALL_NAMES: ReadonlySet<string> = new Set(['*']);

function sameNames(a: ReadonlySet<string> | null, b: ReadonlySet<string> | null): boolean {
  if (a === b || a === null || b === null) return a === b;
  return a.size === b.size && [...a].every((name) => b.has(name));
}

function keepFirst(resources: DiscoveredResource[]): void {
  const seen = new Set<string>();
  let kept = 0;
  for (const resource of resources) {
    if (seen.has(resource.name)) continue;
    seen.add(resource.name);
    resources[kept++] = resource;
  }
  resources.length = kept;
}

function status(refusal: string) {
  return {
    $typeName: 'google.rpc.Status' as const,
    code: INTERNAL,
    message: refusal.slice(0, MAX_DETAILS),
    details: [],
  };
}

function milliseconds(duration: Duration): number {
  return Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

/** `node` of DiscoveryRequest and of DeltaDiscoveryRequest. */
const SOTW_NODE_FIELD = 2;
const DELTA_NODE_FIELD = 1;

/** In protobuf, a message with one more field is that field in front of the message. */
function withNode(field: number, node: Uint8Array | null, request: Uint8Array): Uint8Array {
  if (node === null) return request;
  const writer = new BinaryWriter().tag(field, WireType.LengthDelimited).bytes(node);
  return writer.raw(request).finish();
}

/** State of the world: every answer holds everything; the edge where it becomes a change. */
export class SotwProtocol implements TypeProtocol {
  readonly #api: ApiRegistry;
  readonly #engine: TypeEngine;
  readonly #onExpired: (name: string) => void;
  #version = '';
  #known: ReadonlySet<string> | null = new Set();
  #said = false;
  /** Names that the last accepted answer held. */
  readonly #held = new Set<string>();
  /** The answer holds heartbeats: it is no state of the world. */
  #hasBeats = false;

  constructor(api: ApiRegistry, engine: TypeEngine, onExpired: (name: string) => void) {
    this.#api = api;
    this.#engine = engine;
    this.#onExpired = onExpired;
  }

  reset(): void {
    this.#said = false;
  }

  get isBehind(): boolean {
    const wanted = this.#engine.wanted();
    if (!this.#said) return wanted === null || wanted.size > 0;
    return !sameNames(wanted, this.#known);
  }

  request({ node, nonce, refusal }: RequestFacts): Uint8Array {
    const wanted = this.#engine.wanted();
    this.#known = wanted;
    this.#said = true;
    const desc = this.#api.message(`${DISCOVERY}.DiscoveryRequest`)!;
    const request = create(desc) as DiscoveryRequest;
    this.#engine.prune();
    request.versionInfo = this.#version;
    request.typeUrl = this.#engine.type.typeUrl;
    request.responseNonce = nonce;
    request.resourceNames = wanted === null ? [] : [...wanted];
    if (refusal !== '') request.errorDetail = status(refusal);
    return withNode(SOTW_NODE_FIELD, node, toBinary(desc, request));
  }

  translate(message: Message): TypeDelta | string {
    const response = message as DiscoveryResponse;
    const changed: DiscoveredResource[] = [];
    const faults: string[] = [];
    const beats = new Set<string>();
    for (const any of response.resources) {
      const wrapper = this.#unwrap(any);
      if (wrapper !== null) {
        this.#setTtl(wrapper);
        if (wrapper.resource === undefined) {
          beats.add(wrapper.name);
          continue;
        }
      }
      const { decoder, type } = this.#engine;
      const resource = decoder.decode(type, any, response.versionInfo, BINARY, this.#engine);
      if (resource.ok) changed.push(resource.value);
      else faults.push(resource.error);
    }
    if (faults.length > 0) return faults.join('\n');
    // Who asks by name is told of the first of a name, as in Envoy; who asks for all must refuse the others himself.
    if (!this.#engine.wantsAll) keepFirst(changed);
    this.#hasBeats = beats.size > 0;
    const present = new Set([...changed.map((resource) => resource.name), ...beats]);
    // A state of the world is whole for wildcards alone; heartbeats say nothing of others.
    const removed =
      this.#engine.wantsAll && beats.size === 0 ? [...this.#held].filter((name) => !present.has(name)) : [];
    return { changed, removed, version: response.versionInfo };
  }

  #unwrap(any: Any): Resource | null {
    if (!any.typeUrl.endsWith(`/${RESOURCE_WRAPPER}`)) return null;
    try {
      const desc = this.#api.message(RESOURCE_WRAPPER)!;
      return fromBinary(desc, soundEncoding(desc, any.value)) as Resource;
    } catch {
      return null;
    }
  }

  #setTtl(resource: Resource): void {
    if (!this.#engine.isWanted(resource.name)) return;
    const ttl = resource.ttl === undefined ? 0 : milliseconds(resource.ttl);
    this.#engine.expire(resource.name, ttl, () => this.#onExpired(resource.name));
  }

  accepted(delta: TypeDelta): void {
    this.#version = delta.version;
    if (!this.#hasBeats) this.#held.clear();
    for (const { name } of delta.changed) this.#held.add(name);
  }

  refused(delta: TypeDelta): void {
    for (const { name } of delta.changed) this.#held.add(name);
    for (const name of delta.removed) this.#held.delete(name);
  }
}

/** Changes only, in both directions. */
export class DeltaProtocol implements TypeProtocol {
  readonly #api: ApiRegistry;
  readonly #engine: TypeEngine;
  readonly #onExpired: (name: string) => void;
  #known: ReadonlySet<string> | null = new Set();
  #said = false;
  /** A stream began without any name: that asked for all. */
  #beganWithAll = false;

  constructor(api: ApiRegistry, engine: TypeEngine, onExpired: (name: string) => void) {
    this.#api = api;
    this.#engine = engine;
    this.#onExpired = onExpired;
  }

  reset(): void {
    this.#said = false;
    this.#known = new Set();
  }

  get isBehind(): boolean {
    const wanted = this.#engine.wanted();
    if (!this.#said) return wanted === null || wanted.size > 0 || this.#engine.hasNamespaces;
    return this.#engine.asksAgain || !sameNames(wanted, this.#known);
  }

  request({ node, nonce, refusal }: RequestFacts): Uint8Array {
    const wanted = this.#engine.wanted();
    this.#engine.prune();
    const desc = this.#api.message(`${DISCOVERY}.DeltaDiscoveryRequest`)!;
    const request = create(desc) as DeltaDiscoveryRequest;
    request.typeUrl = this.#engine.type.typeUrl;
    request.responseNonce = nonce;
    if (refusal !== '') request.errorDetail = status(refusal);
    // An empty first subscription asks for everything.
    const known = this.#known ?? NO_NAMES;
    const names = wanted ?? (this.#said ? ALL_NAMES : NO_NAMES);
    const again = this.#engine.takeAgain();
    // Most requests only answer: of the same thousands of names there is nothing to say.
    if (!this.#said || wanted !== this.#known) {
      request.resourceNamesSubscribe = [...names].filter(
        (name) => !known.has(name) && !(this.#known === null && wanted === null),
      );
      request.resourceNamesUnsubscribe = [...known].filter((name) => !names.has(name));
    }
    if (!this.#said) {
      if (names.size === 0) this.#beganWithAll = true;
      // Further names came since then: beside them all has to be asked for by name, as Envoy does.
      else if (this.#beganWithAll && this.#engine.hasNamespaces && !names.has('*'))
        request.resourceNamesSubscribe.unshift('*');
    }
    for (const name of again) if (known.has(name)) request.resourceNamesSubscribe.push(name);
    for (const name of request.resourceNamesUnsubscribe) this.#engine.versions.delete(name);
    if (!this.#said) request.initialResourceVersions = Object.fromEntries(this.#engine.versions);
    this.#known = wanted;
    this.#said = true;
    return withNode(DELTA_NODE_FIELD, node, toBinary(desc, request));
  }

  translate(message: Message): TypeDelta | string {
    const response = message as DeltaDiscoveryResponse;
    const changed: DiscoveredResource[] = [];
    const faults: string[] = [];
    const seen = new Set<string>();
    const answered: string[] = [];
    for (const wrapper of response.resources) {
      if (seen.has(wrapper.name)) {
        faults.push(`duplicate name ${wrapper.name} found among added/updated resources`);
        continue;
      }
      seen.add(wrapper.name);
      const ttl = wrapper.ttl === undefined ? 0 : milliseconds(wrapper.ttl);
      if (this.#engine.isWanted(wrapper.name)) {
        this.#engine.expire(wrapper.name, ttl, () => this.#onExpired(wrapper.name));
      }
      if (this.#engine.hasNamespaces) answered.push(wrapper.name, ...wrapper.aliases);
      // A heartbeat; or, of virtual hosts, that there is none of the name.
      if (wrapper.resource === undefined) continue;
      const { type } = this.#engine;
      // What nobody asked for is not looked into, but for its type.
      if (wrapper.name !== '' && !this.#engine.isWanted(wrapper.name)) {
        const { typeUrl } = wrapper.resource;
        if (typeUrl !== type.typeUrl) faults.push(`type URL ${typeUrl} of ${wrapper.name} is not ${type.typeUrl}`);
        continue;
      }
      const resource = this.#engine.decoder.decode(type, wrapper.resource, wrapper.version, BINARY, this.#engine);
      if (resource.ok)
        changed.push({ ...resource.value, name: wrapper.name === '' ? resource.value.name : wrapper.name });
      else faults.push(resource.error);
    }
    for (const name of response.removedResources) {
      if (seen.has(name)) faults.push(`duplicate name ${name} found in the union of added+removed resources`);
    }
    if (faults.length > 0) return faults.join('\n');
    return { changed, removed: response.removedResources, answered, version: response.systemVersionInfo };
  }

  accepted(): void {}

  refused(): void {}
}

/** @throws Error for bytes that are no answer */
export function readAnswer(api: ApiRegistry, isDelta: boolean, bytes: Uint8Array): Answer {
  const name = isDelta ? 'DeltaDiscoveryResponse' : 'DiscoveryResponse';
  const desc = api.message(`${DISCOVERY}.${name}`)!;
  const message = fromBinary(desc, soundEncoding(desc, bytes)) as DiscoveryResponse | DeltaDiscoveryResponse;
  return {
    typeUrl: message.typeUrl,
    nonce: message.nonce,
    controlPlane: message.controlPlane?.identifier ?? '',
    message,
  };
}
