/** Envoy configurations of the benchmarks, as text, so that every peer reads the same file. */

export interface HttpOptions {
  readonly listen: number;
  readonly upstream: number;
  /** Access log file and header rules on. */
  readonly observed: string | null;
  /** Prefix routes before the one that matches `/`. */
  readonly routes: number;
}

export function httpConfig(options: HttpOptions): string {
  const routes: string[] = [];
  for (let i = 0; i < options.routes; i++) {
    routes.push(`              - match: { prefix: /service-${i}/ }\n                route: { cluster: upstream }`);
  }
  routes.push('              - match: { prefix: / }\n                route: { cluster: upstream }');
  const rules =
    options.observed === null
      ? ''
      : `
              request_headers_to_add:
              - header: { key: x-added-1, value: one }
              - header: { key: x-added-2, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%" }
              request_headers_to_remove: [x-secret]
              response_headers_to_add:
              - header: { key: x-answer, value: "%PROTOCOL%" }
              response_headers_to_remove: [x-powered-by]`;
  const log =
    options.observed === null
      ? ''
      : `
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: ${options.observed}`;
  return `static_resources:
  listeners:
  - name: ingress
    address: { socket_address: { address: 127.0.0.1, port_value: ${options.listen} } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress${log}
          generate_request_id: ${options.observed !== null}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]${rules}
              routes:
${routes.join('\n')}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
${cluster(options.upstream)}`;
}

export function tcpConfig(listen: number, upstream: number): string {
  return `static_resources:
  listeners:
  - name: ingress
    address: { socket_address: { address: 127.0.0.1, port_value: ${listen} } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: relay
          cluster: upstream
${cluster(upstream)}`;
}

function cluster(port: number): string {
  return `  clusters:
  - name: upstream
    connect_timeout: 2s
    type: STATIC
    circuit_breakers: { thresholds: [{ max_connections: 100000, max_pending_requests: 100000, max_requests: 100000 }] }
    load_assignment:
      cluster_name: upstream
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ${port} } } } }] }]
`;
}
