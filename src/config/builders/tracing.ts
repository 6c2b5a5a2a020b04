import type { Any } from '@bufbuild/protobuf/wkt';
import type { Tracing as RouteTracingMessage } from '../../api/gen/envoy/config/route/v3/route_components_pb.d.ts';
import type { Tracing_Http } from '../../api/gen/envoy/config/trace/v3/http_tracer_pb.d.ts';
import type {
  HttpConnectionManager_Tracing,
  RequestIDExtension,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.d.ts';
import type { UuidRequestIdConfig } from '../../api/gen/envoy/extensions/request_id/uuid/v3/uuid_pb.d.ts';
import type { CustomTag as CustomTagMessage } from '../../api/gen/envoy/type/tracing/v3/custom_tag_pb.d.ts';
import type { FractionalPercent as FractionalPercentMessage } from '../../api/gen/envoy/type/v3/percent_pb.d.ts';
import type { WorkerEnvironment } from '../../pipeline/environment.ts';
import { METADATA_SOURCES } from '../../pipeline/format/metadata-operators.ts';
import { type CustomTag, FixedTag, FormatTag, MetadataTag, RequestHeaderTag } from '../../pipeline/trace/custom-tag.ts';
import type { Tracer } from '../../pipeline/trace/span.ts';
import type { TracingConfig } from '../../pipeline/tracing.ts';
import { RouteTracing } from '../../routing/route-policies.ts';
import { FractionalPercent, RuntimeFraction } from '../../routing/runtime-fraction.ts';
import { TagType } from '../../routing/span-tag.ts';
import type { ValueFormatter } from '../../routing/stream-view.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildTextFormat } from './format.ts';
import { buildFractionalPercent } from './route-config-matchers.ts';

const TAG = 'envoy.type.tracing.v3.CustomTag';

const CUSTOM_TAG_SUPPORT: readonly FieldSupport[] = [
  ...['', '.Literal', '.Environment', '.Header', '.Metadata'].map((name) => ({
    message: `${TAG}${name}`,
    fields: '*',
  })),
  ...['', '.Request', '.Route', '.Cluster', '.Host'].map((name) => ({
    message: `envoy.type.metadata.v3.MetadataKind${name}`,
    fields: '*',
  })),
  { message: 'envoy.type.metadata.v3.MetadataKey', fields: '*' },
  { message: 'envoy.type.metadata.v3.MetadataKey.PathSegment', fields: '*' },
];

export const TRACING_SUPPORT: readonly FieldSupport[] = [
  {
    message: 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing',
    fields: `client_sampling random_sampling overall_sampling verbose max_path_tag_length custom_tags provider
      spawn_upstream_span operation upstream_operation no_context_propagation`,
  },
  { message: 'envoy.config.trace.v3.Tracing.Http', fields: 'name typed_config' },
  { message: 'envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig', fields: '*' },
  ...CUSTOM_TAG_SUPPORT,
];

/** Of a route's `tracing`. */
export const ROUTE_TRACING_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.route.v3.Tracing', fields: '*' },
  { message: 'envoy.type.v3.FractionalPercent', fields: '*' },
  ...CUSTOM_TAG_SUPPORT,
];

/** What request ids say of tracing. Source: envoy UuidRequestIdConfig. */
export interface RequestIdOptions {
  readonly packTraceReason: boolean;
  readonly useForSampling: boolean;
}

const DEFAULT_REQUEST_ID: RequestIdOptions = { packTraceReason: true, useForSampling: true };

export function buildRequestIdOptions(
  context: BuildContext,
  extension: RequestIDExtension | undefined,
): RequestIdOptions {
  const field = 'request_id_extension.typed_config';
  const packed = extension?.typedConfig;
  if (packed === undefined) return DEFAULT_REQUEST_ID;
  const config = context.unpack(field, packed);
  if (config === null) return DEFAULT_REQUEST_ID;
  if (config.$typeName !== 'envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig') {
    context.refuse(field, `request id extension ${config.$typeName} is not supported yet`);
    return DEFAULT_REQUEST_ID;
  }
  const uuid = config as UuidRequestIdConfig;
  return {
    packTraceReason: uuid.packTraceReason ?? true,
    useForSampling: uuid.useRequestIdForTraceSampling ?? true,
  };
}

// --- custom tags ---

const KINDS = { request: 'DYNAMIC', route: 'ROUTE', cluster: 'CLUSTER', host: 'UPSTREAM_HOST' } as const;
/** By CustomTag.ValueType. */
const TAG_TYPES: readonly TagType[] = [TagType.Text, TagType.Text, TagType.Integer, TagType.Double, TagType.Boolean];

/** The first of each name, as Envoy takes them. */
function buildCustomTags(context: BuildContext, messages: readonly CustomTagMessage[]): CustomTag[] {
  const tags = new Map<string, CustomTag>();
  messages.forEach((message, index) => {
    const tag = buildCustomTag(context.at(`custom_tags[${index}]`), message);
    if (tag !== null && !tags.has(tag.name)) tags.set(tag.name, tag);
  });
  return [...tags.values()];
}

function buildCustomTag(context: BuildContext, message: CustomTagMessage): CustomTag | null {
  const name = wireText(message.tag);
  const type = TAG_TYPES[message.valueType] ?? TagType.Text;
  const from = message.type;
  switch (from.case) {
    case 'literal':
      return new FixedTag(name, type, wireText(from.value.value));
    case 'environment':
      return new FixedTag(name, type, wireText(process.env[from.value.name] ?? from.value.defaultValue));
    case 'requestHeader':
      return new RequestHeaderTag(name, type, from.value.name.toLowerCase(), wireText(from.value.defaultValue));
    case 'metadata': {
      const { kind, metadataKey, defaultValue } = from.value;
      const where = kind?.kind.case;
      return new MetadataTag(
        name,
        type,
        where === undefined ? null : METADATA_SOURCES[KINDS[where]]!,
        metadataKey?.key ?? '',
        metadataKey?.path.map(({ segment }) => (segment.case === 'key' ? segment.value : '')) ?? [],
        wireText(defaultValue),
      );
    }
    case 'value': {
      const format = buildTextFormat(context, 'value', from.value, true);
      return format === null ? null : new FormatTag(name, type, format);
    }
    default:
      return null;
  }
}

/** Empty: the name is left to others. */
function buildOperation(context: BuildContext, field: string, format: string): ValueFormatter | null {
  return format === '' ? null : buildTextFormat(context, field, format, true);
}

// --- routes ---

/** `context` stands at the message. */
export function buildRouteTracing(context: BuildContext, message: RouteTracingMessage): RouteTracing {
  const share = (fraction: FractionalPercentMessage | undefined): FractionalPercent =>
    fraction === undefined ? FractionalPercent.ALWAYS : buildFractionalPercent(fraction);
  return new RouteTracing(
    share(message.clientSampling),
    share(message.randomSampling),
    share(message.overallSampling),
    buildCustomTags(context, message.customTags),
    buildOperation(context, 'operation', message.operation),
    buildOperation(context, 'upstream_operation', message.upstreamOperation),
  );
}

// --- connection managers ---

export type TracerMaker = (environment: WorkerEnvironment) => Tracer;

/** What a connection manager's `tracing` becomes, in a worker. */
export type TracingMaker = (environment: WorkerEnvironment, egress: boolean) => TracingConfig;

/**
 * `context` stands at `tracing`.
 * @returns null: there is none, or errors were reported
 */
export function buildTracing(
  context: BuildContext,
  message: HttpConnectionManager_Tracing | undefined,
  requestId: RequestIdOptions,
): TracingMaker | null {
  if (message === undefined) return null;
  // Without one of its own, the bootstrap's.
  const provider = message.provider ?? context.shared.defaultTracer;
  const makeTracer = provider === undefined ? null : buildTracer(context.at('provider'), provider);
  const customTags = buildCustomTags(context, message.customTags);
  const operation = buildOperation(context, 'operation', message.operation);
  const upstreamOperation = buildOperation(context, 'upstream_operation', message.upstreamOperation);
  const { runtime } = context.shared;
  // The client's share is of whole percents in Envoy, the others are of hundredths.
  const client = new FractionalPercent(Math.trunc(message.clientSampling?.value ?? 100), 100);
  const random = new FractionalPercent(Math.round((message.randomSampling?.value ?? 100) * 100), 10_000);
  const overall = new FractionalPercent(Math.round((message.overallSampling?.value ?? 100) * 100), 10_000);
  return (environment, egress) => ({
    tracer: makeTracer === null ? null : makeTracer(environment),
    clientSampling: new RuntimeFraction(client, 'tracing.client_enabled', runtime),
    randomSampling: new RuntimeFraction(random, 'tracing.random_sampling', runtime),
    overallSampling: new RuntimeFraction(overall, 'tracing.global_enabled', runtime),
    byRequestId: requestId.useForSampling,
    packTraceReason: requestId.packTraceReason,
    egress,
    spawnUpstreamSpan: message.spawnUpstreamSpan ?? false,
    verbose: message.verbose,
    maxPathTagLength: message.maxPathTagLength ?? 256,
    customTags,
    operation,
    upstreamOperation,
    noContextPropagation: message.noContextPropagation,
    nodeId: wireText(environment.local.nodeId),
    zone: wireText(environment.local.zone),
  });
}

/** `context` stands at the provider. @returns null when it was refused */
export function buildTracer(context: BuildContext, provider: Tracing_Http): TracerMaker | null {
  const any: Any | undefined = provider.configType.case === 'typedConfig' ? provider.configType.value : undefined;
  return context.shared.extensions.build('tracer', context, 'typed_config', provider.name, any);
}
