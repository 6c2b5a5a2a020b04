import type { BackendPolicies, JudgedPolicy } from './backend-policies.ts';
import type { KeyPair } from './certificates.ts';
import { keyOf, type ManifestSet, namespaceOf } from './manifest-set.ts';
import type { BackendReference, EndpointSlice, Gateway, Manifest, Service } from './manifest-types.ts';
import { type BackendFault, type ResolvedBackend, resolveBackend, type ServicePort } from './references.ts';
import { ADS, type Resource, type ResourceBundle, secretOf, typed } from './resources.ts';

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

/** What is spoken to a backend. */
export type BackendUse =
  | 'http'
  /** HTTP/2 whatever the service says. */
  | 'http2'
  /** Bytes, encrypted where a policy says so. */
  | 'bytes'
  /** Bytes that the client has encrypted. */
  | 'passthrough';

/** The clusters of one gateway: one for each port of a service and use; made when first asked for. */
export class BackendClusters {
  readonly #set: ManifestSet;
  readonly #bundle: ResourceBundle;
  readonly #policies: BackendPolicies;
  readonly #gateway: Gateway;
  readonly #clientCertificate: KeyPair | null;
  /** By service, `namespace/name`; null: not asked for yet. */
  #slices: Map<string, EndpointSlice[]> | null = null;

  /** @param clientCertificate presented to backends that are spoken to over TLS */
  constructor(
    set: ManifestSet,
    bundle: ResourceBundle,
    policies: BackendPolicies,
    gateway: Gateway,
    clientCertificate: KeyPair | null,
  ) {
    this.#set = set;
    this.#bundle = bundle;
    this.#policies = policies;
    this.#gateway = gateway;
    this.#clientCertificate = clientCertificate;
  }

  /** What a route's reference leads to. */
  resolve(route: Manifest, reference: BackendReference): ResolvedBackend | BackendFault {
    this.#policies.use(`${reference.namespace ?? namespaceOf(route)}/${reference.name}`, this.#gateway);
    return resolveBackend(this.#set, route, reference, this.#policies.faultOf);
  }

  /** @returns the cluster's name */
  clusterOf({ service, port }: ResolvedBackend, use: BackendUse): string {
    const http2 = use === 'http2' || (use === 'http' && port.appProtocol === 'kubernetes.io/h2c');
    const policy = use === 'passthrough' ? null : this.#policies.policyOf(service, port);
    const base = `${namespaceOf(service)}/${service.metadata.name}/${port.port}`;
    const encrypted = this.#policies.policyOf(service, port) !== null;
    const name = http2 ? `${base}/h2` : use === 'passthrough' && encrypted ? `${base}/passthrough` : base;
    if (this.#bundle.clusters.has(name)) return name;
    this.#bundle.clusters.set(name, {
      name,
      type: 'EDS',
      connect_timeout: '10s',
      eds_cluster_config: { eds_config: ADS, service_name: base },
      ...(http2
        ? {
            typed_extension_protocol_options: {
              [HTTP_OPTIONS]: typed(HTTP_OPTIONS, { explicit_http_config: { http2_protocol_options: {} } }),
            },
          }
        : {}),
      ...(policy === null ? {} : { transport_socket: this.#transportSocket(policy) }),
    });
    if (!this.#bundle.endpoints.has(base)) this.#bundle.endpoints.set(base, this.#endpoints(base, service, port));
    return name;
  }

  #transportSocket({ policy, authorities }: JudgedPolicy): Resource {
    const { validation } = policy.spec;
    const names = validation.subjectAltNames ?? [];
    const matchers =
      names.length === 0
        ? [{ san_type: 'DNS', matcher: { exact: validation.hostname } }]
        : names.map((each) =>
            each.type === 'URI'
              ? { san_type: 'URI', matcher: { exact: each.uri ?? '' } }
              : { san_type: 'DNS', matcher: { exact: each.hostname ?? '' } },
          );
    const own = this.#clientCertificate;
    if (own !== null) this.#bundle.secrets.set(own.name, secretOf(own));
    return {
      name: 'envoy.transport_sockets.tls',
      typed_config: typed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
        sni: validation.hostname,
        common_tls_context: {
          ...(own === null ? {} : { tls_certificate_sds_secret_configs: [{ name: own.name, sds_config: ADS }] }),
          validation_context: {
            ...(authorities === '' ? { system_root_certs: {} } : { trusted_ca: { inline_string: authorities } }),
            match_typed_subject_alt_names: matchers,
          },
        },
      }),
    };
  }

  #endpoints(name: string, service: Service, port: ServicePort): Resource {
    const byZone = new Map<string, Resource[]>();
    const seen = new Set<string>();
    for (const slice of this.#slicesOf(service)) {
      const target = portOf(slice, port.name, port.targetPort ?? port.port);
      // Names are no addresses: discovery of endpoints has none.
      if (target === null || slice.addressType === 'FQDN') continue;
      for (const endpoint of slice.endpoints ?? []) {
        if (endpoint.conditions?.ready === false) continue;
        const zone = endpoint.zone ?? '';
        const list = byZone.get(zone) ?? [];
        byZone.set(zone, list);
        for (const address of endpoint.addresses) {
          // An endpoint may stand in two slices while it moves between them (Kubernetes, EndpointSlices, "Duplicate endpoints").
          const key = `${address} ${target}`;
          if (seen.has(key)) continue;
          seen.add(key);
          list.push({ endpoint: { address: { socket_address: { address, port_value: target } } } });
        }
      }
    }
    const zones = [...byZone].filter(([, list]) => list.length > 0).sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      cluster_name: name,
      endpoints: zones.map(([zone, lbEndpoints]) => ({
        ...(zone === '' ? {} : { locality: { zone } }),
        // gRPC clients take no locality without a weight.
        load_balancing_weight: lbEndpoints.length,
        lb_endpoints: lbEndpoints,
      })),
    };
  }

  /** The slices of a service, by name. */
  #slicesOf(service: Service): readonly EndpointSlice[] {
    if (this.#slices === null) {
      this.#slices = new Map();
      for (const slice of this.#set.all('EndpointSlice')) {
        const key = `${namespaceOf(slice)}/${slice.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`;
        const list = this.#slices.get(key) ?? [];
        this.#slices.set(key, list);
        list.push(slice);
      }
      for (const list of this.#slices.values()) list.sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
    }
    return this.#slices.get(keyOf(service)) ?? [];
  }
}

/** The port of a slice that a service's port stands for: by name, as Kubernetes does, else by number. */
function portOf(slice: EndpointSlice, name: string | undefined, target: number | string): number | null {
  const ports = slice.ports ?? [];
  const found = ports.find((each) => (each.name ?? '') === (name ?? '') && (each.protocol ?? 'TCP') === 'TCP')?.port;
  if (found !== undefined) return found;
  return typeof target === 'number' ? target : null;
}
