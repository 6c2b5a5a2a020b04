import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { RuntimeValue } from '../../config/builders/runtime.ts';
import { parseTree } from '../../config/load/load-config.ts';

/** Envoy: DiskLayer::MaxWalkDepth. */
const MAX_DEPTH = 16;

/**
 * Reads a directory of runtime values: a file's path below `root`, with dots for slashes, is the key.
 * Source: Envoy, configuration/operations/runtime, "File system layout".
 * @returns null when there is no such directory
 * @throws Error when the tree is too deep or cannot be read
 */
export function readDiskLayer(root: string): Map<string, RuntimeValue> | null {
  if (!isDirectory(root)) return null;
  const values = new Map<string, RuntimeValue>();
  walk(root, '', 1, values);
  return values;
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function walk(directory: string, prefix: string, depth: number, values: Map<string, RuntimeValue>): void {
  if (depth > MAX_DEPTH) throw new Error(`Walk recursion depth exceeded ${MAX_DEPTH}`);
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    const key = prefix === '' ? entry.name : `${prefix}.${entry.name}`;
    // Links are followed: mounted configuration maps are made of them. `..data` and the like are their inside.
    if (entry.isDirectory() || (entry.isSymbolicLink() && isDirectory(path))) {
      if (!entry.name.startsWith('..')) walk(path, key, depth + 1, values);
    } else if (entry.isFile() || entry.isSymbolicLink()) {
      const value = parseRuntimeText(withoutComments(readFileSync(path, 'utf8')));
      if (value !== null) values.set(key, value);
    }
  }
}

/** Lines that begin with `#` are comments; the end of the last line is trimmed. */
function withoutComments(text: string): string {
  return text
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .join('\n')
    .trimEnd();
}

/** A value as files and `/runtime_modify` give it: a number, a bool, the YAML of a fraction, or text. */
export function parseRuntimeText(text: string): RuntimeValue | null {
  const trimmed = text.trim();
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed)) return Number(trimmed);
  if (/^true$/i.test(trimmed)) return true;
  if (/^false$/i.test(trimmed)) return false;
  if (/numerator|denominator/.test(trimmed)) {
    const fraction = parseFraction(trimmed);
    if (fraction !== null) return fraction;
  }
  return text;
}

function parseFraction(text: string): { numerator: number; denominator: string } | null {
  const { tree } = parseTree({ name: 'runtime', format: 'yaml', content: text });
  if (tree === undefined || tree.kind !== 'mapping') return null;
  let numerator = 0;
  let denominator = 'HUNDRED';
  for (const field of text.matchAll(/["']?(numerator|denominator)["']?\s*:\s*["']?([A-Z_]+|\d+)/g)) {
    if (field[1] === 'numerator') numerator = Number(field[2]);
    else denominator = field[2]!;
  }
  return Number.isInteger(numerator) ? { numerator, denominator } : null;
}
