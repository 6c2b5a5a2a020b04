import type { TagExtractorSource } from './tag-extraction.ts';

/**
 * Envoy's well-known tags (https://www.envoyproxy.io/docs/envoy/v1.40/operations/stats_overview), in the order in
 * which Envoy 1.40 reports them. What each finds, removed part in (): see `default-tags.test.ts`, whose cases were
 * recorded from the real binary.
 */
export const DEFAULT_TAG_EXTRACTORS: readonly TagExtractorSource[] = [
  { name: 'envoy.response_code', regex: '_rq(_(\\d{3}))$', contains: '_rq_' },
  { name: 'envoy.response_code_class', regex: '_rq_((\\d))xx$', contains: '_rq_' },
  {
    name: 'envoy.dynamo_partition_id',
    regex: '^http\\.<TAG_VALUE>\\.dynamodb\\.table\\.<TAG_VALUE>\\.capacity\\.<TAG_VALUE>(\\.__partition_id=(\\w{7}))$',
    contains: '.dynamodb.table.',
  },
  {
    name: 'envoy.dynamo_operation',
    regex: '^http\\.<TAG_VALUE>\\.dynamodb.(?:operation|table\\.<TAG_VALUE>\\.capacity)(\\.(<TAG_VALUE>))(?:\\.|$)',
    contains: '.dynamodb.',
  },
  { name: 'envoy.mongo_callsite', tokens: 'mongo.*.collection.*.callsite.$.query.**' },
  {
    name: 'envoy.dynamo_table',
    regex: '^http\\.<TAG_VALUE>\\.dynamodb.(?:table|error)\\.((<TAG_VALUE>)\\.)',
    contains: '.dynamodb.',
  },
  { name: 'envoy.mongo_collection', tokens: 'mongo.*.collection.$.**.query.*' },
  { name: 'envoy.mongo_cmd', tokens: 'mongo.*.cmd.$.**' },
  { name: 'envoy.grpc_bridge_method', tokens: 'cluster.*.grpc.*.$.**' },
  { name: 'envoy.http_user_agent', tokens: 'http.*.user_agent.$.**' },
  { name: 'envoy.virtual_cluster', tokens: 'vhost.*.vcluster.$.**' },
  { name: 'envoy.fault_downstream_cluster', tokens: 'http.*.fault.$.**' },
  { name: 'envoy.ssl_cipher', regex: '^listener\\..*?\\.ssl\\.ciphers(\\.(<CIPHER>))$', contains: '.ssl.ciphers.' },
  { name: 'cipher_suite', regex: '^cluster\\.<TAG_VALUE>\\.ssl\\.ciphers(\\.(<CIPHER>))$', contains: '.ssl.ciphers.' },
  { name: 'envoy.ssl_version', regex: '^<OWNER>\\.ssl\\.versions(\\.(<TLS_VERSION>))$', contains: '.ssl.versions.' },
  { name: 'envoy.ssl_curve', regex: '^<OWNER>\\.ssl\\.curves(\\.(<CIPHER>))$', contains: '.ssl.curves.' },
  { name: 'envoy.ssl_sigalg', regex: '^<OWNER>\\.ssl\\.sigalgs(\\.(<CIPHER>))$', contains: '.ssl.sigalgs.' },
  {
    name: 'envoy.tls_certificate',
    regex: '^<OWNER>\\.ssl\\.certificate\\.((<TAG_VALUE>)\\.).*$',
    contains: '.ssl.certificate.',
  },
  { name: 'envoy.grpc_bridge_service', tokens: 'cluster.*.grpc.$.**' },
  { name: 'envoy.tcp_prefix', tokens: 'tcp.$.**' },
  { name: 'envoy.udp_prefix', tokens: 'udp.$.**' },
  { name: 'envoy.clientssl_prefix', tokens: 'auth.clientssl.$.**' },
  { name: 'envoy.ratelimit_prefix', tokens: 'ratelimit.$.**' },
  {
    name: 'envoy.health_check_name',
    regex: '^cluster\\.<TAG_VALUE>\\.health_check(\\.name\\.(<TAG_VALUE>))\\..+',
    contains: '.health_check.name.',
  },
  { name: 'envoy.cluster_name', tokens: 'cluster.$.**' },
  { name: 'envoy.ext_authz_prefix', tokens: 'cluster.*.ext_authz.$.**' },
  { name: 'envoy.ext_authz_prefix', tokens: 'http.*.ext_authz.$.**' },
  {
    name: 'envoy.http_conn_manager_prefix',
    regex: '^listener\\..*?\\.http\\.((<TAG_VALUE>)\\.)',
    contains: '.http.',
  },
  {
    name: 'envoy.rds_route_config',
    regex: '^http\\.<TAG_VALUE>\\.rds\\.((<ROUTE_CONFIG_NAME>)\\.)\\w+?$',
    contains: '.rds.',
  },
  {
    name: 'envoy.scoped_rds_config',
    regex: '^http\\.<TAG_VALUE>\\.scoped_rds\\.((<SCOPED_ROUTE_CONFIG_NAME>)\\.)\\w+?$',
    contains: '.scoped_rds.',
  },
  {
    name: 'envoy.rbac_http_prefix',
    regex: '^http\\.<TAG_VALUE>\\.rbac\\.((<TAG_VALUE>)\\.).*?',
    contains: '.rbac.',
    except: 'policy',
  },
  {
    name: 'envoy.rbac_policy_name',
    regex:
      '^http\\.<TAG_VALUE>\\.rbac\\.(?:<TAG_VALUE>\\.)?policy\\.((<TAG_VALUE>)\\.)(allowed|shadow_allowed|denied|shadow_denied)$',
    contains: '.rbac.',
  },
  { name: 'envoy.http_conn_manager_prefix', tokens: 'http.$.**' },
  {
    name: 'envoy.worker_id',
    regex:
      '^(?:listener\\.(?:<ADDRESS>|<TAG_VALUE>)|server|listener_manager|thread_local_cluster_manager)\\.worker_((\\d+)\\.)',
    contains: '.worker_',
  },
  { name: 'envoy.listener_address', regex: '^listener\\.((<ADDRESS>|<TAG_VALUE>)\\.)', except: 'admin' },
  { name: 'envoy.virtual_host', tokens: 'vhost.$.**' },
  { name: 'envoy.route', tokens: 'vhost.*.route.$.**' },
  { name: 'envoy.mongo_prefix', tokens: 'mongo.$.**' },
  { name: 'envoy.local_http_ratelimit_prefix', tokens: '$.http_local_rate_limit.**' },
  { name: 'envoy.local_network_ratelimit_prefix', tokens: 'local_rate_limit.$.**' },
  { name: 'envoy.local_listener_ratelimit_prefix', tokens: 'listener_local_ratelimit.$.**' },
  { name: 'envoy.dns_filter_prefix', tokens: 'dns_filter.$.**' },
  { name: 'envoy.connection_limit_prefix', tokens: 'connection_limit.$.**' },
  { name: 'envoy.rbac_prefix', tokens: '$.rbac.**' },
  { name: 'envoy.google_grpc_client_prefix', tokens: 'grpc.$.**' },
  { name: 'envoy.redis_prefix', tokens: 'redis.$.**' },
  { name: 'envoy.thrift_prefix', tokens: 'thrift.$.**' },
  {
    name: 'envoy.proxy_protocol_version',
    regex: '^proxy_proto\\.((?:<TAG_VALUE>\\.)?versions\\.v(<PROXY_PROTOCOL_VERSION>)\\.)\\w+$',
    contains: 'proxy_proto.',
  },
  { name: 'envoy.xds_resource_name', regex: '^sds\\.((<TAG_VALUE>)\\.).+' },
  { name: 'envoy.proxy_protocol_prefix', regex: '^proxy_proto\\.((<TAG_VALUE>)\\.).*', except: 'versions' },
];
