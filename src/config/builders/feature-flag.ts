import type { RuntimeFeatureFlag } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';

export const FEATURE_FLAG_SUPPORT: FieldSupport = { message: 'envoy.config.core.v3.RuntimeFeatureFlag', fields: '*' };

/** A switch that the runtime may turn while we run; on where there is none. */
export function buildFeatureFlag(context: BuildContext, flag: RuntimeFeatureFlag | undefined): () => boolean {
  const { runtime } = context.shared;
  const key = flag?.runtimeKey ?? '';
  const on = flag?.defaultValue ?? flag === undefined;
  return key === '' ? () => on : () => runtime.boolean(key, on);
}
