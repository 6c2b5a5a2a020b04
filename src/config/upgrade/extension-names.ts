/** What the extension names of v2 stand for: in v2 the name chose the extension, in v3 the type of its configuration. */

export interface ExtensionName {
  /** The name that v3 writes. */
  readonly name: string;
  /** Full name of the v3 configuration message. */
  readonly type: string;
  /** Full name of the per-route message. */
  readonly routeType?: string;
}

export type NameTable = ReadonlyMap<string, ExtensionName>;

/** Lines of `name | short v2 names | type | per-route type`, `~` and `^` standing for the prefixes given. */
function table(namePrefix: string, typePrefix: string, lines: string): NameTable {
  const names = new Map<string, ExtensionName>();
  for (const line of lines.trim().split('\n')) {
    const [name = '', aliases = '', type = '', routeType] = line.split('|').map((part) => part.trim());
    const full = name.startsWith('=') ? name.slice(1) : namePrefix + name;
    const known: ExtensionName = {
      name: full,
      type: type.startsWith('=') ? type.slice(1) : typePrefix + type,
      ...(routeType === undefined ? {} : { routeType: typePrefix + routeType }),
    };
    names.set(full, known);
    for (const alias of aliases.split(' ')) if (alias !== '') names.set(alias, known);
  }
  return names;
}

export const NETWORK_FILTERS = table(
  'envoy.filters.network.',
  'envoy.extensions.filters.network.',
  `
  http_connection_manager | envoy.http_connection_manager http_connection_manager | http_connection_manager.v3.HttpConnectionManager
  tcp_proxy | envoy.tcp_proxy tcp_proxy | tcp_proxy.v3.TcpProxy
  redis_proxy | envoy.redis_proxy redis_proxy | redis_proxy.v3.RedisProxy
  mongo_proxy | envoy.mongo_proxy mongo_proxy | mongo_proxy.v3.MongoProxy
  ratelimit | envoy.ratelimit ratelimit | ratelimit.v3.RateLimit
  ext_authz | envoy.ext_authz | ext_authz.v3.ExtAuthz
  echo | envoy.echo echo | echo.v3.Echo
  rbac | envoy.rbac | rbac.v3.RBAC
  sni_cluster | envoy.sni_cluster | sni_cluster.v3.SniCluster
  thrift_proxy | envoy.thrift_proxy | thrift_proxy.v3.ThriftProxy
  dubbo_proxy | envoy.dubbo_proxy | dubbo_proxy.v3.DubboProxy
  zookeeper_proxy | envoy.zookeeper_proxy | zookeeper_proxy.v3.ZooKeeperProxy
  direct_response | envoy.direct_response | direct_response.v3.Config
  local_ratelimit | envoy.local_ratelimit | local_ratelimit.v3.LocalRateLimit
  sni_dynamic_forward_proxy | | sni_dynamic_forward_proxy.v3.FilterConfig
`,
);

export const HTTP_FILTERS = table(
  'envoy.filters.http.',
  'envoy.extensions.filters.http.',
  `
  router | envoy.router router | router.v3.Router
  adaptive_concurrency | | adaptive_concurrency.v3.AdaptiveConcurrency
  aws_lambda | | aws_lambda.v3.Config | aws_lambda.v3.PerRouteConfig
  aws_request_signing | | aws_request_signing.v3.AwsRequestSigning
  buffer | envoy.buffer buffer | buffer.v3.Buffer | buffer.v3.BufferPerRoute
  cache | envoy.cache | cache.v3.CacheConfig
  compressor | envoy.compressor | compressor.v3.Compressor
  cors | envoy.cors cors | cors.v3.Cors | cors.v3.CorsPolicy
  csrf | envoy.csrf | csrf.v3.CsrfPolicy | csrf.v3.CsrfPolicy
  dynamic_forward_proxy | envoy.dynamic_forward_proxy | dynamic_forward_proxy.v3.FilterConfig | dynamic_forward_proxy.v3.PerRouteConfig
  ext_authz | envoy.ext_authz ext_authz | ext_authz.v3.ExtAuthz | ext_authz.v3.ExtAuthzPerRoute
  fault | envoy.fault fault | fault.v3.HTTPFault | fault.v3.HTTPFault
  grpc_http1_bridge | envoy.grpc_http1_bridge grpc_http1_bridge | grpc_http1_bridge.v3.Config
  grpc_http1_reverse_bridge | | grpc_http1_reverse_bridge.v3.FilterConfig | grpc_http1_reverse_bridge.v3.FilterConfigPerRoute
  grpc_json_transcoder | envoy.grpc_json_transcoder grpc_json_transcoder | grpc_json_transcoder.v3.GrpcJsonTranscoder | grpc_json_transcoder.v3.GrpcJsonTranscoder
  grpc_stats | envoy.grpc_stats | grpc_stats.v3.FilterConfig
  grpc_web | envoy.grpc_web grpc_web | grpc_web.v3.GrpcWeb
  header_to_metadata | envoy.header_to_metadata | header_to_metadata.v3.Config | header_to_metadata.v3.Config
  health_check | envoy.health_check health_check | health_check.v3.HealthCheck
  ip_tagging | envoy.ip_tagging ip_tagging | ip_tagging.v3.IPTagging
  jwt_authn | envoy.jwt_authn | jwt_authn.v3.JwtAuthentication
  lua | envoy.lua lua | lua.v3.Lua | lua.v3.LuaPerRoute
  on_demand | envoy.on_demand | on_demand.v3.OnDemand
  original_src | | original_src.v3.OriginalSrc
  ratelimit | envoy.rate_limit rate_limit | ratelimit.v3.RateLimit | ratelimit.v3.RateLimitPerRoute
  rbac | envoy.rbac | rbac.v3.RBAC | rbac.v3.RBACPerRoute
  tap | envoy.tap | tap.v3.Tap
`,
);

export const LISTENER_FILTERS = table(
  'envoy.filters.listener.',
  'envoy.extensions.filters.listener.',
  `
  http_inspector | envoy.listener.http_inspector | http_inspector.v3.HttpInspector
  original_dst | envoy.listener.original_dst | original_dst.v3.OriginalDst
  original_src | envoy.listener.original_src | original_src.v3.OriginalSrc
  proxy_protocol | envoy.listener.proxy_protocol | proxy_protocol.v3.ProxyProtocol
  tls_inspector | envoy.listener.tls_inspector | tls_inspector.v3.TlsInspector
`,
);

export const ACCESS_LOGS = table(
  'envoy.access_loggers.',
  'envoy.extensions.access_loggers.',
  `
  file | envoy.file_access_log | file.v3.FileAccessLog
  http_grpc | envoy.http_grpc_access_log | grpc.v3.HttpGrpcAccessLogConfig
  tcp_grpc | envoy.tcp_grpc_access_log | grpc.v3.TcpGrpcAccessLogConfig
`,
);

export const STAT_SINKS = table(
  'envoy.stat_sinks.',
  'envoy.config.metrics.v3.',
  `
  statsd | envoy.statsd | StatsdSink
  dog_statsd | envoy.dog_statsd | DogStatsdSink
  hystrix | envoy.stat_sinks.hystrix | HystrixSink
  metrics_service | envoy.metrics_service | MetricsServiceConfig
`,
);

export const TRACERS = table(
  'envoy.tracers.',
  'envoy.config.trace.v3.',
  `
  zipkin | envoy.zipkin | ZipkinConfig
  datadog | envoy.tracers.datadog | DatadogConfig
  skywalking | | SkyWalkingConfig
`,
);

export const RETRY_HOST_PREDICATES = table(
  'envoy.retry_host_predicates.',
  'envoy.extensions.retry.host.',
  `
  previous_hosts | | previous_hosts.v3.PreviousHostsPredicate
  omit_canary_hosts | | omit_canary_hosts.v3.OmitCanaryHostsPredicate
  omit_host_metadata | | omit_host_metadata.v3.OmitHostMetadataConfig
`,
);

export const RETRY_PRIORITIES = table(
  'envoy.retry_priorities.',
  'envoy.extensions.retry.priority.',
  `
  previous_priorities | | previous_priorities.v3.PreviousPrioritiesConfig
`,
);

export const RESOURCE_MONITORS = table(
  'envoy.resource_monitors.',
  'envoy.extensions.resource_monitors.',
  `
  fixed_heap | | fixed_heap.v3.FixedHeapConfig
  injected_resource | | injected_resource.v3.InjectedResourceConfig
`,
);

export const HEALTH_CHECKERS = table(
  'envoy.health_checkers.',
  'envoy.extensions.health_checkers.',
  `
  redis | envoy.health_checkers.redis | redis.v3.Redis
`,
);

export const THRIFT_FILTERS = table(
  'envoy.filters.thrift.',
  'envoy.extensions.filters.network.thrift_proxy.',
  `
  router | envoy.thrift.router | router.v3.Router
  rate_limit | envoy.filters.thrift.ratelimit | filters.ratelimit.v3.RateLimit
`,
);

const SOCKETS = `
  raw_buffer | raw_buffer | raw_buffer.v3.RawBuffer
  alts | | alts.v3.Alts
`;

export const UPSTREAM_SOCKETS = table(
  'envoy.transport_sockets.',
  'envoy.extensions.transport_sockets.',
  `${SOCKETS}
  tls | tls | tls.v3.UpstreamTlsContext`.replace(/\n\s*\n/g, '\n'),
);

export const DOWNSTREAM_SOCKETS = table(
  'envoy.transport_sockets.',
  'envoy.extensions.transport_sockets.',
  `${SOCKETS}
  tls | tls | tls.v3.DownstreamTlsContext`.replace(/\n\s*\n/g, '\n'),
);

/** Protocol options of clusters, by the name of the network filter that reads them. */
export const PROTOCOL_OPTIONS = table(
  'envoy.filters.network.',
  'envoy.extensions.filters.network.',
  `
  redis_proxy | envoy.redis_proxy | redis_proxy.v3.RedisProtocolOptions
  thrift_proxy | envoy.thrift_proxy | thrift_proxy.v3.ThriftProtocolOptions
`,
);

/** What v2 had and Envoy 1.40 has no more, and what to do. */
export const REMOVED_EXTENSIONS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    'envoy.client_ssl_auth': 'check client certificates with a validation_context',
    'envoy.filters.network.client_ssl_auth': 'check client certificates with a validation_context',
    'envoy.mysql_proxy': "only Envoy's contrib build has it",
    'envoy.filters.network.mysql_proxy': "only Envoy's contrib build has it",
    'envoy.filters.network.kafka_broker': "only Envoy's contrib build has it",
    'envoy.http_dynamo_filter': 'remove it: it only counted',
    'envoy.filters.http.dynamo': 'remove it: it only counted',
    'envoy.squash': 'remove it: a debugging aid without successor',
    'envoy.filters.http.squash': 'remove it: a debugging aid without successor',
    'envoy.lightstep': 'use envoy.tracers.opentelemetry',
    'envoy.tracers.lightstep': 'use envoy.tracers.opentelemetry',
    'envoy.dynamic.ot': 'use envoy.tracers.opentelemetry or envoy.tracers.zipkin',
    'envoy.tracers.dynamic_ot': 'use envoy.tracers.opentelemetry or envoy.tracers.zipkin',
    'envoy.tracers.opencensus': 'use envoy.tracers.opentelemetry',
  }),
);
