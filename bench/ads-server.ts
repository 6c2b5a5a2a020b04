/** A control plane for benchmarks, in this process: delta ADS from encoded resources, pushed one by one. */
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { fromBinary, fromJson, type JsonObject, type Message, toBinary } from '@bufbuild/protobuf';
import { openApiRegistry } from '../src/api/api-registry.ts';

const api = openApiRegistry();
const REQUEST = api.message('envoy.service.discovery.v3.DeltaDiscoveryRequest')!;
const RESPONSE = api.message('envoy.service.discovery.v3.DeltaDiscoveryResponse')!;
const PREFIX_BYTES = 5;

export const TYPES = {
  cluster: 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
  endpoints: 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
  routes: 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration',
} as const;

/** Encodes a resource from its JSON form. */
export function encodeResource(typeUrl: string, json: JsonObject): Uint8Array {
  const desc = api.byTypeUrl(typeUrl)!;
  return toBinary(desc, fromJson(desc, json, { registry: api.registry }));
}

/** One gRPC message with its prefix. */
export function grpcFrame(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(PREFIX_BYTES + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, PREFIX_BYTES);
  return frame;
}

/** Takes whole gRPC messages out of what comes in pieces. */
export class GrpcMessages {
  #held: Buffer[] = [];
  #size = 0;

  *feed(part: Buffer): Iterable<Buffer> {
    this.#held.push(part);
    this.#size += part.length;
    while (this.#size >= PREFIX_BYTES) {
      const head = this.#held.length === 1 ? this.#held[0]! : Buffer.concat(this.#held);
      this.#held = [head];
      const end = PREFIX_BYTES + head.readUInt32BE(1);
      if (head.length < end) return;
      this.#held = [head.subarray(end)];
      this.#size = head.length - end;
      yield head.subarray(PREFIX_BYTES, end);
    }
  }
}

type DeltaRequest = Message & {
  readonly typeUrl: string;
  readonly resourceNamesSubscribe: readonly string[];
  readonly responseNonce: string;
  readonly errorDetail?: { readonly message: string };
};

class AdsStream {
  readonly #server: AdsServer;
  readonly #stream: ServerHttp2Stream;
  readonly #messages = new GrpcMessages();
  /** By type: the names asked for; null: all of them. */
  readonly subscribed = new Map<string, Set<string> | null>();
  #nonce = 0;

  constructor(server: AdsServer, stream: ServerHttp2Stream) {
    this.#server = server;
    this.#stream = stream;
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.on('data', (part: Buffer) => {
      for (const message of this.#messages.feed(part)) this.#onRequest(fromBinary(REQUEST, message) as DeltaRequest);
    });
    // A proxy that is stopped takes its connection with it.
    stream.on('error', () => {});
  }

  #onRequest(request: DeltaRequest): void {
    const { typeUrl, resourceNamesSubscribe, responseNonce, errorDetail } = request;
    if (errorDetail !== undefined) this.#server.onRefused(`${typeUrl}: ${errorDetail.message}`);
    const isFirst = !this.subscribed.has(typeUrl);
    if (isFirst) {
      this.subscribed.set(typeUrl, resourceNamesSubscribe.length === 0 ? null : new Set(resourceNamesSubscribe));
    }
    const names = this.subscribed.get(typeUrl);
    for (const name of resourceNamesSubscribe) names?.add(name);
    const known = this.#server.resources.get(typeUrl) ?? new Map<string, Uint8Array>();
    const asked = isFirst && names === null ? [...known.keys()] : resourceNamesSubscribe;
    if (isFirst || asked.length > 0) this.send(typeUrl, asked);
    if (responseNonce !== '') this.#server.onAnswered();
  }

  send(typeUrl: string, names: readonly string[]): void {
    const known = this.#server.resources.get(typeUrl);
    const version = String(this.#server.version);
    const resources = names.flatMap((name) => {
      const value = known?.get(name);
      if (value === undefined) return [];
      const resource = { typeUrl, value, $typeName: 'google.protobuf.Any' };
      return {
        $typeName: 'envoy.service.discovery.v3.Resource',
        name,
        aliases: [],
        version,
        resource,
        cacheControl: undefined,
      };
    });
    const response = { ...fromBinary(RESPONSE, new Uint8Array()), typeUrl, resources, nonce: String(++this.#nonce) };
    this.#stream.write(grpcFrame(toBinary(RESPONSE, response as Message)));
  }
}

export class AdsServer {
  readonly resources = new Map<string, Map<string, Uint8Array>>();
  version = 1;
  /** Answers that were refused. */
  readonly refusals: string[] = [];
  readonly #streams = new Set<AdsStream>();
  readonly #server: Http2Server;
  #answered: (() => void) | null = null;

  private constructor(server: Http2Server) {
    this.#server = server;
    server.on('stream', (stream: ServerHttp2Stream) => {
      const ads = new AdsStream(this, stream);
      this.#streams.add(ads);
      stream.on('close', () => this.#streams.delete(ads));
    });
  }

  static async start(): Promise<AdsServer> {
    const server = createServer({ settings: { initialWindowSize: 16 * 1024 * 1024 } });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return new AdsServer(server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  set(typeUrl: string, name: string, json: JsonObject): void {
    let list = this.resources.get(typeUrl);
    if (list === undefined) {
      list = new Map();
      this.resources.set(typeUrl, list);
    }
    list.set(name, encodeResource(typeUrl, json));
  }

  /** Sends one resource to whom it concerns. Resolves with the first answer. */
  push(typeUrl: string, name: string): Promise<void> {
    this.version++;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#answered = resolve;
    for (const stream of this.#streams) {
      const names = stream.subscribed.get(typeUrl);
      if (names === null || names?.has(name) === true) stream.send(typeUrl, [name]);
    }
    return promise;
  }

  onAnswered(): void {
    this.#answered?.();
  }

  onRefused(why: string): void {
    this.refusals.push(why);
  }

  stop(): void {
    this.#server.close();
  }
}
