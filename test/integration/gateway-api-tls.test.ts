/**
 * What of the Gateway API is about TLS and bytes, through `nuncio pilot`, Nuncio and the real Envoy: HTTPS listeners, certificates of clients,
 * BackendTLSPolicies, TLSRoutes, TCPRoutes. Named after the conformance tests that ask for the same.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { type AddressInfo, createServer as createTcpServer, connect as tcpConnect } from 'node:net';
import { type ConnectionOptions, connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { altNames, authority, dns, type Made, makeCertificate, uri } from '../support/certificate-maker.ts';
import { FOLLOWERS, type Follower, GATEWAY_API, GatewayScene } from '../support/gateway-scene.ts';

const scene = new GatewayScene();
const root = makeCertificate({ cn: 'root', extensions: [authority()] });
const otherRoot = makeCertificate({ cn: 'other root', extensions: [authority()] });
const leaf = (...names: Buffer[]): Made =>
  makeCertificate({ cn: 'leaf', issuer: root, extensions: [altNames(...names)] });
const client = makeCertificate({ cn: 'client', issuer: root, extensions: [] });
const stranger = makeCertificate({ cn: 'stranger', issuer: otherRoot, extensions: [] });

const to = (name: string, more: object = {}): object => ({ name, port: 80, ...more });
const map = (name: string, pem: string): object => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data: { 'ca.crt': pem },
});

function policy(name: string, service: string, validation: object, more: object = {}): void {
  scene.add({
    apiVersion: GATEWAY_API,
    kind: 'BackendTLSPolicy',
    metadata: { name, ...more },
    spec: { targetRefs: [{ group: '', kind: 'Service', name: service }], validation },
  });
}

/** A backend over TLS that tells by which name it was asked, and who asked. */
async function secureBackend(name: string, certificate: Made, strict = false): Promise<void> {
  const server = createTlsServer(
    {
      cert: certificate.pem,
      key: certificate.keyPem,
      ...(strict ? { ca: root.pem, requestCert: true, rejectUnauthorized: true } : {}),
    },
    (socket) => {
      const peer = strict ? (socket.getPeerCertificate().subject?.CN ?? 'nobody') : '';
      const body = `${name} ${(socket as TLSSocket & { servername: string }).servername} ${peer}`;
      socket.on('error', () => {});
      socket.once('data', () =>
        socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`),
      );
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  scene.onEnd(() => server.close());
  scene.service(name, (server.address() as AddressInfo).port, { name: 'https' });
}

beforeAll(async () => {
  const plain = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('plain') });
  scene.onEnd(() => plain.stop(true));
  scene.service('plain', plain.port ?? 0);
  await secureBackend('good', leaf(dns('abc.example.com'), uri('spiffe://abc.example.com/me')));
  for (const name of ['mismatch', 'untrusted', 'by-uri', 'wrong-uri', 'no-authority', 'broken-kind', 'contested']) {
    await secureBackend(name, leaf(dns('abc.example.com'), uri('spiffe://abc.example.com/me')));
  }
  await secureBackend('strict', leaf(dns('abc.example.com')), true);
  const bytes = createTcpServer((socket) => socket.end('bytes'));
  const certificate = leaf(dns('pass.test'));
  const passed = createTlsServer({ cert: certificate.pem, key: certificate.keyPem }, (socket) => socket.end('passed'));
  for (const [name, server] of [
    ['bytes', bytes],
    ['passed', passed],
  ] as const) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    scene.onEnd(() => server.close());
    scene.service(name, (server.address() as AddressInfo).port);
  }
  for (const [name, names] of Object.entries({
    'cert-a': ['a.test'],
    'cert-b': ['b.test'],
    'cert-wild': ['*.wild.test'],
    'cert-term': ['term.test'],
  })) {
    const made = leaf(...names.map(dns));
    scene.secret(name, made.pem, made.keyPem);
  }
  scene.secret('client', client.pem, client.keyPem);
  scene.add(map('root', root.pem), map('other-root', otherRoot.pem), map('garbage', 'no certificate'));
  const https = (name: string, port: string, certificates: string[], hostname?: string): never =>
    ({
      name,
      port,
      protocol: 'HTTPS',
      ...(hostname === undefined ? {} : { hostname }),
      tls: { certificateRefs: certificates.map((each) => ({ name: each })) },
    }) as never;
  scene.gateways(
    [
      { name: 'http', port: 'http', protocol: 'HTTP' },
      https('any', 'https', ['cert-a', 'cert-b']),
      https('b', 'https', ['cert-b'], 'b.test'),
      https('wild', 'https', ['cert-wild'], '*.wild.test'),
      { name: 'pass', port: 'tls', protocol: 'TLS', hostname: '*.test', tls: { mode: 'Passthrough' } },
      {
        name: 'term',
        port: 'tls',
        protocol: 'TLS',
        hostname: 'term.test',
        tls: { mode: 'Terminate', certificateRefs: [{ name: 'cert-term' }] },
      },
      { name: 'tcp', port: 'tcp', protocol: 'TCP' },
      { name: 'clash-one', port: 'clash', protocol: 'HTTP' },
      { name: 'clash-two', port: 'clash', protocol: 'TCP' },
      https('unresolved', 'unresolved', ['nobody']),
      { name: 'udp', port: 'udp', protocol: 'UDP' },
      https('mutual', 'mutual', ['cert-a']),
      https('lax', 'lax', ['cert-a']),
      https('distrust', 'distrust', ['cert-a']),
    ],
    (portOf) => ({
      tls: {
        backend: { clientCertificateRef: { name: 'client' } },
        frontend: {
          default: {},
          perPort: [
            {
              port: portOf('mutual'),
              tls: { validation: { caCertificateRefs: [{ kind: 'ConfigMap', name: 'root' }] } },
            },
            {
              port: portOf('lax'),
              tls: {
                validation: { mode: 'AllowInsecureFallback', caCertificateRefs: [{ kind: 'ConfigMap', name: 'root' }] },
              },
            },
            {
              port: portOf('distrust'),
              tls: { validation: { caCertificateRefs: [{ kind: 'ConfigMap', name: 'nobody' }] } },
            },
          ],
        },
      },
    }),
  );
  const web = (name: string, section: string, rules: object[], hostnames: string[] = []): void =>
    scene.route('HTTPRoute', name, { ...(hostnames.length > 0 ? { hostnames } : {}), rules }, section);
  web('any', 'any', [{ backendRefs: [to('plain')] }], ['a.test']);
  for (const name of ['mutual', 'lax', 'distrust']) web(name, name, [{ backendRefs: [to('plain')] }]);
  web('b', 'b', [{ backendRefs: [to('plain')] }]);
  web('wild', 'wild', [{ backendRefs: [to('plain')] }]);
  const rule = (name: string): object => ({
    matches: [{ path: { type: 'PathPrefix', value: `/${name}` } }],
    backendRefs: [to(name)],
  });
  web(
    'backends',
    'http',
    ['good', 'mismatch', 'untrusted', 'by-uri', 'wrong-uri', 'no-authority', 'broken-kind', 'contested', 'strict'].map(
      rule,
    ),
  );
  const trust = (name: string, kind = 'ConfigMap'): object => ({ caCertificateRefs: [{ group: '', kind, name }] });
  policy('good', 'good', { hostname: 'abc.example.com', ...trust('root') });
  policy('mismatch', 'mismatch', { hostname: 'other.example.com', ...trust('root') });
  policy('untrusted', 'untrusted', { hostname: 'abc.example.com', ...trust('other-root') });
  const san = (value: string): object => ({ subjectAltNames: [{ type: 'URI', uri: value }] });
  policy('by-uri', 'by-uri', { hostname: 'any.example.com', ...trust('root'), ...san('spiffe://abc.example.com/me') });
  policy('wrong-uri', 'wrong-uri', { hostname: 'abc.example.com', ...trust('root'), ...san('spiffe://else') });
  policy('no-authority', 'no-authority', { hostname: 'abc.example.com', ...trust('garbage') });
  policy('broken-kind', 'broken-kind', { hostname: 'abc.example.com', ...trust('root', 'Service') });
  policy(
    'young',
    'contested',
    { hostname: 'wrong.example.com', ...trust('root') },
    { creationTimestamp: '2026-02-01T00:00:00Z' },
  );
  policy(
    'old',
    'contested',
    { hostname: 'abc.example.com', ...trust('root') },
    { creationTimestamp: '2026-01-01T00:00:00Z' },
  );
  policy('strict', 'strict', { hostname: 'abc.example.com', ...trust('root') });
  scene.route('TLSRoute', 'passed', { hostnames: ['pass.test'], rules: [{ backendRefs: [to('passed')] }] }, 'pass');
  scene.route(
    'TLSRoute',
    'passed-again',
    { hostnames: ['pass.test', 'gone.test'], rules: [{ backendRefs: [to('nobody')] }] },
    'pass',
  );
  scene.route('TLSRoute', 'ended', { hostnames: ['term.test'], rules: [{ backendRefs: [to('bytes')] }] }, 'term');
  scene.route('TCPRoute', 'bytes', { rules: [{ backendRefs: [to('bytes')] }] }, 'tcp');
  scene.route('TCPRoute', 'later', { rules: [{ backendRefs: [to('plain')] }] }, 'tcp');
  await scene.start();
}, 40_000);
afterAll(() => scene.end());

/** One handshake and one request; the first words of the answer. */
function secureRequest(who: Follower, label: string, options: ConnectionOptions, host: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({
      host: '127.0.0.1',
      port: scene.port(who, label),
      ca: root.pem,
      ALPNProtocols: ['http/1.1'],
      checkServerIdentity: () => undefined,
      ...options,
    });
    let text = '';
    socket.on('secureConnect', () => socket.write(`GET / HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`));
    socket.on('data', (bytes) => (text += bytes.toString()));
    socket.on('error', () => resolve('refused'));
    socket.on('close', () => resolve(text === '' ? 'refused' : (text.split('\r\n')[0] ?? '')));
  });
}

function read(who: Follower, label: string, options: ConnectionOptions | null): Promise<string> {
  return new Promise((resolve) => {
    const where = { host: '127.0.0.1', port: scene.port(who, label) };
    const socket =
      options === null
        ? tcpConnect(where)
        : connect({ ...where, ca: root.pem, checkServerIdentity: () => undefined, ...options });
    let text = '';
    socket.on('data', (bytes: Buffer) => (text += bytes.toString()));
    socket.on('error', () => resolve('refused'));
    socket.on('close', () => resolve(text === '' ? 'refused' : text));
  });
}

/** The names in the certificate that is shown. */
function shownNames(who: Follower, label: string, servername: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      {
        host: '127.0.0.1',
        port: scene.port(who, label),
        ca: root.pem,
        servername,
        checkServerIdentity: () => undefined,
      },
      () => {
        resolve(socket.getPeerCertificate().subjectaltname ?? '');
        socket.destroy();
      },
    );
    socket.on('error', reject);
  });
}

const OK = 'HTTP/1.1 200 OK';

describe.each([...FOLLOWERS])('%s', (who) => {
  test.each([
    ['HTTPRouteHTTPSListener', 'a.test', 'a.test', OK],
    ['a name without a route', 'a.test', 'x.test', 'HTTP/1.1 404 Not Found'],
    ['by its own listener', 'b.test', 'b.test', OK],
    ['HTTPRouteHTTPSListenerDetectMisdirectedRequests', 'a.test', 'b.test', 'HTTP/1.1 421 Misdirected Request'],
    ['HTTPRouteHTTPSListenerDetectMisdirectedRequests', 'b.test', 'a.test', 'HTTP/1.1 421 Misdirected Request'],
    ['HTTPRouteHTTPSListenerDetectMisdirectedRequests', 'x.wild.test', 'y.wild.test', OK],
    ['HTTPRouteHTTPSListenerDetectMisdirectedRequests', 'x.wild.test', 'b.test', 'HTTP/1.1 421 Misdirected Request'],
  ])('%s: handshake for %s, request for %s: %s', async (_, servername, host, expected) => {
    expect(await secureRequest(who, 'https', { servername }, host)).toBe(expected);
  });

  test('several certificates: each name has its own', async () => {
    expect(await shownNames(who, 'https', 'a.test')).toBe('DNS:a.test');
    expect(await shownNames(who, 'https', 'b.test')).toBe('DNS:b.test');
    expect(await shownNames(who, 'https', 'x.wild.test')).toBe('DNS:*.wild.test');
  });

  const showing = ({ pem, keyPem }: Made): ConnectionOptions => ({ servername: 'a.test', cert: pem, key: keyPem });

  test('GatewayFrontendClientCertificateValidation', async () => {
    expect(await secureRequest(who, 'mutual', showing(client), 'a.test')).toBe(OK);
    expect(await secureRequest(who, 'mutual', showing(stranger), 'a.test')).toBe('refused');
    expect(await secureRequest(who, 'mutual', { servername: 'a.test' }, 'a.test')).toBe('refused');
  });

  test('GatewayFrontendClientCertificateValidationInsecureFallback', async () => {
    expect(await secureRequest(who, 'lax', showing(client), 'a.test')).toBe(OK);
    expect(await secureRequest(who, 'lax', showing(stranger), 'a.test')).toBe(OK);
    expect(await secureRequest(who, 'lax', { servername: 'a.test' }, 'a.test')).toBe(OK);
  });

  test.each([
    ['BackendTLSPolicy', 'good', 200, 'good abc.example.com '],
    ['BackendTLSPolicy: another name', 'mismatch', 503, null],
    ['BackendTLSPolicy: another authority', 'untrusted', 503, null],
    ['BackendTLSPolicySANValidation', 'by-uri', 200, 'by-uri any.example.com '],
    ['BackendTLSPolicySANValidation: another URI', 'wrong-uri', 503, null],
    ['BackendTLSPolicyInvalidCACertificateRef', 'no-authority', 500, null],
    ['BackendTLSPolicyInvalidKind', 'broken-kind', 500, null],
    ['BackendTLSPolicyConflictResolution', 'contested', 200, 'contested abc.example.com '],
    ['GatewayTLSBackendClientCertificate', 'strict', 200, 'strict abc.example.com client'],
  ])('%s: %s', async (_, name, status, body) => {
    const response = await fetch(`http://127.0.0.1:${scene.port(who, 'http')}/${name}`);
    const text = await response.text();
    expect([name, response.status, body === null ? null : text]).toEqual([name, status, body]);
  });

  test.each([
    ['TLSRouteSimpleSameNamespace', 'tls', { servername: 'pass.test' }, 'passed'],
    ['TLSRouteInvalidBackendRefNonexistent', 'tls', { servername: 'gone.test' }, 'refused'],
    ['TLSRouteInvalidNoMatchingListenerHostname', 'tls', { servername: 'else.test' }, 'refused'],
    ['TLSRouteMixedTerminationSameNamespace', 'tls', { servername: 'term.test' }, 'bytes'],
    ['TCPRouteMultipleRoutesAttachment', 'tcp', null, 'bytes'],
  ] as [string, string, ConnectionOptions | null, string][])('%s', async (_, label, options, expected) => {
    expect(await read(who, label, options)).toBe(expected);
  });
});

test.each([
  ['good', ['Accepted=True/Accepted', 'ResolvedRefs=True/ResolvedRefs']],
  ['no-authority', ['Accepted=False/NoValidCACertificate', 'ResolvedRefs=False/InvalidCACertificateRef']],
  ['broken-kind', ['Accepted=False/NoValidCACertificate', 'ResolvedRefs=False/InvalidKind']],
  ['young', ['Accepted=False/Conflicted', 'ResolvedRefs=True/ResolvedRefs']],
  ['old', ['Accepted=True/Accepted', 'ResolvedRefs=True/ResolvedRefs']],
])('status of BackendTLSPolicy %s', (name, expected) => {
  expect(scene.conditionsOf('BackendTLSPolicy', name)).toEqual(expected);
});

test('statuses of the listeners', () => {
  const told = Object.fromEntries(
    (scene.statusOf('Gateway', 'nuncio').listeners ?? []).map(({ name, conditions }) => [
      name,
      conditions
        .filter((each) => each.type !== 'OverlappingTLSConfig')
        .map((each) => `${each.type}=${each.status}/${each.reason}`),
    ]),
  );
  const resolved = 'ResolvedRefs=True/ResolvedRefs';
  const calm = 'Conflicted=False/NoConflicts';
  expect(told.any).toEqual(['Accepted=True/Accepted', calm, resolved, 'Programmed=True/Programmed']);
  expect(told['clash-one']).toEqual([
    'Accepted=False/ProtocolConflict',
    'Conflicted=True/ProtocolConflict',
    resolved,
    'Programmed=False/Invalid',
  ]);
  expect(told['clash-two']).toEqual(told['clash-one']!);
  expect(told.unresolved).toEqual([
    'Accepted=True/Accepted',
    calm,
    'ResolvedRefs=False/InvalidCertificateRef',
    'Programmed=False/Invalid',
  ]);
  expect(told.udp).toEqual(['Accepted=False/UnsupportedProtocol', calm, resolved, 'Programmed=False/Invalid']);
  expect(told.distrust).toEqual([
    'Accepted=False/NoValidCACertificate',
    calm,
    'ResolvedRefs=False/InvalidCACertificateRef',
    'Programmed=False/Invalid',
  ]);
  expect(scene.conditionsOf('Gateway', 'nuncio')).toEqual([
    'Accepted=True/ListenersNotValid',
    'Programmed=True/Programmed',
    'ResolvedRefs=False/ListenersNotResolved',
    'InsecureFrontendValidationMode=True/ConfigurationChanged',
  ]);
});
