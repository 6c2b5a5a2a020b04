import { cluster, type Fields, type HttpListener, http2Cluster, httpListener, typed } from './configs.ts';
import type { Exchange } from './exchange.ts';
import { fillIn, type Side } from './side.ts';

/** Resources of discovery services in files, for scenarios of dynamic configuration. */

export const CLUSTER = 'envoy.config.cluster.v3.Cluster';
export const LISTENER = 'envoy.config.listener.v3.Listener';
export const ROUTES = 'envoy.config.route.v3.RouteConfiguration';
export const ENDPOINTS = 'envoy.config.endpoint.v3.ClusterLoadAssignment';

const NODE: Fields = { id: 'node-1', cluster: 'tests' };

/** A ConfigSource: over the one stream for all. */
export const ADS: Fields = { ads: {}, resource_api_version: 'V3' };

/** The scripted control plane as a cluster. */
export const planeCluster: Fields = http2Cluster('xds');

/** For {@link planeApi}: whoever has lost the control plane comes back at once. */
export const BACK_SOON: Fields = {
  retry_policy: { retry_back_off: { base_interval: '0.01s', max_interval: '0.02s' } },
};

/** An ApiConfigSource that asks the scripted control plane. */
export function planeApi(apiType: string, more: Fields = {}, target: Fields = {}): Fields {
  return {
    api_type: apiType,
    transport_api_version: 'V3',
    grpc_services: [{ envoy_grpc: { cluster_name: 'xds', ...target } }],
    ...more,
  };
}

/** A bootstrap that follows the scripted control plane by ADS. */
export function adsBootstrap(
  api: Fields,
  sources: Fields = { lds_config: ADS, cds_config: ADS },
  more: Fields = {},
): Fields {
  return {
    node: NODE,
    dynamic_resources: { ads_config: api, ...sources },
    static_resources: { clusters: [planeCluster] },
    ...more,
  };
}

export const apiType = (delta: boolean): string => (delta ? 'DELTA_GRPC' : 'GRPC');

/** A DiscoveryResponse. */
export function answer(version: string, resources: readonly Fields[]): Fields {
  return { version_info: version, resources };
}

export function source(file: string, more: Fields = {}): Fields {
  return { path_config_source: { path: `{{tmp}}/${file}` }, ...more };
}

/** A bootstrap whose clusters and listeners come from `cds.json` and `lds.json`. */
export function dynamicBootstrap(fields: Fields = {}): Fields {
  return {
    node: NODE,
    dynamic_resources: { lds_config: source('lds.json'), cds_config: source('cds.json') },
    ...fields,
  };
}

export function clusterResource(name: string, upstream: string, more: Fields = {}): Fields {
  return typed(CLUSTER, { ...cluster(upstream), name, ...more });
}

export function endpoints(service: string, upstreams: readonly string[], more: Fields = {}): Fields {
  return typed(ENDPOINTS, {
    cluster_name: service,
    endpoints: [{ lb_endpoints: upstreams.map((name) => ({ endpoint: { address: `{{upstream:${name}}}` } })) }],
    ...more,
  });
}

export function edsCluster(name: string, more: Fields = {}): Fields {
  return typed(CLUSTER, {
    name,
    type: 'EDS',
    connect_timeout: '1s',
    eds_cluster_config: { eds_config: source('eds.json') },
    ...more,
  });
}

export function listenerResource(options: HttpListener = {}): Fields {
  return typed(LISTENER, httpListener(options));
}

/** A connection manager's fields for routes `name` from `rds.json`. */
export function byRds(name = 'r1', file = 'rds.json'): Fields {
  return { route_config: undefined, rds: { route_config_name: name, config_source: source(file) } };
}

/** A direct answer with a body that tells versions apart. */
export function says(body: string, prefix = '/'): Fields {
  return { match: { prefix }, direct_response: { status: 200, body: { inline_string: body } } };
}

export function routes(name: string, list: readonly Fields[], more: Fields = {}): Fields {
  return typed(ROUTES, { name, virtual_hosts: [{ name: 'all', domains: ['*'], routes: list }], ...more });
}

/** Gives the scripted control plane what it holds of one type, from now on. */
export function tell(side: Side, type: string, version: string, resources: readonly Fields[]): void {
  const typeUrl = `type.googleapis.com/${type}`;
  const typedResources = resources.map((each) => ({ '@type': typeUrl, ...each }));
  side.controlPlane!.set(typeUrl, version, JSON.parse(fillIn(typedResources, side.tmp, side.ports)) as Fields[]);
}

/** Waits until `count` requests have come for a type, by its short name such as `RDS`. */
export async function answered(exchange: Exchange, short: string, count: number): Promise<void> {
  const plane = exchange.side.controlPlane!;
  await exchange.expect(`${count} requests for ${short}`, () => (plane.requests.get(short)?.length ?? 0) >= count);
  await exchange.refreshListeners();
}

/** Notes all requests for these types so far. */
export function asked(exchange: Exchange, ...shorts: readonly string[]): void {
  for (const short of shorts) {
    const lines = (exchange.side.controlPlane!.requests.get(short) ?? []).map((each) => JSON.stringify(each));
    exchange.note(`requests ${short}`, lines.join('\n'));
  }
}

/** How a subscription counted. */
async function outcomes(exchange: Exchange, scope: string): Promise<readonly [attempts: number, settled: number]> {
  const { body } = await exchange.proxy.admin(`/stats?filter=^${scope}.update_`);
  const value = (name: string): number =>
    Number(new RegExp(`^${scope}\\.update_${name}: (\\d+)$`, 'm').exec(body)?.[1] ?? 0);
  return [value('attempt'), value('success') + value('rejected') + value('failure')];
}

/** Moves an answer into place and waits until its subscription has judged it. @param scope such as `cluster_manager.cds` */
export async function publish(
  exchange: Exchange,
  file: string,
  scope: string,
  content: Fields | string,
): Promise<void> {
  const [before] = await outcomes(exchange, scope);
  exchange.side.write(file, content);
  await exchange.expect(`${scope} to take ${file}`, async () => {
    const [attempts, settled] = await outcomes(exchange, scope);
    return attempts > before && settled === attempts;
  });
  await exchange.refreshListeners();
}

export const publishListeners = (exchange: Exchange, version: string, resources: readonly Fields[]): Promise<void> =>
  publish(exchange, 'lds.json', 'listener_manager.lds', answer(version, resources));

export const publishClusters = (exchange: Exchange, version: string, resources: readonly Fields[]): Promise<void> =>
  publish(exchange, 'cds.json', 'cluster_manager.cds', answer(version, resources));

/** The states in `/config_dump`, names and versions alone: errors are worded differently. */
export async function dumpStates(exchange: Exchange): Promise<void> {
  const { body } = await exchange.proxy.admin('/config_dump');
  const lines: string[] = [];
  for (const config of (JSON.parse(body) as { configs: Fields[] }).configs) {
    const type = String(config['@type']).replace(/.*\./, '');
    if (config.version_info !== undefined) lines.push(`${type} ${config.version_info}`);
    for (const [field, list] of Object.entries(config)) {
      if (!/^(dynamic|static)_/.test(field)) continue;
      for (const entry of list as Fields[]) lines.push(describe(field, entry));
    }
  }
  exchange.note('config dump', lines.sort().join('\n'));
}

function describe(field: string, entry: Fields): string {
  const inner = (entry.cluster ?? entry.listener ?? entry.route_config) as Fields | undefined;
  const states = ['active_state', 'warming_state', 'draining_state', 'error_state'].filter((name) => name in entry);
  const of = (name: string): string => {
    const state = entry[name] as Fields;
    if (name !== 'error_state') return `${name} ${state.version_info ?? '-'}`;
    const failed = state.failed_configuration as Fields | undefined;
    return `error_state of ${failed?.name} ${state.details === undefined ? 'without' : 'with'} details`;
  };
  return [field, String(entry.name ?? inner?.name), entry.version_info ?? '', ...states.map(of)].join(' ');
}
