import { fromJson } from '@bufbuild/protobuf';
import type { Cluster } from '../../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { TypedExtensionConfig } from '../../../api/gen/envoy/config/core/v3/extension_pb.d.ts';
import type { GrpcService } from '../../../api/gen/envoy/config/core/v3/grpc_service_pb.d.ts';
import type { OpenTelemetryConfig } from '../../../api/gen/envoy/config/trace/v3/opentelemetry_pb.d.ts';
import type { StaticConfigResourceDetectorConfig } from '../../../api/gen/envoy/extensions/tracers/opentelemetry/resource_detectors/v3/static_config_resource_detector_pb.d.ts';
import type { ParentBasedSamplerConfig } from '../../../api/gen/envoy/extensions/tracers/opentelemetry/samplers/v3/parent_based_sampler_pb.d.ts';
import type { TraceIdRatioBasedSamplerConfig } from '../../../api/gen/envoy/extensions/tracers/opentelemetry/samplers/v3/trace_id_ratio_based_sampler_pb.d.ts';
import { BuildContext } from '../../../config/build-context.ts';
import { buildCluster } from '../../../config/builders/cluster.ts';
import {
  buildGrpcService,
  GRPC_SERVICE_SUPPORT,
  type GrpcServiceSpec,
  type GrpcTarget,
} from '../../../config/builders/grpc-service.ts';
import { buildHttpService, HTTP_SERVICE_SUPPORT } from '../../../config/builders/http-service.ts';
import { buildFractionalPercent } from '../../../config/builders/route-config-matchers.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { ClusterGrpcClient, grpcClientSettings } from '../../../grpc/cluster-grpc-client.ts';
import { ipVersion } from '../../../net/ip-version.ts';
import type { WorkerEnvironment } from '../../../pipeline/environment.ts';
import type { ClusterSpec } from '../../../upstream/cluster-spec.ts';
import { OTEL_STATS, OtelTracer } from './otel-tracer.ts';
import { environmentAttributes, type ResourceAttributes, resourceOf } from './resource.ts';
import { ALWAYS_ON, ParentBasedSampler, type Sampler, TraceIdRatioSampler } from './samplers.ts';
import { EXPORTER_AGENT, GrpcSpanExporter, HttpSpanExporter, type SpanExporter } from './span-exporter.ts';

const CONFIG = 'envoy.config.trace.v3.OpenTelemetryConfig';
const EXTENSIONS = 'envoy.extensions.tracers.opentelemetry';
const CLUSTER = 'envoy.config.cluster.v3.Cluster';
const DEFAULT_MAX_CACHE_SIZE = 1024;

type ExporterMaker = (environment: WorkerEnvironment) => SpanExporter;

// --- samplers ---

/** @returns null when it was refused */
function buildSampler(
  context: BuildContext,
  field: string,
  extension: TypedExtensionConfig | undefined,
): Sampler | null {
  const at = context.at(field);
  const config = at.unpack('typed_config', extension?.typedConfig);
  if (config === null) return null;
  switch (config.$typeName as string) {
    case `${EXTENSIONS}.samplers.v3.AlwaysOnSamplerConfig`:
      return ALWAYS_ON;
    case `${EXTENSIONS}.samplers.v3.ParentBasedSamplerConfig`: {
      const { wrappedSampler } = config as ParentBasedSamplerConfig;
      const root = buildSampler(at.at('typed_config'), 'wrapped_sampler', wrappedSampler);
      return root === null ? null : new ParentBasedSampler(root);
    }
    case `${EXTENSIONS}.samplers.v3.TraceIdRatioBasedSamplerConfig`: {
      const { samplingPercentage } = config as TraceIdRatioBasedSamplerConfig;
      return new TraceIdRatioSampler(buildFractionalPercent(samplingPercentage));
    }
    default:
      at.refuse(
        'typed_config',
        `sampler ${config.$typeName} is not supported yet`,
        'supported: always_on, parent_based, trace_id_ratio_based',
      );
      return null;
  }
}

// --- resource detectors ---

/** @returns null when it was refused */
function buildDetector(context: BuildContext, extension: TypedExtensionConfig): ResourceAttributes | null {
  const config = context.unpack('typed_config', extension.typedConfig);
  if (config === null) return null;
  switch (config.$typeName as string) {
    case `${EXTENSIONS}.resource_detectors.v3.EnvironmentResourceDetectorConfig`:
      return environmentAttributes(process.env.OTEL_RESOURCE_ATTRIBUTES ?? '');
    case `${EXTENSIONS}.resource_detectors.v3.StaticConfigResourceDetectorConfig`:
      return new Map(Object.entries((config as StaticConfigResourceDetectorConfig).attributes));
    default:
      context.refuse(
        'typed_config',
        `resource detector ${config.$typeName} is not supported yet`,
        'supported: environment, static_config',
      );
      return null;
  }
}

// --- exporters ---

/** @returns null when errors were reported */
function buildExporter(
  context: BuildContext,
  config: OpenTelemetryConfig,
  resource: ResourceAttributes,
): ExporterMaker | null {
  const withScope = config.setInstrumentationScope ?? true;
  const chosen = [config.grpcService, config.httpService, config.exporter].filter((each) => each !== undefined);
  if (chosen.length !== 1) {
    context.refuse(
      '',
      'OpenTelemetry Tracer must have exactly one of gRPC, HTTP, or custom exporter configured.',
      'give grpc_service or http_service',
    );
    return null;
  }
  if (config.httpService !== undefined) {
    const service = buildHttpService(context.at('http_service'), config.httpService);
    return service === null ? null : (environment) => new HttpSpanExporter(service, environment, resource, withScope);
  }
  if (config.grpcService === undefined) {
    context.refuse('exporter', 'exporters by extension are not supported yet', 'use grpc_service or http_service');
    return null;
  }
  const service = grpcServiceOf(context, config.grpcService);
  if (service === null) return null;
  const own = service.target === null ? null : ownCluster(context, service.cluster, service.target);
  if (service.target !== null && own === null) return null;
  return (environment) => {
    if (own !== null && environment.clusters.get(own.name) === null) environment.clusters.set(own);
    const settings = grpcClientSettings(service.cluster, {
      authority: service.authority,
      // `timeout` has no meaning to Envoy here.
      timeoutMs: 0,
      metadata: [['user-agent', EXPORTER_AGENT], ...service.metadata],
      ...(service.maxMessageBytes === 0 ? {} : { maxMessageBytes: service.maxMessageBytes }),
      localAddress: service.skipEnvoyHeaders ? '' : environment.local.address,
    });
    const client = new ClusterGrpcClient(environment.clusters, environment.dispatcher, settings);
    return new GrpcSpanExporter(client, environment.loggers.get('tracing'), resource, withScope);
  };
}

/**
 * What `google_grpc` names becomes a cluster that nobody else sees. Workers do not resolve names.
 * @returns null when it was refused
 */
function ownCluster(context: BuildContext, name: string, { host, port }: GrpcTarget): ClusterSpec | null {
  if (ipVersion(host) === 0) {
    context.refuse(
      'grpc_service.google_grpc.target_uri',
      `tracers reach google_grpc by address, and ${JSON.stringify(host)} is a name`,
      'give an address, or name a cluster: envoy_grpc: { cluster_name: ... }',
    );
    return null;
  }
  const address = { socket_address: { address: host, port_value: port } };
  const json = {
    name,
    type: 'STATIC',
    http2_protocol_options: {},
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
  };
  return buildCluster(context, fromJson(context.shared.api.message(CLUSTER)!, json) as Cluster);
}

/** Its cluster may come later: Envoy does not ask for it here. */
function grpcServiceOf(context: BuildContext, message: GrpcService): GrpcServiceSpec | null {
  const at = context.at('grpc_service');
  return buildGrpcService(new BuildContext({ ...context.shared, clusterNames: null }, at.path, at.stats), message);
}

/** Source: envoy.config.trace.v3.OpenTelemetryConfig. */
export const openTelemetryTracer: ExtensionFactory<'tracer', OpenTelemetryConfig> = {
  kind: 'tracer',
  name: 'envoy.tracers.opentelemetry',
  configType: CONFIG,
  support: [
    {
      message: CONFIG,
      fields: `grpc_service http_service service_name resource_detectors sampler max_cache_size
        set_telemetry_sdk_resource_attributes set_service_name_resource_attribute set_instrumentation_scope`,
      refused: 'exporter',
    },
    ...['AlwaysOnSamplerConfig', 'ParentBasedSamplerConfig', 'TraceIdRatioBasedSamplerConfig'].map((name) => ({
      message: `${EXTENSIONS}.samplers.v3.${name}`,
      fields: '*',
    })),
    ...['EnvironmentResourceDetectorConfig', 'StaticConfigResourceDetectorConfig'].map((name) => ({
      message: `${EXTENSIONS}.resource_detectors.v3.${name}`,
      fields: '*',
    })),
    { message: 'envoy.type.v3.FractionalPercent', fields: '*' },
    ...GRPC_SERVICE_SUPPORT,
    ...HTTP_SERVICE_SUPPORT,
  ],
  build(config, context) {
    const before = context.errorCount;
    const sampler = config.sampler === undefined ? null : buildSampler(context, 'sampler', config.sampler);
    const detected = config.resourceDetectors.map((each, i) =>
      buildDetector(context.at(`resource_detectors[${i}]`), each),
    );
    const resource = resourceOf({
      serviceName: config.serviceName,
      withServiceName: config.setServiceNameResourceAttribute ?? true,
      withSdk: config.setTelemetrySdkResourceAttributes ?? true,
      detected: detected.filter((found) => found !== null),
    });
    const makeExporter = buildExporter(context, config, resource);
    if (makeExporter === null || context.errorCount > before) return null;
    const stats = OTEL_STATS.create(context.shared.stats, 'tracing.opentelemetry');
    const maxSpans = config.maxCacheSize ?? DEFAULT_MAX_CACHE_SIZE;
    return (environment) => new OtelTracer(environment, stats, sampler, makeExporter(environment), maxSpans);
  },
};
