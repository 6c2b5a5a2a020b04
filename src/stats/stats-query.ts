/** What /stats and /stats/prometheus were asked for. */
export interface StatsQuery {
  readonly usedOnly: boolean;
  readonly type: 'All' | 'Counters' | 'Gauges' | 'Histograms' | 'TextReadouts';
  readonly format: 'text' | 'json' | 'html' | 'active-html' | 'prometheus';
  /** `unset` prints quantiles on /stats, buckets for Prometheus; `none` and `summary` print quantiles on both. */
  readonly histogramBuckets: 'unset' | 'none' | 'summary' | 'cumulative' | 'disjoint' | 'detailed';
  readonly hidden: 'include' | 'only' | 'exclude';
  readonly textReadouts: boolean;
  /** The query's `filter` and `invert_filter` in one; true for a name to show. */
  readonly shows: (name: string) => boolean;
}

/** A query that Envoy answers with status 400 and this body. */
export interface StatsQueryError {
  readonly error: string;
}

/** `URLSearchParams` fits. */
export interface QueryParameters {
  get(name: string): string | null;
  has(name: string): boolean;
}

export const DEFAULT_STATS_QUERY: StatsQuery = {
  usedOnly: false,
  type: 'All',
  format: 'text',
  histogramBuckets: 'unset',
  hidden: 'exclude',
  textReadouts: false,
  shows: () => true,
};

const TYPES: readonly string[] = ['All', 'Counters', 'Gauges', 'Histograms', 'TextReadouts'];
const FORMATS: readonly string[] = ['html', 'active-html', 'json', 'prometheus', 'text'];
const BUCKETS: readonly string[] = ['cumulative', 'disjoint', 'detailed', 'summary', 'prometheusnative'];
const HIDDEN: readonly string[] = ['include', 'only', 'exclude'];
const BUCKETS_USAGE = 'usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n';

/** Turns an RE2 pattern into the JavaScript one where the spellings differ: leading flags, `\A`, `\z`, `[[:digit:]]`. */
function compileFilter(pattern: string): RegExp {
  let source = pattern;
  let flags = '';
  const lead = /^\(\?([ims]+)\)/.exec(source);
  if (lead !== null) {
    flags = [...new Set(lead[1]!)].join('');
    source = source.slice(lead[0].length);
  }
  const classes: Record<string, string> = {
    alpha: 'a-zA-Z',
    digit: '0-9',
    alnum: 'a-zA-Z0-9',
    lower: 'a-z',
    upper: 'A-Z',
    space: '\\s',
    word: '\\w',
    xdigit: '0-9a-fA-F',
  };
  source = source
    .replace(/\[:([a-z]+):\]/g, (all, name: string) => classes[name] ?? all)
    .replace(/\(\?P</g, '(?<')
    .replace(/\\A/g, '^')
    .replace(/\\z/g, '$');
  return new RegExp(source, flags);
}

/**
 * Reads the query of /stats; `path` says which of the two endpoints, which decides on the histogram modes.
 * A `filter` is a JavaScript regular expression here, run for an operator: RE2's syntax in all but rare corners.
 */
export function parseStatsQuery(
  parameters: QueryParameters,
  path: '/stats' | '/stats/prometheus' = '/stats',
): StatsQuery | StatsQueryError {
  let shows = DEFAULT_STATS_QUERY.shows;
  const filter = parameters.get('filter') ?? '';
  if (filter !== '') {
    let regex: RegExp;
    try {
      regex = compileFilter(filter);
    } catch (error) {
      return { error: `Invalid re2 regex: ${(error as Error).message}` };
    }
    const wanted = !parameters.has('invert_filter');
    shows = (name) => regex.test(name) === wanted;
  }
  const buckets = parameters.get('histogram_buckets') ?? '';
  if (buckets !== '' && buckets !== 'none' && !BUCKETS.includes(buckets)) return { error: BUCKETS_USAGE };
  const type = parameters.get('type') ?? '';
  if (type !== '' && !TYPES.includes(type)) return { error: 'invalid &type= param' };
  const hidden = parameters.get('hidden') ?? '';
  if (hidden !== '' && !HIDDEN.includes(hidden)) return { error: 'usage: /stats?hidden=(include|only|exclude)\n\n' };
  const format = parameters.get('format') ?? '';
  if (format !== '' && !FORMATS.includes(format)) {
    return { error: 'usage: /stats?format=(html|active-html|json|prometheus|text)\n\n' };
  }
  const prometheus = path === '/stats/prometheus' || format === 'prometheus';
  if (buckets === 'prometheusnative') {
    return {
      error: prometheus
        ? 'unsupported prometheusnative histogram type when not using protobuf exposition format'
        : 'Invalid histogram_buckets type for non prometheus stats type',
    };
  }
  if (prometheus && (buckets === 'disjoint' || buckets === 'detailed')) {
    return { error: 'unsupported prometheus histogram bucket mode' };
  }
  return {
    usedOnly: parameters.has('usedonly'),
    type: (type || 'All') as StatsQuery['type'],
    format: prometheus ? 'prometheus' : ((format || 'text') as StatsQuery['format']),
    histogramBuckets: (buckets || 'unset') as StatsQuery['histogramBuckets'],
    hidden: (hidden || 'exclude') as StatsQuery['hidden'],
    textReadouts: parameters.has('text_readouts'),
    shows,
  };
}
