import { expect, test } from 'bun:test';
import { TestBuild } from '../../../test/support/build-messages.ts';
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.d.ts';
import { RAW_UPSTREAM_SOCKET } from '../../net/transport-socket.ts';
import type { ExtensionFactory } from '../extension-registry.ts';
import { buildCluster } from './cluster.ts';
import { buildListener } from './listener.ts';

const TLS = 'envoy.extensions.transport_sockets.tls.v3';
const upstreamTls: ExtensionFactory<'upstream-transport-socket'> = {
  kind: 'upstream-transport-socket',
  name: 'tls',
  configType: `${TLS}.UpstreamTlsContext`,
  support: [],
  build: () => Object.assign(() => RAW_UPSTREAM_SOCKET, { encrypts: true }),
};
const downstreamTls: ExtensionFactory<'downstream-transport-socket'> = {
  kind: 'downstream-transport-socket',
  name: 'tls',
  configType: `${TLS}.DownstreamTlsContext`,
  support: [],
  build: () => () => {
    throw new Error('only built');
  },
};
const policy: ExtensionFactory<'load-balancing-policy'> = {
  kind: 'load-balancing-policy',
  name: 'stub',
  configType: 'envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest',
  support: [],
  build: () => ({ name: 'stub', build: () => ({ chooseHost: () => null }) }),
};
const socket = (type: string) => `{ name: tls, typed_config: { "@type": type.googleapis.com/${TLS}.${type} } }`;

function clusterErrors(address: string, more: string): string[] {
  const on = new TestBuild([upstreamTls, policy]);
  buildCluster(
    on.context,
    on.message<Cluster>(
      'envoy.config.cluster.v3.Cluster',
      `{ name: a, load_assignment: { cluster_name: a, endpoints: [{ lb_endpoints: [{ endpoint: { address: ${address} } }] }] }, ${more} }`,
    ),
  );
  return on.errors;
}

const INSIDE = '{ envoy_internal_address: { server_listener_name: in } }';
const OUTSIDE = '{ socket_address: { address: 127.0.0.1, port_value: 1 } }';
const WHY = 'TLS is not supported on connections to internal listeners';

test('a cluster cannot speak TLS to an internal listener', () => {
  const tls = `transport_socket: ${socket('UpstreamTlsContext')}`;
  expect(clusterErrors(INSIDE, tls).join()).toContain(`transport_socket: ${WHY}`);
  expect(clusterErrors(OUTSIDE, tls)).toEqual([]);
  expect(clusterErrors(INSIDE, '')).toEqual([]);
  // Which hosts the match is for is known by their metadata.
  const matched = `transport_socket_matches: [{ name: m, match: { a: b }, transport_socket: ${socket('UpstreamTlsContext')} }]`;
  expect(clusterErrors(INSIDE, matched)).toEqual([]);
  expect(clusterErrors(INSIDE, `${tls}, ${matched}`).join()).toContain(WHY);
});

test('an internal listener has no chain with TLS', () => {
  const errors = (fields: string): string => {
    const on = new TestBuild([downstreamTls]);
    buildListener(on.context, on.message<Listener>('envoy.config.listener.v3.Listener', `{ name: in, ${fields} }`));
    return on.errors.join();
  };
  const tls = `transport_socket: ${socket('DownstreamTlsContext')}`;
  expect(errors(`internal_listener: {}, filter_chains: [{ ${tls} }]`)).toContain(
    `filter_chains[0].transport_socket: ${WHY}`,
  );
  expect(errors(`internal_listener: {}, default_filter_chain: { ${tls} }`)).toContain(
    `default_filter_chain.transport_socket: ${WHY}`,
  );
  expect(errors(`address: ${OUTSIDE}, filter_chains: [{ ${tls} }]`)).not.toContain(WHY);
});
