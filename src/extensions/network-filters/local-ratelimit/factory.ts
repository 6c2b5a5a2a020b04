import type { Message } from '@bufbuild/protobuf';
import type { LocalRateLimit } from '../../../api/gen/envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit_pb.d.ts';
import { TokenBucket } from '../../../base/token-bucket.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { durationMsOr } from '../../../config/builders/durations.ts';
import { buildFeatureFlag, FEATURE_FLAG_SUPPORT } from '../../../config/builders/feature-flag.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { NetworkFilterBuilder } from '../../../net/filter.ts';
import type { ConnectionContext } from '../../../pipeline/environment.ts';
import { type ConnectionRate, LocalRateLimitFilter } from './filter.ts';

const NAME = 'envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit';
/** Source: Envoy, local rate limit filter: shorter fill intervals are refused. */
const MIN_FILL_INTERVAL_MS = 50;

function build(config: LocalRateLimit, context: BuildContext): NetworkFilterBuilder<ConnectionContext> | null {
  const tokens = config.tokenBucket;
  const intervalMs = durationMsOr(tokens?.fillInterval, 0);
  if (intervalMs < MIN_FILL_INTERVAL_MS) {
    context.refuse('token_bucket.fill_interval', 'local rate limit token bucket fill timer must be >= 50ms');
    return null;
  }
  const { stats } = context.shared;
  const rateLimited = stats.counter(`local_rate_limit.${config.statPrefix}.rate_limited`);
  const enabled = buildFeatureFlag(context, config.runtimeEnabled);
  const { maxTokens, tokensPerFill } = tokens!;
  // A bucket of its own for each filter, unless a key names a common one.
  const cellName = `local_rate_limit ${config.shareKey === '' ? context.path : `key ${config.shareKey}`}`;
  let rate: ConnectionRate | null = null;
  return {
    isTerminal: false,
    createFilter({ environment }) {
      rate ??= {
        rateLimited,
        bucket: new TokenBucket(maxTokens, tokensPerFill ?? 1, intervalMs, environment.shared.cell(cellName)),
        clockOffsetMs: environment.sharedClockOffsetMs,
        enabled,
      };
      return new LocalRateLimitFilter(rate);
    },
  };
}

/** Source: envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit. The rate holds for all workers together. */
export const localRateLimitFilter: ExtensionFactory<'network-filter'> = {
  kind: 'network-filter',
  name: 'envoy.filters.network.local_ratelimit',
  configType: NAME,
  support: [
    { message: NAME, fields: '*' },
    { message: 'envoy.type.v3.TokenBucket', fields: '*' },
    FEATURE_FLAG_SUPPORT,
  ],
  build: (config: Message, context) => build(config as LocalRateLimit, context),
};
