/** The mesh's authority: Envoy and Nuncio speak mutual TLS by certificates of `nuncio pilot`, renewed while traffic runs. */
import { afterEach, expect, test } from 'bun:test';
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { installEnvoy } from '../../tools/envoy.ts';
import { altNames, authority, makeCertificate, uri } from '../support/certificate-maker.ts';
import { freePort } from '../support/free-port.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import {
  ADS,
  endpoint,
  endStages,
  HCM,
  HTTP_OPTIONS,
  ofType,
  ROUTER,
  resources,
  type Stage,
  stage,
  until,
} from '../support/pilot-stage.ts';
import type { ProxyProcess } from '../support/proxy-process.ts';

afterEach(endStages);

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.';
const DOMAIN = 'mesh.test';

/** The certificate, and the roots with the one identity that is let through. */
function tlsContext(side: 'Downstream' | 'Upstream', peer: string): object {
  const san = { san_type: 'URI', matcher: { exact: `spiffe://${DOMAIN}/ns/default/sa/${peer}` } };
  const common = {
    tls_certificate_sds_secret_configs: [{ name: 'default', sds_config: ADS }],
    combined_validation_context: {
      default_validation_context: { match_typed_subject_alt_names: [san] },
      validation_context_sds_secret_config: { name: 'ROOTCA', sds_config: ADS },
    },
  };
  return {
    name: 'tls',
    typed_config: {
      '@type': `${TLS}${side}TlsContext`,
      common_tls_context: common,
      ...(side === 'Downstream' ? { require_client_certificate: true } : {}),
    },
  };
}

function listener(name: string, port: number, route: object, socket: object): object {
  return ofType('listener.v3.Listener', {
    name,
    address: { socket_address: { address: '127.0.0.1', port_value: port } },
    filter_chains: [
      {
        ...socket,
        filters: [
          {
            name: 'http',
            typed_config: {
              '@type': `type.googleapis.com/${HCM}`,
              stat_prefix: name,
              route_config: {
                virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, ...route }] }],
              },
              http_filters: [{ name: 'router', typed_config: { '@type': `type.googleapis.com/${ROUTER}` } }],
            },
          },
        ],
      },
    ],
  });
}

/** What one proxy gets: a plain listener to the other, and one with mutual TLS for the other. */
function partResources(self: string, other: string, ports: Readonly<Record<string, number>>): object {
  const answer = {
    direct_response: { status: 200, body: { inline_string: self } },
    response_headers_to_add: ['PEER_URI_SAN', 'PEER_SERIAL', 'LOCAL_URI_SAN'].map((what) => ({
      header: { key: `x-${what.toLowerCase().replaceAll('_', '-')}`, value: `%DOWNSTREAM_${what}%` },
    })),
  };
  return resources(
    listener('out', ports[`${self}-out`]!, { route: { cluster: 'other' } }, {}),
    listener('in', ports[`${self}-in`]!, answer, { transport_socket: tlsContext('Downstream', other) }),
    ofType('cluster.v3.Cluster', {
      name: 'other',
      connect_timeout: '2s',
      transport_socket: tlsContext('Upstream', other),
      // Few requests by each connection: renewed certificates are soon seen.
      typed_extension_protocol_options: {
        [HTTP_OPTIONS]: {
          '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
          explicit_http_config: { http_protocol_options: {} },
          common_http_protocol_options: { max_requests_per_connection: 5 },
        },
      },
      load_assignment: { cluster_name: 'other', endpoints: [{ lb_endpoints: [endpoint(ports[`${other}-in`]!)] }] },
    }),
  );
}

const TOKEN = 'a-token-of-the-test-that-is-long-enough';

async function scenery(scene: Stage, ttlSeconds: number): Promise<{ port: number; log: () => string }> {
  writeFileSync(scene.path('token'), `${TOKEN}\n`);
  const rules = { rules: [{ token_file: 'token', identity: '/ns/default/sa/{cluster}' }] };
  scene.write('rules.yaml', rules);
  return scene.pilot(
    ...['--resources', scene.path('config'), '--mesh-ca', scene.path('mesh'), '--mesh-rules', scene.path('rules.yaml')],
    ...['--trust-domain', DOMAIN, '--certificate-ttl-s', String(ttlSeconds)],
  );
}

const bearer = (token: string): { key: string; value: string }[] => [
  { key: 'authorization', value: `Bearer ${token}` },
];

/** One request from `self` to the other. @returns status, body, identity and serial number of `self` as the other saw it */
async function cross(port: number): Promise<string[]> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/`);
    const header = (name: string): string => response.headers.get(name) ?? '';
    return [String(response.status), await response.text(), header('x-peer-uri-san'), header('x-peer-serial')];
  } catch {
    return ['no answer'];
  }
}

test('two proxies know each other by issued certificates, which are renewed while traffic runs', async () => {
  const commands = { envoy: [await installEnvoy()], nuncio: nuncioCommand() } as const;
  const scene = stage();
  const ports = Object.fromEntries(
    ['envoy-in', 'envoy-out', 'nuncio-in', 'nuncio-out'].map((name) => [name, freePort()]),
  );
  for (const [self, other] of [
    ['envoy', 'nuncio'],
    ['nuncio', 'envoy'],
  ] as const) {
    scene.write(`config/groups/${self}/group.yaml`, `cluster: ${self}\n`);
    scene.write(`config/groups/${self}/all.yaml`, partResources(self, other, ports));
  }
  const pilot = await scenery(scene, 6);
  expect(statSync(scene.path('mesh/root.key')).mode & 0o777).toBe(0o600);
  const proxies: ProxyProcess[] = [];
  for (const [name, command] of Object.entries(commands)) {
    proxies.push(
      await scene.follow(command, pilot.port, name === 'envoy' ? 'DELTA_GRPC' : 'GRPC', name, {
        tls: { ca: scene.path('mesh/root.pem') },
        metadata: bearer(TOKEN),
      }),
    );
  }
  for (const [self, other] of [
    ['envoy', 'nuncio'],
    ['nuncio', 'envoy'],
  ] as const) {
    await until(`${self} to reach ${other}`, async () => (await cross(ports[`${self}-out`]!))[0] === '200');
  }
  const failures: string[] = [];
  const serials: Record<string, Set<string>> = { envoy: new Set(), nuncio: new Set() };
  let requests = 0;
  let running = true;
  const load = async (self: 'envoy' | 'nuncio', other: string): Promise<void> => {
    while (running) {
      const [status = '', body = '', identity, serial = ''] = await cross(ports[`${self}-out`]!);
      requests++;
      if (status !== '200' || body !== other || identity !== `spiffe://${DOMAIN}/ns/default/sa/${self}`) {
        failures.push(`${self}: ${status} ${body} ${identity}`);
      }
      serials[self]!.add(serial);
    }
  };
  const loads = [load('envoy', 'nuncio'), load('nuncio', 'envoy')];
  await until('three renewals of each', () => serials.envoy!.size > 3 && serials.nuncio!.size > 3, 30_000);
  running = false;
  await Promise.all(loads);
  expect(failures).toEqual([]);
  console.log(`${requests} requests, ${serials.envoy!.size} and ${serials.nuncio!.size} certificates`);
  // The stream to the control plane was one all the time.
  for (const proxy of proxies) {
    expect((await proxy.admin('/stats?filter=cluster.pilot.upstream_cx_total')).body).toContain(': 1\n');
  }
}, 90_000);

test('without its token a proxy gets no certificate, and serves nobody by one', async () => {
  const envoy = await installEnvoy();
  const scene = stage();
  const ports = { 'envoy-in': freePort(), 'envoy-out': freePort(), 'nuncio-in': freePort() };
  scene.write('config/all.yaml', partResources('envoy', 'nuncio', ports));
  const pilot = await scenery(scene, 3600);
  const tls = { ca: scene.path('mesh/root.pem') };
  const proxy = await scene.follow([envoy], pilot.port, 'DELTA_GRPC', 'envoy', {
    tls,
    metadata: bearer('a-wrong-token'),
  });
  await until('the refusal', () => pilot.log().includes('gets no certificate: no rule fits'));
  const stats = (await proxy.admin('/stats?filter=sds')).body;
  // The roots are for everybody, and were taken.
  expect(stats).toMatch(/ROOTCA.*update_success: [1-9]/);
  expect(await handshake(ports['envoy-in'])).toBe('none');
  expect(pilot.log()).not.toContain('a-wrong-token');
}, 60_000);

function handshake(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subjectaltname));
      socket.destroy();
    });
    socket.on('error', () => resolve('none'));
    socket.on('close', () => resolve('none'));
  });
}

test('names that are the mesh’s cannot be served by others', async () => {
  const scene = stage();
  const secret = {
    '@type': `${TLS}Secret`,
    name: 'ROOTCA',
    validation_context: { trusted_ca: { inline_string: 'x' } },
  };
  mkdirSync(scene.path('config'));
  const foreign = makeCertificate({
    cn: 'root',
    extensions: [authority(), altNames(uri('spiffe://other.test'))],
  });
  const good = { ...secret, validation_context: { trusted_ca: { inline_string: foreign.pem } } };
  scene.write('config/secret.yaml', resources(good));
  const pilot = await scenery(scene, 3600);
  expect(pilot.log()).toContain('secret ROOTCA: the name is that of what the mesh issues');
}, 30_000);
