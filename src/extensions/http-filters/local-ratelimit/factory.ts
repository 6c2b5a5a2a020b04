import { type Message, toBinary } from '@bufbuild/protobuf';
import type { HeaderValueOption } from '../../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { LocalRateLimitDescriptor } from '../../../api/gen/envoy/extensions/common/ratelimit/v3/ratelimit_pb.d.ts';
import type { LocalRateLimit } from '../../../api/gen/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit_pb.d.ts';
import type { TokenBucket } from '../../../api/gen/envoy/type/v3/token_bucket_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { durationMs } from '../../../config/builders/durations.ts';
import { buildHeaderMutation } from '../../../config/builders/route-config-headers.ts';
import { buildRuntimeFraction } from '../../../config/builders/route-config-matchers.ts';
import { buildRateLimits } from '../../../config/builders/route-config-policies.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { HttpFilterBuilder } from '../../../pipeline/http-filter.ts';
import { HeaderMutations } from '../../../routing/header-mutation.ts';
import { type HostLimits, HttpLocalRateLimitFilter, LIMIT_STATS, LimiterPool, type LimitSettings } from './filter.ts';
import { type BucketSpec, type DescriptorSpec, entriesKey, hasWildcard } from './limiter.ts';

const NAME = 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit';
const COMMON = 'envoy.extensions.common.ratelimit.v3';
/** Source: Envoy, LocalRateLimiterImpl: shorter fill intervals are refused. */
const MIN_FILL_INTERVAL_MS = 50;
const DEFAULT_DYNAMIC_DESCRIPTORS = 20;

function bucketSpec(message: TokenBucket): BucketSpec {
  return {
    maxTokens: message.maxTokens,
    tokensPerFill: message.tokensPerFill ?? 1,
    fillIntervalMs: message.fillInterval === undefined ? 0 : Math.trunc(durationMs(message.fillInterval)),
  };
}

function buildDescriptors(context: BuildContext, messages: readonly LocalRateLimitDescriptor[]): DescriptorSpec[] {
  const out: DescriptorSpec[] = [];
  const seen = new Set<string>();
  messages.forEach((message, i) => {
    const field = `descriptors[${i}]`;
    if (message.tokenBucket === undefined) return;
    const bucket = bucketSpec(message.tokenBucket);
    if (bucket.maxTokens > 0 && bucket.fillIntervalMs < MIN_FILL_INTERVAL_MS) {
      context.refuse(
        `${field}.token_bucket.fill_interval`,
        'local rate limit descriptor token bucket fill timer must be >= 50ms',
      );
    }
    const entries = message.entries.flatMap((entry) => [entry.key, entry.value]);
    const key = entriesKey(entries);
    if (seen.has(key)) {
      const text = message.entries.map((entry) => `${entry.key}=${entry.value}`).join(', ');
      context.refuse(`${field}.entries`, `duplicate descriptor in the local rate descriptor: ${text}`);
    }
    seen.add(key);
    const spec = { entries, bucket, shadow: message.shadowMode };
    if (hasWildcard(spec)) {
      context.warn(field, 'the buckets of a descriptor with empty values are counted by each worker for itself');
    }
    out.push(spec);
  });
  return out;
}

function buildAdditions(context: BuildContext, field: string, messages: readonly HeaderValueOption[]): HeaderMutations {
  if (messages.length === 0) return HeaderMutations.NONE;
  const additions = messages
    .map((each, i) => buildHeaderMutation(context, `${field}[${i}]`, each))
    .filter((each) => each !== null);
  return new HeaderMutations([], additions);
}

function buildSettings(message: LocalRateLimit, context: BuildContext, perRoute: boolean): LimitSettings | null {
  const before = context.errorCount;
  if (perRoute && message.tokenBucket === undefined) {
    context.refuse('token_bucket', 'local rate limit token bucket must be set for per filter configs');
  }
  let bucket = message.tokenBucket === undefined ? null : bucketSpec(message.tokenBucket);
  if (bucket !== null && bucket.fillIntervalMs === 0) bucket = null;
  if (bucket !== null && bucket.maxTokens > 0 && bucket.fillIntervalMs < MIN_FILL_INTERVAL_MS) {
    context.refuse('token_bucket.fill_interval', 'local rate limit token bucket fill timer must be >= 50ms');
  }
  const code = message.status?.code ?? 0;
  const settings: LimitSettings = {
    key: `${context.path}|${contentKey(context, message)}`,
    stats: LIMIT_STATS.create(context.shared.stats, `${message.statPrefix}.http_local_rate_limit`),
    status: code >= 400 ? code : 429,
    limits: {
      bucket,
      descriptors: buildDescriptors(context, message.descriptors),
      alwaysConsumeDefault: message.alwaysConsumeDefaultTokenBucket ?? true,
      maxDynamicDescriptors: message.maxDynamicDescriptors ?? DEFAULT_DYNAMIC_DESCRIPTORS,
    },
    perConnection: message.localRateLimitPerDownstreamConnection,
    enabled: message.filterEnabled === undefined ? null : buildRuntimeFraction(context, message.filterEnabled),
    enforced: message.filterEnforced === undefined ? null : buildRuntimeFraction(context, message.filterEnforced),
    requestMutations: buildAdditions(
      context,
      'request_headers_to_add_when_not_enforced',
      message.requestHeadersToAddWhenNotEnforced,
    ),
    responseMutations: buildAdditions(context, 'response_headers_to_add', message.responseHeadersToAdd),
    stage: message.stage,
    rateLimitHeaders: message.enableXRatelimitHeaders === 1,
    retryAfterHeader: message.enableRetryAfterHeader,
    hostLimits: message.vhRateLimits as HostLimits,
    resourceExhausted: message.rateLimitedAsResourceExhausted,
    policies: buildRateLimits(context, 'rate_limits', message.rateLimits),
  };
  return context.errorCount > before ? null : settings;
}

/** A changed configuration gets buckets of its own: they begin full, as in Envoy. */
function contentKey(context: BuildContext, message: LocalRateLimit): string {
  const desc = context.shared.api.message(NAME);
  return desc === undefined ? '' : Buffer.from(toBinary(desc, message)).toString('base64');
}

function build(message: LocalRateLimit, context: BuildContext): HttpFilterBuilder | null {
  const settings = buildSettings(message, context, false);
  if (settings === null) return null;
  let pool: LimiterPool | null = null;
  return {
    isTerminal: false,
    createFilter: ({ environment, listener }) => {
      pool ??= new LimiterPool(environment, listener.name);
      return new HttpLocalRateLimitFilter(settings, pool);
    },
  };
}

/** envoy.filters.http.local_ratelimit: token buckets of this process. */
export const httpLocalRateLimitFilter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.local_ratelimit',
  configType: NAME,
  support: [
    {
      message: NAME,
      // Refused: local_cluster_rate_limit needs the local cluster's membership.
      fields: `stat_prefix status token_bucket filter_enabled filter_enforced request_headers_to_add_when_not_enforced
        response_headers_to_add descriptors stage local_rate_limit_per_downstream_connection enable_x_ratelimit_headers
        vh_rate_limits always_consume_default_token_bucket rate_limited_as_resource_exhausted rate_limits
        max_dynamic_descriptors enable_retry_after_header`,
    },
    { message: `${COMMON}.LocalRateLimitDescriptor`, fields: '*' },
    { message: `${COMMON}.RateLimitDescriptor.Entry`, fields: '*' },
    { message: 'envoy.type.v3.TokenBucket', fields: '*' },
    { message: 'envoy.type.v3.HttpStatus', fields: '*' },
  ],
  build: (message: Message, context) => build(message as LocalRateLimit, context),
  routeConfigType: NAME,
  buildRoute: (message: Message, context) => buildSettings(message as LocalRateLimit, context, true),
};
