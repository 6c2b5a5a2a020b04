import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { Address as AddressMessage } from '../../api/gen/envoy/config/core/v3/address_pb.d.ts';
import type { TypedExtensionConfig } from '../../api/gen/envoy/config/core/v3/extension_pb.d.ts';
import type { DnsCluster } from '../../api/gen/envoy/extensions/clusters/dns/v3/dns_cluster_pb.d.ts';
import type { CaresDnsResolverConfig } from '../../api/gen/envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver_pb.d.ts';
import { DnsFamily, type DnsSpec } from '../../upstream/dns-spec.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildAddress } from './addresses.ts';
import { buildAssignmentPolicy, buildDnsTargets, buildLocalityWeights } from './cluster-endpoints.ts';
import { durationMs, durationMsOr } from './durations.ts';

const CARES = 'envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig';
const GETADDRINFO = 'envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig';

export const DNS_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.cluster.v3.Cluster.RefreshRate', fields: '*' },
  {
    message: 'envoy.extensions.clusters.dns.v3.DnsCluster',
    fields: `dns_refresh_rate dns_failure_refresh_rate respect_dns_ttl dns_jitter typed_dns_resolver_config
      dns_lookup_family all_addresses_in_single_endpoint dns_min_refresh_rate`,
  },
  { message: 'envoy.extensions.clusters.dns.v3.DnsCluster.RefreshRate', fields: '*' },
  { message: 'envoy.config.core.v3.TypedExtensionConfig', fields: 'name typed_config' },
  { message: CARES, fields: 'resolvers' },
  { message: GETADDRINFO, fields: '' },
];

/** envoy.config.cluster.v3 numbers the families without an UNSPECIFIED, the DNS cluster's own message with one. */
const FAMILY_WITH_UNSPECIFIED: readonly DnsFamily[] = [
  DnsFamily.Auto,
  DnsFamily.Auto,
  DnsFamily.V4Only,
  DnsFamily.V6Only,
  DnsFamily.V4Preferred,
  DnsFamily.All,
];

const DEFAULT_REFRESH_MS = 5000;

/** How often and where; the same for both ways of writing a DNS cluster. */
type Timing = Omit<
  DnsSpec,
  | 'logical'
  | 'targets'
  | 'localityWeights'
  | 'overprovisioningFactor'
  | 'weightedPriorityHealth'
  | 'dropOverload'
  | 'dropCategory'
>;

function failureRate(
  context: BuildContext,
  rate: Cluster['dnsFailureRefreshRate'] | DnsCluster['dnsFailureRefreshRate'],
  refreshMs: number,
): { base: number; max: number } {
  if (rate?.baseInterval === undefined) return { base: refreshMs, max: refreshMs };
  const base = durationMs(rate.baseInterval);
  const max = durationMsOr(rate.maxInterval, base * 10);
  if (max < base) {
    context.refuse(
      'dns_failure_refresh_rate',
      'dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval',
    );
  }
  return { base, max };
}

function resolverList(context: BuildContext, field: string, addresses: readonly AddressMessage[]): string[] {
  const out: string[] = [];
  addresses.forEach((message, index) => {
    const address = buildAddress(context, `${field}[${index}]`, message);
    if (address === null) return;
    if (address.kind !== 'ip') {
      context.refuse(`${field}[${index}]`, 'a name server is an IP address');
      return;
    }
    const port = address.port === 0 ? 53 : address.port;
    out.push(address.version === 6 ? `[${address.ip}]:${port}` : `${address.ip}:${port}`);
  });
  return out;
}

function typedResolvers(context: BuildContext, message: TypedExtensionConfig | undefined): string[] {
  if (message === undefined) return [];
  const field = 'typed_dns_resolver_config.typed_config';
  const config = context.unpack(field, message.typedConfig);
  if (config === null || config.$typeName === GETADDRINFO) return [];
  if (config.$typeName !== CARES) {
    context.refuse(field, `DNS resolver ${config.$typeName} is not supported yet`);
    return [];
  }
  return resolverList(context, `${field}.resolvers`, (config as CaresDnsResolverConfig).resolvers);
}

function timingOfCluster(context: BuildContext, message: Cluster): Timing {
  const refreshMs = durationMsOr(message.dnsRefreshRate, DEFAULT_REFRESH_MS);
  const failure = failureRate(context, message.dnsFailureRefreshRate, refreshMs);
  return {
    family: message.dnsLookupFamily as DnsFamily,
    refreshMs,
    failureBaseMs: failure.base,
    failureMaxMs: failure.max,
    jitterMs: durationMsOr(message.dnsJitter, 0),
    respectTtl: message.respectDnsTtl,
    minRefreshMs: 0,
    resolvers:
      message.typedDnsResolverConfig === undefined
        ? resolverList(context, 'dns_resolvers', message.dnsResolvers)
        : typedResolvers(context, message.typedDnsResolverConfig),
  };
}

function timingOfDnsCluster(context: BuildContext, message: DnsCluster): Timing {
  const refreshMs = durationMsOr(message.dnsRefreshRate, DEFAULT_REFRESH_MS);
  const failure = failureRate(context, message.dnsFailureRefreshRate, refreshMs);
  return {
    family: FAMILY_WITH_UNSPECIFIED[message.dnsLookupFamily] ?? DnsFamily.Auto,
    refreshMs,
    failureBaseMs: failure.base,
    failureMaxMs: failure.max,
    jitterMs: durationMsOr(message.dnsJitter, 0),
    respectTtl: message.respectDnsTtl,
    minRefreshMs: durationMsOr(message.dnsMinRefreshRate, 0),
    resolvers: typedResolvers(context, message.typedDnsResolverConfig),
  };
}

/**
 * What a DNS cluster resolves.
 * @param typed the `cluster_type` message where the cluster is written in that way
 */
export function buildDns(context: BuildContext, message: Cluster, logical: boolean, typed: DnsCluster | null): DnsSpec {
  const timing =
    typed === null
      ? timingOfCluster(context, message)
      : timingOfDnsCluster(context.at('cluster_type.typed_config'), typed);
  const assignment = message.loadAssignment;
  if (logical) checkSingleHost(context, message);
  if (assignment === undefined) {
    return {
      ...timing,
      logical,
      targets: [],
      localityWeights: [],
      overprovisioningFactor: 140,
      weightedPriorityHealth: false,
      dropOverload: 0,
      dropCategory: '',
    };
  }
  const at = context.at('load_assignment');
  return {
    ...timing,
    logical,
    targets: buildDnsTargets(at, logical ? 'LOGICAL_DNS' : 'STRICT_DNS', assignment),
    localityWeights: buildLocalityWeights(assignment),
    ...buildAssignmentPolicy(at, assignment),
  };
}

function checkSingleHost(context: BuildContext, message: Cluster): void {
  const groups = message.loadAssignment?.endpoints;
  if (groups === undefined) {
    context.refuse('load_assignment', 'LOGICAL_DNS clusters must have a single host');
  } else if (groups.length !== 1 || groups[0]!.lbEndpoints.length !== 1) {
    context.refuse(
      'load_assignment.endpoints',
      'LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint',
      'for several names use STRICT_DNS',
    );
  }
}
