/** Short ways to write the configurations of scenarios, as values that become JSON. */

/** The fields of a message. */
export type Fields = Readonly<Record<string, unknown>>;

const HTTP = 'type.googleapis.com/envoy.extensions.filters.http';
const NETWORK = 'type.googleapis.com/envoy.extensions.filters.network';

/** A `typed_config` by the message's full name. */
export function typed(message: string, fields: Fields = {}): Fields {
  return { '@type': `type.googleapis.com/${message}`, ...fields };
}

/** The HTTP filter `envoy.filters.http.<name>`; `message` is the last part of its type. */
export function httpFilter(name: string, message: string, fields: Fields = {}): Fields {
  return { name: `envoy.filters.http.${name}`, typed_config: { '@type': `${HTTP}.${name}.v3.${message}`, ...fields } };
}

export const router = (fields: Fields = {}): Fields => httpFilter('router', 'Router', fields);

/** A file access logger on `{{tmp}}/<file>` with a text format. */
export function fileLog(format: string, file = 'access.log', more: Fields = {}): Fields {
  return {
    name: 'envoy.access_loggers.file',
    typed_config: typed('envoy.extensions.access_loggers.file.v3.FileAccessLog', {
      path: `{{tmp}}/${file}`,
      log_format: { text_format_source: { inline_string: `${format}\n` } },
    }),
    ...more,
  };
}

/** The parts of an HTTP proxy that a scenario may set. */
export interface HttpListener {
  /** Name of the listener; `{{listen:name}}` is its address. */
  readonly name?: string;
  /** More fields of the connection manager. */
  readonly hcm?: Fields;
  /** Routes of the one virtual host with domain `*`; by default all goes to cluster `u1`. */
  readonly routes?: readonly Fields[];
  /** Virtual hosts instead of `routes`. */
  readonly virtualHosts?: readonly Fields[];
  /** More fields of the route configuration. */
  readonly routeConfig?: Fields;
  /** HTTP filters before the router. */
  readonly filters?: readonly Fields[];
  /** More fields of the router filter. */
  readonly router?: Fields;
  /** Format of an access log in `{{tmp}}/access.log`. */
  readonly log?: string;
  /** More fields of the listener. */
  readonly listener?: Fields;
}

/** A route by prefix to a cluster. */
export function to(cluster: string, prefix = '/', action: Fields = {}, route: Fields = {}): Fields {
  return { match: { prefix }, route: { cluster, ...action }, ...route };
}

/** One listener with a connection manager. */
export function httpListener(options: HttpListener = {}): Fields {
  const name = options.name ?? 'a';
  const virtualHosts = options.virtualHosts ?? [{ name: 'all', domains: ['*'], routes: options.routes ?? [to('u1')] }];
  return {
    name,
    address: `{{listen:${name}}}`,
    filter_chains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: {
              '@type': `${NETWORK}.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: 'ingress',
              // The default of a second would be waited for in every case where the proxy closes.
              delayed_close_timeout: '0.05s',
              route_config: { name: 'local', virtual_hosts: virtualHosts, ...options.routeConfig },
              http_filters: [...(options.filters ?? []), router(options.router)],
              ...(options.log === undefined ? {} : { access_log: [fileLog(options.log)] }),
              ...options.hcm,
            },
          },
        ],
      },
    ],
    ...options.listener,
  };
}

/** One listener with the given network filters. */
export function tcpListener(filters: readonly Fields[], options: { name?: string; listener?: Fields } = {}): Fields {
  const name = options.name ?? 'a';
  return { name, address: `{{listen:${name}}}`, filter_chains: [{ filters }], ...options.listener };
}

/** The network filter `envoy.filters.network.<name>`. */
export function networkFilter(name: string, message: string, fields: Fields = {}): Fields {
  return {
    name: `envoy.filters.network.${name}`,
    typed_config: { '@type': `${NETWORK}.${name}.v3.${message}`, ...fields },
  };
}

export function tcpProxy(fields: Fields = {}): Fields {
  return networkFilter('tcp_proxy', 'TcpProxy', { stat_prefix: 'tcp', ...fields });
}

/** A static cluster; its endpoints are addresses such as `{{upstream:u1}}` or `{{refused}}`. */
export function cluster(
  name: string,
  endpoints: readonly string[] = [`{{upstream:${name}}}`],
  more: Fields = {},
): Fields {
  return {
    name,
    type: 'STATIC',
    connect_timeout: '1s',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: endpoints.map((address) => ({ endpoint: { address } })) }],
    },
    ...more,
  };
}

const PROTOCOL_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

/** A cluster's fields that say by which protocol its upstreams are spoken to, and how. */
export function protocolOptions(fields: Fields): Fields {
  return { typed_extension_protocol_options: { [PROTOCOL_OPTIONS]: typed(PROTOCOL_OPTIONS, fields) } };
}

/** The same for HTTP/2. */
export function http2Options(fields: Fields = {}, common: Fields = {}): Fields {
  return protocolOptions({ explicit_http_config: { http2_protocol_options: fields }, ...common });
}

/** A cluster at `{{upstream:<name>}}` that is spoken to by HTTP/2. */
export function http2Cluster(name: string, options: Fields = {}, more: Fields = {}): Fields {
  return cluster(name, undefined, { ...http2Options(options), ...more });
}

/** A whole bootstrap. */
export function bootstrap(listeners: readonly Fields[], clusters: readonly Fields[], more: Fields = {}): Fields {
  return { static_resources: { listeners, clusters }, ...more };
}

/** An HTTP proxy on listener `a` in front of cluster `u1`, or of the clusters given. */
export function httpProxy(
  options: HttpListener = {},
  clusters: readonly Fields[] = [cluster('u1')],
  more: Fields = {},
): Fields {
  return bootstrap([httpListener(options)], clusters, more);
}

/** The text of a request; `host: h` unless a host is given. */
export function http(start: string, headers: readonly string[] = [], body = ''): string {
  const host = headers.some((header) => /^host:/i.test(header)) ? [] : ['host: h'];
  const line = / HTTP\/1\.[01]$/.test(start) ? start : `${start} HTTP/1.1`;
  return [line, ...host, ...headers, '', body].join('\r\n');
}

/** Fields of a connection manager that takes 10.0.0.0/8 for its own network; `inside` writes a request from there. */
export const trusting: Fields = {
  internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] },
};

/** The text of a request whose `x-envoy-*` headers a connection manager with `trusting` obeys. */
export function inside(start: string, headers: readonly string[] = [], body = ''): string {
  return http(start, ['x-forwarded-for: 10.0.0.1', ...headers], body);
}
