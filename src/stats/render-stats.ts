import type { MergedStore } from './merged-store.ts';
import { renderHtml } from './render-html.ts';
import { renderJson } from './render-json.ts';
import { renderPrometheus } from './render-prometheus.ts';
import { renderText } from './render-text.ts';
import { parseStatsQuery, type QueryParameters } from './stats-query.ts';

/** What the admin endpoint answers. */
export interface StatsResponse {
  readonly status: 200 | 400;
  readonly contentType: string;
  readonly body: string;
}

const PLAIN = 'text/plain; charset=UTF-8';

/** Answers GET /stats and GET /stats/prometheus as Envoy does; apply every worker's delta first. */
export function renderStats(
  store: MergedStore,
  path: '/stats' | '/stats/prometheus',
  parameters: QueryParameters,
): StatsResponse {
  const query = parseStatsQuery(parameters, path);
  if ('error' in query) return { status: 400, contentType: PLAIN, body: query.error };
  switch (query.format) {
    case 'text':
      return { status: 200, contentType: PLAIN, body: renderText(store, query) };
    case 'prometheus':
      return { status: 200, contentType: PLAIN, body: renderPrometheus(store, query) };
    case 'json':
      return { status: 200, contentType: 'application/json', body: renderJson(store, query) };
    case 'html':
    case 'active-html':
      return { status: 200, contentType: 'text/html; charset=UTF-8', body: renderHtml(store, query) };
  }
}
