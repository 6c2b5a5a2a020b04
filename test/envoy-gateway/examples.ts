/** Five examples of the Gateway API (and of Envoy Gateway's own policies), each with the traffic by which it is judged. */
import { readFileSync } from 'node:fs';
import { pemPath } from '../differential/tls-peers.ts';

export type Manifest = Readonly<Record<string, unknown>>;

/** One thing that a client does. */
export type Step =
  | { readonly kind: 'http'; readonly port: number; readonly text: string; readonly times?: number }
  | {
      readonly kind: 'https';
      readonly port: number;
      readonly text: string;
      readonly sni: string;
      readonly alpn?: readonly string[];
      readonly maxVersion?: 'TLSv1.2';
    }
  | { readonly kind: 'tcp'; readonly port: number; readonly text: string }
  | { readonly kind: 'grpc'; readonly port: number; readonly metadata: string };

export interface Example {
  readonly name: string;
  readonly manifests: readonly Manifest[];
  readonly steps: readonly Step[];
  /** Manifests that take the place of those of the same kind and name, while the proxy runs, and what is seen then. */
  readonly change: { readonly manifests: readonly Manifest[]; readonly steps: readonly Step[] };
}

/** Ports of the upstreams; the namespace is the test's own. */
export const UPSTREAMS = { one: 3001, two: 3002, tls: 3003, raw: 3004, grpc1: 3005, grpc2: 3006, flaky: 3007 } as const;

const API = 'gateway.networking.k8s.io/v1';
const EG = 'gateway.envoyproxy.io/v1alpha1';

function manifest(kind: string, name: string, spec: Manifest, apiVersion = API): Manifest {
  return { apiVersion, kind, metadata: { name }, spec };
}

const gatewayClass = manifest('GatewayClass', 'eg', {
  controllerName: 'gateway.envoyproxy.io/gatewayclass-controller',
});
const gateway = (name: string, listeners: readonly Manifest[]): Manifest =>
  manifest('Gateway', name, { gatewayClassName: 'eg', listeners });
const backend = (name: keyof typeof UPSTREAMS, more: Manifest = {}): Manifest =>
  manifest('Backend', name, { endpoints: [{ ip: { address: '127.0.0.1', port: UPSTREAMS[name] } }], ...more }, EG);
const to = (name: string, more: Manifest = {}): Manifest => ({
  group: 'gateway.envoyproxy.io',
  kind: 'Backend',
  name,
  ...more,
});
const route = (kind: string, name: string, parent: string, spec: Manifest, apiVersion = API): Manifest =>
  manifest(kind, name, { parentRefs: [{ name: parent }], ...spec }, apiVersion);
const target = (kind: string, name: string): Manifest => ({
  targetRefs: [{ group: 'gateway.networking.k8s.io', kind, name }],
});
const path = (value: string, type = 'PathPrefix'): Manifest => ({ path: { type, value } });

const get = (target: string, headers: readonly string[] = [], host = 'www.example.com'): string =>
  [`GET ${target} HTTP/1.1`, `host: ${host}`, ...headers, '', ''].join('\r\n');
const http = (port: number, text: string, times = 1): Step => ({ kind: 'http', port, text, times });

const pem = (name: string): string => readFileSync(pemPath(name), 'utf8');
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const secret = (name: string, pair: string): Manifest => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name },
  type: 'kubernetes.io/tls',
  data: { 'tls.crt': base64(pem(`${pair}.pem`)), 'tls.key': base64(pem(`${pair}.key`)) },
});
const authority: Manifest = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'authority' },
  data: { 'ca.crt': pem('root.pem') },
};

const routing: Example = {
  name: 'http-routing',
  manifests: [
    gatewayClass,
    gateway('http-routing', [{ name: 'http', protocol: 'HTTP', port: 8888 }]),
    backend('one'),
    backend('two'),
    route('HTTPRoute', 'pages', 'http-routing', {
      hostnames: ['www.example.com'],
      rules: [
        { matches: [path('/')], backendRefs: [to('one')] },
        { matches: [path('/two')], backendRefs: [to('two')] },
        { matches: [path('/exact', 'Exact')], backendRefs: [to('two')] },
        { matches: [path('/re/[a-z]+', 'RegularExpression')], backendRefs: [to('two')] },
        { matches: [{ headers: [{ name: 'x-to', value: 'two' }] }], backendRefs: [to('two')] },
        { matches: [{ queryParams: [{ name: 'to', value: 'two' }] }], backendRefs: [to('two')] },
        { matches: [{ ...path('/method'), method: 'POST' }], backendRefs: [to('two')] },
        {
          matches: [path('/headers')],
          filters: [
            {
              type: 'RequestHeaderModifier',
              requestHeaderModifier: {
                set: [{ name: 'x-set', value: 'set' }],
                add: [{ name: 'x-add', value: 'added' }],
                remove: ['x-remove'],
              },
            },
            {
              type: 'ResponseHeaderModifier',
              responseHeaderModifier: { set: [{ name: 'x-answer', value: 'yes' }], remove: ['x-secret'] },
            },
          ],
          backendRefs: [to('one')],
        },
        {
          matches: [path('/redirect')],
          filters: [
            {
              type: 'RequestRedirect',
              requestRedirect: {
                scheme: 'https',
                hostname: 'other.example.com',
                statusCode: 301,
                path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/moved' },
              },
            },
          ],
        },
        {
          matches: [path('/rewrite')],
          filters: [
            {
              type: 'URLRewrite',
              urlRewrite: {
                hostname: 'inner.example.com',
                path: { type: 'ReplacePrefixMatch', replacePrefixMatch: '/inner' },
              },
            },
          ],
          backendRefs: [to('one')],
        },
        {
          matches: [path('/full')],
          filters: [{ type: 'URLRewrite', urlRewrite: { path: { type: 'ReplaceFullPath', replaceFullPath: '/all' } } }],
          backendRefs: [to('one')],
        },
        {
          matches: [path('/weighted')],
          backendRefs: [to('one', { weight: 0 }), to('two', { weight: 1 })],
        },
        {
          matches: [path('/mirrored')],
          filters: [{ type: 'RequestMirror', requestMirror: { backendRef: to('two') } }],
          backendRefs: [to('one')],
        },
        { matches: [path('/slow')], timeouts: { request: '200ms' }, backendRefs: [to('one')] },
        { matches: [path('/missing')], backendRefs: [to('nobody')] },
      ],
    }),
    route('HTTPRoute', 'wild', 'http-routing', {
      hostnames: ['*.example.org'],
      rules: [{ backendRefs: [to('two')] }],
    }),
  ],
  steps: [
    http(8888, get('/')),
    http(8888, get('/two/x?y=1')),
    http(8888, get('/twofold')),
    http(8888, get('/exact')),
    http(8888, get('/exact/')),
    http(8888, get('/re/abc')),
    http(8888, get('/re/1')),
    http(8888, get('/', ['x-to: two'])),
    http(8888, get('/?to=two')),
    http(8888, get('/method')),
    http(8888, 'POST /method HTTP/1.1\r\nhost: www.example.com\r\ncontent-length: 4\r\n\r\nbody'),
    http(8888, get('/headers', ['x-remove: 1', 'x-add: 0', 'x-set: 0'])),
    http(8888, get('/redirect/here?q=1')),
    http(8888, get('/rewrite/a/b?c')),
    http(8888, get('/full/a?c')),
    http(8888, get('/weighted'), 5),
    http(8888, get('/mirrored')),
    http(8888, get('/slow')),
    http(8888, get('/missing')),
    http(8888, get('/', [], 'a.example.org')),
    http(8888, get('/', [], 'stranger.test')),
    http(8888, get('/a//b/../c')),
    http(8888, get('/a%2Fb')),
    http(8888, get('/', ['under_score: 1'])),
    http(8888, get('/', ['upgrade: websocket', 'connection: upgrade'])),
    http(8888, get('/', ['x-forwarded-for: 1.2.3.4', 'x-envoy-retry-on: 5xx'])),
    http(8888, 'GET / HTTP/1.1\r\n\r\n'),
  ],
  change: {
    manifests: [
      route('HTTPRoute', 'pages', 'http-routing', {
        hostnames: ['www.example.com'],
        rules: [{ matches: [path('/')], backendRefs: [to('two')] }],
      }),
    ],
    steps: [http(8888, get('/')), http(8888, get('/redirect/here'))],
  },
};

const termination: Example = {
  name: 'tls-termination',
  manifests: [
    gatewayClass,
    gateway('tls-termination', [
      {
        name: 'https',
        protocol: 'HTTPS',
        port: 8443,
        hostname: 'server.test',
        tls: { mode: 'Terminate', certificateRefs: [{ kind: 'Secret', name: 'pair' }] },
      },
      { name: 'http', protocol: 'HTTP', port: 8888 },
    ]),
    secret('pair', 'server-ec'),
    backend('one'),
    backend('two'),
    manifest(
      'HTTPRoute',
      'secure',
      {
        parentRefs: [{ name: 'tls-termination', sectionName: 'https' }],
        rules: [{ backendRefs: [to('one')] }],
      },
      API,
    ),
    manifest(
      'HTTPRoute',
      'plain',
      {
        parentRefs: [{ name: 'tls-termination', sectionName: 'http' }],
        rules: [
          { filters: [{ type: 'RequestRedirect', requestRedirect: { scheme: 'https', port: 8443, statusCode: 302 } }] },
        ],
      },
      API,
    ),
    manifest(
      'ClientTrafficPolicy',
      'modern',
      {
        ...target('Gateway', 'tls-termination'),
        tls: { minVersion: '1.3', alpnProtocols: ['http/1.1'] },
        headers: { preserveXRequestID: true, enableEnvoyHeaders: true },
      },
      EG,
    ),
  ],
  steps: [
    { kind: 'https', port: 8443, sni: 'server.test', text: get('/secure', [], 'server.test') },
    { kind: 'https', port: 8443, sni: 'server.test', alpn: ['h2', 'http/1.1'], text: get('/', [], 'server.test') },
    { kind: 'https', port: 8443, sni: 'server.test', text: get('/', [], 'stranger.test') },
    { kind: 'https', port: 8443, sni: 'stranger.test', text: get('/', [], 'server.test') },
    { kind: 'https', port: 8443, sni: 'server.test', maxVersion: 'TLSv1.2', text: get('/', [], 'server.test') },
    http(8888, get('/x', [], 'server.test')),
  ],
  change: {
    manifests: [secret('pair', 'other-ec')],
    steps: [{ kind: 'https', port: 8443, sni: 'server.test', text: get('/renewed', [], 'server.test') }],
  },
};

const passthrough: Example = {
  name: 'tls-passthrough',
  manifests: [
    gatewayClass,
    gateway('tls-passthrough', [
      {
        name: 'tls',
        protocol: 'TLS',
        port: 8443,
        tls: { mode: 'Passthrough' },
        allowedRoutes: { kinds: [{ kind: 'TLSRoute' }] },
      },
      { name: 'tcp', protocol: 'TCP', port: 8800, allowedRoutes: { kinds: [{ kind: 'TCPRoute' }] } },
    ]),
    backend('tls'),
    backend('raw'),
    backend('one'),
    manifest(
      'TLSRoute',
      'through',
      {
        parentRefs: [{ name: 'tls-passthrough', sectionName: 'tls' }],
        hostnames: ['server.test'],
        rules: [{ backendRefs: [to('tls')] }],
      },
      API,
    ),
    manifest(
      'TCPRoute',
      'bytes',
      {
        parentRefs: [{ name: 'tls-passthrough', sectionName: 'tcp' }],
        rules: [{ backendRefs: [to('raw')] }],
      },
      API,
    ),
  ],
  steps: [
    { kind: 'https', port: 8443, sni: 'server.test', text: get('/through', [], 'server.test') },
    { kind: 'https', port: 8443, sni: 'stranger.test', text: get('/', [], 'stranger.test') },
    { kind: 'tcp', port: 8800, text: 'hello\n' },
  ],
  change: {
    manifests: [
      manifest(
        'TCPRoute',
        'bytes',
        {
          parentRefs: [{ name: 'tls-passthrough', sectionName: 'tcp' }],
          rules: [{ backendRefs: [to('one')] }],
        },
        API,
      ),
    ],
    steps: [http(8800, get('/bytes'))],
  },
};

const grpc: Example = {
  name: 'grpc-routing',
  manifests: [
    gatewayClass,
    gateway('grpc-routing', [{ name: 'http', protocol: 'HTTP', port: 8888 }]),
    backend('grpc1', { appProtocols: ['gateway.envoyproxy.io/h2c'] }),
    backend('grpc2', { appProtocols: ['gateway.envoyproxy.io/h2c'] }),
    route('GRPCRoute', 'calls', 'grpc-routing', {
      rules: [
        {
          matches: [{ method: { service: 'grpc.testing.TestService', method: 'UnaryCall' } }],
          backendRefs: [to('grpc1')],
        },
        {
          matches: [
            {
              method: { service: 'grpc.testing.TestService' },
              headers: [{ name: 'x-to', value: 'two' }],
            },
          ],
          backendRefs: [to('grpc2')],
        },
        {
          matches: [
            {
              method: { service: 'grpc.testing.TestService', method: 'UnaryCall' },
              headers: [{ name: 'x-to', value: 'both' }],
            },
          ],
          backendRefs: [to('grpc2')],
        },
      ],
    }),
  ],
  steps: [
    { kind: 'grpc', port: 8888, metadata: '' },
    { kind: 'grpc', port: 8888, metadata: 'x-to both' },
    { kind: 'grpc', port: 8888, metadata: 'x-to two' },
    http(8888, get('/')),
  ],
  change: {
    manifests: [route('GRPCRoute', 'calls', 'grpc-routing', { rules: [{ backendRefs: [to('grpc2')] }] })],
    steps: [{ kind: 'grpc', port: 8888, metadata: '' }],
  },
};

const policies: Example = {
  name: 'traffic-policies',
  manifests: [
    gatewayClass,
    gateway('traffic-policies', [{ name: 'http', protocol: 'HTTP', port: 8888 }]),
    backend('one'),
    backend('two'),
    backend('flaky'),
    backend('tls'),
    authority,
    route('HTTPRoute', 'retried', 'traffic-policies', {
      hostnames: ['retried.test'],
      rules: [{ backendRefs: [to('flaky')] }],
    }),
    route('HTTPRoute', 'limited', 'traffic-policies', {
      hostnames: ['limited.test'],
      rules: [{ backendRefs: [to('one')] }],
    }),
    route('HTTPRoute', 'faulty', 'traffic-policies', {
      hostnames: ['faulty.test'],
      rules: [{ backendRefs: [to('one')] }],
    }),
    route('HTTPRoute', 'secured', 'traffic-policies', {
      hostnames: ['secured.test'],
      rules: [{ backendRefs: [to('tls')] }],
    }),
    route('HTTPRoute', 'cross', 'traffic-policies', {
      hostnames: ['cross.test'],
      rules: [{ backendRefs: [to('one')] }],
    }),
    manifest(
      'BackendTrafficPolicy',
      'retried',
      {
        ...target('HTTPRoute', 'retried'),
        retry: {
          numRetries: 3,
          retryOn: { httpStatusCodes: [503], triggers: ['retriable-status-codes', 'connect-failure'] },
          perRetry: { backOff: { baseInterval: '10ms', maxInterval: '20ms' }, timeout: '1s' },
        },
        timeout: { tcp: { connectTimeout: '1s' }, http: { requestTimeout: '5s', connectionIdleTimeout: '30s' } },
        circuitBreaker: { maxConnections: 10, maxPendingRequests: 10, maxParallelRequests: 10 },
        tcpKeepalive: { probes: 3, idleTime: '20s', interval: '5s' },
        connection: { bufferLimit: '64Ki' },
      },
      EG,
    ),
    manifest(
      'BackendTrafficPolicy',
      'limited',
      {
        ...target('HTTPRoute', 'limited'),
        rateLimit: { type: 'Local', local: { rules: [{ limit: { requests: 2, unit: 'Hour' } }] } },
      },
      EG,
    ),
    manifest(
      'BackendTrafficPolicy',
      'faulty',
      {
        ...target('HTTPRoute', 'faulty'),
        faultInjection: { abort: { httpStatus: 418, percentage: 100 } },
      },
      EG,
    ),
    manifest(
      'SecurityPolicy',
      'cross',
      {
        ...target('HTTPRoute', 'cross'),
        cors: { allowOrigins: ['https://*.origin.test'], allowMethods: ['GET', 'PUT'], maxAge: '10m' },
      },
      EG,
    ),
    manifest('BackendTLSPolicy', 'secured', {
      targetRefs: [{ group: 'gateway.envoyproxy.io', kind: 'Backend', name: 'tls' }],
      validation: {
        hostname: 'server.test',
        caCertificateRefs: [{ group: '', kind: 'ConfigMap', name: 'authority' }],
      },
    }),
    manifest(
      'ClientTrafficPolicy',
      'clients',
      {
        ...target('Gateway', 'traffic-policies'),
        clientIPDetection: { xForwardedFor: { numTrustedHops: 1 } },
        headers: { withUnderscoresAction: 'Allow', earlyRequestHeaders: { set: [{ name: 'x-early', value: 'bird' }] } },
        path: { escapedSlashesAction: 'KeepUnchanged' },
        timeout: { http: { requestReceivedTimeout: '10s', idleTimeout: '60s' } },
        connection: { bufferLimit: '64Ki' },
        http1: { preserveHeaderCase: true },
      },
      EG,
    ),
  ],
  steps: [
    http(8888, get('/', [], 'retried.test')),
    http(8888, get('/', [], 'limited.test'), 3),
    http(8888, get('/', [], 'faulty.test')),
    http(8888, get('/', [], 'secured.test')),
    http(8888, get('/', ['origin: https://a.origin.test'], 'cross.test')),
    http(8888, get('/', ['origin: https://stranger.test'], 'cross.test')),
    http(
      8888,
      'OPTIONS / HTTP/1.1\r\nhost: cross.test\r\norigin: https://a.origin.test\r\naccess-control-request-method: PUT\r\n\r\n',
    ),
    http(8888, get('/a%2Fb', ['under_score: 1', 'x-forwarded-for: 1.2.3.4, 5.6.7.8', 'X-Case: Kept'], 'limited.test')),
  ],
  change: {
    manifests: [
      manifest(
        'BackendTrafficPolicy',
        'faulty',
        {
          ...target('HTTPRoute', 'faulty'),
          faultInjection: { abort: { httpStatus: 503, percentage: 100 } },
        },
        EG,
      ),
    ],
    steps: [http(8888, get('/', [], 'faulty.test'))],
  },
};

export const EXAMPLES: readonly Example[] = [routing, termination, passthrough, grpc, policies];
