import { type ManifestSet, namespaceOf } from './manifest-set.ts';
import type { BackendTlsPolicy, EndpointSlice, Service } from './manifest-types.ts';
import type { ResolvedBackend } from './references.ts';
import { ADS, type Resource, type ResourceBundle, typed } from './resources.ts';

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

/** The cluster of a service's port; made when first asked for. */
export class BackendClusters {
  readonly #set: ManifestSet;
  readonly #bundle: ResourceBundle;

  constructor(set: ManifestSet, bundle: ResourceBundle) {
    this.#set = set;
    this.#bundle = bundle;
  }

  /** @param http2 the route's protocol is HTTP/2 whatever the service says @returns the cluster's name */
  clusterOf({ service, port }: ResolvedBackend, http2: boolean): string {
    const servicePort = service.spec.ports!.find((each) => each.port === port)!;
    const h2 = http2 || servicePort.appProtocol === 'kubernetes.io/h2c';
    const base = `${namespaceOf(service)}/${service.metadata.name}/${port}`;
    const name = h2 ? `${base}/h2` : base;
    if (this.#bundle.clusters.has(name)) return name;
    const policy = this.#policyOf(service, servicePort.name ?? '');
    this.#bundle.clusters.set(name, {
      name,
      type: 'EDS',
      connect_timeout: '10s',
      eds_cluster_config: { eds_config: ADS, service_name: base },
      ...(h2
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

  #policyOf(service: Service, portName: string): BackendTlsPolicy | null {
    const own = this.#set
      .all('BackendTLSPolicy')
      .filter((policy) => namespaceOf(policy) === namespaceOf(service))
      .flatMap((policy) => policy.spec.targetRefs.map((target) => ({ policy, target })))
      .filter(({ target }) => (target.kind ?? 'Service') === 'Service' && target.name === service.metadata.name);
    // One that names the port is more specific than one that does not.
    const found =
      own.find(({ target }) => target.sectionName !== undefined && target.sectionName === portName) ??
      own.find(({ target }) => target.sectionName === undefined);
    return found?.policy ?? null;
  }

  #transportSocket(policy: BackendTlsPolicy): Resource {
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
    const authorities = (validation.caCertificateRefs ?? [])
      .map((reference) => this.#set.find('ConfigMap', namespaceOf(policy), reference.name)?.data?.['ca.crt'] ?? '')
      .join('\n');
    const trust =
      validation.wellKnownCACertificates === 'System'
        ? { system_root_certs: {} }
        : { trusted_ca: { inline_string: authorities } };
    return {
      name: 'envoy.transport_sockets.tls',
      typed_config: typed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
        sni: validation.hostname,
        common_tls_context: { validation_context: { ...trust, match_typed_subject_alt_names: matchers } },
      }),
    };
  }

  #endpoints(name: string, service: Service, port: number): Resource {
    const servicePort = service.spec.ports!.find((each) => each.port === port)!;
    const byZone = new Map<string, Resource[]>();
    for (const slice of this.#slicesOf(service)) {
      const target = portOf(slice, servicePort.name, servicePort.targetPort ?? port);
      if (target === null) continue;
      for (const endpoint of slice.endpoints ?? []) {
        if (endpoint.conditions?.ready === false) continue;
        const zone = endpoint.zone ?? '';
        const list = byZone.get(zone) ?? [];
        byZone.set(zone, list);
        for (const address of endpoint.addresses) {
          list.push({ endpoint: { address: { socket_address: { address, port_value: target } } } });
        }
      }
    }
    const zones = [...byZone].sort(([a], [b]) => (a < b ? -1 : 1));
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

  #slicesOf(service: Service): EndpointSlice[] {
    return this.#set
      .all('EndpointSlice')
      .filter(
        (slice) =>
          namespaceOf(slice) === namespaceOf(service) &&
          slice.metadata.labels?.['kubernetes.io/service-name'] === service.metadata.name,
      )
      .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }
}

/** The port of a slice that a service's port stands for: by name, as Kubernetes does, else by number. */
function portOf(slice: EndpointSlice, name: string | undefined, target: number | string): number | null {
  const ports = slice.ports ?? [];
  const found = ports.find((each) => (each.name ?? '') === (name ?? ''))?.port;
  if (found !== undefined) return found;
  return typeof target === 'number' ? target : null;
}
