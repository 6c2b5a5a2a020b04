/** Certificates that `nuncio pilot` serves by SDS: renewed in files and manifests, under connections that go on. */
import { afterEach, describe, expect, test } from 'bun:test';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { altNames, authority, dns, type Made, makeCertificate } from '../support/certificate-maker.ts';
import { freePort } from '../support/free-port.ts';
import {
  ADS,
  endStages,
  followers,
  HCM,
  ofType,
  ROUTER,
  resources,
  type Stage,
  stage,
  until,
} from '../support/pilot-stage.ts';

afterEach(endStages);

const ca = makeCertificate({ cn: 'authority', extensions: [authority()] });
const leaf = (cn: string): Made =>
  makeCertificate({ cn, issuer: ca, extensions: [altNames(dns('web.test'), dns('localhost'))] });

function put(scene: Stage, name: string, text: string): void {
  const path = scene.path(name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

/** One connection that stays open, asked by hand. */
class Client {
  readonly #socket: TLSSocket;
  #waiting: (text: string) => void = () => {};
  ended = false;

  private constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on('data', (data) => this.#waiting(data.toString()));
    socket.on('close', () => {
      this.ended = true;
    });
  }

  /** @returns null when there is no handshake */
  static open(port: number, own?: Made): Promise<Client | null> {
    return new Promise((resolve) => {
      const identity = own === undefined ? {} : { cert: own.pem, key: own.keyPem };
      const socket = connect({ port, host: '127.0.0.1', servername: 'web.test', ca: ca.pem, ...identity });
      socket.on('secureConnect', () => resolve(new Client(socket)));
      socket.on('error', () => resolve(null));
    });
  }

  get server(): string {
    return String(this.#socket.getPeerCertificate().subject.CN);
  }

  ask(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#waiting = resolve;
      this.#socket.once('close', () => reject(new Error('the connection was closed')));
      this.#socket.write('GET / HTTP/1.1\r\nhost: web.test\r\n\r\n');
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

async function serverNow(port: number): Promise<string> {
  const client = await Client.open(port);
  const name = client?.server ?? '';
  client?.close();
  return name;
}

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.';

function secureListener(port: number): object {
  const route = { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'here' } } };
  return ofType('listener.v3.Listener', {
    name: 'secure',
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [
      {
        transport_socket: {
          name: 'tls',
          typed_config: {
            '@type': `${TLS}DownstreamTlsContext`,
            common_tls_context: {
              tls_certificate_sds_secret_configs: [{ name: 'web', sds_config: ADS }],
              validation_context_sds_secret_config: { name: 'clients', sds_config: ADS },
            },
          },
        },
        filters: [
          {
            name: 'http',
            typed_config: {
              '@type': `type.googleapis.com/${HCM}`,
              stat_prefix: 'secure',
              route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [route] }] },
              http_filters: [{ name: 'router', typed_config: { '@type': `type.googleapis.com/${ROUTER}` } }],
            },
          },
        ],
      },
    ],
  });
}

const secret = (name: string, fields: object): object => ({ '@type': `${TLS}Secret`, name, ...fields });

describe.each([
  ['Envoy', 'GRPC'],
  ['Envoy', 'DELTA_GRPC'],
  ['Nuncio', 'GRPC'],
  ['Nuncio', 'DELTA_GRPC'],
])('%s over %s', (follower, api) => {
  test('certificates in files are renewed, and connections go on', async () => {
    const command = await followers[follower]!();
    const scene = stage();
    const port = freePort();
    const putPair = (made: Made): void => {
      put(scene, 'certs/web.key', made.keyPem);
      put(scene, 'certs/web.pem', made.pem);
    };
    putPair(leaf('first'));
    put(scene, 'certs/ca.pem', ca.pem);
    scene.write('config/secure.yaml', resources(secureListener(port)));
    const pair = { certificate_chain: { filename: '../certs/web.pem' }, private_key: { filename: '../certs/web.key' } };
    scene.write(
      'config/secrets.yaml',
      resources(
        secret('web', { tls_certificate: pair }),
        secret('clients', { validation_context: { trusted_ca: { filename: '../certs/ca.pem' } } }),
      ),
    );
    const pilot = await scene.pilot('--resources', scene.path('config'));
    await scene.follow(command, pilot.port, api, 'any');
    await until('the first certificate', async () => (await serverNow(port)) === 'first');
    const old = (await Client.open(port))!;
    expect(await old.ask()).toContain('here');

    for (const name of ['second', 'third']) {
      putPair(leaf(name));
      await until(`the ${name} certificate`, async () => (await serverNow(port)) === name);
      expect(await old.ask()).toContain('200 OK');
    }
    // A certificate without its key is not served.
    put(scene, 'certs/web.pem', leaf('alone').pem);
    await until('the complaint', () => pilot.log().includes('the key is not that of the certificate'));
    expect(pilot.log()).toContain('secrets.yaml');
    expect(await serverNow(port)).toBe('third');

    // Whom clients must be known by is renewed as well: no certificate is asked for, but one that is shown must be good.
    const stranger = makeCertificate({ cn: 'other', extensions: [authority()] });
    putPair(leaf('fourth'));
    await until('the fourth certificate', async () => (await serverNow(port)) === 'fourth');
    const known = makeCertificate({ cn: 'known', issuer: stranger });
    const isKnown = async (): Promise<boolean> => {
      const client = await Client.open(port, known);
      return (await client?.ask().catch(() => ''))?.includes('here') === true;
    };
    expect(await isKnown()).toBe(false);
    put(scene, 'certs/ca.pem', ca.pem + stranger.pem);
    await until('the further authority', isKnown);
    expect(await old.ask()).toContain('here');
    expect(old.ended).toBe(false);
    old.close();
  }, 60_000);
});

test.each(['Envoy', 'Nuncio'])(
  'a Secret of the Gateway API is renewed by its manifest (%s)',
  async (follower) => {
    const command = await followers[follower]!();
    const scene = stage();
    const port = freePort();
    const gateway = 'gateway.networking.k8s.io/v1';
    const putSecret = (made: Made): void =>
      scene.write('manifests/secret.json', {
        apiVersion: 'v1',
        kind: 'Secret',
        type: 'kubernetes.io/tls',
        metadata: { name: 'web' },
        data: { 'tls.crt': btoa(made.pem), 'tls.key': btoa(made.keyPem) },
      });
    putSecret(leaf('first'));
    scene.write('manifests/gateway.json', {
      apiVersion: 'v1',
      kind: 'List',
      items: [
        {
          apiVersion: gateway,
          kind: 'GatewayClass',
          metadata: { name: 'nuncio' },
          spec: { controllerName: 'nuncio.dev/gateway-controller' },
        },
        {
          apiVersion: gateway,
          kind: 'Gateway',
          metadata: { name: 'edge' },
          spec: {
            gatewayClassName: 'nuncio',
            listeners: [{ name: 'https', port, protocol: 'HTTPS', tls: { certificateRefs: [{ name: 'web' }] } }],
          },
        },
      ],
    });
    const pilot = await scene.pilot('--gateway-api', scene.path('manifests'));
    await scene.follow(command, pilot.port, 'DELTA_GRPC', 'default/edge');
    await until('the first certificate', async () => (await serverNow(port)) === 'first');
    const old = (await Client.open(port))!;
    putSecret(leaf('second'));
    await until('the second certificate', async () => (await serverNow(port)) === 'second');
    expect(await old.ask()).toContain('404');
    old.close();
  },
  60_000,
);
