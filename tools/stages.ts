/** The stages of checking and testing, each a list of commands; `tools/check.ts` and `tools/test.ts` run them. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type FailedTest, readJunitFailures, readJunitFiles, readJunitTotals, type Tally } from './junit.ts';

/** The root of the tree. */
export const root = join(import.meta.dir, '..');

const bin = join(root, 'node_modules', '.bin');

/** One command that either passes or fails as a whole. */
export interface Gate {
  readonly name: string;
  readonly command: readonly string[];
}

/** The checks that are not tests, quickest first. */
const gates: readonly Gate[] = [
  { name: 'house rules', command: [join(bin, 'bun'), 'tools/house-rules.ts'] },
  { name: 'lint and format', command: [join(bin, 'biome'), 'check', '.'] },
  { name: 'import rule', command: [join(bin, 'depcruise'), 'src', '--config', '.dependency-cruiser.cjs'] },
  { name: 'list of what is supported', command: [join(bin, 'bun'), 'tools/generate-support.ts', '--check'] },
  { name: 'reference pages', command: [join(bin, 'bun'), 'tools/generate-reference.ts', '--check'] },
  { name: 'types', command: [join(bin, 'tsc'), '--noEmit', '-p', '.'] },
];

/** One set of tests: paths, and the time that one test may take, in milliseconds. */
export interface TestStage {
  readonly name: string;
  readonly paths: readonly string[];
  readonly timeoutMs: number;
  /** Its files run in processes of their own, so many side by side; without it all of them run in one process. */
  readonly sideBySide?: number;
  /** It takes a program whose build is too heavy for every run: only where it is named. */
  readonly onDemand?: boolean;
}

export const testStages: readonly TestStage[] = [
  { name: 'unit', paths: ['./src', './tools', './test/support'], timeoutMs: 20_000 },
  { name: 'integration', paths: ['./test/integration'], timeoutMs: 60_000 },
  { name: 'differential', paths: ['./test/differential'], timeoutMs: 60_000, sideBySide: 2 },
  { name: 'smuggling', paths: ['./test/smuggling'], timeoutMs: 60_000 },
  { name: 'conformance', paths: ['./test/conformance'], timeoutMs: 60_000 },
  { name: 'counterparts', paths: ['./test/counterparts'], timeoutMs: 60_000 },
  { name: 'faults', paths: ['./test/faults', './test/soak'], timeoutMs: 60_000 },
  { name: 'envoy-gateway', paths: ['./test/envoy-gateway'], timeoutMs: 120_000, onDemand: true },
  { name: 'grpc-java', paths: ['./test/grpc-java'], timeoutMs: 120_000, onDemand: true },
  { name: 'gateway-api', paths: ['./test/gateway-api'], timeoutMs: 600_000, onDemand: true },
];

/**
 * Runs a command at the root, its output shown as it comes or, beside other commands, in one piece at its end; resolves
 * to its exit code (or 128 when a signal ended it).
 */
export async function run(
  command: readonly string[],
  env: Record<string, string> = {},
  output: 'shown' | 'as one piece' = 'shown',
): Promise<number> {
  const options = { cwd: root, env: { ...process.env, ...env } };
  if (output === 'shown') {
    const child = Bun.spawn([...command], { ...options, stdio: ['ignore', 'inherit', 'inherit'] });
    await child.exited;
    return child.exitCode ?? 128;
  }
  const child = Bun.spawn([...command], { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  const texts = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  await child.exited;
  process.stdout.write(texts.join(''));
  return child.exitCode ?? 128;
}

/** Generates the sources that are built and not kept in git: the Envoy messages. */
export async function generate(): Promise<boolean> {
  return (await run(['npm', 'run', '--silent', 'build:api'])) === 0;
}

/** What a stage came to: its totals, what failed, and what failed at first but passed when its file ran again. */
export interface StageResult extends Tally {
  readonly failures: FailedTest[];
  readonly unsteady: FailedTest[];
}

function emptyResult(): StageResult {
  return { passed: 0, failed: 0, skipped: 0, failures: [], unsteady: [] };
}

export async function runGates(): Promise<StageResult> {
  const result = emptyResult();
  for (const gate of gates) {
    console.log(`\n== ${gate.name}`);
    if ((await run(gate.command)) === 0) result.passed++;
    else {
      result.failed++;
      result.failures.push({ file: gate.command.join(' '), name: gate.name });
      console.log(`FAILED: ${gate.name}: ${gate.command.join(' ')}`);
    }
  }
  return result;
}

/** So many files that failed are run once more; more of them are no chance, and stand as they are. */
const filesRunAgain = 5;

/** The test files of a stage, longest first: the last to end decides how long a stage takes that runs side by side. */
function testFiles(stage: TestStage): string[] {
  const files: { path: string; size: number }[] = [];
  for (const path of stage.paths) {
    if (!existsSync(join(root, path))) continue;
    for (const name of new Bun.Glob('**/*.test.ts').scanSync(join(root, path))) {
      const file = join(path, name);
      files.push({ path: file, size: statSync(join(root, file)).size });
    }
  }
  return files.sort((a, b) => b.size - a.size).map((file) => file.path);
}

/** Runs `bun test` on paths and reads its report. A runner that dies, or fails outside any test, is a failure of `subject`. */
async function runTests(
  stage: TestStage,
  subject: string,
  paths: readonly string[],
  extra: readonly string[],
  output: 'shown' | 'as one piece',
): Promise<StageResult & { readonly files: ReadonlyMap<string, Tally> }> {
  const directory = join(root, '.cache', 'reports');
  mkdirSync(directory, { recursive: true });
  const report = join(directory, `${subject.replaceAll('/', '.')}.xml`);
  rmSync(report, { force: true });
  const exitCode = await run(
    [
      join(bin, 'bun'),
      'test',
      '--only-failures',
      '--timeout',
      String(stage.timeoutMs),
      '--reporter=junit',
      `--reporter-outfile=${report}`,
      ...extra,
      ...paths.map((path) => `./${path}`),
    ],
    {},
    output,
  );
  const xml = existsSync(report) ? readFileSync(report, 'utf8') : '';
  const totals = readJunitTotals(xml);
  const failures = readJunitFailures(xml);
  const outside = (reason: string): void => {
    const failure = { file: subject, name: `the test runner ${reason} (exit code ${exitCode})` };
    console.log(`FAILED: ${failure.file}: ${failure.name}`);
    failures.push(failure);
  };
  if (totals === null) {
    outside('left no report');
    return { passed: 0, failed: failures.length, skipped: 0, failures, unsteady: [], files: new Map() };
  }
  // A filter behind `--` may leave nothing of a file, which the runner calls a failure.
  const leftNothing = extra.length > 0 && totals.passed === 0;
  if (exitCode !== 0 && totals.failed === 0 && !leftNothing) {
    outside('failed outside any test');
    totals.failed = 1;
  }
  return { ...totals, failures, unsteady: [], files: readJunitFiles(xml) };
}

/**
 * Runs one stage by `bun test` and counts from its JUnit reports. A few files that failed are run once more, alone: what
 * passes then counts as passed and is named as unsteady, since something is wrong with it or with what it tests.
 */
export async function runTestStage(stage: TestStage, extra: readonly string[] = []): Promise<StageResult> {
  console.log(`\n== ${stage.name} tests`);
  const result = emptyResult();
  const files = testFiles(stage);
  const totals = new Map<string, Tally>();
  if (files.length === 0) return result;
  if (stage.sideBySide === undefined) {
    const all = await runTests(stage, stage.name, files, extra, 'shown');
    result.failures.push(...all.failures);
    for (const [file, tally] of all.files) totals.set(file, tally);
    // What failed outside of any test belongs to no file.
    if (all.failures.some((failure) => failure.file === stage.name))
      totals.set(stage.name, { passed: 0, failed: 1, skipped: 0 });
  } else {
    const queue = files.values();
    const lane = async (): Promise<void> => {
      for (const file of queue) {
        const one = await runTests(stage, file, [file], extra, 'as one piece');
        result.failures.push(...one.failures);
        totals.set(file, one);
      }
    };
    await Promise.all(Array.from({ length: stage.sideBySide }, lane));
  }
  const failedFiles = [...new Set(result.failures.map((failure) => failure.file))];
  if (failedFiles.length <= filesRunAgain && failedFiles.every((file) => files.includes(file))) {
    for (const file of failedFiles) {
      console.log(`\n== ${file}, once more`);
      const again = await runTests(stage, file, [file], extra, 'shown');
      totals.set(file, again);
      const before = result.failures.filter((failure) => failure.file === file);
      const stays = new Set(again.failures.map((failure) => failure.name));
      result.unsteady.push(...before.filter((failure) => !stays.has(failure.name)));
      const others = result.failures.filter((failure) => failure.file !== file);
      result.failures.splice(0, result.failures.length, ...others, ...again.failures);
    }
  }
  for (const tally of totals.values()) {
    result.passed += tally.passed;
    result.failed += tally.failed;
    result.skipped += tally.skipped;
  }
  return result;
}
