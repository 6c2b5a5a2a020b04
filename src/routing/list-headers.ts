/*
 * Headers that Envoy holds in single slots: a further value is joined to the first by `,`, where any other header gets a line
 * of its own. Found by adding each name twice through a running Envoy 1.40.
 */
const BOTH = [
  'cache-control',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'keep-alive',
  'proxy-connection',
  'proxy-status',
  'transfer-encoding',
  'upgrade',
  'via',
  'x-envoy-attempt-count',
  'x-envoy-decorator-operation',
  'x-request-id',
];

const REQUEST: ReadonlySet<string> = new Set([
  ...BOTH,
  'accept',
  'accept-encoding',
  'access-control-request-headers',
  'access-control-request-method',
  'access-control-request-private-network',
  'authorization',
  'expect',
  'grpc-accept-encoding',
  'grpc-timeout',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'origin',
  'pragma',
  'referer',
  'te',
  'user-agent',
  'x-client-trace-id',
  'x-envoy-downstream-service-cluster',
  'x-envoy-downstream-service-node',
  'x-envoy-expected-rq-timeout-ms',
  'x-envoy-external-address',
  'x-envoy-force-trace',
  'x-envoy-hedge-on-per-try-timeout',
  'x-envoy-internal',
  'x-envoy-ip-tags',
  'x-envoy-is-timeout-retry',
  'x-envoy-max-retries',
  'x-envoy-original-host',
  'x-envoy-original-path',
  'x-envoy-original-url',
  'x-envoy-retriable-header-names',
  'x-envoy-retriable-status-codes',
  'x-envoy-retry-grpc-on',
  'x-envoy-retry-on',
  'x-envoy-upstream-alt-stat-name',
  'x-envoy-upstream-rq-per-try-timeout-ms',
  'x-envoy-upstream-rq-timeout-alt-response',
  'x-envoy-upstream-rq-timeout-ms',
  'x-envoy-upstream-stream-duration-ms',
  'x-forwarded-client-cert',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
]);

const RESPONSE: ReadonlySet<string> = new Set([
  ...BOTH,
  'access-control-allow-credentials',
  'access-control-allow-headers',
  'access-control-allow-methods',
  'access-control-allow-origin',
  'access-control-expose-headers',
  'access-control-max-age',
  'age',
  'date',
  'etag',
  'expires',
  'grpc-message',
  'grpc-status',
  'last-modified',
  'location',
  'server',
  'vary',
  'x-envoy-degraded',
  'x-envoy-immediate-health-check-fail',
  'x-envoy-ratelimited',
  'x-envoy-upstream-canary',
  'x-envoy-upstream-healthchecked-cluster',
  'x-envoy-upstream-service-time',
]);

/** @param name lower case */
export function isRequestListHeader(name: string): boolean {
  return REQUEST.has(name);
}

/** @param name lower case */
export function isResponseListHeader(name: string): boolean {
  return RESPONSE.has(name);
}
