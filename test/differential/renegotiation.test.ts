/** Another handshake on a TLS connection of version 1.2, asked for by an upstream. Neither Bun nor BoringSSL asks for one: Node does. */
import { afterAll } from 'bun:test';
import { fileURLToPath } from 'node:url';
import { ServerProgram } from '../conformance/programs.ts';
import { bootstrap, cluster, type Fields, http, httpListener, to } from './configs.ts';
import { request, suite } from './harness.ts';
import { pemPath, upstreamTls } from './tls-peers.ts';

const SCRIPT = fileURLToPath(new URL('renegotiating-server.mjs', import.meta.url));
const server = await ServerProgram.start((port) => [
  'node',
  SCRIPT,
  String(port),
  pemPath('server-ec.pem'),
  pemPath('server-ec.key'),
]);
afterAll(() => server.stop());

function secured(name: string, more: Fields): Fields {
  const address = { socket_address: { address: '127.0.0.1', port_value: server.port } };
  return {
    ...cluster(name, []),
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
    transport_socket: upstreamTls({}, more),
  };
}

suite(
  'another handshake that an upstream asks for',
  {
    config: bootstrap(
      [
        httpListener({
          routes: ['allows', 'refuses'].map((name) => to(name, `/${name}`)),
          log: '%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%',
        }),
      ],
      [secured('allows', { allow_renegotiation: true }), secured('refuses', {})],
    ),
    stats: [
      'cluster.allows.ssl.',
      'cluster.refuses.ssl.',
      'cluster.allows.upstream_cx_',
      'cluster.refuses.upstream_cx_',
    ],
  },
  [
    request('it is allowed', http('GET /allows'), { log: 'access.log', logLines: 1 }),
    request('it is not', http('GET /refuses'), { log: 'access.log', logLines: 1 }),
  ],
);
