/** ADS over `google_grpc`: its targets, and its TLS. */
import { connect } from 'node:net';
import { createServer } from 'node:tls';
import { cluster, type Fields, http } from './configs.ts';
import { LISTENER, listenerResource, says } from './discovery.ts';
import type { Exchange } from './exchange.ts';
import { accepted, refused, steps, suite, validateSuite } from './harness.ts';
import { fillIn, type Side } from './side.ts';
import { pem, pemPath } from './tls-peers.ts';

/** Takes TLS off in front of a port. @returns its own port */
function secureFront(port: number, name: string, asksForCertificate: boolean): number {
  const options = {
    cert: pem(`${name}.pem`),
    key: pem(`${name}.key`),
    ALPNProtocols: ['h2'],
    ...(asksForCertificate ? { ca: pem('root.pem'), requestCert: true, rejectUnauthorized: true } : {}),
  };
  const server = createServer(options, (secure) => {
    const plain = connect(port, '127.0.0.1');
    plain.on('error', () => secure.destroy());
    secure.on('error', () => plain.destroy());
    secure.pipe(plain).pipe(secure);
  });
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  server.unref();
  return (server.address() as { port: number }).port;
}

const ads = { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '1s' };

function config(target: string, credentials: Fields | null): Fields {
  const google = {
    target_uri: target,
    stat_prefix: 'xds',
    ...(credentials === null ? {} : { channel_credentials: credentials }),
  };
  return {
    node: { id: 'node-1', cluster: 'tests' },
    dynamic_resources: {
      ads_config: { api_type: 'GRPC', transport_api_version: 'V3', grpc_services: [{ google_grpc: google }] },
      lds_config: ads,
    },
  };
}

function secure(name: string, asks = false) {
  return (_plane: unknown, side: Side): void => {
    side.ports.set('secure', secureFront(side.ports.get('xds')!, name, asks));
    say(side);
  };
}

function say(side: Side): void {
  const resources = [listenerResource({ routes: [says('from afar')] })];
  const filled = JSON.parse(fillIn(resources, side.tmp, side.ports)) as Fields[];
  side.controlPlane!.set(`type.googleapis.com/${LISTENER}`, '1', filled);
}

const serves = steps('serves what it is told', async (exchange: Exchange) => {
  await exchange.expectStat('listener_manager.total_listeners_active', 1);
  await exchange.refreshListeners();
  await exchange.request(http('GET /'));
});

const goesOnWithout = steps('goes on without', async (exchange: Exchange) => {
  await exchange.expect('LIVE', async () => (await exchange.proxy.admin('/ready')).status === 200);
  exchange.note('listeners', String(await exchange.stat('listener_manager.total_listeners_active')));
  // Each attempt counts as connected until it has failed.
  await exchange.expectStat('control_plane.connected_state', 0);
  exchange.note('asked', String(exchange.side.controlPlane!.requests.size));
});

const roots = { root_certs: { filename: pemPath('root.pem') } };
const certificate = {
  private_key: { filename: pemPath('client.key') },
  cert_chain: { filename: pemPath('client.pem') },
};
const SECURE = '127.0.0.1:{{port:secure}}';
const stage = { fresh: true, upstreamBytes: false } as const;

for (const target of ['127.0.0.1:{{port:xds}}', 'ipv4:127.0.0.1:{{port:xds}}', 'dns:///localhost:{{port:xds}}']) {
  suite(
    `google_grpc to ${target.replace(/:\{.*/, '')}`,
    { ...stage, config: config(target, null), controlPlane: (_plane, side) => say(side) },
    [serves],
  );
}
suite(
  'google_grpc over TLS',
  { ...stage, config: config(SECURE, { ssl_credentials: roots }), controlPlane: secure('server-ec') },
  [serves],
);
suite(
  'google_grpc over TLS, with a certificate of its own',
  {
    ...stage,
    config: config(SECURE, { ssl_credentials: { ...roots, ...certificate } }),
    controlPlane: secure('server-rsa', true),
  },
  [serves],
);
suite(
  'google_grpc over TLS, without the certificate that is asked for',
  { ...stage, config: config(SECURE, { ssl_credentials: roots }), controlPlane: secure('server-ec', true) },
  [goesOnWithout],
);
suite(
  'google_grpc over TLS to a stranger',
  { ...stage, config: config(SECURE, { ssl_credentials: roots }), controlPlane: secure('server-stranger') },
  [goesOnWithout],
);
suite(
  'google_grpc over TLS to another name',
  {
    ...stage,
    config: config('dns:///localhost:{{port:secure}}', { ssl_credentials: roots }),
    controlPlane: secure('server-ec'),
  },
  [goesOnWithout],
);
suite(
  'google_grpc over TLS, with authorities of the system',
  { ...stage, config: config(SECURE, { ssl_credentials: {} }), controlPlane: secure('server-ec') },
  [goesOnWithout],
);

const valid = (google: Fields): Fields => ({
  ...config('', null),
  dynamic_resources: {
    ads_config: {
      api_type: 'GRPC',
      transport_api_version: 'V3',
      grpc_services: [{ google_grpc: { target_uri: '127.0.0.1:1', stat_prefix: 'x', ...google } }],
    },
  },
  static_resources: { clusters: [cluster('u1')] },
});

validateSuite('google_grpc', [
  accepted('local credentials', valid({ channel_credentials: { local_credentials: {} } })),
  accepted('TLS', valid({ channel_credentials: { ssl_credentials: roots } })),
  accepted('a socket of the file system', valid({ target_uri: 'unix:/tmp/nothing' })),
  accepted('a factory by its name', valid({ credentials_factory_name: 'envoy.grpc_credentials.default' })),
  accepted('arguments of its channel', valid({ channel_args: { args: { a: { int_value: '1' } } } })),
  refused('another factory', valid({ credentials_factory_name: 'nobody' })),
  refused('no target', valid({ target_uri: '' })),
  refused('credentials of no kind', valid({ channel_credentials: {} })),
  refused(
    'roots that are not there',
    valid({ channel_credentials: { ssl_credentials: { root_certs: { filename: '/nowhere' } } } }),
  ),
]);
