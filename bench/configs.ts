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

/** What the wire is made of on either side. */
export interface WireOptions {
  readonly listen: number;
  readonly upstream: number;
  /** TLS towards the client. */
  readonly tls: { readonly certificate: string; readonly key: string } | null;
  /** `AUTO` takes what the client speaks. */
  readonly codec: 'AUTO' | 'HTTP1' | 'HTTP2';
  readonly upstreamHttp2: boolean;
}

export function wireConfig(options: WireOptions): string {
  const { tls } = options;
  const socket =
    tls === null
      ? ''
      : `
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: { filename: ${tls.certificate} }
              private_key: { filename: ${tls.key} }`;
  const protocol = options.upstreamHttp2
    ? `    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
`
    : '';
  return `static_resources:
  listeners:
  - name: ingress
    address: { socket_address: { address: 127.0.0.1, port_value: ${options.listen} } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          codec_type: ${options.codec}
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: / }
                route: { cluster: upstream, timeout: 0s }
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router${socket}
${cluster(options.upstream)}${protocol}`;
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
