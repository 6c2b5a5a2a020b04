/** A type of discovered resource. */
export interface ResourceType {
  /** As in answers: `type.googleapis.com/envoy.config.cluster.v3.Cluster`. */
  readonly typeUrl: string;
  readonly typeName: string;
  /** Proto name of the field that names a resource; empty for types without one. */
  readonly nameField: string;
  /** What people call the service: `CDS`. */
  readonly short: string;
  /** Service and methods, for streams of their own. */
  readonly sotwMethod: string;
  readonly deltaMethod: string;
  /** Path of the REST endpoint. */
  readonly restPath: string;
}

/** Where the path is not the service's noun. */
const REST_NAMES: Readonly<Record<string, string>> = {
  ExtensionConfigs: 'extension_configs',
  ScopedRoutes: 'scoped-routes',
};

function type(typeName: string, nameField: string, short: string, service: string, what: string): ResourceType {
  const rest = service.replace(/^envoy\.service\.\w+\.v3\./, '');
  const kind = rest.replace(/DiscoveryService$/, '').toLowerCase();
  return {
    typeUrl: `type.googleapis.com/${typeName}`,
    typeName,
    nameField,
    short,
    sotwMethod: `/${service}/Stream${what}`,
    deltaMethod: `/${service}/Delta${what}`,
    restPath: `/v3/discovery:${kind === 'runtime' ? 'runtime' : (REST_NAMES[what] ?? what.toLowerCase())}`,
  };
}

export const CLUSTER_TYPE = type(
  'envoy.config.cluster.v3.Cluster',
  'name',
  'CDS',
  'envoy.service.cluster.v3.ClusterDiscoveryService',
  'Clusters',
);
export const ENDPOINT_TYPE = type(
  'envoy.config.endpoint.v3.ClusterLoadAssignment',
  'cluster_name',
  'EDS',
  'envoy.service.endpoint.v3.EndpointDiscoveryService',
  'Endpoints',
);
export const LISTENER_TYPE = type(
  'envoy.config.listener.v3.Listener',
  'name',
  'LDS',
  'envoy.service.listener.v3.ListenerDiscoveryService',
  'Listeners',
);
export const ROUTE_TYPE = type(
  'envoy.config.route.v3.RouteConfiguration',
  'name',
  'RDS',
  'envoy.service.route.v3.RouteDiscoveryService',
  'Routes',
);
export const SCOPE_TYPE = type(
  'envoy.config.route.v3.ScopedRouteConfiguration',
  'name',
  'SRDS',
  'envoy.service.route.v3.ScopedRoutesDiscoveryService',
  'ScopedRoutes',
);
export const VIRTUAL_HOST_TYPE = type(
  'envoy.config.route.v3.VirtualHost',
  'name',
  'VHDS',
  'envoy.service.route.v3.VirtualHostDiscoveryService',
  'VirtualHosts',
);
export const SECRET_TYPE = type(
  'envoy.extensions.transport_sockets.tls.v3.Secret',
  'name',
  'SDS',
  'envoy.service.secret.v3.SecretDiscoveryService',
  'Secrets',
);
export const EXTENSION_TYPE = type(
  'envoy.config.core.v3.TypedExtensionConfig',
  'name',
  'ECDS',
  'envoy.service.extension.v3.ExtensionConfigDiscoveryService',
  'ExtensionConfigs',
);
export const RUNTIME_TYPE = type(
  'envoy.service.runtime.v3.Runtime',
  'name',
  'RTDS',
  'envoy.service.runtime.v3.RuntimeDiscoveryService',
  'Runtime',
);

/** Version of discovery that the Any of a resource may be wrapped in. */
export const RESOURCE_WRAPPER = 'envoy.service.discovery.v3.Resource';
