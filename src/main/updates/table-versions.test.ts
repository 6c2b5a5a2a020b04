/** Versions of a route table that are built from the one before, against the same versions built afresh. */
import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary, fromJson, type JsonObject, type JsonValue, toBinary } from '@bufbuild/protobuf';
import { StubStreamView } from '../../../test/support/stub-stream-view.ts';
import { openApiRegistry } from '../../api/api-registry.ts';
import type { RouteConfiguration } from '../../api/gen/envoy/config/route/v3/route_pb.d.ts';
import { SeededRandom } from '../../base/random.ts';
import { BuildContext } from '../../config/build-context.ts';
import { buildFromPieces, buildRouteTable } from '../../config/builders/route-config.ts';
import { type RoutePieces, splitTable, withHosts } from '../../config/builders/route-pieces.ts';
import { ExtensionRegistry } from '../../config/extension-registry.ts';
import { AnyMessages } from '../../config/load/any-messages.ts';
import { NO_STATIC_SECRETS } from '../../config/secrets/tls-build.ts';
import { EXTENSIONS } from '../../extensions/index.ts';
import { RequestHeaders } from '../../http/header-map.ts';
import type { RouteTable } from '../../routing/route-table.ts';
import { EMPTY_RUNTIME } from '../../routing/runtime-fraction.ts';
import { StatsStore } from '../../stats/store.ts';
import { ResourceDecoder } from '../../xds/resource-decoder.ts';
import type { DiscoveredResource } from '../../xds/resource-source.ts';
import { ROUTE_TYPE } from '../../xds/resource-type.ts';
import { ResourceBuilds } from './resource-builds.ts';

const api = openApiRegistry();
const extensions = new ExtensionRegistry(EXTENSIONS);
const TABLE = api.message('envoy.config.route.v3.RouteConfiguration')!;
const HOST = api.message('envoy.config.route.v3.VirtualHost')!;
const ROUTE = api.message('envoy.config.route.v3.Route')!;
const PREFIX = 'type.googleapis.com/envoy.extensions.filters.http';
const BINARY = { positions: null, path: '', anys: null };
const NAMES = ['c0', 'c1', 'c2', 'c3'];

const folder = mkdtempSync(join(tmpdir(), 'nuncio-tables-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface HostModel {
  readonly head: JsonObject;
  readonly routes: JsonObject[];
}

interface TableModel {
  head: JsonObject;
  /** Something in it is of a later API. */
  isOdd: boolean;
  readonly hosts: HostModel[];
}

/** Random tables, and random edits of them. */
class Editor {
  readonly random: SeededRandom;
  readonly bodyFile: string;
  #hosts = 0;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    this.bodyFile = join(folder, `body-${seed}`);
  }

  below(limit: number): number {
    return Math.floor(this.random.float() * limit);
  }

  chance(share: number): boolean {
    return this.random.float() < share;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  table(): TableModel {
    return {
      head: this.tableHead(),
      isOdd: false,
      hosts: Array.from({ length: 1 + this.below(3) }, () => this.host()),
    };
  }

  tableHead(): JsonObject {
    const head: JsonObject = { name: 'rc' };
    if (this.chance(0.3)) head.response_headers_to_add = [{ header: { key: 'x-table', value: `t${this.below(3)}` } }];
    if (this.chance(0.5)) head.validate_clusters = true;
    if (this.chance(0.2)) head.request_mirror_policies = [{ cluster: this.pick(NAMES) }];
    if (this.chance(0.2)) head.most_specific_header_mutations_wins = true;
    if (this.chance(0.2)) head.ignore_path_parameters_in_path_matching = true;
    if (this.chance(0.3)) head.typed_per_filter_config = this.filterConfigs();
    return head;
  }

  host(): HostModel {
    return { head: this.hostHead(), routes: Array.from({ length: this.below(8) }, () => this.route()) };
  }

  hostHead(): JsonObject {
    const id = this.#hosts++;
    const head: JsonObject = { name: `h${id % 5}`, domains: [this.chance(0.2) ? '*' : `h${id}.com`] };
    if (this.chance(0.3)) head.retry_policy = { retry_on: '5xx', num_retries: this.below(4) };
    if (this.chance(0.2)) head.request_headers_to_add = [{ header: { key: 'x-host', value: '%REQ(:path)%' } }];
    if (this.chance(0.2)) head.request_mirror_policies = [{ cluster: this.pick(NAMES) }];
    if (this.chance(0.2)) head.typed_per_filter_config = this.filterConfigs();
    if (this.chance(0.1)) head.require_tls = 'EXTERNAL_ONLY';
    if (this.chance(0.1)) head.metadata = this.metadata();
    return head;
  }

  route(): JsonObject {
    const route: JsonObject = { match: this.match(), ...this.action() };
    if (this.chance(0.3)) route.name = `r${this.below(4)}`;
    if (this.chance(0.2)) route.metadata = this.metadata();
    if (this.chance(0.3)) route.typed_per_filter_config = this.filterConfigs();
    if (this.chance(0.2)) {
      route.request_headers_to_add = [{ header: { key: 'x-route', value: `%REQ(x-${this.below(3)})%` } }];
    }
    if (this.chance(0.1)) route.response_headers_to_remove = ['server'];
    return route;
  }

  match(): JsonObject {
    const word = this.pick(['a', 'b', 'ab', 'a/b', 'c']);
    const match = this.pick<JsonObject>([
      { prefix: `/${word}` },
      { path: `/${word}` },
      { path_separated_prefix: `/${word}` },
      { safe_regex: { regex: `/${word}[0-9]*` } },
      { prefix: '/' },
    ]);
    if (this.chance(0.01)) return { safe_regex: { regex: '(' } };
    if (this.chance(0.01)) return { headers: [{ name: 'x' }] };
    if (this.chance(0.2)) match.headers = [{ name: 'x-0', string_match: { exact: this.pick(['u', 'v']) } }];
    if (this.chance(0.1)) match.query_parameters = [{ name: 'q', present_match: true }];
    if (this.chance(0.2) && match.safe_regex === undefined) match.case_sensitive = false;
    return match;
  }

  action(): JsonObject {
    const kind = this.below(20);
    if (kind < 9) return { route: { cluster: this.pick(NAMES), ...this.forwarding() } };
    if (kind < 12) {
      const clusters = NAMES.slice(0, 2).map((name) => ({ name, weight: 1 + this.below(5) }));
      return { route: { weighted_clusters: { clusters }, ...this.forwarding() } };
    }
    if (kind < 14) return { route: { cluster_header: 'x-0', ...this.forwarding() } };
    if (kind < 16) return { redirect: { path_redirect: `/${this.below(3)}` } };
    if (kind < 18) return { direct_response: { status: 200, body: { inline_string: `b${this.below(3)}` } } };
    if (kind < 19) return { direct_response: { status: 200, body: { filename: this.bodyFile } } };
    return { non_forwarding_action: {} };
  }

  forwarding(): JsonObject {
    const out: JsonObject = {};
    if (this.chance(0.3)) out.timeout = `${this.below(5)}s`;
    if (this.chance(0.2)) out.retry_policy = { retry_on: 'connect-failure', num_retries: this.below(3) };
    if (this.chance(0.2)) out.prefix_rewrite = '/z';
    if (this.chance(0.1)) out.hash_policy = [{ header: { header_name: 'x-1' } }];
    if (this.chance(0.1)) out.request_mirror_policies = [{ cluster: this.pick(NAMES) }];
    if (this.chance(0.01)) out.path_rewrite = '/both';
    if (this.chance(0.01)) out.hedge_policy = { initial_requests: 2 };
    return out;
  }

  /** In any order: servers in Go do so. */
  metadata(): JsonObject {
    const fields: JsonObject = { a: this.below(3), b: { y: 1, x: 2 } };
    const names = this.chance(0.5) ? ['one', 'two'] : ['two', 'one'];
    return { filter_metadata: Object.fromEntries(names.map((name) => [name, fields])) };
  }

  filterConfigs(): JsonObject {
    const known: [string, JsonObject][] = [
      ['buf', { '@type': `${PREFIX}.buffer.v3.BufferPerRoute`, disabled: true }],
      [
        'limit',
        {
          '@type': `${PREFIX}.local_ratelimit.v3.LocalRateLimit`,
          stat_prefix: 'l',
          token_bucket: { max_tokens: 1 + this.below(3), fill_interval: '1s' },
        },
      ],
      ['fault', { '@type': `${PREFIX}.fault.v3.HTTPFault`, abort: { http_status: 500 + this.below(3) } }],
      ['off', { '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', disabled: true, config: {} }],
    ];
    const chosen = known.filter(() => this.chance(0.5));
    if (this.chance(0.5)) chosen.reverse();
    return Object.fromEntries(chosen);
  }

  edit(table: TableModel): void {
    const { hosts } = table;
    const host = hosts.length === 0 ? null : this.pick(hosts);
    table.isOdd = this.chance(table.isOdd ? 0.6 : 0.05);
    const kind = this.below(24);
    if (kind === 0) table.head = this.tableHead();
    else if (kind === 1) hosts.splice(this.below(hosts.length + 1), 0, this.host());
    else if (kind === 2 && hosts.length > 1) hosts.splice(this.below(hosts.length), 1);
    else if (kind === 3) hosts.reverse();
    else if (host === null) hosts.push(this.host());
    else if (kind === 4) hosts[hosts.indexOf(host)] = { ...host, head: this.hostHead() };
    else if (kind === 5) {
      const domains = [...(host.head.domains as string[]), `d${this.below(1000)}.com`];
      hosts[hosts.indexOf(host)] = { ...host, head: { ...host.head, domains } };
    } else if (kind === 6) hosts.push({ head: this.hostHead(), routes: [...host.routes] });
    else if (kind < 10 || host.routes.length === 0) {
      host.routes.splice(this.below(host.routes.length + 1), 0, this.route());
    } else if (kind < 13) host.routes.splice(this.below(host.routes.length), 1);
    else if (kind < 15) {
      const [moved] = host.routes.splice(this.below(host.routes.length), 1);
      host.routes.splice(this.below(host.routes.length + 1), 0, moved!);
    } else if (kind < 16) host.routes.push(this.pick(host.routes));
    else if (kind < 17) this.pick(hosts).routes.push(this.pick(host.routes));
    else if (kind < 18) host.routes.reverse();
    else host.routes[this.below(host.routes.length)] = this.route();
  }

  /** As a server may encode it; now and then broken. */
  encode({ head, hosts, isOdd }: TableModel): Uint8Array {
    const virtual_hosts = hosts.map((host) => ({ ...host.head, routes: host.routes }) as JsonObject);
    const json = { ...head, virtual_hosts } as JsonObject;
    let bytes = encodeTable(json);
    if (this.chance(0.05)) {
      // Hosts in front of the rest.
      const parts = virtual_hosts.map((host) => toBinary(HOST, fromJson(HOST, host, { registry: api.registry })));
      bytes = Buffer.concat([withHosts(new Uint8Array(), parts), encodeTable(head)]);
    }
    if (this.chance(0.03)) bytes = Buffer.concat([bytes, unknownField(4000)]);
    if (isOdd) {
      const host = toBinary(HOST, fromJson(HOST, { name: 'odd', domains: ['odd.com'] }));
      const known = toBinary(ROUTE, fromJson(ROUTE, { match: { prefix: '/odd' }, non_forwarding_action: {} }));
      const route = [...known, ...unknownField(5000)];
      bytes = withHosts(bytes, [Buffer.concat([host, Buffer.from([0x1a, route.length, ...route])])]);
    }
    if (this.chance(0.03)) bytes = bytes.slice(0, this.below(bytes.length + 1));
    if (this.chance(0.03) && bytes.length > 0) {
      bytes = bytes.slice();
      bytes[this.below(bytes.length)] = this.below(256);
    }
    return bytes;
  }
}

function unknownField(number: number): Uint8Array {
  const tag = number * 8;
  return Uint8Array.from([(tag & 0x7f) | 0x80, ((tag >> 7) & 0x7f) | 0x80, tag >> 14, 1]);
}

function encodeTable(json: JsonObject): Uint8Array {
  const clean = JSON.parse(JSON.stringify(json)) as JsonValue;
  return toBinary(TABLE, fromJson(TABLE, clean, { registry: api.registry }));
}

/** One proxy's way from bytes to tables. */
class Way {
  unknown = 0;
  readonly decoder = new ResourceDecoder(api, 'warn', () => {
    this.unknown++;
  });
  readonly builds = new ResourceBuilds(api, extensions, EMPTY_RUNTIME, {
    staticSecrets: NO_STATIC_SECRETS,
    refusal: () => null,
  });
  latest: DiscoveredResource | undefined = undefined;
  mainPieces: RoutePieces | null = null;
  workerPieces: RoutePieces | null = null;
  readonly sharing: boolean;
  readonly #anys = new AnyMessages(api);

  constructor(sharing: boolean) {
    this.sharing = sharing;
  }

  /** @returns what is wrong, or the resource */
  take(bytes: Uint8Array, clusters: ReadonlySet<string>, asText: boolean): string | DiscoveredResource {
    const any = { $typeName: 'google.protobuf.Any' as const, typeUrl: ROUTE_TYPE.typeUrl, value: bytes.slice() };
    const held = this.sharing ? { latest: () => this.latest } : null;
    const decoded = this.decoder.decode(ROUTE_TYPE, any, '1', BINARY, held);
    if (!decoded.ok) return decoded.error;
    let { value: resource } = decoded;
    if (asText) {
      const { pieces: _, ...rest } = resource;
      resource = rest;
    }
    const shared = this.sharing ? resource.pieces : undefined;
    const pieces = shared ?? splitTable(resource.bytes, this.mainPieces).pieces;
    const built = this.builds.routeTable(resource, pieces, clusters);
    if (!built.ok) return built.error;
    this.latest = resource;
    if (this.sharing) this.mainPieces = pieces;
    return resource;
  }

  work(bytes: Uint8Array): RouteTable {
    const errors: BuildContext['shared']['errors'] = [];
    const context = new BuildContext({
      api,
      anys: this.#anys,
      extensions,
      runtime: EMPTY_RUNTIME,
      errors,
      warnings: [],
      stats: new StatsStore().root.createScope(''),
      clusterNames: null,
    });
    const split = this.sharing ? splitTable(bytes.slice(), this.workerPieces) : null;
    const table =
      split === null
        ? buildRouteTable(context, fromBinary(TABLE, bytes) as RouteConfiguration, true)
        : buildFromPieces(context, split.decodeUnbuilt(api), split.pieces);
    if (table === null) throw new Error(`what main takes a worker takes: ${JSON.stringify(errors)}`);
    this.workerPieces = split?.pieces ?? null;
    return table;
  }
}

/** All that can be seen of a value; a host or table by its name. */
function describe(value: unknown, seen: Set<unknown> = new Set()): unknown {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return 'function';
  if (typeof value !== 'object' || value === null) return value;
  if (seen.has(value)) return 'again';
  seen.add(value);
  if (value instanceof Map) return [...value].map((entry) => describe(entry, seen));
  if (value instanceof Set) return [...value].map((entry) => describe(entry, seen));
  if (Array.isArray(value)) return value.map((entry) => describe(entry, seen));
  const out: Record<string, unknown> = { class: value.constructor?.name };
  for (const key of Object.keys(value)) {
    if (key === 'settings' || key === 'entries' || key === 'stats') continue;
    out[key] = describe((value as Record<string, unknown>)[key], seen);
  }
  return out;
}

const PATHS = ['/', '/a', '/ab', '/a/b', '/b', '/B', '/c', '/a1', '/a;p/b', '/a?q=1', '/AB/x', '/zz'];

function* requests(hosts: readonly string[]): Iterable<RequestHeaders> {
  for (const authority of hosts) {
    for (const path of PATHS) {
      for (const value of ['', 'u']) {
        const headers = new RequestHeaders();
        headers.method = 'GET';
        headers.scheme = 'http';
        headers.authority = authority;
        headers.path = path;
        headers.list = value === '' ? [] : ['x-0', value];
        yield headers;
      }
    }
  }
}

function answerOf(table: RouteTable, headers: RequestHeaders, random: number): string {
  const stream = new StubStreamView();
  stream.stableRandom = random;
  const route = table.route(headers, stream);
  if (route === null) return 'none';
  const after = new RequestHeaders();
  Object.assign(after, { method: 'GET', scheme: 'http', authority: headers.authority, path: headers.path });
  after.list = [...headers.list];
  route.requestMutations.apply(after, {
    stream,
    requestHeaders: headers,
    responseHeaders: null,
    responseTrailers: null,
  } as never);
  const configs = ['buf', 'limit', 'fault', 'off'].map((name) => [
    route.filterDisabled(name),
    describe(route.filterConfig(name)),
  ]);
  return JSON.stringify([describe(route), configs, after.list]);
}

/** @returns how many of its pieces a version shared */
function compare(seed: number, edits: number): number {
  const editor = new Editor(seed);
  const sharing = new Way(true);
  const fresh = new Way(false);
  let table = editor.table();
  let clusters = new Set(NAMES);
  while (typeof new Way(false).take(editor.encode(table), clusters, false) === 'string') table = editor.table();
  let shared = 0;
  for (let i = 0; i < edits; i++) {
    writeFileSync(editor.bodyFile, `body ${editor.below(2)}`);
    if (editor.chance(0.1)) clusters = new Set(NAMES.filter(() => editor.chance(0.8)));
    const kept = structuredClone(table);
    for (let n = 1 + editor.below(3); n > 0; n--) editor.edit(table);
    const bytes = editor.encode(table);
    const asText = editor.chance(0.1);
    const before = new Set(sharing.latest?.pieces?.hosts.flatMap((host) => host.routes));
    const a = sharing.take(bytes, clusters, asText);
    const b = fresh.take(bytes, clusters, asText);
    const at = `seed ${seed}, edit ${i}`;
    expect(sharing.unknown, at).toBe(fresh.unknown);
    if (typeof a === 'string' || typeof b === 'string') {
      expect(a, at).toBe(b as string);
      if (editor.chance(0.95)) table = kept;
      continue;
    }
    for (const host of a.pieces?.hosts ?? []) for (const route of host.routes) if (before.has(route)) shared++;
    expect(a.name, at).toBe(b.name);
    const wanted = toBinary(TABLE, b.message);
    for (const { bytes } of [a, b])
      expect(Buffer.compare(toBinary(TABLE, fromBinary(TABLE, bytes)), wanted), at).toBe(0);
    expect(Buffer.compare(toBinary(TABLE, a.message), wanted), at).toBe(0);
    const left = sharing.work(a.bytes);
    const right = fresh.work(b.bytes);
    expect(describe({ ...left, virtualHosts: [] }), at).toEqual(describe({ ...right, virtualHosts: [] }));
    const domains = right.virtualHosts.flatMap((host) => host.domains).map((domain) => domain.replace('*', 'any'));
    for (const headers of requests([...domains.slice(0, 3), 'nobody.com'])) {
      const random = editor.below(100);
      const wanted = answerOf(right, headers, random);
      if (answerOf(left, headers, random) !== wanted) {
        expect(JSON.parse(answerOf(left, headers, random)), `${at}: ${headers.authority}${headers.path}`).toEqual(
          JSON.parse(wanted),
        );
      }
    }
  }
  return shared;
}

// More by hand: TABLE_SEEDS=200.
let shared = 0;
const SEEDS = Number(process.env.TABLE_SEEDS ?? 70);
for (let seed = 1; seed <= SEEDS; seed++) {
  test(`a table that shares what is equal is the table built afresh: seed ${seed}`, () => {
    shared += compare(seed, 30);
  }, 30_000);
}

test('a broken table is refused, or taken by main and workers alike', () => {
  const editor = new Editor(1);
  const clusters = new Set(NAMES);
  const way = new Way(true);
  let refused = 0;
  for (let i = 0; i < 2000; i++) {
    const { hosts } = editor.table();
    const [host] = hosts;
    const routes = host!.routes.slice(0, 3);
    const good = encodeTable({ name: 'rc', virtual_hosts: [{ name: 'h', domains: ['h', '*'], routes }] });
    const taken = way.take(good, clusters, false);
    if (typeof taken !== 'string') way.work(taken.bytes);
    const broken = good.slice();
    for (let n = 1 + editor.below(2); n > 0; n--) {
      const at = editor.below(broken.length);
      broken[at] = editor.chance(0.5) ? editor.below(256) : broken[at]! + editor.below(5) - 2;
    }
    const next = way.take(broken, clusters, false);
    if (typeof next === 'string') refused++;
    else way.work(next.bytes);
  }
  expect(refused).toBeGreaterThan(500);
  expect(refused).toBeLessThan(1900);
}, 30_000);

test('what is built from something that only some builds have is built again', () => {
  const scope = { api, anys: new AnyMessages(api), extensions, runtime: EMPTY_RUNTIME, errors: [], warnings: [] };
  const whole = { ...scope, stats: new StatsStore().root, clusterNames: null };
  let looks = 0;
  const { shared } = new BuildContext(whole).observed(() => looks++);
  expect([shared.api, shared.runtime, shared.errors, looks]).toEqual([api, EMPTY_RUNTIME, whole.errors, 0]);
  expect([shared.checksFiles, looks]).toEqual([undefined, 1]);
  expect([shared.stats, looks]).toEqual([whole.stats, 2]);
});

test('or nothing would have been tested', () => {
  expect(shared).toBeGreaterThan(SEEDS * 40);
});
