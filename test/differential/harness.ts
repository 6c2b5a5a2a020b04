import { afterAll, beforeAll, describe, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findEnvoy } from '../../tools/envoy.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import type { ProxyProgram } from '../support/proxy-process.ts';
import { Exchange } from './exchange.ts';
import { knownDifferences } from './known-differences.ts';
import { diffLines } from './line-diff.ts';
import type { Rewrite } from './normalise.ts';
import { type Config, fillIn, Side, type Stage } from './side.ts';
import { readStats, statsChange } from './transcript.ts';

/** How long nothing may happen before the connections' state counts as settled, in milliseconds. */
const QUIET_MS = 40;
/** How long a proxy may take, in milliseconds, to close a connection of which it said so: a good deal more than `delayed_close_timeout`. */
const LEAVING_MS = 400;

/** One thing that both proxies are asked to do. */
export interface Case {
  readonly name: string;
  readonly run: (exchange: Exchange) => Promise<void>;
  /** Overrides of the suite's settings. */
  readonly options: CaseOptions;
}

/** What is compared besides what clients and upstreams receive. */
export interface CaseOptions {
  /** Names of stats whose change is compared: prefixes, or patterns. */
  readonly stats?: readonly (string | RegExp)[];
  /** An access log under `{{tmp}}`: the lines that the case adds are compared. */
  readonly log?: string;
  /** How many lines the case adds to the log; otherwise one for each request sent by `request`. */
  readonly logLines?: number;
  /** More rewritings, where something is unpredictable. */
  readonly rewrite?: readonly Rewrite[];
  /** False where the manner of the connection's end is left to chance (a reset races with data). */
  readonly clientFate?: boolean;
  /** False where what upstreams saw is left to chance. */
  readonly upstreamBytes?: boolean;
}

/** A suite: cases that share one process of each proxy, with the upstreams behind it. */
export interface SuiteOptions extends Stage, CaseOptions {
  /** True: a new process for every case. */
  readonly fresh?: boolean;
}

function programs(): { oracle: ProxyProgram; subject: ProxyProgram } {
  const envoy = findEnvoy();
  if (envoy === null) throw new Error('Envoy is not installed: run `node_modules/.bin/bun tools/envoy.ts`');
  const oracle = { name: 'envoy', command: [envoy] };
  if (process.env.DIFFERENTIAL_SELF !== undefined) return { oracle, subject: { ...oracle, name: 'envoy-again' } };
  return { oracle, subject: { name: 'nuncio', command: nuncioCommand() } };
}

/** A case that is written as steps. */
export function steps(name: string, run: (exchange: Exchange) => Promise<void>, options: CaseOptions = {}): Case {
  return { name, run, options };
}

/** How one raw request is sent and how much is waited for. */
export interface RequestOptions extends CaseOptions {
  readonly listener?: string;
  /** How many final responses to wait for before the connection's state is looked at. */
  readonly responses?: number;
  /** The proxy must end the connection. */
  readonly close?: boolean;
  /** Send FIN after the request. */
  readonly halfClose?: boolean;
  /** The request is HEAD; by default found from its text. */
  readonly head?: boolean;
  readonly timeoutMs?: number;
}

/**
 * A case that sends bytes on one connection, in one piece or several, and waits for the responses. The log, where the
 * suite has one, gets one line for each response.
 */
export function request(name: string, bytes: string | readonly string[], options: RequestOptions = {}): Case {
  const pieces = typeof bytes === 'string' ? [bytes] : bytes;
  const responses = options.responses ?? 1;
  const run = async (exchange: Exchange): Promise<void> => {
    const client = await exchange.connect(options.listener);
    for (const [index, piece] of pieces.entries()) {
      // The pause makes the pieces arrive apart; nothing is to be awaited.
      if (index > 0) await Bun.sleep(5);
      client.send(piece);
    }
    if (options.halfClose === true) client.end();
    for (let i = 0; i < responses; i++) {
      const head = options.head ?? pieces[0]?.startsWith('HEAD ') ?? false;
      await exchange.expectResponse(client, { head, timeoutMs: options.timeoutMs });
    }
    if (options.close === true) await exchange.expectClose(client, options.timeoutMs);
  };
  return { name, run, options: { ...options, logLines: options.logLines ?? responses } };
}

/**
 * Stats as patterns: a string is a prefix. A prefix leaves out the counts of bytes, which change with the digits of
 * durations; a pattern may ask for them. Nothing matches what the harness itself does to the admin listener.
 */
function toPatterns(stats: readonly (string | RegExp)[]): RegExp[] {
  return stats.map((stat) =>
    typeof stat === 'string'
      ? new RegExp(`^(?!listener\\.admin\\.|.*_bytes_)${stat.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`)
      : stat,
  );
}

async function readLinesAfter(side: Side, file: string, seen: number, expected: number): Promise<string[]> {
  const deadline = performance.now() + 2000;
  for (;;) {
    const lines = side.file(file).split('\n').slice(0, -1);
    if (lines.length - seen >= expected || performance.now() > deadline) return lines.slice(seen);
    await Bun.sleep(5);
  }
}

async function settledStats(exchange: Exchange, patterns: readonly RegExp[]): Promise<Map<string, number>> {
  const read = async (): Promise<Map<string, number>> => {
    const { body } = await exchange.proxy.admin('/stats');
    const all = readStats(body);
    for (const name of all.keys()) if (!patterns.some((pattern) => pattern.test(name))) all.delete(name);
    return all;
  };
  let previous = await read();
  for (let equal = 0, round = 0; equal < 2 && round < 50; round++) {
    await Bun.sleep(15);
    const next = await read();
    equal = JSON.stringify([...next]) === JSON.stringify([...previous]) ? equal + 1 : 0;
    previous = next;
  }
  return previous;
}

async function runCase(side: Side, one: Case, suite: SuiteOptions): Promise<Exchange> {
  const proxy = await side.start();
  const options = { ...suite, ...one.options };
  const exchange = new Exchange(side, proxy, [...(suite.rewrite ?? []), ...(one.options.rewrite ?? [])]);
  const patterns = toPatterns(options.stats ?? []);
  // Every case begins without pooled connections, so that no case depends on the one before it.
  await Promise.all([...side.upstreams.values()].map((upstream) => upstream.forget()));
  const before = patterns.length > 0 ? await settledStats(exchange, patterns) : new Map<string, number>();
  const linesBefore = new Map<string, number>();
  const logs = options.log === undefined ? [] : [options.log];
  for (const log of logs) linesBefore.set(log, side.file(log).split('\n').length - 1);

  await one.run(exchange);
  await Bun.sleep(QUIET_MS);
  // Who is told that the connection closes waits for that, on a busy machine longer than on others.
  const leaving = exchange.clients.filter(
    (client) => !client.endedByUs && /\r\nconnection: close\r\n/i.test(client.received),
  );
  await Promise.all(leaving.map((client) => client.closed(LEAVING_MS)));
  exchange.recordConnections({ clientFate: options.clientFate ?? true, upstreams: options.upstreamBytes ?? true });
  for (const client of exchange.clients) client.end();
  for (const client of exchange.clients) await client.closed(1000);
  if (proxy.exitCode !== null) exchange.note('the proxy exited', String(proxy.exitCode));
  for (const log of logs) {
    const expected = exchange.expectedLines.get(log) ?? one.options.logLines ?? exchange.clients.length;
    const lines = await readLinesAfter(side, log, linesBefore.get(log) ?? 0, expected);
    exchange.note(`log ${log}`, lines.join('\n'));
    if (lines.length < expected) exchange.disappoint(`${expected} log lines, not ${lines.length}`);
  }
  if (patterns.length > 0 && proxy.exitCode === null) {
    const changes = statsChange(before, await settledStats(exchange, patterns), patterns);
    exchange.note(
      'stats',
      [...changes].map(([name, change]) => `${name}: ${change > 0 ? '+' : ''}${change}`).join('\n'),
    );
  }
  // The next case begins with a clean slate of connections of its own.
  for (const client of exchange.clients) client.reset();
  return exchange;
}

function judge(fullName: string, oracle: string, subject: string): void {
  const difference = diffLines(oracle, subject);
  const reason = process.env.DIFFERENTIAL_SELF === undefined ? knownDifferences[fullName] : undefined;
  if (reason !== undefined) {
    if (difference === '') throw new Error(`${fullName} does not differ any more: take it off known-differences.ts`);
    return;
  }
  if (difference !== '') throw new Error(`"${fullName}" differs (- envoy, + nuncio)\n${difference}\n`);
  if (process.env.DIFFERENTIAL_SHOW !== undefined) console.log(`\n#### ${fullName}\n${oracle}`);
}

const caseNames = new Set<string>();

function declare(fullName: string): void {
  if (caseNames.has(fullName)) throw new Error(`two cases are called "${fullName}"`);
  caseNames.add(fullName);
}

/** A known difference of a case that is not there any more would stay for ever: it fails its suite. */
function declareStale(suiteName: string, names: readonly string[]): void {
  const known = Object.keys(knownDifferences).filter((fullName) => fullName.startsWith(`${suiteName}: `));
  const stale = known.filter((fullName) => !names.includes(fullName.slice(suiteName.length + 2)));
  if (stale.length > 0) {
    test('known differences', () => {
      throw new Error(`known-differences.ts names no case of this suite: ${stale.join(', ')}`);
    });
  }
}

/** Declares a suite: each case is one test, run on Envoy and on Nuncio at once and compared. */
export function suite(name: string, options: SuiteOptions, cases: readonly Case[]): void {
  describe(name, () => {
    let sides: Side[] = [];
    const newSides = (): Side[] => {
      const { oracle, subject } = programs();
      return [new Side(oracle, options), new Side(subject, options)];
    };
    const stopSides = async (): Promise<void> => {
      await Promise.all(sides.map((side) => side.stop()));
      sides = [];
    };
    beforeAll(() => {
      if (options.fresh !== true) sides = newSides();
    });
    afterAll(stopSides);
    declareStale(
      name,
      cases.map((one) => one.name),
    );
    for (const one of cases) {
      const fullName = `${name}: ${one.name}`;
      declare(fullName);
      test(one.name, async () => {
        if (options.fresh === true) sides = newSides();
        const [oracle, subject] = sides;
        if (oracle === undefined || subject === undefined) throw new Error('no sides');
        try {
          const [expected, actual] = await Promise.allSettled([
            runCase(oracle, one, options),
            runCase(subject, one, options),
          ]);
          if (expected.status === 'rejected') throw expected.reason;
          if (expected.value.disappointments.length > 0) {
            throw new Error(
              `Envoy itself disappoints: ${expected.value.disappointments}\n${expected.value.transcript}`,
            );
          }
          const failure = actual.status === 'rejected' ? `nuncio failed: ${actual.reason}` : null;
          judge(
            fullName,
            String(expected.value.transcript),
            failure ?? String((actual as { value: Exchange }).value.transcript),
          );
        } finally {
          if (options.fresh === true) await stopSides();
        }
      });
    }
  });
}

/** The verdict of `--mode validate`. */
export type Verdict = 'accepted' | 'refused' | 'crashed';

async function validate(program: ProxyProgram, config: Config, flags: readonly string[]): Promise<[Verdict, string]> {
  const tmp = await mkdtemp(join(tmpdir(), `${program.name}-validate-`));
  try {
    const path = join(tmp, 'envoy.yaml');
    // Validation opens nothing: any port will do.
    const ports = new Map(['u1', 'u2', 'u3'].map((name, index) => [name, 20_001 + index]));
    await Bun.write(path, fillIn(config, tmp, ports));
    const child = Bun.spawn([...program.command, '--mode', 'validate', '-c', path, '-l', 'critical', ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [out, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    await child.exited;
    // An exception that nobody caught is no verdict, whatever the exit code: the runtime signs its trace.
    const crashed = child.signalCode !== null || /^Bun v\d/m.test(errors);
    const verdict = crashed ? 'crashed' : child.exitCode === 0 ? 'accepted' : 'refused';
    return [verdict, `${out}${errors}`];
  } finally {
    await rm(tmp, { recursive: true, force: true });
  }
}

/** A configuration and the verdict that its author expects of Envoy. */
export interface ValidateCase {
  readonly name: string;
  readonly expected: Verdict;
  readonly config: Config;
  readonly flags?: readonly string[];
}

export function accepted(name: string, config: Config, flags: readonly string[] = []): ValidateCase {
  return { name, expected: 'accepted', config, flags };
}

export function refused(name: string, config: Config, flags: readonly string[] = []): ValidateCase {
  return { name, expected: 'refused', config, flags };
}

/** Declares configurations whose `--mode validate` verdicts are compared. */
export function validateSuite(name: string, cases: readonly ValidateCase[]): void {
  describe(name, () => {
    declareStale(
      name,
      cases.map((one) => one.name),
    );
    for (const one of cases) {
      const fullName = `${name}: ${one.name}`;
      declare(fullName);
      test(one.name, async () => {
        const { oracle, subject } = programs();
        const [[expected, why], [actual, whyActual]] = await Promise.all([
          validate(oracle, one.config, one.flags ?? []),
          validate(subject, one.config, one.flags ?? []),
        ]);
        if (expected !== one.expected)
          throw new Error(`the scenario expects ${one.expected}, Envoy says: ${expected}\n${why}`);
        const shown = expected === actual ? expected : `${actual}\n${whyActual.trim()}\nEnvoy said:\n${why.trim()}`;
        judge(fullName, expected, shown);
      });
    }
  });
}
