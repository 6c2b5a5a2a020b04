import type { Message } from '@bufbuild/protobuf';
import type { LocalRateLimit } from '../../../api/gen/envoy/extensions/filters/listener/local_ratelimit/v3/local_ratelimit_pb.d.ts';
import { TokenBucket } from '../../../base/token-bucket.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { durationMsOr } from '../../../config/builders/durations.ts';
import { buildFeatureFlag, FEATURE_FLAG_SUPPORT } from '../../../config/builders/feature-flag.ts';
import type { ListenerFilterMaker } from '../../../config/builders/listener-filters.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { LocalRateLimitFilter } from './filter.ts';

const NAME = 'envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit';
/** Source: Envoy, local rate limit: shorter fill intervals are refused. */
const MIN_FILL_INTERVAL_MS = 50;

function build(config: LocalRateLimit, context: BuildContext): ListenerFilterMaker | null {
  const tokens = config.tokenBucket;
  const intervalMs = durationMsOr(tokens?.fillInterval, 0);
  if (tokens === undefined || intervalMs < MIN_FILL_INTERVAL_MS) {
    context.refuse('token_bucket.fill_interval', 'local rate limit token bucket fill timer must be >= 50ms');
    return null;
  }
  const { stats } = context.shared;
  const rateLimited = stats.counter(`listener_local_ratelimit.${config.statPrefix}.rate_limited`);
  const enabled = buildFeatureFlag(context, config.runtimeEnabled);
  const cellName = `listener_local_ratelimit ${context.path}`;
  return ({ dispatcher, shared, sharedClockOffsetMs }) => {
    const filter = new LocalRateLimitFilter({
      rateLimited,
      bucket: new TokenBucket(tokens.maxTokens, tokens.tokensPerFill ?? 1, intervalMs, shared.cell(cellName)),
      nowMs: () => dispatcher.nowMs + sharedClockOffsetMs,
      enabled,
    });
    return { createFilter: () => filter };
  };
}

/** Source: envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit. The rate holds for all workers together. */
export const listenerLocalRateLimitFilter: ExtensionFactory<'listener-filter'> = {
  kind: 'listener-filter',
  name: 'envoy.filters.listener.local_ratelimit',
  configType: NAME,
  support: [
    { message: NAME, fields: '*' },
    { message: 'envoy.type.v3.TokenBucket', fields: '*' },
    FEATURE_FLAG_SUPPORT,
  ],
  build: (config: Message, context) => build(config as LocalRateLimit, context),
};
