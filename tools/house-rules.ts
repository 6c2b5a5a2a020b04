/**
 * The rules of the house that neither the compiler, the linter nor the import rule can say. Prints one line per
 * breach and exits 1; files that are merely long are listed and do not fail.
 */
import { readFileSync } from 'node:fs';
import { Glob } from 'bun';

/** What one rule found in one file. */
export interface Breach {
  readonly line: number;
  readonly rule: string;
}

const LONG_FILE_LINES = 500;
const VAGUE_NAME = /(^|[/.-])(util|utils|helper|helpers|common)([/.-]|$)/;
const KEBAB_CASE = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z]+)?\.ts$/;

interface LineRule {
  readonly rule: string;
  readonly pattern: RegExp;
  readonly except?: RegExp;
}

const lineRules: readonly LineRule[] = [
  { rule: 'no default exports', pattern: /^\s*export\s+default\b/ },
  {
    rule: 'write `import type` instead of a type expression import(): the import rule must see it',
    pattern: /(?<!await\s)(?<!\.)\bimport\(\s*['"`]\.{1,2}\//,
  },
  {
    rule: 'sockets of Bun live in src/net/bun alone',
    pattern: /\bBun\.(listen|connect|udpSocket|serve)\b|\bfrom 'bun'/,
    except: /^src\/net\/bun\/|^test\/|^tools\/|^bench\/|^examples\/|\.test\.ts$/,
  },
  {
    rule: 'sockets of Node live in src/net/node alone; elsewhere node:net gives isIP and BlockList',
    pattern:
      /^(?!import \{ ?(BlockList|isIP|isIPv4|isIPv6)(, (BlockList|isIP|isIPv4|isIPv6))* ?\} from).*['"]node:net['"]/,
    except: /^src\/net\/node\/|^test\/|^tools\/|^bench\/|^examples\/|\.test\.ts$/,
  },
  {
    rule: 'Node 20, where the library runs, lacks it (base/deferred.ts stands in for withResolvers)',
    pattern:
      /\bPromise\.(withResolvers|try)\b|\bArray\.fromAsync\b|\b(Object|Map)\.groupBy\b|\.(values|keys|entries)\(\)\.(map|filter|some|every|find|reduce|toArray|flatMap|take|drop|forEach)\(/,
    except: /^test\/|^tools\/|^bench\/|^examples\/|\.test\.ts$|^src\/base\/deferred\.ts$/,
  },
  {
    rule: 'no work may be started by a broad name',
    pattern: /\b(pkill|killall)\b/,
    except: /^tools\/house-rules/,
  },
];

/** Checks the path and the text of one file; `path` is relative to the root. */
export function findBreaches(path: string, text: string): Breach[] {
  const found: Breach[] = [];
  if (VAGUE_NAME.test(path)) found.push({ line: 1, rule: 'no folder or file is called util, helper or common' });
  const name = path.slice(path.lastIndexOf('/') + 1);
  if (!KEBAB_CASE.test(name)) found.push({ line: 1, rule: 'file names are kebab-case' });
  const lines = text.split('\n');
  for (const { rule, pattern, except } of lineRules) {
    if (except?.test(path)) continue;
    for (let i = 0; i < lines.length; i++) {
      const line = lines[i] ?? '';
      if (/^\s*(\*|\/\/|\/\*)/.test(line)) continue;
      if (pattern.test(line)) found.push({ line: i + 1, rule });
    }
  }
  return found;
}

function main(): number {
  let breaches = 0;
  const long: string[] = [];
  for (const folder of ['src', 'test', 'tools', 'bench', 'examples']) {
    const files = [...new Glob(`${folder}/**/*.ts`).scanSync('.')].sort();
    for (const path of files) {
      if (path.startsWith('src/api/gen/') || path.endsWith('.d.ts')) continue;
      const text = readFileSync(path, 'utf8');
      for (const { line, rule } of findBreaches(path, text)) {
        console.error(`${path}:${line}: ${rule}`);
        breaches++;
      }
      const lines = text.split('\n').length - 1;
      if (lines > LONG_FILE_LINES) long.push(`${path} (${lines})`);
    }
  }
  if (long.length > 0) console.log(`longer than ${LONG_FILE_LINES} lines: ${long.join(', ')}`);
  console.log(breaches === 0 ? 'house rules: kept' : `house rules: ${breaches} breaches`);
  return breaches === 0 ? 0 : 1;
}

if (import.meta.main) process.exit(main());
