import { toBinary } from '@bufbuild/protobuf';
import type { Duration } from '@bufbuild/protobuf/wkt';
import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.d.ts';
import type { BuildContext } from '../build-context.ts';
import { buildConfigSource } from './config-source.ts';
import { durationMsOr } from './durations.ts';

/** Envoy: OnDemandCds.timeout. */
const DEFAULT_TIMEOUT_MS = 5_000;

/** Where clusters come from that are fetched when something needs them. */
export interface DemandSource {
  /** An encoded ConfigSource: main follows it from the first demand on. */
  readonly source: Uint8Array;
  readonly timeoutMs: number;
}

/** @returns null when it was refused */
export function buildDemandSource(
  context: BuildContext,
  field: string,
  message: ConfigSource | undefined,
  resourcesLocator: string,
  timeout: Duration | undefined,
): DemandSource | null {
  const before = context.errorCount;
  if (resourcesLocator !== '') {
    context.refuse('resources_locator', 'xdstp collections are not supported yet', 'name no locator');
  }
  const source = buildConfigSource(context, field, message);
  if (source !== null && (source.kind === 'file' || (source.kind === 'api' && !source.api.isDelta))) {
    context.refuse(field, 'clusters on demand need a delta source', 'use DELTA_GRPC, or ads');
  }
  if (source === null || message === undefined || context.errorCount > before) return null;
  const desc = context.shared.api.message(message.$typeName)!;
  return { source: toBinary(desc, message), timeoutMs: durationMsOr(timeout, DEFAULT_TIMEOUT_MS) };
}
