import { isIP } from 'node:net';
import { BackendClusters } from './backend-clusters.ts';
import { BackendPolicies } from './backend-policies.ts';
import { type KeyPair, type ReferenceFault, resolveKeyPair } from './certificates.ts';
import { SUPPORTED_FEATURES } from './features.ts';
import { CORS_FILTER } from './http-filters.ts';
import { HttpRouteTranslator } from './http-routes.ts';
import { allowsInsecure, type Section, sectionName, sectionsOf } from './listeners.ts';
import { keyOf, type ManifestSet, namespaceOf } from './manifest-set.ts';
import { GATEWAY_GROUP, type Gateway, type GatewayClass } from './manifest-types.ts';
import { ADS, type Resource, ResourceBundle, secretOf, typed } from './resources.ts';
import { RouteAttachments } from './route-attachments.ts';
import { type Condition, condition, type ListenerStatus, type ObjectStatus, observed } from './status.ts';
import { serverNames, tcpChain, tlsChains } from './stream-routes.ts';
import { plainRoutes, secureRoutes } from './virtual-hosts.ts';

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';
const CORS = 'envoy.extensions.filters.http.cors.v3.Cors';
/** Key in the metadata of listeners under which the labels and annotations of a gateway's infrastructure stand. */
const INFRASTRUCTURE = 'nuncio.dev/infrastructure';

/** What came of a set of manifests. */
export interface Translation {
  /** By gateway, `namespace/name`. */
  readonly gateways: ReadonlyMap<string, ResourceBundle>;
  readonly statuses: readonly ObjectStatus[];
}

/** One gateway, judged. */
interface JudgedGateway {
  readonly gateway: Gateway;
  readonly sections: readonly Section[];
  /** Why nothing of it is served, as the condition that says so; null: it is. */
  readonly refusal: Condition | null;
  /** Addresses that are bound. */
  readonly addresses: readonly string[];
  readonly clientCertificate: KeyPair | ReferenceFault | null;
}

/**
 * Translates manifests to resources of Envoy, gateway by gateway. Pure: the same manifests give the same resources and statuses.
 * Source: Gateway API v1; where it leaves a choice, as Envoy Gateway does.
 */
export class GatewayTranslator {
  readonly #set: ManifestSet;
  readonly #controller: string;
  readonly #policies: BackendPolicies;
  readonly #statuses: ObjectStatus[] = [];

  /** @param controller GatewayClasses of this name are ours */
  constructor(set: ManifestSet, controller: string) {
    this.#set = set;
    this.#controller = controller;
    this.#policies = new BackendPolicies(set);
  }

  translate(): Translation {
    const classes = new Map<string, GatewayClass>();
    for (const each of this.#set.all('GatewayClass')) {
      if (each.spec.controllerName !== this.#controller) continue;
      classes.set(each.metadata.name, each);
      this.#statuses.push(classStatus(each));
    }
    const judged = this.#set
      .all('Gateway')
      .filter((each) => classes.has(each.spec.gatewayClassName))
      .map((each) => this.#judge(each, classes.get(each.spec.gatewayClassName)!));
    const attachments = new RouteAttachments(
      this.#set,
      this.#policies,
      new Map(judged.map(({ gateway, sections }) => [keyOf(gateway), sections])),
    );
    const bundles = new Map<string, ResourceBundle>();
    for (const each of judged) {
      bundles.set(keyOf(each.gateway), this.#bundleOf(each));
      this.#statuses.push(gatewayStatus(each));
    }
    this.#statuses.push(...attachments.statuses(this.#controller), ...this.#policies.statuses(this.#controller));
    for (const each of this.#set.unsupported) this.#statuses.push(this.#unsupportedStatus(each));
    return { gateways: bundles, statuses: this.#statuses };
  }

  #judge(gateway: Gateway, gatewayClass: GatewayClass): JudgedGateway {
    const { spec } = gateway;
    const reference = spec.tls?.backend?.clientCertificateRef;
    const addresses = (spec.addresses ?? []).map(({ type = 'IPAddress', value = '' }) => ({ type, value }));
    return {
      gateway,
      sections: sectionsOf(this.#set, gateway),
      refusal: refusalOf(gateway, gatewayClass, addresses),
      addresses: addresses.map(({ value }) => value),
      clientCertificate:
        reference === undefined ? null : resolveKeyPair(this.#set, gateway, reference, 'InvalidClientCertificateRef'),
    };
  }

  #unsupportedStatus({ kind, metadata, spec }: ManifestSet['unsupported'][number]): ObjectStatus {
    const message = `objects of kind ${kind} are not supported`;
    const conditions = observed([condition('Accepted', false, 'UnsupportedValue', message)], metadata);
    const { parentRefs } = (spec ?? {}) as { parentRefs?: NonNullable<ObjectStatus['parents']>[number]['parentRef'][] };
    const about = { kind, metadata: { name: metadata.name, namespace: metadata.namespace ?? 'default' } };
    if (!Array.isArray(parentRefs)) return { ...about, conditions };
    return {
      ...about,
      parents: parentRefs.map((parentRef) => ({ parentRef, controllerName: this.#controller, conditions })),
    };
  }

  // --- resources ---

  #bundleOf({ gateway, sections, refusal, addresses, clientCertificate }: JudgedGateway): ResourceBundle {
    const bundle = new ResourceBundle();
    if (refusal !== null) return bundle;
    const own = clientCertificate !== null && 'certificate' in clientCertificate ? clientCertificate : null;
    const clusters = new BackendClusters(this.#set, bundle, this.#policies, gateway, own);
    const ports = new Map<number, Section[]>();
    for (const section of sections) {
      if (!section.usable) continue;
      const list = ports.get(section.port) ?? [];
      ports.set(section.port, list);
      list.push(section);
    }
    for (const [port, list] of ports) {
      const name = `${keyOf(gateway)}/${port}`;
      const chains = filterChains(name, list, clusters, bundle);
      if (chains.length === 0) continue;
      const address = (ip: string): Resource => ({ socket_address: { address: ip, port_value: port } });
      const [first = '0.0.0.0', ...more] = addresses;
      const [{ protocol }] = list as [Section];
      bundle.listeners.set(name, {
        name,
        address: address(first),
        ...(more.length > 0 ? { additional_addresses: more.map((ip) => ({ address: address(ip) })) } : {}),
        ...infrastructureMetadata(gateway),
        ...(protocol === 'HTTPS' || protocol === 'TLS'
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
}

/** The filter chains of a port. @param sections those that are served there, of protocols that may share it */
function filterChains(
  name: string,
  sections: readonly Section[],
  clusters: BackendClusters,
  bundle: ResourceBundle,
): Resource[] {
  const chains: Resource[] = [];
  const plain = sections.filter(({ protocol }) => protocol === 'HTTP');
  if (plain.length > 0) {
    const translator = new HttpRouteTranslator(clusters);
    bundle.routes.set(name, plainRoutes(name, plain, translator));
    chains.push({ name, filters: [connectionManager(name, translator.usesCors)] });
  }
  const secure = sections.filter(({ protocol }) => protocol === 'HTTPS');
  for (const section of sections) {
    switch (section.protocol) {
      case 'HTTPS': {
        const routes = sectionName(section);
        const translator = new HttpRouteTranslator(clusters);
        bundle.routes.set(routes, secureRoutes(routes, section, secure, translator));
        chains.push({
          name: routes,
          ...serverNames([section.hostname]),
          filters: [connectionManager(routes, translator.usesCors)],
          transport_socket: serverSocket(section, ['h2', 'http/1.1'], bundle),
        });
        break;
      }
      case 'TLS': {
        const socket = section.terminates ? serverSocket(section, [], bundle) : null;
        chains.push(...tlsChains(section, sections, clusters, socket));
        break;
      }
      case 'TCP': {
        const chain = tcpChain(section, clusters);
        if (chain !== null) chains.push(chain);
        break;
      }
    }
  }
  return chains;
}

/** The listener's side of TLS. */
function serverSocket(section: Section, alpn: readonly string[], bundle: ResourceBundle): Resource {
  for (const pair of section.certificates) bundle.secrets.set(pair.name, secretOf(pair));
  const validation = section.clientValidation;
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: typed('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
      common_tls_context: {
        ...(alpn.length > 0 ? { alpn_protocols: alpn } : {}),
        tls_certificate_sds_secret_configs: section.certificates.map(({ name }) => ({ name, sds_config: ADS })),
        ...(validation === null
          ? {}
          : {
              validation_context: {
                trusted_ca: { inline_string: validation.authorities },
                ...(validation.insecure ? { trust_chain_verification: 'ACCEPT_UNTRUSTED' } : {}),
              },
            }),
      },
      ...(validation === null ? {} : { require_client_certificate: !validation.insecure }),
    }),
  };
}

function connectionManager(routes: string, cors: boolean): Resource {
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
      http_filters: [
        ...(cors ? [{ name: CORS_FILTER, typed_config: typed(CORS) }] : []),
        { name: 'envoy.filters.http.router', typed_config: typed(ROUTER) },
      ],
    }),
  };
}

function infrastructureMetadata({ spec }: Gateway): Resource {
  const { labels, annotations } = spec.infrastructure ?? {};
  if (labels === undefined && annotations === undefined) return {};
  return {
    metadata: {
      filter_metadata: {
        [INFRASTRUCTURE]: {
          ...(labels === undefined ? {} : { labels }),
          ...(annotations === undefined ? {} : { annotations }),
        },
      },
    },
  };
}

/** Why a gateway is not served as a whole; null: it is. */
function refusalOf(
  { spec }: Gateway,
  gatewayClass: GatewayClass,
  addresses: readonly { readonly type: string; readonly value: string }[],
): Condition | null {
  const parameters = spec.infrastructure?.parametersRef ?? gatewayClass.spec.parametersRef;
  if (parameters !== undefined) {
    const message = `parameters of kind ${parameters.kind} are not supported`;
    return condition('Accepted', false, 'InvalidParameters', message);
  }
  for (const { type, value } of addresses) {
    if (type !== 'IPAddress') {
      return condition('Accepted', false, 'UnsupportedAddress', `addresses of type ${type} are not supported`);
    }
    if (value === '') return condition('Programmed', false, 'AddressNotAssigned', 'nothing here assigns addresses');
    if (isIP(value) === 0) return condition('Programmed', false, 'AddressNotUsable', `${value} is no IP address`);
  }
  return null;
}

// --- statuses ---

function classStatus({ metadata, spec }: GatewayClass): ObjectStatus {
  const { parametersRef } = spec;
  return {
    kind: 'GatewayClass',
    metadata: { name: metadata.name },
    conditions: observed(
      [
        parametersRef === undefined
          ? condition('Accepted', true, 'Accepted')
          : condition(
              'Accepted',
              false,
              'InvalidParameters',
              `parameters of kind ${parametersRef.kind} are not supported`,
            ),
      ],
      metadata,
    ),
    supportedFeatures: SUPPORTED_FEATURES.map((name) => ({ name })),
  };
}

function listenerStatus(section: Section, served: boolean): ListenerStatus {
  const { metadata } = section.gateway;
  const programmed =
    section.usable && served
      ? condition('Programmed', true, 'Programmed')
      : condition('Programmed', false, 'Invalid', 'nothing is served: see the other conditions');
  return {
    name: section.listener.name,
    attachedRoutes: section.routes.size,
    supportedKinds: section.kinds.map((kind) => ({ group: GATEWAY_GROUP, kind })),
    conditions: observed([...section.conditions.values(), programmed], metadata),
  };
}

function gatewayStatus({ gateway, sections, refusal, addresses, clientCertificate }: JudgedGateway): ObjectStatus {
  const isTrue = (section: Section, type: string): boolean => section.conditions.get(type)?.status === 'True';
  const refused = sections.filter((section) => !isTrue(section, 'Accepted'));
  const names = (list: readonly Section[]): string => list.map(({ listener }) => listener.name).join(', ');
  const usable = sections.some((section) => section.usable);
  const unresolved = sections.filter((section) => !isTrue(section, 'ResolvedRefs'));
  const conditions: Condition[] = [
    refusal?.type === 'Accepted'
      ? refusal
      : refused.length === 0
        ? condition('Accepted', true, 'Accepted')
        : condition(
            'Accepted',
            refused.length < sections.length,
            'ListenersNotValid',
            `listeners that are not accepted: ${names(refused)}`,
          ),
    refusal?.type === 'Programmed'
      ? refusal
      : usable && refusal === null
        ? condition('Programmed', true, 'Programmed')
        : condition('Programmed', false, 'Invalid', refusal?.message ?? 'no listener can be served'),
    clientCertificate !== null && 'reason' in clientCertificate
      ? condition('ResolvedRefs', false, clientCertificate.reason, clientCertificate.message)
      : unresolved.length > 0
        ? condition('ResolvedRefs', false, 'ListenersNotResolved', `see listeners: ${names(unresolved)}`)
        : condition('ResolvedRefs', true, 'ResolvedRefs'),
  ];
  if (allowsInsecure(gateway)) {
    const message = 'clients without a valid certificate come in';
    conditions.push(condition('InsecureFrontendValidationMode', true, 'ConfigurationChanged', message));
  }
  return {
    kind: 'Gateway',
    metadata: { name: gateway.metadata.name, namespace: namespaceOf(gateway) },
    conditions: observed(conditions, gateway.metadata),
    ...(refusal === null && addresses.length > 0
      ? { addresses: addresses.map((value) => ({ type: 'IPAddress', value })) }
      : {}),
    listeners: sections.map((section) => listenerStatus(section, refusal === null)),
  };
}
