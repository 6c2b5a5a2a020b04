import { BackendClusters } from './backend-clusters.ts';
import { servedHostnames, specificity, takes } from './hostnames.ts';
import { type HttpRouteResult, HttpRouteTranslator, sortRoutes } from './http-routes.ts';
import { keyOf, type ManifestSet, namespaceOf } from './manifest-set.ts';
import {
  type BackendReference,
  GATEWAY_GROUP,
  type Gateway,
  type GatewayListener,
  type GrpcRoute,
  type HttpRoute,
  type ListenerProtocol,
  type ParentReference,
  type Route,
  type RouteKind,
  type TcpRoute,
  type TlsRoute,
} from './manifest-types.ts';
import { isFault, isGranted, resolveBackend, selects } from './references.ts';
import { ADS, type Resource, ResourceBundle, typed } from './resources.ts';
import { type Condition, condition, type ListenerStatus, type ObjectStatus } from './status.ts';

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';

/** What came of a set of manifests. */
export interface Translation {
  /** By gateway, `namespace/name`. */
  readonly gateways: ReadonlyMap<string, ResourceBundle>;
  readonly statuses: readonly ObjectStatus[];
}

function kindsOf(protocol: ListenerProtocol, mode: string): readonly RouteKind[] {
  switch (protocol) {
    case 'HTTP':
    case 'HTTPS':
      return ['HTTPRoute', 'GRPCRoute'];
    case 'TLS':
      return mode === 'Terminate' ? ['TLSRoute', 'TCPRoute'] : ['TLSRoute'];
    case 'TCP':
      return ['TCPRoute'];
    default:
      return [];
  }
}

/** Protocols that may share a port. */
function family(protocol: ListenerProtocol): string {
  return protocol === 'HTTPS' || protocol === 'TLS' ? 'tls' : protocol;
}

/** One listener of a gateway with what is attached to it. */
class Section {
  readonly gateway: Gateway;
  readonly listener: GatewayListener;
  readonly hostname: string;
  readonly mode: string;
  readonly kinds: readonly RouteKind[];
  readonly conditions: Condition[] = [];
  readonly attached: { readonly route: Route; readonly hostnames: readonly string[] }[] = [];
  /** Nothing is served where it is in conflict or lacks what it needs. */
  usable = true;
  certificates: readonly string[] = [];

  constructor(gateway: Gateway, listener: GatewayListener) {
    this.gateway = gateway;
    this.listener = listener;
    this.hostname = (listener.hostname ?? '').toLowerCase();
    this.mode = listener.tls?.mode ?? 'Terminate';
    const supported = kindsOf(listener.protocol, this.mode);
    const asked = listener.allowedRoutes?.kinds;
    this.kinds =
      asked === undefined
        ? supported
        : supported.filter((kind) =>
            asked.some((each) => each.kind === kind && (each.group ?? GATEWAY_GROUP) === GATEWAY_GROUP),
          );
  }

  get key(): string {
    return `${keyOf(this.gateway)}/${this.listener.name}`;
  }
}

/**
 * Translates manifests to resources of Envoy, gateway by gateway. Pure: the same manifests give the same resources and statuses.
 * Source: Gateway API v1; where it leaves a choice, as Envoy Gateway does.
 */
export class GatewayTranslator {
  readonly #set: ManifestSet;
  readonly #controller: string;
  readonly #statuses: ObjectStatus[] = [];

  /** @param controller GatewayClasses of this name are ours */
  constructor(set: ManifestSet, controller: string) {
    this.#set = set;
    this.#controller = controller;
  }

  translate(): Translation {
    const ours = this.#set.all('GatewayClass').filter((each) => each.spec.controllerName === this.#controller);
    for (const each of ours) {
      this.#statuses.push({
        kind: 'GatewayClass',
        metadata: { name: each.metadata.name },
        conditions: [condition('Accepted', true, 'Accepted')],
      });
    }
    const classes = new Set(ours.map((each) => each.metadata.name));
    const gateways = this.#set.all('Gateway').filter((each) => classes.has(each.spec.gatewayClassName));
    const sections = new Map<string, Section[]>();
    for (const gateway of gateways) sections.set(keyOf(gateway), this.#sectionsOf(gateway));
    const parents = this.#attach(sections);
    const bundles = new Map<string, ResourceBundle>();
    const results = new Map<string, HttpRouteResult>();
    for (const gateway of gateways) {
      const own = sections.get(keyOf(gateway))!;
      bundles.set(keyOf(gateway), this.#bundleOf(gateway, own, results));
      this.#statuses.push(this.#gatewayStatus(gateway, own));
    }
    this.#routeStatuses(parents, results);
    return { gateways: bundles, statuses: this.#statuses };
  }

  // --- listeners ---

  #sectionsOf(gateway: Gateway): Section[] {
    const sections = gateway.spec.listeners.map((listener) => new Section(gateway, listener));
    const families = new Map<number, string>();
    const names = new Map<string, Section>();
    for (const section of sections) {
      const { port, protocol, allowedRoutes } = section.listener;
      if (protocol === 'UDP') {
        section.usable = false;
        section.conditions.push(condition('Accepted', false, 'UnsupportedProtocol', 'UDP is not supported'));
        continue;
      }
      const place = `${port} ${section.hostname}`;
      const known = families.get(port);
      if (known !== undefined && known !== family(protocol)) {
        this.#conflict(section, 'ProtocolConflict', `port ${port} is taken by another protocol`);
        continue;
      }
      if (names.has(place)) {
        this.#conflict(
          section,
          'HostnameConflict',
          `listener ${names.get(place)!.listener.name} has this port and hostname`,
        );
        continue;
      }
      families.set(port, family(protocol));
      names.set(place, section);
      section.conditions.push(condition('Accepted', true, 'Accepted'), condition('Conflicted', false, 'NoConflicts'));
      const asked = allowedRoutes?.kinds;
      if (asked !== undefined && section.kinds.length < asked.length) {
        section.conditions.push(
          condition('ResolvedRefs', false, 'InvalidRouteKinds', 'some kinds of routes do not fit the protocol'),
        );
        if (section.kinds.length === 0) section.usable = false;
      } else {
        this.#resolveCertificates(section);
      }
    }
    return sections;
  }

  #conflict(section: Section, reason: string, message: string): void {
    section.usable = false;
    section.conditions.push(
      condition('Accepted', false, reason, message),
      condition('Conflicted', true, reason, message),
    );
  }

  #resolveCertificates(section: Section): void {
    const { listener, gateway } = section;
    const needed = listener.protocol === 'HTTPS' || (listener.protocol === 'TLS' && section.mode === 'Terminate');
    const references = listener.tls?.certificateRefs ?? [];
    const names: string[] = [];
    for (const reference of needed ? references : []) {
      const namespace = reference.namespace ?? namespaceOf(gateway);
      const kind = reference.kind ?? 'Secret';
      const group = reference.group ?? '';
      if (kind !== 'Secret' || group !== '') {
        this.#unresolved(section, 'InvalidCertificateRef', `certificates are Secrets, not ${kind}`);
        return;
      }
      if (!isGranted(this.#set, gateway, GATEWAY_GROUP, { group, kind, name: reference.name, namespace })) {
        this.#unresolved(
          section,
          'RefNotPermitted',
          `no ReferenceGrant in ${namespace} lets Gateways name Secret ${reference.name}`,
        );
        return;
      }
      const secret = this.#set.find('Secret', namespace, reference.name);
      const data = { ...secret?.data, ...secret?.stringData };
      if (secret === null || data['tls.crt'] === undefined || data['tls.key'] === undefined) {
        this.#unresolved(
          section,
          'InvalidCertificateRef',
          `Secret ${namespace}/${reference.name} ${secret === null ? 'does not exist' : 'has no tls.crt and tls.key'}`,
        );
        return;
      }
      names.push(`${namespace}/${reference.name}`);
    }
    if (needed && names.length === 0) {
      this.#unresolved(section, 'InvalidCertificateRef', 'tls.certificateRefs names no certificate');
      return;
    }
    section.certificates = names;
    section.conditions.push(condition('ResolvedRefs', true, 'ResolvedRefs'));
  }

  #unresolved(section: Section, reason: string, message: string): void {
    section.usable = false;
    section.conditions.push(condition('ResolvedRefs', false, reason, message));
  }

  // --- attachment ---

  /** @returns by route, what each of its parents says */
  #attach(sections: ReadonlyMap<string, Section[]>): Map<Route, { ref: ParentReference; accepted: Condition }[]> {
    const parents = new Map<Route, { ref: ParentReference; accepted: Condition }[]>();
    for (const route of this.#set.routes()) {
      for (const ref of route.spec.parentRefs ?? []) {
        if ((ref.kind ?? 'Gateway') !== 'Gateway' || (ref.group ?? GATEWAY_GROUP) !== GATEWAY_GROUP) continue;
        const own = sections.get(`${ref.namespace ?? namespaceOf(route)}/${ref.name}`);
        if (own === undefined) continue;
        const list = parents.get(route) ?? [];
        parents.set(route, list);
        list.push({ ref, accepted: this.#attachTo(route, ref, own) });
      }
    }
    return parents;
  }

  #attachTo(route: Route, ref: ParentReference, sections: readonly Section[]): Condition {
    const named = sections.filter(
      ({ listener }) =>
        (ref.sectionName === undefined || ref.sectionName === listener.name) &&
        (ref.port === undefined || ref.port === listener.port),
    );
    if (named.length === 0) return condition('Accepted', false, 'NoMatchingParent', 'the gateway has no such listener');
    const allowed = named.filter(
      (section) => section.kinds.includes(route.kind) && this.#allowsNamespace(section, namespaceOf(route)),
    );
    if (allowed.length === 0) {
      return condition(
        'Accepted',
        false,
        'NotAllowedByListeners',
        'no listener allows this kind of route from this namespace',
      );
    }
    let attached = false;
    for (const section of allowed) {
      const hostnames =
        route.kind === 'TCPRoute' ? [''] : servedHostnames(section.hostname, route.spec.hostnames ?? []);
      if (hostnames.length === 0) continue;
      attached = true;
      section.attached.push({ route, hostnames });
    }
    return attached
      ? condition('Accepted', true, 'Accepted')
      : condition('Accepted', false, 'NoMatchingListenerHostname', 'no listener serves one of the hostnames');
  }

  #allowsNamespace(section: Section, namespace: string): boolean {
    const rule = section.listener.allowedRoutes?.namespaces;
    switch (rule?.from ?? 'Same') {
      case 'All':
        return true;
      case 'None':
        return false;
      case 'Selector': {
        const labels = this.#set.find('Namespace', 'default', namespace)?.metadata.labels ?? {};
        return selects(rule?.selector, { 'kubernetes.io/metadata.name': namespace, ...labels });
      }
      default:
        return namespace === namespaceOf(section.gateway);
    }
  }

  // --- resources ---

  #bundleOf(gateway: Gateway, sections: readonly Section[], results: Map<string, HttpRouteResult>): ResourceBundle {
    const bundle = new ResourceBundle();
    const clusters = new BackendClusters(this.#set, bundle);
    const http = new HttpRouteTranslator(this.#set, clusters);
    const resultOf = (route: HttpRoute | GrpcRoute): HttpRouteResult => {
      const result = http.translate(route);
      results.set(`${route.kind} ${keyOf(route)}`, result);
      return result;
    };
    const ports = new Map<number, Section[]>();
    for (const section of sections) {
      if (!section.usable) continue;
      const list = ports.get(section.listener.port) ?? [];
      ports.set(section.listener.port, list);
      list.push(section);
    }
    for (const [port, own] of ports) {
      const name = `${keyOf(gateway)}/${port}`;
      const chains: Resource[] = [];
      if (own[0]!.listener.protocol === 'HTTP') {
        bundle.routes.set(name, routeConfiguration(name, own, resultOf));
        chains.push({ name, filters: [connectionManager(name)] });
      }
      for (const section of own) {
        const { protocol } = section.listener;
        if (protocol === 'HTTPS') {
          const routes = `${name}/${section.listener.name}`;
          bundle.routes.set(routes, routeConfiguration(routes, own, resultOf, section));
          chains.push({
            name: routes,
            ...serverNames([section.hostname]),
            filters: [connectionManager(routes)],
            transport_socket: this.#serverSocket(section, ['h2', 'http/1.1'], bundle),
          });
        } else if (protocol === 'TLS' || protocol === 'TCP') {
          chains.push(...this.#streamChains(section, name, clusters, bundle));
        }
      }
      if (chains.length === 0) continue;
      const tls = family(own[0]!.listener.protocol) === 'tls';
      bundle.listeners.set(name, {
        name,
        address: { socket_address: { address: '0.0.0.0', port_value: port } },
        ...(tls
          ? {
              listener_filters: [
                {
                  name: 'envoy.filters.listener.tls_inspector',
                  typed_config: typed('envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector'),
                },
              ],
            }
          : {}),
        filter_chains: chains,
      });
    }
    return bundle;
  }

  #serverSocket(section: Section, alpn: readonly string[], bundle: ResourceBundle): Resource {
    for (const key of section.certificates) {
      const [namespace = '', name = ''] = key.split('/');
      const secret = this.#set.find('Secret', namespace, name)!;
      const text = (field: string): string =>
        secret.stringData?.[field] ?? Buffer.from(secret.data?.[field] ?? '', 'base64').toString();
      bundle.secrets.set(key, {
        name: key,
        tls_certificate: {
          certificate_chain: { inline_string: text('tls.crt') },
          private_key: { inline_string: text('tls.key') },
        },
      });
    }
    return {
      name: 'envoy.transport_sockets.tls',
      typed_config: typed('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
        common_tls_context: {
          ...(alpn.length > 0 ? { alpn_protocols: alpn } : {}),
          tls_certificate_sds_secret_configs: section.certificates.map((name) => ({ name, sds_config: ADS })),
        },
      }),
    };
  }

  /** Filter chains of a listener that relays bytes: one for each route. */
  #streamChains(section: Section, name: string, clusters: BackendClusters, bundle: ResourceBundle): Resource[] {
    const chains: Resource[] = [];
    for (const { route, hostnames } of section.attached) {
      const rule = (route as TlsRoute | TcpRoute).spec.rules?.[0];
      const weighted: { name: string; weight: number }[] = [];
      for (const reference of rule?.backendRefs ?? []) {
        const resolved = resolveBackend(this.#set, route, reference);
        if (!isFault(resolved))
          weighted.push({ name: clusters.clusterOf(resolved, false), weight: reference.weight ?? 1 });
      }
      const served = weighted.filter((each) => each.weight > 0);
      if (served.length === 0) continue;
      const chain = `${name}/${section.listener.name}/${route.kind}/${keyOf(route)}`;
      chains.push({
        name: chain,
        ...(section.listener.protocol === 'TLS' ? serverNames(hostnames) : {}),
        filters: [
          {
            name: 'envoy.filters.network.tcp_proxy',
            typed_config: typed('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', {
              stat_prefix: chain.replaceAll(/[.:]/g, '_'),
              ...(served.length === 1 ? { cluster: served[0]!.name } : { weighted_clusters: { clusters: served } }),
            }),
          },
        ],
        ...(section.listener.protocol === 'TLS' && section.mode === 'Terminate'
          ? { transport_socket: this.#serverSocket(section, [], bundle) }
          : {}),
      });
      // Bytes have no names to choose by: the oldest route has them all.
      if (section.listener.protocol === 'TCP') break;
    }
    return chains;
  }

  // --- statuses ---

  #gatewayStatus(gateway: Gateway, sections: readonly Section[]): ObjectStatus {
    const listeners = sections.map(
      (section): ListenerStatus => ({
        name: section.listener.name,
        attachedRoutes: new Set(section.attached.map(({ route }) => route)).size,
        supportedKinds: section.kinds.map((kind) => ({ group: GATEWAY_GROUP, kind })),
        conditions: [
          ...section.conditions,
          section.usable ? condition('Programmed', true, 'Programmed') : condition('Programmed', false, 'Invalid'),
        ],
      }),
    );
    const good = sections.every((section) => section.usable);
    const some = sections.some((section) => section.usable);
    return {
      kind: 'Gateway',
      metadata: { name: gateway.metadata.name, namespace: namespaceOf(gateway) },
      conditions: [
        condition('Accepted', some, good ? 'Accepted' : 'ListenersNotValid'),
        condition('Programmed', some, some ? 'Programmed' : 'Invalid'),
      ],
      listeners,
    };
  }

  #routeStatuses(
    parents: ReadonlyMap<Route, readonly { ref: ParentReference; accepted: Condition }[]>,
    results: ReadonlyMap<string, HttpRouteResult>,
  ): void {
    for (const [route, list] of parents) {
      const resolved = this.#resolvedCondition(route);
      const unsupported = results.get(`${route.kind} ${keyOf(route)}`)?.unsupported ?? [];
      this.#statuses.push({
        kind: route.kind,
        metadata: { name: route.metadata.name, namespace: namespaceOf(route) },
        parents: list.map(({ ref, accepted }) => ({
          parentRef: ref,
          controllerName: this.#controller,
          conditions: [
            accepted.status === 'True' && unsupported.length > 0
              ? condition(
                  'Accepted',
                  false,
                  'UnsupportedValue',
                  `not supported: ${[...new Set(unsupported)].join(', ')}`,
                )
              : accepted,
            resolved,
          ],
        })),
      });
    }
  }

  #resolvedCondition(route: Route): Condition {
    const references = (route.spec.rules ?? []).flatMap((rule) => [
      ...(rule.backendRefs ?? []),
      ...(
        (
          rule as {
            filters?: readonly { requestMirror?: { backendRef: BackendReference } }[];
          }
        ).filters ?? []
      ).flatMap((filter) => (filter.requestMirror === undefined ? [] : [filter.requestMirror.backendRef])),
    ]);
    for (const reference of references) {
      const resolved = resolveBackend(this.#set, route, reference);
      if (isFault(resolved)) return condition('ResolvedRefs', false, resolved.reason, resolved.message);
    }
    return condition('ResolvedRefs', true, 'ResolvedRefs');
  }
}

function serverNames(hostnames: readonly string[]): Resource {
  return hostnames.includes('') ? {} : { filter_chain_match: { server_names: hostnames } };
}

function connectionManager(routes: string): Resource {
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: typed(HCM, {
      stat_prefix: routes.replaceAll(/[.:]/g, '_'),
      rds: { route_config_name: routes, config_source: ADS },
      use_remote_address: true,
      normalize_path: true,
      merge_slashes: true,
      path_with_escaped_slashes_action: 'UNESCAPE_AND_REDIRECT',
      upgrade_configs: [{ upgrade_type: 'websocket' }],
      http_filters: [{ name: 'envoy.filters.http.router', typed_config: typed(ROUTER) }],
    }),
  };
}

/**
 * The route configuration of a port (or of one of its listeners): a virtual host for each name that is served. A name belongs to the
 * listener that names it most exactly, whoever else covers it (Gateway API, listener isolation).
 */
function routeConfiguration(
  name: string,
  sections: readonly Section[],
  resultOf: (route: HttpRoute | GrpcRoute) => HttpRouteResult,
  only: Section | null = null,
): Resource {
  const hosts = new Map<string, HttpRouteResult[]>();
  const results = new Map<Route, HttpRouteResult>();
  for (const section of only === null ? sections : [only]) {
    for (const { route, hostnames } of section.attached) {
      for (const hostname of hostnames) {
        const better = sections.some(
          (other) =>
            other !== section &&
            takes(other.hostname, hostname) &&
            specificity(other.hostname) > specificity(section.hostname),
        );
        if (better) continue;
        const result = results.get(route) ?? resultOf(route as HttpRoute | GrpcRoute);
        results.set(route, result);
        const list = hosts.get(hostname) ?? [];
        hosts.set(hostname, list);
        if (!list.includes(result)) list.push(result);
      }
    }
  }
  const names = [...hosts.keys()].sort((a, b) => specificity(b) - specificity(a) || (a < b ? -1 : 1));
  return {
    name,
    ignore_port_in_host_matching: true,
    virtual_hosts: names.map((hostname) => ({
      name: `${name}/${hostname === '' ? '*' : hostname}`,
      domains: [hostname === '' ? '*' : hostname],
      routes: sortRoutes(hosts.get(hostname)!),
    })),
  };
}
