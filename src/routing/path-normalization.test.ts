import { expect, test } from 'bun:test';
import { SeededRandom } from '../base/random.ts';
import { RequestHeaders } from '../http/header-map.ts';
import golden from './path-normalization.golden.json';
import {
  EscapedSlashesAction,
  mergeSlashes,
  normalizePath,
  normalizeRequestPath,
  type PathNormalization,
  PathVerdict,
} from './path-normalization.ts';

function run(path: string, normalize: boolean, merge: boolean, escapedSlashes: EscapedSlashesAction): string {
  const settings: PathNormalization = { normalizePath: normalize, mergeSlashes: merge, escapedSlashes };
  const headers = new RequestHeaders();
  headers.path = path;
  const verdict = normalizeRequestPath(headers, settings);
  if (verdict === PathVerdict.Reject) return '400';
  return verdict === PathVerdict.Redirect ? `307 ${headers.path}` : headers.path;
}

test('every recorded path becomes what Envoy made of it', () => {
  const { KeepUnchanged, UnescapeAndForward, UnescapeAndRedirect, RejectRequest } = EscapedSlashesAction;
  for (const [path, normalized, merged, both, forwarded, redirected, rejected] of golden.rows as string[][]) {
    const label = JSON.stringify(path);
    expect(`${label} ${run(path!, true, false, KeepUnchanged)}`).toBe(`${label} ${normalized}`);
    expect(`${label} ${run(path!, false, true, KeepUnchanged)}`).toBe(`${label} ${merged}`);
    expect(`${label} ${run(path!, true, true, KeepUnchanged)}`).toBe(`${label} ${both}`);
    expect(`${label} ${run(path!, true, false, UnescapeAndForward)}`).toBe(`${label} ${forwarded}`);
    expect(`${label} ${run(path!, true, false, UnescapeAndRedirect)}`).toBe(`${label} ${redirected}`);
    expect(`${label} ${run(path!, false, false, RejectRequest)}`).toBe(`${label} ${rejected}`);
  }
  for (const [path, normalized] of golden.normalizeOnly as string[][]) expect(normalizePath(path!)).toBe(normalized!);
});

test('a normalised path holds no dot segment, no backslash, no raw byte to escape, and its query is untouched', () => {
  const random = new SeededRandom(20_261_122);
  const parts = [
    '/',
    '.',
    '..',
    '%2e',
    '\\',
    'a',
    '%',
    '%41',
    '%7',
    '\u00e9',
    '\u0001',
    ';',
    '?',
    '#',
    '"',
    ' ',
    '%00',
    '//',
  ];
  for (let round = 0; round < 5000; round++) {
    let path = '';
    for (let i = random.below(12); i >= 0; i--) path += parts[random.below(parts.length)];
    const normalized = normalizePath(path);
    if (normalized === null) continue;
    const query = path.indexOf('?');
    if (query >= 0) expect(normalized.endsWith(path.slice(query))).toBe(true);
    const head = query < 0 ? normalized : normalized.slice(0, normalized.length - (path.length - query));
    expect(head.startsWith('/')).toBe(true);
    expect(head).not.toMatch(/\/\.\.?(\/|$)|[\\\s"#\u0080-\u00ff]/);
    expect(mergeSlashes(head)).not.toMatch(/.\/\/|\/\/./);
  }
});

test('an ordinary path comes back as the same string', () => {
  const path = '/api/v1/users/42?sort=name';
  expect(normalizePath(path)).toBe(path);
  expect(normalizePath('/%00')).toBeNull();
});
