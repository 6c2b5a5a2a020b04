/** What the JUnit reports of `bun test` say: totals, and which tests of which files failed. */

/** How many tests or gates passed, failed and were skipped. */
export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/** One test that failed: its file from the root of the tree, and its name behind those of its groups. */
export interface FailedTest {
  readonly file: string;
  readonly name: string;
}

const entities: Readonly<Record<string, string>> = { quot: '"', apos: "'", lt: '<', gt: '>', amp: '&' };

/** Undoes the entities that an attribute is written with. */
function plain(text: string): string {
  return text.replace(/&(?:#(\d+)|(\w+));/g, (whole, code: string | undefined, name: string | undefined) =>
    code !== undefined ? String.fromCodePoint(Number(code)) : (entities[name ?? ''] ?? whole),
  );
}

function attribute(attributes: string, name: string): string {
  return plain(new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1] ?? '');
}

function tallyOf(attributes: string): Tally {
  const count = (name: string): number => Number(attribute(attributes, name) || '0');
  const failed = count('failures') + count('errors');
  const skipped = count('skipped');
  return { passed: count('tests') - failed - skipped, failed, skipped };
}

/** Reads the totals that a JUnit report states in its outermost element; null when the text is no such report. */
export function readJunitTotals(xml: string): Tally | null {
  const head = /<testsuites\b([^>]*)>/.exec(xml)?.[1];
  return head === undefined ? null : tallyOf(head);
}

/** Reads the totals of each file; `bun test` writes one element for a file directly inside of the outermost one. */
export function readJunitFiles(xml: string): Map<string, Tally> {
  const files = new Map<string, Tally>();
  let depth = 0;
  for (const [whole, closing, attributes = ''] of xml.matchAll(/<(\/?)testsuite\b((?:[^>"]|"[^"]*")*)>/g)) {
    if (closing === '/') depth--;
    else {
      if (depth === 0) files.set(attribute(attributes, 'file'), tallyOf(attributes));
      if (!whole.endsWith('/>')) depth++;
    }
  }
  return files;
}

/** Reads which tests failed. */
export function readJunitFailures(xml: string): FailedTest[] {
  const failed: FailedTest[] = [];
  for (const [, attributes = '', inner] of xml.matchAll(
    /<testcase\b((?:[^>"]|"[^"]*")*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g,
  )) {
    if (inner === undefined || !/<(?:failure|error)\b/.test(inner)) continue;
    const group = attribute(attributes, 'classname');
    const name = attribute(attributes, 'name');
    failed.push({ file: attribute(attributes, 'file'), name: group === '' ? name : `${group} > ${name}` });
  }
  return failed;
}
