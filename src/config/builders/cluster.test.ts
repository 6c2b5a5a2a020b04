import { describe, expect, test } from 'bun:test';
import { TestBuild } from '../../../test/support/build-messages.ts';
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import { UNLIMITED } from '../../upstream/circuit-breaker.ts';
import { type ClusterSpec, DiscoveryType } from '../../upstream/cluster-spec.ts';
import { DnsFamily } from '../../upstream/dns-spec.ts';
import type { ExtensionFactory } from '../extension-registry.ts';
import { FieldSupportTable } from '../field-support.ts';
import { buildCluster, CLUSTER_SUPPORT } from './cluster.ts';

/** Stands for the policies, which are extensions. */
const stub: ExtensionFactory<'load-balancing-policy'> = {
  kind: 'load-balancing-policy',
  name: 'stub',
  configType: 'envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest',
  support: [{ message: 'envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest', fields: '*' }],
  build: () => ({ name: 'stub', build: () => ({ chooseHost: () => null }) }),
};
const POLICIES = [stub];
const TYPE = 'envoy.config.cluster.v3.Cluster';

function build(yaml: string): { spec: ClusterSpec | null; errors: string[]; warnings: string[] } {
  const on = new TestBuild(POLICIES);
  const message = on.message<Cluster>(TYPE, yaml);
  const table = new FieldSupportTable([CLUSTER_SUPPORT, ...POLICIES.map((policy) => policy.support)]);
  table.check(on.context, on.shared.api.message(TYPE)!, message);
  const spec = buildCluster(on.context, message);
  return { spec, errors: on.errors, warnings: on.warnings };
}

function built(yaml: string): ClusterSpec {
  const { spec, errors } = build(yaml);
  expect(errors).toEqual([]);
  return spec!;
}

const ONE_HOST = `
load_assignment:
  cluster_name: x
  endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 1 } } } }] }]
`;

describe('buildCluster', () => {
  test('defaults', () => {
    const spec = built(`name: a\n${ONE_HOST}`);
    expect(spec.discovery).toBe(DiscoveryType.Static);
    expect(spec.connectTimeoutMs).toBe(5000);
    expect(spec.bufferLimitBytes).toBe(1024 * 1024);
    expect(spec.httpIdleTimeoutMs).toBe(3_600_000);
    expect(spec.policy.name).toBe('envoy.load_balancing_policies.round_robin');
    expect(spec.thresholds[1].maxRetries).toBe(3);
    expect(spec.thresholds[0].maxConnectionPools).toBe(UNLIMITED);
    expect(spec.lb.healthyPanicThreshold).toBe(50);
    expect(spec.initialHosts.map((update) => update.hosts.map((host) => host.address.text))).toEqual([['127.0.0.1:1']]);
  });

  test('a cluster without hosts is allowed', () => {
    expect(built('name: a').initialHosts).toEqual([]);
  });

  test('hosts with everything', () => {
    const spec = built(`
name: a
load_assignment:
  cluster_name: x
  policy: { overprovisioning_factor: 100, weighted_priority_health: true }
  endpoints:
  - locality: { region: r, zone: z, sub_zone: s }
    load_balancing_weight: 7
    lb_endpoints:
    - endpoint: { hostname: h, address: { pipe: { path: /x } } }
      load_balancing_weight: 5
      health_status: DRAINING
      metadata: { filter_metadata: { envoy.lb: { canary: true } } }
  - priority: 2
    lb_endpoints:
    - endpoint: { address: { socket_address: { address: "0:0::1", port_value: 2 } } }
`);
    expect(spec.initialHosts.length).toBe(3);
    expect(spec.initialHosts[0]).toMatchObject({
      priority: 0,
      overprovisioningFactor: 100,
      weightedPriorityHealth: true,
      localityWeights: [{ locality: { region: 'r', zone: 'z', subZone: 's' }, weight: 7 }],
      hosts: [{ hostname: 'h', weight: 5, edsHealth: 3, metadata: { 'envoy.lb': { canary: true } } }],
    });
    expect(spec.initialHosts[1]!.hosts).toEqual([]);
    expect(spec.initialHosts[2]!.hosts[0]!.address.text).toBe('[::1]:2');
    // It crosses threads.
    expect(structuredClone(spec.initialHosts)).toEqual([...spec.initialHosts]);
  });

  test('circuit breakers', () => {
    const spec = built(`
name: a
circuit_breakers:
  thresholds:
  - { max_connections: 1, max_pending_requests: 2, max_requests: 3, max_retries: 4, track_remaining: true }
  - { max_connections: 9 }
  - { priority: HIGH, retry_budget: { budget_percent: { value: 30 } }, max_connection_pools: 6 }
  per_host_thresholds: [{ max_connections: 8 }]
`);
    expect(spec.thresholds[0]).toEqual({
      maxConnections: 1,
      maxPendingRequests: 2,
      maxRequests: 3,
      maxRetries: 4,
      maxConnectionPools: UNLIMITED,
      trackRemaining: true,
      retryBudget: null,
      maxConnectionsPerHost: 8,
    });
    expect(spec.thresholds[1].retryBudget).toEqual({ percent: 30, minConcurrency: 3 });
    expect(spec.thresholds[1].maxConnectionPools).toBe(6);
  });

  test('protocol options, typed and deprecated', () => {
    const typed = built(`
name: a
max_requests_per_connection: 5
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    common_http_protocol_options: { idle_timeout: 2s, max_requests_per_connection: 7, max_headers_count: 9 }
    explicit_http_config: { http_protocol_options: { enable_trailers: true } }
  envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions
    idle_timeout: 3s
`);
    expect(typed).toMatchObject({
      httpIdleTimeoutMs: 2000,
      tcpIdleTimeoutMs: 3000,
      maxRequestsPerConnection: 7,
      http1: { enableTrailers: true, maxHeadersCount: 9 },
    });
    const old = built(
      '{ name: a, max_requests_per_connection: 5, common_http_protocol_options: { idle_timeout: 0s } }',
    );
    expect(old).toMatchObject({ maxRequestsPerConnection: 5, httpIdleTimeoutMs: 0 });
  });

  test('load_balancing_policy: the first that is supported', () => {
    const { spec, errors, warnings } = build(`
name: a
lb_policy: RANDOM
load_balancing_policy:
  policies:
  - typed_extension_config:
      name: first
      typed_config: { "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.pick_first.v3.PickFirst }
  - typed_extension_config:
      name: second
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest
`);
    expect(errors).toEqual([]);
    expect(spec!.policy.name).toBe('stub');
    expect(warnings.length).toBe(1);
  });

  test('DNS', () => {
    const target = '{ endpoint: { address: { socket_address: { address: foo.test, port_value: 80 } } } }';
    const strict = built(`
name: a
type: STRICT_DNS
dns_lookup_family: V4_PREFERRED
dns_refresh_rate: 2s
dns_failure_refresh_rate: { base_interval: 1s }
respect_dns_ttl: true
dns_resolvers: [{ socket_address: { address: 10.0.0.1, port_value: 53 } }]
load_assignment: { cluster_name: x, endpoints: [{ lb_endpoints: [${target}] }] }
`);
    expect(strict.dns).toMatchObject({
      logical: false,
      family: DnsFamily.V4Preferred,
      refreshMs: 2000,
      failureBaseMs: 1000,
      failureMaxMs: 10000,
      respectTtl: true,
      resolvers: ['10.0.0.1:53'],
      targets: [{ name: 'foo.test', port: 80, template: { hostname: 'foo.test' } }],
    });
    const typed = built(`
name: a
cluster_type:
  name: envoy.clusters.dns
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster
    all_addresses_in_single_endpoint: true
    dns_lookup_family: ALL
load_assignment: { cluster_name: x, endpoints: [{ lb_endpoints: [${target}] }] }
`);
    expect(typed.discovery).toBe(DiscoveryType.LogicalDns);
    expect(typed.dns).toMatchObject({ logical: true, family: DnsFamily.All, refreshMs: 5000, failureBaseMs: 5000 });
  });

  test('bind and keep-alive', () => {
    const spec = built(`
name: a
upstream_bind_config: { source_address: { address: 127.0.0.2, port_value: 0 }, freebind: true }
upstream_connection_options: { tcp_keepalive: { keepalive_time: 60 } }
`);
    expect(spec.bind?.sourceV4?.text).toBe('127.0.0.2:0');
    expect(spec.bind?.sourceV6).toBe(null);
    expect(spec.socketOptions.map((option) => `${option.level}/${option.name}=${option.value}`)).toEqual([
      '0/15=1',
      '1/9=1',
      '6/4=60',
    ]);
  });

  const dns = (address: string) =>
    `load_assignment: { cluster_name: x, endpoints: [{ lb_endpoints: [{ endpoint: { address: ${address} } }] }] }`;
  const refused: [name: string, yaml: string, error: string][] = [
    ['a name in STATIC', dns('{ socket_address: { address: foo, port_value: 1 } }'), 'malformed IP address: foo'],
    ['LOGICAL_DNS without an assignment', 'type: LOGICAL_DNS', 'LOGICAL_DNS clusters must have a single host'],
    [
      'LOGICAL_DNS without endpoints',
      'type: LOGICAL_DNS\nload_assignment: { cluster_name: x }',
      'LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint',
    ],
    [
      'a resolver name',
      `type: STRICT_DNS\n${dns('{ socket_address: { address: foo, port_value: 1, resolver_name: zoo } }')}`,
      'STRICT_DNS clusters must NOT have a custom resolver name set',
    ],
    [
      'failure refresh rates',
      'type: STRICT_DNS\ndns_failure_refresh_rate: { base_interval: 10s, max_interval: 1s }',
      'dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval',
    ],
    ['EDS', 'type: EDS', 'cannot create an EDS cluster without an EDS config'],
    ['EDS config elsewhere', 'eds_cluster_config: { service_name: x }', 'eds_cluster_config set in a non-EDS cluster'],
    [
      'CLUSTER_PROVIDED',
      'lb_policy: CLUSTER_PROVIDED',
      "cluster provided LB specified but cluster 'a' did not provide one",
    ],
    ['a missing policy', 'lb_policy: LOAD_BALANCING_POLICY_CONFIG', 'field load_balancing_policy need to be set'],
    [
      'an empty policy list',
      'load_balancing_policy: {}',
      "didn't find a registered load balancer factory implementation for cluster: 'a' with names from []",
    ],
    [
      'per-host thresholds',
      'circuit_breakers: { per_host_thresholds: [{ max_requests: 3 }] }',
      'Unsupported field in per_host_thresholds',
    ],
    ['outlier detection', 'outlier_detection: {}', 'outlier_detection is not supported yet'],
    [
      'health checks',
      'health_checks: [{ timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {} }]',
      'health_checks is not supported yet',
    ],
    [
      'HTTP/1 and HTTP/2 without a choice',
      'http2_protocol_options: {}\nhttp_protocol_options: {}',
      "Both HTTP1 and HTTP2 options may only be configured with non-default 'protocol_selection' values",
    ],
    [
      'a single host of two keys',
      'lb_subset_config: { subset_selectors: [{ keys: [a, b], single_host_per_subset: true }] }',
      'subset_lb selector: single_host_per_subset requires exactly 1 key',
    ],
    [
      'a fallback to other keys',
      'lb_subset_config: { subset_selectors: [{ keys: [a, b], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [c] }] }',
      'fallback_keys_subset must be a subset of selector keys',
    ],
    [
      'HTTP/3 in typed options',
      'typed_extension_protocol_options: { envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: { http3_protocol_options: {} } } }',
      'http3_protocol_options is not supported yet',
    ],
  ];
  for (const [name, yaml, error] of refused) {
    test(`refused: ${name}`, () => {
      const { spec, errors } = build(`name: a\n${yaml}`);
      expect(errors.some((text) => text.endsWith(`: ${error}`))).toBe(true);
      // The table of fields refuses by itself; what the builder finds gives no cluster either.
      if (!error.includes('not supported yet')) expect(spec).toBe(null);
    });
  }
});
