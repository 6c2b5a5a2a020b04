import type {
  HttpConnectionManager_Tracing,
  RequestIDExtension,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.d.ts';
import type { UuidRequestIdConfig } from '../../api/gen/envoy/extensions/request_id/uuid/v3/uuid_pb.d.ts';
import { createTracingStats } from '../../pipeline/connection-manager-stats.ts';
import type { TracingConfig } from '../../pipeline/tracing.ts';
import { FractionalPercent, RuntimeFraction } from '../../routing/runtime-fraction.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildTextFormat } from './format.ts';

export const TRACING_SUPPORT: readonly FieldSupport[] = [
  {
    message: 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing',
    fields: 'client_sampling random_sampling overall_sampling',
    // They shape spans: without a tracer they have no effect in Envoy either.
    inert:
      'operation upstream_operation verbose max_path_tag_length custom_tags spawn_upstream_span no_context_propagation',
  },
  { message: 'envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig', fields: '*' },
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

/** Reports what is wrong with `tracing`; `createTracing` may be called when nothing is. */
export function checkTracing(context: BuildContext, message: HttpConnectionManager_Tracing | undefined): void {
  if (message === undefined) return;
  if (message.provider !== undefined) {
    context.refuse(
      'provider',
      'tracers are not supported yet',
      'leave it out: requests are then marked, but not traced',
    );
  }
  // Names of spans that nobody makes yet; Envoy refuses formats that it cannot read.
  if (message.operation !== '') buildTextFormat(context, 'operation', message.operation);
  if (message.upstreamOperation !== '') buildTextFormat(context, 'upstream_operation', message.upstreamOperation);
  message.customTags.forEach((tag, index) => {
    if (tag.type.case === 'value') buildTextFormat(context, `custom_tags[${index}].value`, tag.type.value);
  });
}

/** @param context with the connection manager's stats scope */
export function createTracing(
  context: BuildContext,
  message: HttpConnectionManager_Tracing | undefined,
  requestId: RequestIdOptions,
): Omit<TracingConfig, 'egress'> | null {
  if (message === undefined) return null;
  const { runtime } = context.shared;
  // The client's share is of whole percents in Envoy, the others are of hundredths.
  const client = new FractionalPercent(Math.trunc(message.clientSampling?.value ?? 100), 100);
  const random = new FractionalPercent(Math.round((message.randomSampling?.value ?? 100) * 100), 10_000);
  const overall = new FractionalPercent(Math.round((message.overallSampling?.value ?? 100) * 100), 10_000);
  return {
    stats: createTracingStats(context.stats),
    clientSampling: new RuntimeFraction(client, 'tracing.client_enabled', runtime),
    randomSampling: new RuntimeFraction(random, 'tracing.random_sampling', runtime),
    overallSampling: new RuntimeFraction(overall, 'tracing.global_enabled', runtime),
    byRequestId: requestId.useForSampling,
    packTraceReason: requestId.packTraceReason,
  };
}
