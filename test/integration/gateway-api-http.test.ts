/**
 * HTTPRoutes and GRPCRoutes through `nuncio pilot`, Nuncio and the real Envoy: manifests in, traffic out. Named after the conformance tests of
 * the Gateway API that ask for the same; the suite itself runs as the stage `gateway-api`.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { FOLLOWERS, type Follower, GATEWAY_API, GatewayScene } from '../support/gateway-scene.ts';

const scene = new GatewayScene();

interface Echo {
  readonly backend: string;
  readonly path: string;
  readonly host: string;
  readonly headers: Record<string, string>;
}

/** What mirrors have been sent, by path. */
const mirrored: string[] = [];
let retries = 0;

/** A backend that tells what it was asked. */
function backend(name: string, more: Record<string, unknown> = {}, namespace = 'default'): void {
  const server = Bun.serve<undefined>({
    port: 0,
    hostname: '127.0.0.1',
    async fetch(request, own) {
      const url = new URL(request.url);
      if (request.headers.get('upgrade') === 'websocket') {
        return own.upgrade(request, { data: undefined }) ? undefined : new Response(null, { status: 400 });
      }
      if (name.startsWith('mirror')) mirrored.push(`${name} ${url.pathname}`);
      const delay = Number(url.searchParams.get('delay') ?? 0);
      if (delay > 0) await Bun.sleep(delay);
      if (url.searchParams.has('slow') && retries++ < 1) await Bun.sleep(2000);
      if (url.searchParams.has('fail') && retries++ < 2) return new Response('no', { status: 503 });
      const echo: Echo = {
        backend: name,
        path: url.pathname + url.search,
        host: request.headers.get('host') ?? '',
        headers: Object.fromEntries(request.headers),
      };
      return Response.json(echo, { headers: { 'x-own': 'mine', 'x-other': 'theirs' } });
    },
    websocket: { message: (socket, message) => void socket.send(`${name} ${message}`) },
  });
  scene.onEnd(() => server.stop(true));
  scene.service(name, server.port ?? 0, more, namespace);
}

let h2: Http2Server;

/** An HTTP/2 server without TLS, which answers gRPC calls as well. */
async function http2Backend(name: string, more: Record<string, unknown> = {}): Promise<void> {
  const server = createServer();
  h2 = server;
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.resume();
    const isGrpc = String(headers['content-type'] ?? '').startsWith('application/grpc');
    stream.respond(
      { ':status': 200, 'content-type': isGrpc ? 'application/grpc' : 'text/plain', 'x-backend': name },
      { waitForTrailers: isGrpc },
    );
    if (isGrpc) stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(`${name} over HTTP/2`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  scene.onEnd(() => server.close());
  scene.service(name, (server.address() as AddressInfo).port, more);
}

const to = (name: string, more: object = {}): object => ({ name, port: 80, ...more });
const path = (value: string, type = 'PathPrefix'): object => ({ path: { type, value } });
const rule = (match: object | object[], more: object): object => ({
  matches: Array.isArray(match) ? match : [match],
  backendRefs: [to('one')],
  ...more,
});
const filter = (type: string, settings: object): object => ({
  type,
  [type[0]!.toLowerCase() + type.slice(1)]: settings,
});
const rewrite = (value: object): object => ({ type: 'URLRewrite', urlRewrite: value });

beforeAll(async () => {
  for (const name of ['one', 'two', 'three', 'mirror-a', 'mirror-b']) backend(name);
  backend('far', {}, 'other');
  backend('near', {}, 'other');
  backend('socket', { appProtocol: 'kubernetes.io/ws' });
  backend('secret-only', { appProtocol: 'https' });
  await http2Backend('h2c', { appProtocol: 'kubernetes.io/h2c' });
  scene.service('gone', 1);
  // Hangs up on every other connection.
  let connections = 0;
  const flaky = Bun.listen<{ bad: boolean }>({
    hostname: '127.0.0.1',
    port: 0,
    socket: {
      open(socket) {
        socket.data = { bad: connections++ % 2 === 0 };
      },
      data(socket) {
        if (socket.data.bad) socket.terminate();
        else socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok');
      },
    },
  });
  scene.onEnd(() => flaky.stop(true));
  scene.service('flaky', flaky.port);
  scene.add(
    {
      apiVersion: 'gateway.networking.k8s.io/v1beta1',
      kind: 'ReferenceGrant',
      metadata: { name: 'far', namespace: 'other' },
      spec: {
        from: [{ group: 'gateway.networking.k8s.io', kind: 'HTTPRoute', namespace: 'default' }],
        to: [{ group: '', kind: 'Service', name: 'far' }],
      },
    },
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: { team: 'shop' } } },
  );
  const listener = (name: string, port: string, more: object = {}): { port: string } & Record<string, unknown> => ({
    name,
    port,
    protocol: 'HTTP',
    ...more,
  });
  scene.gateways([
    listener('any', 'main', {
      allowedRoutes: { namespaces: { from: 'Selector', selector: { matchLabels: { team: 'shop' } } } },
    }),
    listener('web', 'web'),
    listener('isolated-any', 'isolated'),
    listener('isolated-wild', 'isolated', { hostname: '*.example.com' }),
    listener('isolated-wilder', 'isolated', { hostname: '*.foo.example.com' }),
    listener('isolated-exact', 'isolated', { hostname: 'abc.foo.example.com' }),
  ]);
  const on = (name: string, hostname: string, rules: object[], more: object = {}): void =>
    scene.route('HTTPRoute', name, { hostnames: [hostname], rules, ...more }, 'web');

  on('matching', 'match.test', [
    rule(path('/'), { backendRefs: [to('one')] }),
    rule(path('/v2/'), { backendRefs: [to('two')] }),
    rule(path('/v2/exact', 'Exact'), { backendRefs: [to('three')] }),
    rule({ ...path('/v2'), headers: [{ name: 'Version', value: 'three' }] }, { backendRefs: [to('three')] }),
    rule({ ...path('/v2'), queryParams: [{ name: 'q', value: 'three' }] }, { backendRefs: [to('three')] }),
    rule({ ...path('/'), method: 'POST' }, { backendRefs: [to('two')] }),
    rule({ ...path('/'), method: 'POST', headers: [{ name: 'a', value: 'b' }] }, { backendRefs: [to('three')] }),
    rule(
      { ...path('/regex'), headers: [{ type: 'RegularExpression', name: 'r', value: 'a+|b' }] },
      { backendRefs: [to('two')] },
    ),
  ]);
  on('z-across', 'match.test', [
    rule(path('/v2'), { backendRefs: [to('three')] }),
    rule(path('/across'), { backendRefs: [to('three')] }),
  ]);
  scene.route(
    'HTTPRoute',
    'wild',
    { hostnames: ['*.test'], rules: [rule(path('/only-wild'), { backendRefs: [to('two')] })] },
    'web',
  );
  on('backends', 'backends.test', [
    rule(path('/none'), { backendRefs: [] }),
    rule(path('/missing'), { backendRefs: [to('nobody')] }),
    rule(path('/kind'), { backendRefs: [to('one', { kind: 'Bucket', group: 'x.test' })] }),
    rule(path('/granted'), { backendRefs: [to('far', { namespace: 'other' })] }),
    rule(path('/forbidden'), { backendRefs: [to('near', { namespace: 'other' })] }),
    rule(path('/zero'), { backendRefs: [to('one', { weight: 0 })] }),
    rule(path('/weights'), {
      backendRefs: [to('one', { weight: 3 }), to('two', { weight: 1 }), to('three', { weight: 0 })],
    }),
    rule(path('/half'), { backendRefs: [to('one'), to('nobody')] }),
    rule(path('/h2c'), { backendRefs: [to('h2c')] }),
    rule(path('/ws'), { backendRefs: [to('socket')] }),
    rule(path('/https'), { backendRefs: [to('secret-only')] }),
  ]);
  const set = { set: [{ name: 'x-set', value: '100%' }], add: [{ name: 'x-add', value: 'b' }], remove: ['x-gone'] };
  on('filters', 'filters.test', [
    rule(path('/request'), { filters: [filter('RequestHeaderModifier', set)] }),
    rule(path('/response'), { filters: [filter('ResponseHeaderModifier', { ...set, remove: ['x-own'] })] }),
    rule(path('/backend'), { backendRefs: [to('one', { filters: [filter('RequestHeaderModifier', set)] })] }),
    rule(path('/host'), { filters: [rewrite({ hostname: 'inner.test' })] }),
    rule(path('/full'), { filters: [rewrite({ path: { type: 'ReplaceFullPath', replaceFullPath: '/a/b' } })] }),
    rule(path('/pre/fix'), {
      filters: [rewrite({ path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/new/' } })],
    }),
    rule(path('/strip'), { filters: [rewrite({ path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/' } })] }),
    rule(path('/mirror'), {
      filters: ['mirror-a', 'mirror-b'].map((name) => filter('RequestMirror', { backendRef: to(name) })),
    }),
    rule(path('/percent'), { filters: [filter('RequestMirror', { backendRef: to('mirror-a'), percent: 0 })] }),
    rule(path('/unknown'), { filters: [{ type: 'ExtensionRef', extensionRef: { group: 'x', kind: 'y', name: 'z' } }] }),
    rule(path('/cors'), {
      filters: [
        {
          type: 'CORS',
          cors: {
            allowOrigins: ['https://www.foo.com', 'https://*.bar.com'],
            allowMethods: ['GET', 'PUT'],
            allowHeaders: ['x-header-1'],
            allowCredentials: true,
            maxAge: 60,
          },
        },
      ],
    }),
  ]);
  scene.route(
    'HTTPRoute',
    'root',
    {
      hostnames: ['root.test'],
      rules: [
        rule(path('/'), { filters: [rewrite({ path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/all' } })] }),
      ],
    },
    'web',
  );
  const redirect = (settings: object): object => ({ backendRefs: [], filters: [filter('RequestRedirect', settings)] });
  on('redirects', 'redirect.test', [
    rule(path('/host'), redirect({ hostname: 'other.test', statusCode: 301 })),
    rule(path('/scheme'), redirect({ hostname: 'other.test', scheme: 'https' })),
    rule(path('/port'), redirect({ hostname: 'other.test', port: 8083 })),
    rule(path('/both'), redirect({ hostname: 'other.test', port: 8443, scheme: 'https' })),
    rule(
      path('/full'),
      redirect({ hostname: 'o.test', port: 80, path: { type: 'ReplaceFullPath', replaceFullPath: '/x' } }),
    ),
    rule(
      path('/prefix'),
      redirect({ hostname: 'o.test', port: 80, path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/y' } }),
    ),
    ...[303, 307, 308].map((statusCode) =>
      rule(path(`/${statusCode}`), redirect({ hostname: 'o.test', port: 80, statusCode })),
    ),
    rule(path('/own'), redirect({ scheme: 'https' })),
  ]);
  on('patience', 'patience.test', [
    rule(path('/request'), { timeouts: { request: '100ms' } }),
    rule(path('/attempt'), { timeouts: { request: '0s', backendRequest: '100ms' } }),
    rule(path('/retry'), { retry: { codes: [503], attempts: 3 } }),
    rule(path('/slow'), { retry: { attempts: 1 }, timeouts: { request: '5s', backendRequest: '300ms' } }),
    rule(path('/flaky'), { retry: { attempts: 1 }, backendRefs: [to('flaky')] }),
    rule(path('/refused'), { retry: { attempts: 1 }, backendRefs: [to('gone')] }),
  ]);
  scene.route(
    'GRPCRoute',
    'calls',
    {
      hostnames: ['grpc.here'],
      rules: [
        { matches: [{ method: { service: 'a.B', method: 'C' } }], backendRefs: [to('h2c')] },
        { matches: [{ method: { service: 'bad.S' } }], backendRefs: [to('nobody')] },
        {
          matches: [{ method: { type: 'RegularExpression', service: 'x|y', method: 'M.*' } }],
          backendRefs: [to('h2c')],
        },
      ],
    },
    'web',
  );
  for (const [section, name] of [
    ['any', 'any'],
    ['wild', 'wild'],
    ['wilder', 'wilder'],
    ['exact', 'exact'],
  ] as const) {
    scene.route('HTTPRoute', `isolated-${section}`, { rules: [rule(path(`/${name}`), {})] }, `isolated-${section}`);
  }
  // Statuses alone.
  scene.route('HTTPRoute', 'lost', { rules: [rule(path('/'), {})] }, 'no-such-section');
  scene.route('TLSRoute', 'wrong-kind', { hostnames: ['a.test'], rules: [{ backendRefs: [to('one')] }] }, 'web');
  scene.route(
    'HTTPRoute',
    'shop',
    { hostnames: ['shop.test'], rules: [rule(path('/'), { backendRefs: [] })] },
    'any',
    'shop',
  );
  scene.route('HTTPRoute', 'stranger', { rules: [rule(path('/'), {})] }, 'any');
  scene.route(
    'HTTPRoute',
    'broken',
    {
      hostnames: ['broken.test'],
      rules: [
        rule({ path: { type: 'RegularExpression', value: '(' } }, {}),
        rule(path('/x', 'Exact'), { sessionPersistence: {} }),
      ],
    },
    'web',
  );
  scene.add({
    apiVersion: GATEWAY_API,
    kind: 'HTTPRoute',
    metadata: { name: 'rival', creationTimestamp: '2030-01-01T00:00:00Z' },
    spec: { parentRefs: [{ name: 'nuncio', sectionName: 'web' }], hostnames: ['*.here'], rules: [rule(path('/'), {})] },
  });
  scene.add({
    apiVersion: 'gateway.networking.k8s.io/v1alpha2',
    kind: 'UDPRoute',
    metadata: { name: 'udp' },
    spec: { parentRefs: [{ name: 'nuncio' }] },
  });
  await scene.start();
}, 40_000);
afterAll(() => scene.end());

interface Ask {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly port?: string;
}

async function ask(who: Follower, host: string, target: string, options: Ask = {}): Promise<Response> {
  const { method = 'GET', headers = {}, port = 'web' } = options;
  return fetch(`http://127.0.0.1:${scene.port(who, port)}${target}`, {
    method,
    headers: { host, ...headers },
    redirect: 'manual',
  });
}

async function echo(who: Follower, host: string, target: string, options: Ask = {}): Promise<Echo> {
  const response = await ask(who, host, target, options);
  expect(response.status).toBe(200);
  return (await response.json()) as Echo;
}

async function grpcCall(who: Follower, target: string): Promise<string> {
  const { connect } = await import('node:http2');
  const session = connect(`http://127.0.0.1:${scene.port(who, 'web')}`);
  try {
    return await new Promise((resolve, reject) => {
      session.on('error', reject);
      const call = session.request({
        ':method': 'POST',
        ':path': target,
        ':authority': 'grpc.here',
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      let status = '';
      call.on('response', (headers) => (status = String(headers['grpc-status'] ?? '')));
      call.on('trailers', (trailers) => (status = String(trailers['grpc-status'] ?? status)));
      call.on('error', reject);
      call.on('close', () => resolve(status));
      call.resume();
      call.end(Buffer.alloc(5));
    });
  } finally {
    session.close();
  }
}

describe.each([...FOLLOWERS])('%s', (who) => {
  test.each([
    ['HTTPRouteSimpleSameNamespace', 'match.test', '/', {}, 'one'],
    ['HTTPRouteMatching', 'match.test', '/v2/more', {}, 'two'],
    ['HTTPRouteMatching: a prefix ends at a slash', 'match.test', '/v2more', {}, 'one'],
    ['HTTPRouteExactPathMatching', 'match.test', '/v2/exact', {}, 'three'],
    ['HTTPRouteExactPathMatching: nothing below', 'match.test', '/v2/exact/', {}, 'two'],
    ['HTTPRouteHeaderMatching', 'match.test', '/v2', { headers: { version: 'three' } }, 'three'],
    ['HTTPRouteQueryParamMatching', 'match.test', '/v2?q=three', {}, 'three'],
    ['HTTPRouteMethodMatching', 'match.test', '/', { method: 'POST' }, 'two'],
    [
      'HTTPRoutePathMatchOrder: a header more goes first',
      'match.test',
      '/',
      { method: 'POST', headers: { a: 'b' } },
      'three',
    ],
    ['HTTPRoutePathMatchOrder: a longer prefix before a method', 'match.test', '/v2', { method: 'POST' }, 'two'],
    ['HTTPRouteMatching: an alternative', 'match.test', '/regex', { headers: { r: 'aa' } }, 'two'],
    ['HTTPRouteMatchingAcrossRoutes', 'match.test', '/across', {}, 'three'],
    ['HTTPRouteHostnameIntersection', 'other.test', '/only-wild', {}, 'two'],
    ['HTTPRouteReferenceGrant', 'backends.test', '/granted', {}, 'far'],
  ] as [string, string, string, Ask, string][])('%s: %s%s', async (_, host, target, options, expected) => {
    expect((await echo(who, host, target, options)).backend).toBe(expected);
  });

  test.each([
    ['HTTPRouteNoBackendRefs', '/none', 500],
    ['HTTPRouteInvalidNonExistentBackendRef', '/missing', 500],
    ['HTTPRouteInvalidBackendRefUnknownKind', '/kind', 500],
    ['HTTPRouteInvalidCrossNamespaceBackendRef', '/forbidden', 500],
    ['weights of zero', '/zero', 500],
    ['a backend that wants TLS', '/https', 500],
    ['HTTPRouteListenerHostnameMatching: no rule', '/nothing', 404],
  ])('%s: %s is answered by %d', async (_, target, status) => {
    expect((await ask(who, 'backends.test', target)).status).toBe(status);
  });

  test('HTTPRouteMatchingAcrossRoutes: a longer name goes first and hides nothing', async () => {
    expect((await echo(who, 'match.test', '/')).backend).toBe('one');
    // `/` of the longer name matches this too, and the longer name goes first.
    expect((await echo(who, 'match.test', '/only-wild')).backend).toBe('one');
    // No rule of the longer name does.
    expect((await echo(who, 'filters.test', '/only-wild')).backend).toBe('two');
  });

  test('HTTPRouteWeight', async () => {
    const seen: Record<string, number> = {};
    for (let index = 0; index < 200; index++) {
      const { backend: name } = await echo(who, 'backends.test', '/weights');
      seen[name] = (seen[name] ?? 0) + 1;
    }
    expect(seen.three).toBeUndefined();
    expect(seen.one! / 200).toBeGreaterThan(0.6);
    expect(seen.one! / 200).toBeLessThan(0.9);
  });

  test('HTTPRoutePartiallyInvalidViaInvalidReferenceGrant: half of the requests fail', async () => {
    const seen = new Set<number>();
    for (let index = 0; index < 60; index++) seen.add((await ask(who, 'backends.test', '/half')).status);
    expect([...seen].sort()).toEqual([200, 500]);
  });

  test('HTTPRouteBackendProtocolH2C', async () => {
    expect(await (await ask(who, 'backends.test', '/h2c')).text()).toBe('h2c over HTTP/2');
  });

  test('HTTPRouteBackendProtocolWebSocket', async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${scene.port(who, 'web')}/ws`, {
      headers: { host: 'backends.test' },
    } as never);
    const answer = await new Promise<string>((resolve, reject) => {
      socket.onopen = () => socket.send('hello');
      socket.onmessage = (event) => resolve(String(event.data));
      socket.onerror = () => reject(new Error('the socket failed'));
    });
    socket.close();
    expect(answer).toBe('socket hello');
  });

  test.each([
    ['HTTPRouteRequestHeaderModifier', '/request'],
    ['HTTPRouteBackendRequestHeaderModifier', '/backend'],
  ])('%s', async (_, target) => {
    const { headers } = await echo(who, 'filters.test', target, {
      headers: { 'x-set': 'a', 'x-add': 'a', 'x-gone': 'a' },
    });
    expect([headers['x-set'], headers['x-add']?.replaceAll(' ', '')]).toEqual(['100%', 'a,b']);
    expect(headers['x-gone']).toBeUndefined();
  });

  test('HTTPRouteResponseHeaderModifier', async () => {
    const { headers } = await ask(who, 'filters.test', '/response');
    expect([headers.get('x-set'), headers.get('x-add'), headers.get('x-own'), headers.get('x-other')]).toEqual([
      '100%',
      'b',
      null,
      'theirs',
    ]);
  });

  test.each([
    ['HTTPRouteRewritePath: the whole', 'filters.test', '/full/x?y=z', '/a/b?y=z'],
    ['HTTPRouteRewritePath: a prefix', 'filters.test', '/pre/fix/x', '/new/x'],
    ['HTTPRouteRewritePath: a prefix alone', 'filters.test', '/pre/fix', '/new'],
    ['HTTPRouteRewritePath: a prefix away', 'filters.test', '/strip/x', '/x'],
    ['HTTPRouteRewritePath: a prefix away, alone', 'filters.test', '/strip', '/'],
    ['HTTPRouteRewritePath: a prefix away, with its slash', 'filters.test', '/strip/', '/'],
    ['HTTPRouteRewritePath: of /', 'root.test', '/x', '/all/x'],
  ])('%s: %s%s', async (_, host, target, expected) => {
    expect((await echo(who, host, target)).path).toBe(expected);
  });

  test('HTTPRouteRewriteHost', async () => {
    expect((await echo(who, 'filters.test', '/host')).host).toBe('inner.test');
  });

  test('HTTPRouteRequestMirror, HTTPRouteRequestMultipleMirrors, HTTPRouteRequestPercentageMirror', async () => {
    await echo(who, 'filters.test', `/mirror/${who}`);
    await echo(who, 'filters.test', `/percent/${who}`);
    const seen = (): string[] => mirrored.filter((each) => each.endsWith(who)).sort();
    for (const deadline = performance.now() + 3000; seen().length < 2 && performance.now() < deadline; )
      await Bun.sleep(5);
    expect(seen()).toEqual([`mirror-a /mirror/${who}`, `mirror-b /mirror/${who}`]);
  });

  test('a filter that is not known is not passed by', async () => {
    expect((await ask(who, 'filters.test', '/unknown')).status).toBe(500);
  });

  test('HTTPRouteCORS', async () => {
    const preflight = (origin: string): Promise<Response> =>
      ask(who, 'filters.test', '/cors', {
        method: 'OPTIONS',
        headers: { origin, 'access-control-request-method': 'PUT' },
      });
    const good = (await preflight('https://a.b.bar.com')).headers;
    expect(good.get('access-control-allow-origin')).toBe('https://a.b.bar.com');
    expect(good.get('access-control-allow-methods')).toBe('GET, PUT');
    expect(good.get('access-control-allow-headers')).toBe('x-header-1');
    expect(good.get('access-control-allow-credentials')).toBe('true');
    expect(good.get('access-control-max-age')).toBe('60');
    const bad = await preflight('https://bar.com');
    expect([bad.status, bad.headers.get('access-control-allow-origin')]).toEqual([200, null]);
    const simple = await ask(who, 'filters.test', '/cors', { headers: { origin: 'https://www.foo.com' } });
    expect(simple.headers.get('access-control-allow-origin')).toBe('https://www.foo.com');
  });

  test('HTTPRouteRedirectHostAndStatus, HTTPRouteRedirectScheme, HTTPRouteRedirectPort, HTTPRouteRedirectPortAndScheme, HTTPRouteRedirectPath, HTTPRoute303Redirect, HTTPRoute307Redirect, HTTPRoute308Redirect', async () => {
    const port = scene.port(who, 'web');
    const expected: [string, number, string][] = [
      ['/host', 301, `http://other.test:${port}/host`],
      ['/scheme', 302, 'https://other.test/scheme'],
      ['/port?a=b', 302, 'http://other.test:8083/port?a=b'],
      ['/both', 302, 'https://other.test:8443/both'],
      ['/full/a', 302, 'http://o.test/x'],
      ['/prefix/a', 302, 'http://o.test/y/a'],
      ['/303', 303, 'http://o.test/303'],
      ['/307', 307, 'http://o.test/307'],
      ['/308', 308, 'http://o.test/308'],
    ];
    for (const [target, status, location] of expected) {
      const answer = await ask(who, 'redirect.test', target);
      expect([target, answer.status, answer.headers.get('location')]).toEqual([target, status, location]);
    }
    // The request's own name has the port of the listener, which is not that of https.
    const own = await ask(who, `redirect.test:${port}`, '/own');
    expect(own.headers.get('location')).toBe('https://redirect.test:443/own');
  });

  test('HTTPRouteTimeoutRequest, HTTPRouteTimeoutBackendRequest', async () => {
    expect((await ask(who, 'patience.test', '/request?delay=600')).status).toBe(504);
    expect((await ask(who, 'patience.test', '/attempt?delay=600')).status).toBe(504);
    expect((await ask(who, 'patience.test', '/attempt')).status).toBe(200);
  });

  test('HTTPRouteRetry', async () => {
    retries = 0;
    expect((await ask(who, 'patience.test', '/retry?fail')).status).toBe(200);
    expect(retries).toBe(3);
    expect((await ask(who, 'patience.test', '/refused')).status).toBe(503);
  });

  test('HTTPRouteRetryBackendTimeout, HTTPRouteRetryConnectionError', async () => {
    retries = 0;
    expect((await ask(who, 'patience.test', '/slow?slow')).status).toBe(200);
    expect(retries).toBe(2);
    for (let index = 0; index < 3; index++) expect((await ask(who, 'patience.test', '/flaky')).status).toBe(200);
  });

  test('GatewayHTTPListenerIsolation', async () => {
    const hosts: Record<string, string> = {
      'bar.com': 'any',
      'bar.example.com': 'wild',
      'bar.foo.example.com': 'wilder',
      'abc.foo.example.com': 'exact',
    };
    for (const [host, own] of Object.entries(hosts)) {
      for (const name of Object.values(hosts)) {
        const { status } = await ask(who, host, `/${name}`, { port: 'isolated' });
        expect([host, name, status]).toEqual([host, name, name === own ? 200 : 404]);
      }
    }
  });

  test('GRPCExactMethodMatching; UNAVAILABLE without a backend; UNIMPLEMENTED without a rule', async () => {
    expect(await grpcCall(who, '/a.B/C')).toBe('0');
    expect(await grpcCall(who, '/y/Method')).toBe('0');
    expect(await grpcCall(who, '/bad.S/C')).toBe('14');
    expect(await grpcCall(who, '/a.B/D')).toBe('12');
  });

  test('HTTPRouteCrossNamespace: a namespace by its labels', async () => {
    expect((await ask(who, 'shop.test', '/', { port: 'main' })).status).toBe(500);
  });
});

test.each([
  ['HTTPRoute', 'matching', ['Accepted=True/Accepted', 'ResolvedRefs=True/ResolvedRefs']],
  ['HTTPRoute', 'backends', ['Accepted=True/Accepted', 'ResolvedRefs=False/BackendNotFound']],
  [
    'HTTPRoute',
    'filters',
    ['Accepted=True/Accepted', 'ResolvedRefs=True/ResolvedRefs', 'PartiallyInvalid=True/UnsupportedValue'],
  ],
  ['HTTPRoute', 'broken', ['Accepted=False/UnsupportedValue', 'ResolvedRefs=True/ResolvedRefs']],
  ['HTTPRoute', 'lost', ['Accepted=False/NoMatchingParent', 'ResolvedRefs=True/ResolvedRefs']],
  ['HTTPRoute', 'stranger', ['Accepted=False/NotAllowedByListeners', 'ResolvedRefs=True/ResolvedRefs']],
  ['HTTPRoute', 'rival', ['Accepted=False/NotAllowedByListeners', 'ResolvedRefs=True/ResolvedRefs']],
  ['TLSRoute', 'wrong-kind', ['Accepted=False/NotAllowedByListeners', 'ResolvedRefs=True/ResolvedRefs']],
  ['UDPRoute', 'udp', ['Accepted=False/UnsupportedValue']],
  ['Gateway', 'nuncio', ['Accepted=True/Accepted', 'Programmed=True/Programmed', 'ResolvedRefs=True/ResolvedRefs']],
])('status of %s %s', (kind, name, expected) => {
  expect(scene.conditionsOf(kind, name)).toEqual(expected);
});

test('GatewayWithAttachedRoutes', () => {
  const counts = scene.statusOf('Gateway', 'nuncio').listeners?.map((each) => [each.name, each.attachedRoutes]);
  expect(Object.fromEntries(counts ?? [])).toMatchObject({ any: 1, 'isolated-any': 1 });
  expect(h2.listening).toBe(true);
});
