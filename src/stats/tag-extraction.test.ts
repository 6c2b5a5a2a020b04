import { describe, expect, test } from 'bun:test';
import { MergedStore } from './merged-store.ts';
import { renderPrometheus } from './render-prometheus.ts';
import { DEFAULT_STATS_QUERY } from './stats-query.ts';
import { StatsStore } from './store.ts';
import { type TagOptions, TagProducer } from './tag-extraction.ts';
import recorded from './testdata/envoy-tags.json';

function series(names: readonly string[], options?: TagOptions): string[] {
  const local = new StatsStore();
  for (const name of names) local.counter(name);
  const merged = new MergedStore({ tagProducer: new TagProducer(options) });
  merged.apply(0, local.takeDelta());
  const text = renderPrometheus(merged, DEFAULT_STATS_QUERY);
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.slice(0, line.lastIndexOf(' ')));
}

/** `name | tag=value ...`, for short expectations. */
function taken(name: string, options?: TagOptions): string {
  const { tagExtractedName, tags } = new TagProducer(options).produce(name);
  return [tagExtractedName, ...tags.map((tag) => `${tag.name}=${tag.value}`)].join(' | ');
}

test('names, labels and their order equal what Envoy 1.40 printed for 99 chosen names', () => {
  expect(series(recorded.names)).toEqual(recorded.series);
});

describe('names that real filters make', () => {
  // Each line is a name seen in Envoy's documentation or output, and what the extraction must give.
  const cases: [string, string][] = [
    [
      'cluster.some.dotted.upstream_rq_200',
      'cluster.dotted.upstream_rq | envoy.response_code=200 | envoy.cluster_name=some',
    ],
    ['cluster.c.upstream_rq_5xx', 'cluster.upstream_rq_xx | envoy.response_code_class=5 | envoy.cluster_name=c'],
    ['cluster.c.upstream_rq_time', 'cluster.upstream_rq_time | envoy.cluster_name=c'],
    [
      'http.ingress.downstream_rq_2xx',
      'http.downstream_rq_xx | envoy.response_code_class=2 | envoy.http_conn_manager_prefix=ingress',
    ],
    [
      'listener.0.0.0.0_443.ssl.ciphers.ECDHE-RSA-AES128-GCM-SHA256',
      'listener.ssl.ciphers | envoy.ssl_cipher=ECDHE-RSA-AES128-GCM-SHA256 | envoy.listener_address=0.0.0.0_443',
    ],
    [
      'listener.0.0.0.0_443.ssl.versions.TLSv1.3',
      'listener.ssl.versions | envoy.ssl_version=TLSv1.3 | envoy.listener_address=0.0.0.0_443',
    ],
    ['cluster.c.ssl.versions.TLSv1.2', 'cluster.ssl.versions | envoy.ssl_version=TLSv1.2 | envoy.cluster_name=c'],
    ['cluster.c.ssl.curves.X25519', 'cluster.ssl.curves | envoy.ssl_curve=X25519 | envoy.cluster_name=c'],
    [
      'listener.[__1]_80.ssl.sigalgs.ecdsa_secp256r1_sha256',
      'listener.ssl.sigalgs | envoy.ssl_sigalg=ecdsa_secp256r1_sha256 | envoy.listener_address=[__1]_80',
    ],
    [
      'cluster.c.ssl.certificate.unnamed_cert_e3b0c442.expiration_unix_time_seconds',
      'cluster.ssl.certificate.expiration_unix_time_seconds | envoy.tls_certificate=unnamed_cert_e3b0c442 | envoy.cluster_name=c',
    ],
    [
      'listener.admin.http.admin.downstream_rq_2xx',
      'listener.admin.http.downstream_rq_xx | envoy.response_code_class=2 | envoy.http_conn_manager_prefix=admin',
    ],
    ['sds.k://a.b.update_success', 'sds.b.update_success | envoy.xds_resource_name=k://a'],
    ['listener.admin.main_thread.downstream_cx_total', 'listener.admin.main_thread.downstream_cx_total'],
    ['cluster.c.ssl.ciphers.TLS_AES_128', 'cluster.ssl.ciphers | cipher_suite=TLS_AES_128 | envoy.cluster_name=c'],
    [
      'listener.[__1]_80.http.ing.downstream_rq_2xx',
      'listener.http.downstream_rq_xx | envoy.response_code_class=2 | envoy.http_conn_manager_prefix=ing | envoy.listener_address=[__1]_80',
    ],
    [
      'listener.0.0.0.0_80.worker_1.downstream_cx_total',
      'listener.worker_downstream_cx_total | envoy.worker_id=1 | envoy.listener_address=0.0.0.0_80',
    ],
    [
      'http.i.rbac.policy.p1.allowed',
      'http.rbac.policy.allowed | envoy.rbac_policy_name=p1 | envoy.http_conn_manager_prefix=i',
    ],
    [
      'http.i.rds.my-route.v1.update_success',
      'http.rds.update_success | envoy.rds_route_config=my-route.v1 | envoy.http_conn_manager_prefix=i',
    ],
    [
      'http.i.scoped_rds.a/b.update_success',
      'http.scoped_rds.update_success | envoy.scoped_rds_config=a/b | envoy.http_conn_manager_prefix=i',
    ],
    [
      'http.e.dynamodb.table.t.capacity.Query.__partition_id=ABC1234',
      'http.dynamodb.table.capacity | envoy.dynamo_partition_id=ABC1234 | envoy.dynamo_operation=Query | envoy.dynamo_table=t | envoy.http_conn_manager_prefix=e',
    ],
    [
      'mongo.m.collection.users.callsite.find.query.total',
      'mongo.collection.callsite.query.total | envoy.mongo_callsite=find | envoy.mongo_collection=users | envoy.mongo_prefix=m',
    ],
    [
      'proxy_proto.pp.versions.v2.found',
      'proxy_proto.found | envoy.proxy_protocol_version=2 | envoy.proxy_protocol_prefix=pp',
    ],
    ['proxy_proto.versions.v1.error', 'proxy_proto.error | envoy.proxy_protocol_version=1'],
    ['cluster_manager.active_clusters', 'cluster_manager.active_clusters'],
    ['server.live', 'server.live'],
  ];
  for (const [name, expected] of cases) {
    test(name, () => {
      // One dot removal differs for worker ids: Envoy leaves `worker_` joined to the rest of the name.
      expect(taken(name)).toBe(expected);
    });
  }
});

describe('stats_tags', () => {
  const options: TagOptions = {
    customTags: [
      { name: 'fixed.one', fixedValue: 'v"1' },
      { name: 'cust', regex: '^((a)_)' },
      { name: 'nogroup', regex: 'rbac' },
      { name: 'onegroup', regex: '(sp)' },
      { name: 'onegroup', regex: '(s)p' },
    ],
  };
  test('as recorded from Envoy', () => {
    const names = ['a_b.rbac.allowed', 'sp ace.x.rbac.allowed', 'http.a.b.rbac.allowed', 'http.rbac.allowed'];
    expect(series(names, options)).toEqual([
      'envoy__ace_x_rbac_allowed{fixed_one="v\\"1",onegroup="sp"}',
      'envoy_allowed{envoy_rbac_prefix="http",fixed_one="v\\"1",envoy_http_conn_manager_prefix="rbac"}',
      'envoy_http_b_rbac_allowed{fixed_one="v\\"1",envoy_http_conn_manager_prefix="a"}',
      'envoy_rbac_allowed{envoy_rbac_prefix="a_b",fixed_one="v\\"1",cust="a"}',
    ]);
  });
  test('no defaults, one default asked for by name, command-line tags', () => {
    expect(taken('cluster.c.upstream_rq_200', { useAllDefaultTags: false })).toBe('cluster.c.upstream_rq_200');
    const some: TagOptions = {
      useAllDefaultTags: false,
      customTags: [{ name: 'envoy.cluster_name' }],
      commandLineTags: [{ name: 'zone', value: 'a' }],
    };
    expect(taken('cluster.c.upstream_rq_200', some)).toBe('cluster.upstream_rq_200 | zone=a | envoy.cluster_name=c');
  });
  test('errors', () => {
    expect(() => new TagProducer({ customTags: [{ name: '', fixedValue: 'x' }] })).toThrow('tag_name cannot be empty');
    expect(() => new TagProducer({ customTags: [{ name: 'unknown' }] })).toThrow(
      "No regex specified for tag specifier and no default regex for name: 'unknown'",
    );
    expect(() => new TagProducer({ customTags: [{ name: 'x', regex: '(' }] })).toThrow();
  });
});
