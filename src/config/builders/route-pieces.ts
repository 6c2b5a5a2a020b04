import { fromBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { ApiRegistry } from '../../api/api-registry.ts';
import { FieldScanner } from '../../api/field-scanner.ts';
import type { Route, VirtualHost } from '../../api/gen/envoy/config/route/v3/route_components_pb.d.ts';
import type { RouteConfiguration } from '../../api/gen/envoy/config/route/v3/route_pb.d.ts';
import type { RouteSpec } from '../../routing/route.ts';
import type { IndexMemory } from '../../routing/route-index.ts';
import type { VirtualHostSpec } from '../../routing/virtual-host.ts';

/** What was made of a route, by itself: its message and what stands above it, and nothing else. */
export interface BuiltRoute {
  /** Null: it was only looked at whether it can be built. */
  readonly spec: RouteSpec | null;
  /** The clusters that must exist; null: their names were not looked at. */
  readonly clusters: readonly string[] | null;
}

/** As {@link BuiltRoute}, of a virtual host with all its routes. */
export interface BuiltHost {
  readonly spec: VirtualHostSpec | null;
  readonly clusters: readonly string[] | null;
}

/** One route of a table as it was encoded. Versions of a table share those that are equal, in tables and hosts that say the same above them. */
export class RoutePiece {
  /** Its encoding, one character per byte. */
  readonly key: string;
  /** Null: it was not decoded. Only main keeps it: workers keep what was built. */
  message: Route | null = null;
  /** The entries of its maps were put in order: its message's encoding is not `key`. */
  isReordered = false;
  /** Null: it was not built yet, or more than itself decides what it becomes. */
  built: BuiltRoute | null = null;

  constructor(key: string) {
    this.key = key;
  }
}

/** One virtual host of a table. Versions of a table share those that are equal. */
export class HostPiece {
  /** The encoding of all but its routes. */
  readonly head: string;
  /** The same without its domains: what its routes may take over. */
  readonly defaults: string;
  readonly routes: readonly RoutePiece[];
  /** The last index over its routes: one with the same paths is not made again. */
  readonly index: IndexMemory;
  message: VirtualHost | null = null;
  /** As that of a route, of all of it. */
  isReordered = false;
  built: BuiltHost | null = null;

  constructor(head: string, defaults: string, routes: readonly RoutePiece[], index: IndexMemory) {
    this.head = head;
    this.defaults = defaults;
    this.routes = routes;
    this.index = index;
  }
}

/** A version of a table, in pieces. */
export interface RoutePieces {
  /** The encoding of all but its virtual hosts. */
  readonly head: string;
  readonly hosts: readonly HostPiece[];
}

const TYPE = 'envoy.config.route.v3.RouteConfiguration';
const HOST_TYPE = 'envoy.config.route.v3.VirtualHost';
const ROUTE_TYPE = 'envoy.config.route.v3.Route';
/** `name`, in tables and hosts alike. */
const NAME_FIELD = 1;
const VIRTUAL_HOSTS_FIELD = 2;
const DOMAINS_FIELD = 2;
const ROUTES_FIELD = 3;
/** protobuf-es's own limit, less the messages around. */
const HOST_DEPTH = 99;
const ROUTE_DEPTH = 98;

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** The name of an encoded table; empty: it has none. @param bytes a sound encoding */
export function nameOfTable(bytes: Uint8Array): string {
  const scan = new FieldScanner(bytes);
  while (scan.advance()) {
    if (scan.field === NAME_FIELD) return viewOf(bytes).toString('utf8', scan.content, scan.next);
  }
  return '';
}

/** A table that was taken apart, with the parts of its encoding that are decoded each time. */
export class SplitTable {
  readonly pieces: RoutePieces;
  readonly #headBytes: Buffer;
  /** By virtual host. */
  readonly #hostHeads: readonly Buffer[];

  constructor(pieces: RoutePieces, headBytes: Buffer, hostHeads: readonly Buffer[]) {
    this.pieces = pieces;
    this.#headBytes = headBytes;
    this.#hostHeads = hostHeads;
  }

  /**
   * The whole table, of the messages that its pieces have already and of others, which they get.
   * @throws Error for bytes that are no such message
   */
  decode(api: ApiRegistry): RouteConfiguration {
    const message = this.#decodeHead(api);
    const hostType = api.message(HOST_TYPE)!;
    message.virtualHosts = this.pieces.hosts.map((piece, i) => {
      if (piece.message !== null) return piece.message;
      const host = fromBinary(hostType, this.#hostHeads[i]!, { recursionLimit: HOST_DEPTH }) as VirtualHost;
      host.routes = piece.routes.map((route) => {
        route.message ??= decodeRoute(api, route);
        return route.message;
      });
      piece.message = host;
      return host;
    });
    return message;
  }

  /**
   * What has to be built: a table in which virtual hosts and routes are missing that were built already, each in its place.
   * @throws Error for bytes that are no such message
   */
  decodeUnbuilt(api: ApiRegistry): UnbuiltTable {
    const hostType = api.message(HOST_TYPE)!;
    const hosts = this.pieces.hosts.map((piece, i) => {
      if (piece.built !== null) return null;
      const head = fromBinary(hostType, this.#hostHeads[i]!, { recursionLimit: HOST_DEPTH }) as VirtualHost;
      return { head, routes: piece.routes.map((route) => (route.built === null ? decodeRoute(api, route) : null)) };
    });
    return { head: this.#decodeHead(api), hosts };
  }

  #decodeHead(api: ApiRegistry): RouteConfiguration {
    return fromBinary(api.message(TYPE)!, this.#headBytes) as RouteConfiguration;
  }
}

/** A virtual host that is to be built. Of the head's own routes nothing is read. Null: the route in that place was built before. */
export interface UnbuiltHost {
  readonly head: VirtualHost;
  readonly routes: readonly (Route | null)[];
}

/** A table that is to be built. Of the head's own virtual hosts nothing is read. Null: the one in that place was built before. */
export interface UnbuiltTable {
  readonly head: RouteConfiguration;
  readonly hosts: readonly (UnbuiltHost | null)[];
}

/** Nothing of it was built before. */
export function wholeTable(head: RouteConfiguration): UnbuiltTable {
  return { head, hosts: head.virtualHosts.map((host) => ({ head: host, routes: host.routes })) };
}

function decodeRoute(api: ApiRegistry, piece: RoutePiece): Route {
  // Bytes of its own: what the message keeps of them keeps nothing else.
  const bytes = Buffer.alloc(piece.key.length);
  bytes.write(piece.key, 'latin1');
  return fromBinary(api.message(ROUTE_TYPE)!, bytes, { recursionLimit: ROUTE_DEPTH }) as Route;
}

/**
 * Takes an encoded RouteConfiguration apart, without decoding it.
 * @param bytes a sound encoding
 * @param previous the version before: its pieces are used again where they are equal
 */
export function splitTable(bytes: Uint8Array, previous: RoutePieces | null): SplitTable {
  const view = viewOf(bytes);
  const scan = new FieldScanner(bytes);
  const headParts: Buffer[] = [];
  const hosts: RawHost[] = [];
  while (scan.advance()) {
    if (scan.field === VIRTUAL_HOSTS_FIELD) hosts.push(scanHost(view, scan));
    else headParts.push(view.subarray(scan.start, scan.next));
  }
  const headBytes = Buffer.concat(headParts);
  const head = headBytes.toString('latin1');
  const known = new KnownHosts(previous !== null && previous.head === head ? previous.hosts : []);
  const pieces = { head, hosts: hosts.map((host, i) => known.pieceOf(host, i)) };
  return new SplitTable(
    pieces,
    headBytes,
    hosts.map((host) => host.headBytes),
  );
}

interface RawHost {
  readonly headBytes: Buffer;
  readonly head: string;
  readonly defaults: string;
  readonly routes: readonly string[];
}

/** @param scan at the field that holds it */
function scanHost(view: Buffer, scan: FieldScanner): RawHost {
  const outside = scan.enter();
  const headParts: Buffer[] = [];
  let defaults = '';
  const routes: string[] = [];
  while (scan.advance()) {
    if (scan.field === ROUTES_FIELD) {
      routes.push(view.toString('latin1', scan.content, scan.next));
      continue;
    }
    headParts.push(view.subarray(scan.start, scan.next));
    if (scan.field !== DOMAINS_FIELD) defaults += view.toString('latin1', scan.start, scan.next);
  }
  scan.leave(outside);
  const headBytes = Buffer.concat(headParts);
  return { headBytes, head: headBytes.toString('latin1'), defaults, routes };
}

/** The virtual hosts of the version before. */
class KnownHosts {
  readonly #hosts: readonly HostPiece[];
  #byHead: Map<string, HostPiece> | null = null;
  #byDefaults: Map<string, HostPiece> | null = null;

  constructor(hosts: readonly HostPiece[]) {
    this.#hosts = hosts;
  }

  pieceOf(raw: RawHost, index: number): HostPiece {
    const known = this.#find(raw, index);
    const routes = piecesOf(raw.routes, known?.routes ?? []);
    if (known !== null && known.head === raw.head && sameList(routes, known.routes)) return known;
    return new HostPiece(raw.head, raw.defaults, routes, known?.index ?? { last: null });
  }

  /** One whose routes take over the same. Most stand where they stood. */
  #find({ head, defaults }: RawHost, index: number): HostPiece | null {
    const there = this.#hosts[index];
    if (there !== undefined && there.head === head) return there;
    if (this.#hosts.length === 0) return null;
    this.#byHead ??= new Map(this.#hosts.map((host) => [host.head, host]));
    this.#byDefaults ??= new Map(this.#hosts.map((host) => [host.defaults, host]));
    return this.#byHead.get(head) ?? this.#byDefaults.get(defaults) ?? null;
  }
}

/** Most routes stand where they stood, or behind the one behind which they stood. */
function piecesOf(keys: readonly string[], previous: readonly RoutePiece[]): RoutePiece[] {
  let byKey: Map<string, number> | null = null;
  let cursor = 0;
  const out: RoutePiece[] = [];
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!;
    let index = cursor;
    if (previous[index]?.key !== key && previous.length > 0) {
      if (byKey === null) {
        byKey = new Map();
        for (let j = 0; j < previous.length; j++) byKey.set(previous[j]!.key, j);
      }
      index = byKey.get(key) ?? -1;
    }
    const known = previous[index];
    if (known === undefined || known.key !== key) {
      out.push(new RoutePiece(key));
      cursor++;
    } else {
      out.push(known);
      cursor = index + 1;
    }
  }
  return out;
}

function sameList(a: readonly RoutePiece[], b: readonly RoutePiece[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** A table with further virtual hosts behind its own: in protobuf, one message behind the other. */
export function withHosts(table: Uint8Array, hosts: Iterable<Uint8Array>): Uint8Array {
  const writer = new BinaryWriter().raw(table);
  for (const host of hosts) writer.tag(VIRTUAL_HOSTS_FIELD, WireType.LengthDelimited).bytes(host);
  return writer.finish();
}
