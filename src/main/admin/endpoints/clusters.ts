import { Regex } from '../../../routing/regex.ts';
import type { ClusterFacts } from '../../../upstream/cluster-spec.ts';
import { EDS_HEALTH_NAMES, EdsHealth, HEALTH_FLAG_NAMES, HealthFlag, type Locality } from '../../../upstream/host.ts';
import {
  type ClusterPolicy,
  HOST_COUNTERS,
  HOST_GAUGES,
  type HostCount,
  type HostStatus,
} from '../../../worker/messages.ts';
import type { Server } from '../../server.ts';
import {
  type AdminEndpoint,
  type AdminRequest,
  type AdminResponse,
  json,
  option,
  query,
  text,
} from '../admin-request.ts';
import { addressJson } from './listeners.ts';

/** As the text form has them: sorted by name. */
const COUNT_NAMES = [...HOST_COUNTERS, ...HOST_GAUGES].sort();

/** `/clusters`. */
export function clustersEndpoint(server: Server): AdminEndpoint {
  return query(
    '/clusters',
    'upstream cluster status',
    [option('filter', 'Regular expression (Google re2) for filtering clusters by name')],
    (request) => clusters(server, request),
  );
}

/** One host with the counts of all workers. */
export interface ClusterHost extends HostStatus {
  readonly counts: Record<HostCount, number>;
}

/** What the clusters consist of. */
export interface ClusterMembers {
  /** By cluster name. */
  readonly hosts: ReadonlyMap<string, ClusterHost[]>;
  readonly policies: ReadonlyMap<string, ClusterPolicy>;
}

/** Hosts of every cluster, with the counts of all threads. */
export async function clusterMembers(server: Server): Promise<ClusterMembers> {
  const [first, ...others] = await server.members();
  const byCluster = new Map<string, ClusterHost[]>();
  const byKey = new Map<string, ClusterHost>();
  for (const status of first?.hosts ?? []) {
    const host = { ...status, counts: { ...status.counts } };
    byKey.set(`${status.cluster}|${status.priority}|${status.address.text}`, host);
    const list = byCluster.get(status.cluster);
    if (list === undefined) byCluster.set(status.cluster, [host]);
    else list.push(host);
  }
  for (const { hosts } of others) {
    for (const status of hosts) {
      const host = byKey.get(`${status.cluster}|${status.priority}|${status.address.text}`);
      if (host !== undefined) for (const name of COUNT_NAMES) host.counts[name] += status.counts[name];
    }
  }
  return { hosts: byCluster, policies: new Map((first?.policies ?? []).map((policy) => [policy.cluster, policy])) };
}

async function clusters(server: Server, request: AdminRequest): Promise<AdminResponse> {
  const filter = request.query.get('filter') ?? '';
  let shows = (_name: string): boolean => true;
  if (filter !== '') {
    if (!Regex.compile(filter).ok) return text('Invalid re2 regex', 400);
    const partial = Regex.of(`(?s:.*)(?:${filter})(?s:.*)`);
    shows = (name) => partial.test(name);
  }
  const { hosts } = await clusterMembers(server);
  const specs = [...server.dynamic.clusters.active.values()]
    .map((cluster) => cluster.spec)
    .filter((spec) => shows(spec.name));
  if (request.query.get('format') === 'json') {
    const statuses = specs.map((spec) => clusterJson(spec, hosts.get(spec.name) ?? []));
    return json(`${JSON.stringify(statuses.length === 0 ? {} : { cluster_statuses: statuses }, null, 1)}\n`);
  }
  let out = '';
  for (const spec of specs) out += clusterText(spec, hosts.get(spec.name) ?? []);
  return text(out);
}

/** Envoy prints limits as 32-bit numbers. */
function limit(value: number): number {
  return Number.isFinite(value) ? value : 0xffff_ffff;
}

function clusterText(spec: ClusterFacts, hosts: readonly ClusterHost[]): string {
  const { name } = spec;
  let out = `${name}::observability_name::${spec.statName}\n`;
  for (const [index, priority] of (['default', 'high'] as const).entries()) {
    const limits = spec.thresholds[index]!;
    out += `${name}::${priority}_priority::max_connections::${limit(limits.maxConnections)}\n`;
    out += `${name}::${priority}_priority::max_pending_requests::${limit(limits.maxPendingRequests)}\n`;
    out += `${name}::${priority}_priority::max_requests::${limit(limits.maxRequests)}\n`;
    out += `${name}::${priority}_priority::max_retries::${limit(limits.maxRetries)}\n`;
  }
  out += `${name}::added_via_api::${spec.addedViaApi}\n`;
  if (spec.serviceName !== '') out += `${name}::eds_service_name::${spec.serviceName}\n`;
  for (const host of hosts) {
    const at = `${name}::${host.address.text}::`;
    for (const count of COUNT_NAMES) out += `${at}${count}::${host.counts[count]}\n`;
    out += `${at}hostname::${host.hostname}\n`;
    out += `${at}health_flags::${flagsText(host.healthFlags)}\n`;
    out += `${at}weight::${host.weight}\n`;
    out += `${at}region::${host.locality.region}\n${at}zone::${host.locality.zone}\n`;
    out += `${at}sub_zone::${host.locality.subZone}\n`;
    out += `${at}canary::${host.canary}\n${at}priority::${host.priority}\n`;
    out += `${at}success_rate::-1\n${at}local_origin_success_rate::-1\n`;
  }
  return out;
}

function flagsText(flags: number): string {
  if (flags === 0) return 'healthy';
  return HEALTH_FLAG_NAMES.filter(([flag]) => (flags & flag) !== 0)
    .map(([, name]) => name)
    .join('');
}

function clusterJson(spec: ClusterFacts, hosts: readonly ClusterHost[]): object {
  const thresholds = spec.thresholds.map((limits, index) => ({
    ...(index === 0 ? {} : { priority: 'HIGH' }),
    max_connections: limit(limits.maxConnections),
    max_pending_requests: limit(limits.maxPendingRequests),
    max_requests: limit(limits.maxRequests),
    max_retries: limit(limits.maxRetries),
  }));
  return {
    name: spec.name,
    ...(spec.addedViaApi ? { added_via_api: true } : {}),
    ...(hosts.length === 0 ? {} : { host_statuses: hosts.map(hostJson) }),
    circuit_breakers: { thresholds },
    observability_name: spec.statName,
    ...(spec.serviceName === '' ? {} : { eds_service_name: spec.serviceName }),
  };
}

/** envoy.admin.v3.HostStatus; zero values are left out, as proto JSON does. */
function hostJson(host: ClusterHost): object {
  const stat = (name: HostCount, gauge: boolean): object => ({
    ...(gauge ? { type: 'GAUGE' } : {}),
    ...(host.counts[name] === 0 ? {} : { value: String(host.counts[name]) }),
    name,
  });
  return {
    address: addressJson(host.address.text),
    stats: [...HOST_COUNTERS.map((name) => stat(name, false)), ...HOST_GAUGES.map((name) => stat(name, true))],
    health_status: healthJson(host),
    weight: host.weight,
    ...(host.hostname === '' ? {} : { hostname: host.hostname }),
    ...(host.priority === 0 ? {} : { priority: host.priority }),
    locality: localityJson(host.locality),
  };
}

function healthJson(host: ClusterHost): object {
  const has = (flag: number): boolean => (host.healthFlags & flag) !== 0;
  return {
    ...(has(HealthFlag.FailedActiveHc) ? { failed_active_health_check: true } : {}),
    ...(has(HealthFlag.FailedOutlierCheck) ? { failed_outlier_check: true } : {}),
    ...(has(HealthFlag.DegradedActiveHc) ? { failed_active_degraded_check: true } : {}),
    ...(has(HealthFlag.PendingDynamicRemoval) ? { pending_dynamic_removal: true } : {}),
    ...(has(HealthFlag.PendingActiveHc) ? { pending_active_hc: true } : {}),
    ...(has(HealthFlag.ExcludedViaImmediateHcFail) ? { excluded_via_immediate_hc_fail: true } : {}),
    ...(has(HealthFlag.ActiveHcTimeout) ? { active_hc_timeout: true } : {}),
    eds_health_status: edsHealthName(host),
  };
}

/** Envoy shows what it makes of the state: UNKNOWN counts as HEALTHY. */
function edsHealthName(host: HostStatus): string {
  if ((host.healthFlags & HealthFlag.EdsStatusDraining) !== 0) return 'DRAINING';
  if ((host.healthFlags & HealthFlag.FailedEdsHealth) !== 0) return 'UNHEALTHY';
  if ((host.healthFlags & HealthFlag.DegradedEdsHealth) !== 0) return 'DEGRADED';
  return host.edsHealth === EdsHealth.Unknown ? 'HEALTHY' : EDS_HEALTH_NAMES[host.edsHealth];
}

export function localityJson(locality: Locality): object {
  return {
    ...(locality.region === '' ? {} : { region: locality.region }),
    ...(locality.zone === '' ? {} : { zone: locality.zone }),
    ...(locality.subZone === '' ? {} : { sub_zone: locality.subZone }),
  };
}
