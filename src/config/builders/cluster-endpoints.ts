import type { Address as AddressMessage, SocketAddress } from '../../api/gen/envoy/config/core/v3/address_pb.d.ts';
import type {
  Locality as LocalityMessage,
  Metadata as MetadataMessage,
} from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { PerHostConfig } from '../../api/gen/envoy/config/core/v3/proxy_protocol_pb.d.ts';
import type {
  LbEndpoint,
  LocalityLbEndpoints,
} from '../../api/gen/envoy/config/endpoint/v3/endpoint_components_pb.d.ts';
import type { ClusterLoadAssignment } from '../../api/gen/envoy/config/endpoint/v3/endpoint_pb.d.ts';
import type { FractionalPercent } from '../../api/gen/envoy/type/v3/percent_pb.d.ts';
import { type Address, ipAddress } from '../../net/address.ts';
import type { DnsTarget } from '../../upstream/dns-spec.ts';
import {
  type EdsHealth,
  type HostSpec,
  type Locality,
  localityKey,
  type Metadata,
  NO_LOCALITY,
  NO_METADATA,
} from '../../upstream/host.ts';
import type { HostUpdate, LocalityWeight } from '../../upstream/host-update.ts';
import { DEFAULT_OVERPROVISIONING } from '../../upstream/priority-set.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildAddress } from './addresses.ts';

export const ENDPOINT_SUPPORT: readonly FieldSupport[] = [
  // endpoint_stale_after speaks of what EDS delivered; it has no meaning in a cluster's own assignment.
  {
    message: 'envoy.config.endpoint.v3.ClusterLoadAssignment',
    fields: 'endpoints policy',
    // Within a cluster its own name counts.
    inert: 'cluster_name named_endpoints',
  },
  {
    message: 'envoy.config.endpoint.v3.ClusterLoadAssignment.Policy',
    fields: 'overprovisioning_factor weighted_priority_health drop_overloads',
    inert: 'endpoint_stale_after',
  },
  // The category is a name in load reports.
  {
    message: 'envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload',
    fields: 'drop_percentage',
    inert: 'category',
  },
  {
    message: 'envoy.config.endpoint.v3.LocalityLbEndpoints',
    fields: 'locality metadata lb_endpoints load_balancing_weight priority',
    inert: 'proximity',
  },
  { message: 'envoy.config.core.v3.Locality', fields: '*' },
  {
    message: 'envoy.config.endpoint.v3.LbEndpoint',
    fields: 'endpoint health_status metadata load_balancing_weight',
  },
  // Without active health checks, how they would be made has no meaning.
  {
    message: 'envoy.config.endpoint.v3.Endpoint',
    fields: 'address hostname',
    inert: 'health_check_config observability_name',
  },
  // Of typed metadata only the TLVs of PROXY protocol headers have a meaning yet; other entries are for extensions.
  { message: 'envoy.config.core.v3.Metadata', fields: 'filter_metadata', inert: 'typed_filter_metadata' },
  { message: 'envoy.config.core.v3.PerHostConfig', fields: '*' },
  { message: 'envoy.config.core.v3.TlvEntry', fields: 'type value' },
];

/** `filter_metadata` as plain data. */
export function buildMetadata(message: MetadataMessage | undefined): Metadata {
  return message === undefined ? NO_METADATA : ({ ...message.filterMetadata } as Metadata);
}

function buildLocality(message: LocalityMessage | undefined): Locality {
  if (message === undefined) return NO_LOCALITY;
  return { region: message.region, zone: message.zone, subZone: message.subZone };
}

/** Key of typed metadata that upstream PROXY protocol sockets read. */
const PROXY_TLVS = 'envoy.transport_sockets.proxy_protocol';
const PER_HOST_CONFIG = 'envoy.config.core.v3.PerHostConfig';

/** An endpoint's metadata; of the typed one, the TLVs of PROXY protocol headers to this host (values in base64). */
function hostMetadata(context: BuildContext, message: MetadataMessage | undefined): Metadata {
  const metadata = buildMetadata(message);
  const any = message?.typedFilterMetadata[PROXY_TLVS];
  const config = any === undefined ? null : context.unpack(`metadata.typed_filter_metadata["${PROXY_TLVS}"]`, any);
  if (config?.$typeName !== PER_HOST_CONFIG) return metadata;
  const tlvs = (config as PerHostConfig).addedTlvs.map(({ type, value }) => ({
    type,
    value: Buffer.from(value).toString('base64'),
  }));
  return { ...metadata, [PROXY_TLVS]: { ...metadata[PROXY_TLVS], added_tlvs: tlvs } };
}

const NO_ADDRESSES: readonly Address[] = [];

function hostFrom(
  context: BuildContext,
  endpoint: LbEndpoint,
  group: LocalityLbEndpoints,
  address: Address,
  hostname: string,
): HostSpec {
  return {
    identity: '',
    address,
    additionalAddresses: NO_ADDRESSES,
    hostname,
    weight: endpoint.loadBalancingWeight ?? 1,
    locality: buildLocality(group.locality),
    priority: group.priority,
    metadata: hostMetadata(context, endpoint.metadata),
    localityMetadata: buildMetadata(group.metadata),
    edsHealth: endpoint.healthStatus as EdsHealth,
  };
}

/** Visits every endpoint with the context at it. */
function eachEndpoint(
  context: BuildContext,
  message: ClusterLoadAssignment,
  visit: (at: BuildContext, endpoint: LbEndpoint, group: LocalityLbEndpoints) => void,
): void {
  message.endpoints.forEach((group, g) => {
    group.lbEndpoints.forEach((endpoint, e) => {
      visit(context.at(`endpoints[${g}].lb_endpoints[${e}]`), endpoint, group);
    });
  });
}

function addressOf(endpoint: LbEndpoint): AddressMessage | undefined {
  return endpoint.hostIdentifier.case === 'endpoint' ? endpoint.hostIdentifier.value.address : undefined;
}

function hostnameOf(endpoint: LbEndpoint): string {
  return endpoint.hostIdentifier.case === 'endpoint' ? endpoint.hostIdentifier.value.hostname : '';
}

/** Weights of the localities of each priority; a priority without any has an empty list. */
export function buildLocalityWeights(message: ClusterLoadAssignment): LocalityWeight[][] {
  const byPriority: Map<string, LocalityWeight>[] = [new Map()];
  for (const group of message.endpoints) {
    while (byPriority.length <= group.priority) byPriority.push(new Map());
    const weight = group.loadBalancingWeight;
    if (weight === undefined) continue;
    const locality = buildLocality(group.locality);
    byPriority[group.priority]!.set(localityKey(locality), { locality, weight });
  }
  return byPriority.map((weights) => [...weights.values()]);
}

const DENOMINATORS = [100, 10_000, 1_000_000];

function dropShare(context: BuildContext, percent: FractionalPercent | undefined): number {
  if (percent === undefined) return 0;
  const denominator = DENOMINATORS[percent.denominator] ?? 100;
  if (percent.numerator > denominator) {
    context.refuse(
      'policy.drop_overloads[0].drop_percentage',
      `Cluster drop_overloads config is invalid. drop_ratio=${percent.numerator / denominator}(Numerator ${percent.numerator} / Denominator ${denominator}). The valid range is [0, 1].`,
    );
  }
  return percent.numerator / denominator;
}

export interface AssignmentPolicy {
  readonly overprovisioningFactor: number;
  readonly weightedPriorityHealth: boolean;
  /** 0-1. */
  readonly dropOverload: number;
  readonly dropCategory: string;
}

export function buildAssignmentPolicy(context: BuildContext, message: ClusterLoadAssignment): AssignmentPolicy {
  const drops = message.policy?.dropOverloads.length ?? 0;
  if (drops > 1) {
    context.refuse(
      'policy.drop_overloads',
      `Cluster drop_overloads config has ${drops} categories. Envoy only support one.`,
    );
  }
  return {
    overprovisioningFactor: message.policy?.overprovisioningFactor ?? DEFAULT_OVERPROVISIONING,
    weightedPriorityHealth: message.policy?.weightedPriorityHealth ?? false,
    dropOverload: dropShare(context, message.policy?.dropOverloads[0]?.dropPercentage),
    dropCategory: message.policy?.dropOverloads[0]?.category ?? '',
  };
}

/** The hosts of a STATIC cluster (or of an EDS answer), one update for each priority. */
export function buildStaticHosts(context: BuildContext, cluster: string, message: ClusterLoadAssignment): HostUpdate[] {
  const weights = buildLocalityWeights(message);
  const policy = buildAssignmentPolicy(context, message);
  const hosts: HostSpec[][] = weights.map(() => []);
  eachEndpoint(context, message, (at, endpoint, group) => {
    if (endpoint.hostIdentifier.case === 'endpointName') {
      at.refuse('endpoint_name', 'endpoints by name are not supported', 'give the endpoint itself');
      return;
    }
    const address = buildAddress(at, 'endpoint.address', addressOf(endpoint));
    if (address === null) return;
    hosts[group.priority]!.push(hostFrom(at, endpoint, group, address, hostnameOf(endpoint)));
  });
  return weights.map((localityWeights, priority) => ({
    cluster,
    priority,
    hosts: hosts[priority]!,
    localityWeights,
    ...policy,
  }));
}

const NOWHERE = ipAddress('0.0.0.0', 0);

/** The names of a DNS cluster. An IP address stands for itself. */
export function buildDnsTargets(
  context: BuildContext,
  type: 'STRICT_DNS' | 'LOGICAL_DNS',
  message: ClusterLoadAssignment,
): DnsTarget[] {
  const targets: DnsTarget[] = [];
  eachEndpoint(context, message, (at, endpoint, group) => {
    const socketAddress = socketAddressOf(at, type, endpoint);
    if (socketAddress === null) return;
    const name = socketAddress.address;
    const hostname = hostnameOf(endpoint);
    const template = hostFrom(at, endpoint, group, NOWHERE, hostname === '' ? name : hostname);
    const port = Number(socketAddress.portSpecifier.value ?? 0);
    targets.push({ name, port, template });
  });
  return targets;
}

function socketAddressOf(at: BuildContext, type: string, endpoint: LbEndpoint): SocketAddress | null {
  const address = addressOf(endpoint)?.address;
  const field = 'endpoint.address';
  if (address?.case !== 'socketAddress') {
    if (address?.case === undefined) at.refuse(field, 'an address is missing');
    else
      at.refuse(
        field,
        `${type} clusters resolve names: this address cannot be resolved`,
        'use a socket_address, or type STATIC',
      );
    return null;
  }
  if (address.value.resolverName !== '') {
    at.refuse(`${field}.socket_address.resolver_name`, `${type} clusters must NOT have a custom resolver name set`);
    return null;
  }
  if (address.value.portSpecifier.case === 'namedPort') {
    at.refuse(`${field}.socket_address.named_port`, 'named ports are not supported here', 'use port_value');
    return null;
  }
  return address.value;
}
