import type { ZipkinConfig } from '../../../api/gen/envoy/config/trace/v3/zipkin_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { buildHttpService, HTTP_SERVICE_SUPPORT } from '../../../config/builders/http-service.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { encodeJson, encodeProto } from './span-encoding.ts';
import { ZIPKIN_STATS, type ZipkinCollector, ZipkinReporter } from './zipkin-reporter.ts';
import { ZipkinTracer } from './zipkin-tracer.ts';

const CONFIG = 'envoy.config.trace.v3.ZipkinConfig';
const NAME = 'envoy.tracers.zipkin';
/** ZipkinConfig.CollectorEndpointVersion */
const Version = { Default: 0, Json: 1, Proto: 2 } as const;

/** @returns null when errors were reported */
function collectorOf(config: ZipkinConfig, context: BuildContext): ZipkinCollector | null {
  const before = context.errorCount;
  const { collectorEndpointVersion: version, collectorService: message } = config;
  if (version !== Version.Json && version !== Version.Proto) {
    context.refuse(
      'collector_endpoint_version',
      version === Version.Default
        ? "Using the default now-deprecated value DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE for enum 'envoy.config.trace.v3.ZipkinConfig.collector_endpoint_version'"
        : 'Envoy itself has no collectors over gRPC',
      'use HTTP_JSON or HTTP_PROTO',
    );
  }
  const service = message === undefined ? null : buildHttpService(context.at('collector_service'), message);
  if (message === undefined && (config.collectorCluster === '' || config.collectorEndpoint === '')) {
    context.refuse(
      '',
      'collector_cluster and collector_endpoint must be specified when not using collector_service',
      'name the cluster of the collector and its path, such as /api/v2/spans',
    );
  }
  if (context.errorCount > before) return null;
  const cluster = service === null ? config.collectorCluster : service.cluster;
  const names = context.shared.clusterNames;
  if (names !== null && !names.has(cluster)) {
    context.refuse(
      service === null ? 'collector_cluster' : 'collector_service.http_uri.cluster',
      `${NAME}: unknown cluster '${cluster}'`,
    );
    return null;
  }
  const isProto = version === Version.Proto;
  const format = {
    contentType: isProto ? 'application/x-protobuf' : 'application/json',
    encode: isProto ? encodeProto : encodeJson,
    sharedSpanContext: config.sharedSpanContext ?? true,
  };
  if (service === null) {
    const host = config.collectorHostname === '' ? cluster : config.collectorHostname;
    return { cluster, host, path: config.collectorEndpoint, headers: [], ...format };
  }
  // Without a scheme all of it is a path.
  const uri = message!.httpUri?.uri ?? '';
  const whole = !uri.includes('://');
  const host = whole || service.host === '' ? cluster : service.host;
  return { cluster, host, path: whole ? uri : service.path, headers: service.headers, ...format };
}

/** Source: envoy.config.trace.v3.ZipkinConfig. */
export const zipkinTracer: ExtensionFactory<'tracer', ZipkinConfig> = {
  kind: 'tracer',
  name: NAME,
  aliases: ['envoy.zipkin'],
  configType: CONFIG,
  support: [
    {
      message: CONFIG,
      fields: `collector_cluster collector_endpoint trace_id_128bit shared_span_context collector_endpoint_version
        collector_hostname split_spans_for_request trace_context_option collector_service timestamp_trace_ids`,
    },
    ...HTTP_SERVICE_SUPPORT,
  ],
  build(config, context) {
    const collector = collectorOf(config, context);
    if (collector === null) return null;
    const stats = ZIPKIN_STATS.create(context.shared.stats, 'tracing.zipkin');
    const settings = {
      traceId128Bit: config.traceId128bit,
      sharedSpanContext: collector.sharedSpanContext,
      splitSpansForRequest: config.splitSpansForRequest,
      withW3c: config.traceContextOption === 1,
      timestampTraceIds: config.timestampTraceIds,
    };
    return (environment) =>
      new ZipkinTracer(settings, environment.dispatcher, new ZipkinReporter(collector, environment, stats));
  },
};
