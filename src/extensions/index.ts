import type { ExtensionFactory } from '../config/extension-registry.ts';
import { fileAccessLogger, fileAccessLoggerV2 } from './access-loggers/file/factory.ts';
import { stderrAccessLogger } from './access-loggers/stderr/factory.ts';
import { stdoutAccessLogger } from './access-loggers/stdout/factory.ts';
import { earlyHeaderMutation } from './early-header-mutation/header-mutation/factory.ts';
import { metadataFormatter } from './formatters/metadata/factory.ts';
import { reqWithoutQueryFormatter } from './formatters/req-without-query/factory.ts';
import { bufferFilter } from './http-filters/buffer/factory.ts';
import { corsFilter } from './http-filters/cors/factory.ts';
import { faultFilter } from './http-filters/fault/factory.ts';
import { grpcHttp1BridgeFilter } from './http-filters/grpc-http1-bridge/factory.ts';
import { grpcStatsFilter } from './http-filters/grpc-stats/factory.ts';
import { grpcWebFilter } from './http-filters/grpc-web/factory.ts';
import { headerMutationFilter } from './http-filters/header-mutation/factory.ts';
import { healthCheckFilter } from './http-filters/health-check/factory.ts';
import { httpLocalRateLimitFilter } from './http-filters/local-ratelimit/factory.ts';
import { onDemandFilter } from './http-filters/on-demand/factory.ts';
import { routerFilter } from './http-filters/router/factory.ts';
import { allowListedRoutesPredicate } from './internal-redirect-predicates/allow-listed-routes/factory.ts';
import { previousRoutesPredicate } from './internal-redirect-predicates/previous-routes/factory.ts';
import { safeCrossSchemePredicate } from './internal-redirect-predicates/safe-cross-scheme/factory.ts';
import { httpInspectorFilter } from './listener-filters/http-inspector/factory.ts';
import { listenerLocalRateLimitFilter } from './listener-filters/local-ratelimit/factory.ts';
import { originalDstFilter } from './listener-filters/original-dst/factory.ts';
import { originalSrcFilter } from './listener-filters/original-src/factory.ts';
import { proxyProtocolFilter } from './listener-filters/proxy-protocol/factory.ts';
import { tlsInspectorFilter } from './listener-filters/tls-inspector/factory.ts';
import { leastRequestPolicy } from './load-balancing-policies/least-request/factory.ts';
import { maglevPolicy } from './load-balancing-policies/maglev/factory.ts';
import { randomPolicy } from './load-balancing-policies/random/factory.ts';
import { ringHashPolicy } from './load-balancing-policies/ring-hash/factory.ts';
import { roundRobinPolicy } from './load-balancing-policies/round-robin/factory.ts';
import { subsetPolicy } from './load-balancing-policies/subset/factory.ts';
import { connectionLimitFilter } from './network-filters/connection-limit/factory.ts';
import { directResponseFilter } from './network-filters/direct-response/factory.ts';
import { echoFilter } from './network-filters/echo/factory.ts';
import { httpConnectionManager } from './network-filters/http-connection-manager/factory.ts';
import { localRateLimitFilter } from './network-filters/local-ratelimit/factory.ts';
import { sniClusterFilter } from './network-filters/sni-cluster/factory.ts';
import { tcpProxy } from './network-filters/tcp-proxy/factory.ts';
import { customHeaderDetection } from './original-ip-detection/custom-header/factory.ts';
import { xffDetection } from './original-ip-detection/xff/factory.ts';
import { omitCanaryHostsPredicate } from './retry-host-predicates/omit-canary-hosts/factory.ts';
import { omitHostMetadataPredicate } from './retry-host-predicates/omit-host-metadata/factory.ts';
import { previousHostsPredicate } from './retry-host-predicates/previous-hosts/factory.ts';
import { previousPrioritiesRetry } from './retry-priorities/previous-priorities/factory.ts';
import { openTelemetryTracer } from './tracers/opentelemetry/factory.ts';
import { zipkinTracer } from './tracers/zipkin/factory.ts';
import { internalUpstream } from './transport-sockets/internal-upstream/factory.ts';
import { upstreamProxyProtocol } from './transport-sockets/proxy-protocol/factory.ts';
import { upstreamRawBuffer } from './transport-sockets/raw-buffer/factory.ts';
import { downstreamTls, upstreamTls } from './transport-sockets/tls/factory.ts';

/** Every extension that Nuncio ships: an explicit list, nothing registers itself. */
export const EXTENSIONS = [
  fileAccessLogger,
  fileAccessLoggerV2,
  stderrAccessLogger,
  stdoutAccessLogger,
  metadataFormatter,
  reqWithoutQueryFormatter,
  bufferFilter,
  corsFilter,
  faultFilter,
  headerMutationFilter,
  healthCheckFilter,
  httpLocalRateLimitFilter,
  grpcWebFilter,
  grpcStatsFilter,
  grpcHttp1BridgeFilter,
  onDemandFilter,
  routerFilter,
  xffDetection,
  customHeaderDetection,
  earlyHeaderMutation,
  leastRequestPolicy,
  randomPolicy,
  roundRobinPolicy,
  ringHashPolicy,
  maglevPolicy,
  subsetPolicy,
  httpConnectionManager,
  previousHostsPredicate,
  omitCanaryHostsPredicate,
  omitHostMetadataPredicate,
  previousPrioritiesRetry,
  allowListedRoutesPredicate,
  previousRoutesPredicate,
  safeCrossSchemePredicate,
  tcpProxy,
  sniClusterFilter,
  echoFilter,
  directResponseFilter,
  connectionLimitFilter,
  localRateLimitFilter,
  proxyProtocolFilter,
  tlsInspectorFilter,
  httpInspectorFilter,
  listenerLocalRateLimitFilter,
  originalDstFilter,
  originalSrcFilter,
  upstreamRawBuffer,
  upstreamProxyProtocol,
  internalUpstream,
  downstreamTls,
  upstreamTls,
  zipkinTracer,
  openTelemetryTracer,
] as readonly ExtensionFactory[];
