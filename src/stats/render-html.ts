import type { MergedStore } from './merged-store.ts';
import { renderText } from './render-text.ts';
import type { StatsQuery } from './stats-query.ts';

/** /stats?format=html and active-html: the text form in a page. There is no script, so the active page does not refresh. */
export function renderHtml(store: MergedStore, query: StatsQuery): string {
  const text = renderText(store, query).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
  const notice = query.format === 'active-html' ? '<p>active-html is not offered: reload to refresh.</p>\n' : '';
  return `<!DOCTYPE html>\n<html lang="en">\n<head><title>Stats</title></head>\n<body>\n${notice}<pre>\n${text}</pre>\n</body>\n</html>\n`;
}
