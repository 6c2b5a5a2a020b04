/** The stages of checking and testing, each a list of commands; `tools/check.ts` and `tools/test.ts` run them. */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** The root of the tree. */
export const root = join(import.meta.dir, '..');

const bin = join(root, 'node_modules', '.bin');

/** One command that either passes or fails as a whole. */
export interface Gate {
  readonly name: string;
  readonly command: readonly string[];
}

/** The checks that are not tests, quickest first. */
export const gates: readonly Gate[] = [
  { name: 'house rules', command: [join(bin, 'bun'), 'tools/house-rules.ts'] },
  { name: 'lint and format', command: [join(bin, 'biome'), 'check', '.'] },
  { name: 'import rule', command: [join(bin, 'depcruise'), 'src', '--config', '.dependency-cruiser.cjs'] },
  { name: 'list of what is supported', command: [join(bin, 'bun'), 'tools/generate-support.ts', '--check'] },
  { name: 'reference pages', command: [join(bin, 'bun'), 'tools/generate-reference.ts', '--check'] },
  { name: 'types', command: [join(bin, 'tsc'), '--noEmit', '-p', '.'] },
];

/** One run of `bun test`: paths, and the time that one test may take, in milliseconds. */
export interface TestStage {
  readonly name: string;
  readonly paths: readonly string[];
  readonly timeoutMs: number;
  /** It takes a program whose build is too heavy for every run: only where it is named. */
  readonly onDemand?: boolean;
}

export const testStages: readonly TestStage[] = [
  { name: 'unit', paths: ['./src', './tools', './test/support'], timeoutMs: 20_000 },
  { name: 'integration', paths: ['./test/integration'], timeoutMs: 60_000 },
  { name: 'differential', paths: ['./test/differential'], timeoutMs: 60_000 },
  { name: 'smuggling', paths: ['./test/smuggling'], timeoutMs: 60_000 },
  { name: 'conformance', paths: ['./test/conformance'], timeoutMs: 60_000 },
  { name: 'counterparts', paths: ['./test/counterparts'], timeoutMs: 60_000 },
  { name: 'faults', paths: ['./test/faults', './test/soak'], timeoutMs: 60_000 },
  { name: 'envoy-gateway', paths: ['./test/envoy-gateway'], timeoutMs: 120_000, onDemand: true },
  { name: 'gateway-api', paths: ['./test/gateway-api'], timeoutMs: 600_000, onDemand: true },
];

/** How many tests or gates passed, failed and were skipped. */
export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/** Runs a command at the root with its output shown; resolves to its exit code (or 128 + signal). */
export async function run(command: readonly string[], env: Record<string, string> = {}): Promise<number> {
  const child = Bun.spawn([...command], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env },
  });
  await child.exited;
  return child.exitCode ?? 128;
}

/** Generates the sources that are built and not kept in git: the Envoy messages. */
export async function generate(): Promise<boolean> {
  return (await run(['npm', 'run', '--silent', 'build:api'])) === 0;
}

export async function runGates(): Promise<Tally> {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  for (const gate of gates) {
    console.log(`\n== ${gate.name}`);
    if ((await run(gate.command)) === 0) tally.passed++;
    else {
      tally.failed++;
      console.log(`FAILED: ${gate.name}: ${gate.command.join(' ')}`);
    }
  }
  return tally;
}

/** Reads the totals that a JUnit report states in its outermost element; null when the text is no such report. */
export function readJunitTotals(xml: string): Tally | null {
  const head = /<testsuites\b([^>]*)>/.exec(xml)?.[1];
  if (head === undefined) return null;
  const attribute = (name: string): number => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? '0');
  const failed = attribute('failures') + attribute('errors');
  const skipped = attribute('skipped');
  return { passed: attribute('tests') - failed - skipped, failed, skipped };
}

/** Whether there is any test file to run: an empty stage is no failure, `bun test` would call it one. */
function hasTests(stage: TestStage): boolean {
  for (const path of stage.paths) {
    if (!existsSync(join(root, path))) continue;
    for (const _ of new Bun.Glob('**/*.test.ts').scanSync(join(root, path))) return true;
  }
  return false;
}

/**
 * Runs one stage by `bun test` and counts from its JUnit report. A runner that dies, or that fails without
 * reporting a failure (an error outside any test), counts as one more failure.
 */
export async function runTestStage(stage: TestStage, extra: readonly string[] = []): Promise<Tally> {
  console.log(`\n== ${stage.name} tests`);
  if (!hasTests(stage)) return { passed: 0, failed: 0, skipped: 0 };
  const directory = join(root, '.cache', 'reports');
  mkdirSync(directory, { recursive: true });
  const report = join(directory, `${stage.name}.xml`);
  rmSync(report, { force: true });
  const paths = stage.paths.filter((path) => existsSync(join(root, path)));
  const exitCode = await run([
    join(bin, 'bun'),
    'test',
    '--timeout',
    String(stage.timeoutMs),
    '--reporter=junit',
    `--reporter-outfile=${report}`,
    ...extra,
    ...paths,
  ]);
  const totals = existsSync(report) ? readJunitTotals(readFileSync(report, 'utf8')) : null;
  if (totals === null) {
    console.log(`FAILED: the ${stage.name} test runner left no report (exit code ${exitCode})`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  if (exitCode !== 0 && totals.failed === 0) {
    console.log(`FAILED: the ${stage.name} test runner failed outside any test (exit code ${exitCode})`);
    totals.failed = 1;
  }
  return totals;
}
