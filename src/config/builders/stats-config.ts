import type { StatsConfig } from '../../api/gen/envoy/config/metrics/v3/stats_pb.d.ts';
import type { ListStringMatcher, StringMatcher } from '../../api/gen/envoy/type/matcher/v3/string_pb.d.ts';
import { Regex } from '../../routing/regex.ts';
import type { HistogramBucketSettings } from '../../stats/merged-store.ts';
import { type StatPattern, StatsMatcher } from '../../stats/stats-matcher.ts';
import { type CustomTag, type Tag, TagProducer } from '../../stats/tag-extraction.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';

const METRICS = 'envoy.config.metrics.v3';

export const STATS_CONFIG_SUPPORT: readonly FieldSupport[] = [
  {
    message: `${METRICS}.StatsConfig`,
    fields: 'stats_tags use_all_default_tags stats_matcher histogram_bucket_settings',
  },
  { message: `${METRICS}.StatsMatcher`, fields: '*' },
  { message: `${METRICS}.TagSpecifier`, fields: '*' },
  { message: `${METRICS}.HistogramBucketSettings`, fields: 'match buckets' },
  { message: 'envoy.type.matcher.v3.ListStringMatcher', fields: '*' },
];

/** How all stats of the process are named, filtered and binned. */
export interface StatsSpec {
  readonly producer: TagProducer;
  readonly matcher: StatsMatcher;
  readonly histogramBuckets: readonly HistogramBucketSettings[];
}

/** @param commandLineTags `--stats-tag`, already taken apart */
export function buildStatsConfig(
  context: BuildContext,
  message: StatsConfig | undefined,
  commandLineTags: readonly Tag[],
): StatsSpec {
  const customTags: CustomTag[] = (message?.statsTags ?? []).map((tag) => {
    if (tag.tagValue.case === 'fixedValue') return { name: tag.tagName, fixedValue: tag.tagValue.value };
    return tag.tagValue.case === 'regex' ? { name: tag.tagName, regex: tag.tagValue.value } : { name: tag.tagName };
  });
  const producer = buildProducer(context, message?.useAllDefaultTags ?? true, customTags, commandLineTags);
  return {
    producer,
    matcher: buildMatcher(context, message),
    histogramBuckets: (message?.histogramBucketSettings ?? []).flatMap((setting, index) => {
      const at = context.at(`histogram_bucket_settings[${index}]`);
      const match = setting.match === undefined ? null : buildPattern(at, 'match', setting.match);
      const sorted = setting.buckets.every((bound, i) => i === 0 || bound > setting.buckets[i - 1]!);
      if (!sorted) at.refuse('buckets', 'bounds must be in ascending order without repetition');
      return match === null ? [] : [{ match, buckets: setting.buckets }];
    }),
  };
}

function buildProducer(
  context: BuildContext,
  useAllDefaultTags: boolean,
  customTags: readonly CustomTag[],
  commandLineTags: readonly Tag[],
): TagProducer {
  try {
    return new TagProducer({ useAllDefaultTags, customTags, commandLineTags });
  } catch (error) {
    context.refuse('stats_tags', (error as Error).message);
    return new TagProducer();
  }
}

function buildMatcher(context: BuildContext, message: StatsConfig | undefined): StatsMatcher {
  const chosen = message?.statsMatcher?.statsMatcher;
  switch (chosen?.case) {
    case 'rejectAll':
      return new StatsMatcher({ rejectAll: chosen.value });
    case 'inclusionList':
      return new StatsMatcher({ inclusionList: buildPatterns(context, 'stats_matcher.inclusion_list', chosen.value) });
    case 'exclusionList':
      return new StatsMatcher({ exclusionList: buildPatterns(context, 'stats_matcher.exclusion_list', chosen.value) });
    default:
      return new StatsMatcher();
  }
}

function buildPatterns(context: BuildContext, field: string, list: ListStringMatcher): StatPattern[] {
  return list.patterns
    .map((pattern, index) => buildPattern(context, `${field}.patterns[${index}]`, pattern))
    .filter((pattern) => pattern !== null);
}

function buildPattern(context: BuildContext, field: string, message: StringMatcher): StatPattern | null {
  const { matchPattern, ignoreCase } = message;
  switch (matchPattern.case) {
    case 'exact':
      return { exact: matchPattern.value, ignoreCase };
    case 'prefix':
      return { prefix: matchPattern.value, ignoreCase };
    case 'suffix':
      return { suffix: matchPattern.value, ignoreCase };
    case 'contains':
      return { contains: matchPattern.value, ignoreCase };
    case 'safeRegex': {
      const regex = Regex.compile(matchPattern.value.regex);
      if (!regex.ok) {
        context.refuse(`${field}.safe_regex.regex`, regex.error);
        return null;
      }
      // The whole name must match: what `test` asks.
      return { safeRegex: { exec: (text) => (regex.value.test(text) ? { 0: text, index: 0 } : null) } };
    }
    default:
      context.refuse(field, 'this kind of string matcher is not supported yet');
      return null;
  }
}
