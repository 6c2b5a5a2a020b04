/** Resources of scenarios with control planes, and how the state of a proxy is written down. */
import { type Fields, to, typed } from '../differential/configs.ts';
import {
  ADS,
  adsBootstrap,
  BACK_SOON,
  CLUSTER,
  ENDPOINTS,
  endpoints,
  LISTENER,
  listenerResource,
  planeApi,
  ROUTES,
  routes,
} from '../differential/discovery.ts';
import type { Exchange } from '../differential/exchange.ts';
import { sortedJson } from '../differential/exchange.ts';
import { fillIn, type Side } from '../differential/side.ts';
import { readStats } from '../differential/transcript.ts';
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import type { ResourceGroup } from './go-control-plane.ts';

export const url = (message: string): string => `type.googleapis.com/${message}`;

export const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';
export const RUNTIME = 'envoy.service.runtime.v3.Runtime';
export const CDS = url(CLUSTER);
export const EDS = url(ENDPOINTS);
export const LDS = url(LISTENER);
export const RDS = url(ROUTES);
export const SDS = url(SECRET);
export const RTDS = url(RUNTIME);

export const upstreams = {
  u1: httpUpstream(() => reply(200, 'one')),
  u2: httpUpstream(() => reply(200, 'two')),
};

/** A proxy that follows `{{upstream:xds}}`. */
export function followingBootstrap(apiType: string, more: Fields = {}, ads: Fields = {}): Fields {
  return adsBootstrap(planeApi(apiType, ads, BACK_SOON), undefined, more);
}

export const eds = (name: string, more: Fields = {}): Fields =>
  typed(CLUSTER, {
    name,
    type: 'EDS',
    connect_timeout: '1s',
    eds_cluster_config: { eds_config: ADS },
    ...more,
  });

/** A connection manager's fields for routes by ADS. */
export const rds = (name = 'r1'): Fields => ({
  route_config: undefined,
  rds: { route_config_name: name, config_source: ADS },
});

/** Groups by type URL: what is named takes the place of the usual, with its own version. */
export type World = Readonly<Record<string, readonly [version: string, resources: readonly Fields[]]>>;

/** One listener, its routes, their cluster, its endpoints. */
export function usual(changes: World = {}): World {
  return {
    [CDS]: ['1', [eds('c1')]],
    [EDS]: ['1', [endpoints('c1', ['u1'])]],
    [LDS]: ['1', [listenerResource({ hcm: rds() })]],
    [RDS]: ['1', [routes('r1', [to('c1')])]],
    ...changes,
  };
}

/** The world with the ports of one side in it. */
export function groupsOf(world: World, side: Side): Record<string, ResourceGroup> {
  const out: Record<string, ResourceGroup> = {};
  for (const [type, [version, resources]] of Object.entries(world)) {
    out[type] = { version, resources: JSON.parse(fillIn(resources, side.tmp, side.ports)) as Fields[] };
  }
  return out;
}

const nameOf = (entry: Fields): string => {
  const inner = (entry.cluster ?? entry.listener ?? entry.route_config ?? entry.endpoint_config ?? entry) as Fields;
  return String(entry.name ?? inner.name ?? inner.cluster_name);
};

/** Times are times; reasons are worded differently, and are only asked to be there. */
function withoutChance(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutChance);
  if (typeof value !== 'object' || value === null) return value;
  const out: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    // Envoy 1.40 says of refused clusters and routes when they were tried, of listeners it does not.
    if (name === 'last_update_attempt') continue;
    if (name === 'last_updated') out[name] = '<time>';
    // go-control-plane's versions of single resources are hashes of what has ports in it.
    else if (name === 'version_info' && /^[0-9a-f]{64}$/.test(String(member))) out[name] = '<hash>';
    // In the order of a map of Go.
    else if (name === 'scoped_route_configs') {
      const scopes = (member as Fields[]).toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
      out[name] = scopes.map(withoutChance);
    } else if (name === 'details' && typeof member === 'string') out[name] = '<reason>';
    else out[name] = withoutChance(member);
  }
  return out;
}

/** Everything of an answer of `/config_dump` but the bootstrap, in order of names, with names for ports. */
export function dumpText(body: string, ports: ReadonlyMap<number, string> = new Map()): string {
  const { configs } = JSON.parse(body) as { configs: Fields[] };
  const shown: unknown[] = [];
  for (const config of configs) {
    if (String(config['@type']).endsWith('BootstrapConfigDump')) continue;
    const ordered = Object.entries(config).map(([field, list]) => [
      field,
      Array.isArray(list) ? (list as Fields[]).toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1)) : list,
    ]);
    shown.push(withoutChance(Object.fromEntries(ordered as [string, unknown][])));
  }
  const named = JSON.stringify(shown).replace(/"port_value":(\d+)/g, (found, port: string) => {
    const name = ports.get(Number(port));
    return name === undefined ? found : `"port_value":"<${name}>"`;
  });
  return sortedJson(named);
}

export async function noteDump(exchange: Exchange, title = 'config dump'): Promise<void> {
  const { body } = await exchange.proxy.admin('/config_dump?include_eds');
  exchange.note(title, dumpText(body, exchange.side.surroundings.ports));
}

/** Counters and gauges as they stand. */
export async function noteStats(exchange: Exchange, pattern: RegExp): Promise<void> {
  const { body } = await exchange.proxy.admin('/stats');
  const lines = [...readStats(body)].filter(([name]) => pattern.test(name)).map(([name, value]) => `${name}: ${value}`);
  exchange.note('stats', lines.sort().join('\n'));
}

/**
 * What came of updates. Attempts are left out: how often a client is answered is the server's affair, and go-control-plane's own map
 * iteration decides in which order. So are times, durations and connections.
 */
export const OUTCOMES =
  /^(?:listener_manager\.(?:lds\.(?:update_(?:success|rejected)|version)|listener_(?:added|modified|removed|in_place_updated)|total_listeners_(?:active|warming|draining))|cluster_manager\.(?:cds\.(?:update_(?:success|rejected)|version)|cluster_(?:added|modified|removed)|active_clusters|warming_clusters)|http\.ingress\.rds\..*\.(?:update_(?:success|rejected|empty)|config_reload|version)|cluster\.c\d+\.(?:update_(?:success|rejected|empty|no_rebuild)|version|membership_(?:total|healthy|change))|runtime\.(?:num_keys|num_layers|load_error)|control_plane\.(?:connected_state|pending_requests))$/;
