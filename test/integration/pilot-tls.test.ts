/** `nuncio pilot` over TLS: who is let in, and credentials that are renewed under running streams. */
import { afterEach, describe, expect, test } from 'bun:test';
import { renameSync, writeFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { altNames, authority, dns, type Made, makeCertificate } from '../support/certificate-maker.ts';
import { freePort } from '../support/free-port.ts';
import {
  ask,
  cluster,
  endpoints,
  endStages,
  followers,
  listener,
  resources,
  route,
  type Stage,
  stage,
  until,
} from '../support/pilot-stage.ts';

afterEach(endStages);

const makeAuthority = (cn: string): Made => makeCertificate({ cn, extensions: [authority()] });
const serverOf = (issuer: Made, cn: string): Made =>
  makeCertificate({ cn, issuer, extensions: [altNames(dns('localhost'))] });

function put(scene: Stage, name: string, text: string): string {
  const path = scene.path(name);
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
  return path;
}

function putPair(scene: Stage, name: string, made: Made): { cert: string; key: string } {
  return { key: put(scene, `${name}.key`, made.keyPem), cert: put(scene, `${name}.pem`, made.pem) };
}

/** One handshake with the pilot. @returns the name of its certificate and what was negotiated, or why there was none */
function shake(port: number, ca: string, own?: Made): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca,
      ALPNProtocols: ['h2'],
      ...(own === undefined ? {} : { cert: own.pem, key: own.keyPem }),
    });
    socket.on('secureConnect', () => {
      const name = `${socket.getPeerCertificate().subject.CN} ${socket.alpnProtocol}`;
      // A certificate that TLS 1.3 refuses is refused behind the client's handshake: only the server's SETTINGS say that it is in.
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0');
      socket.once('data', () => {
        resolve(name);
        socket.destroy();
      });
      socket.once('close', () => resolve('closed'));
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

function putResources(scene: Stage, port: number): (name: string) => void {
  const answers = new Map(['one', 'two'].map((name) => [name, scene.upstream(name)]));
  scene.write('config/listener.yaml', resources(listener(port)));
  return (name) =>
    scene.write('config/web.yaml', resources(cluster(name), endpoints(name, answers.get(name)!), route(name)));
}

describe.each(['Envoy', 'Nuncio'])('%s over mutual TLS', (follower) => {
  test('follows, and its stream outlives a renewal of the certificate', async () => {
    const command = await followers[follower]!();
    const scene = stage();
    const port = freePort();
    const point = putResources(scene, port);
    point('one');
    const ca = makeAuthority('servers');
    const clients = makeAuthority('clients');
    const server = putPair(scene, 'server', serverOf(ca, 'first'));
    const client = putPair(scene, 'client', makeCertificate({ cn: 'proxy', issuer: clients }));
    const caFile = put(scene, 'ca.pem', ca.pem);
    const pilot = await scene.pilot(
      ...['--resources', scene.path('config'), '--tls-cert', server.cert, '--tls-key', server.key],
      ...['--client-ca', put(scene, 'clients.pem', clients.pem)],
    );
    expect(pilot.log()).toContain('over TLS');
    const proxy = await scene.follow(command, pilot.port, 'DELTA_GRPC', 'web', { tls: { ca: caFile, ...client } });
    await until('the first answer', async () => (await ask(port)) === 'one');

    const renewed = serverOf(ca, 'second');
    putPair(scene, 'server', renewed);
    await until('the renewal', () => pilot.log().includes('are renewed'));
    const mine = makeCertificate({ cn: 'another', issuer: clients });
    expect(await shake(pilot.port, ca.pem, mine)).toBe('second h2');

    point('two');
    await until('the change', async () => (await ask(port)) === 'two');
    const { body } = await proxy.admin('/stats?filter=cluster.pilot.upstream_cx_total');
    expect(body).toBe('cluster.pilot.upstream_cx_total: 1\n');
  }, 60_000);
});

test('strangers are turned away, and files that do not fit change nothing', async () => {
  const scene = stage();
  putResources(scene, freePort())('one');
  const ca = makeAuthority('servers');
  const clients = makeAuthority('clients');
  const server = putPair(scene, 'server', serverOf(ca, 'first'));
  const flags = ['--resources', scene.path('config'), '--tls-cert', server.cert, '--tls-key', server.key];
  const clientCa = put(scene, 'clients.pem', clients.pem);
  const { port, log } = await scene.pilot(...flags, '--client-ca', clientCa);
  const known = makeCertificate({ cn: 'known', issuer: clients });
  expect(await shake(port, ca.pem, known)).toBe('first h2');
  const turnedAway = [await shake(port, ca.pem), await shake(port, ca.pem, makeCertificate({ cn: 'x', issuer: ca }))];
  expect(turnedAway.map((answer) => answer.startsWith('first'))).toEqual([false, false]);

  // A certificate without its key.
  put(scene, 'server.pem', serverOf(ca, 'alone').pem);
  await until('the complaint', () => log().includes('stay as they were'));
  expect(log()).toContain('the key is not that of the certificate');
  expect(await shake(port, ca.pem, known)).toBe('first h2');

  // Other authorities of the clients: those that were known are no more.
  // Made before either is written: what takes time in between would be a renewal of its own.
  const others = makeAuthority('others').pem;
  const third = serverOf(ca, 'third');
  put(scene, 'clients.pem', others);
  putPair(scene, 'server', third);
  await until('the renewal', () => log().includes('are renewed'));
  expect(await shake(port, ca.pem, known)).not.toStartWith('third');

  put(scene, 'clients.pem', clients.pem);
  const optional = await scene.pilot(...flags, '--client-ca', clientCa, '--client-certificates', 'optional');
  expect(await shake(optional.port, ca.pem)).toBe('third h2');
  expect(await shake(optional.port, ca.pem, makeCertificate({ cn: 'x', issuer: ca }))).not.toStartWith('third');
}, 60_000);
