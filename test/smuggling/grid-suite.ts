import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { diffLines } from '../differential/line-diff.ts';
import { Grid, type Outcome } from './grid.ts';
import { envoyHazards, knownDifferences } from './known-differences.ts';
import { programs } from './programs.ts';
import type { RequestCase } from './request-cases.ts';
import { EchoServers } from './servers.ts';

/** A busy machine may be taken for silence: what differs is asked again, with more patience each time (milliseconds). */
export const patience = [
  { quietMs: 150, silenceMs: 500, atMost: 60 },
  { quietMs: 1500, silenceMs: 2500, atMost: 20 },
];

/** Declares a grid: every case through Envoy and Nuncio, in front of three real servers. See README.md. */
export function gridSuite(title: string, requestCases: readonly RequestCase[], atLeast: number): void {
  const servers = new EchoServers();
  let lanes: string[] = [];
  let expected = new Map<string, Outcome>();
  let actual = new Map<string, Outcome>();

  function differs(lane: string, name: string): boolean {
    return expected.get(`${lane} ${name}`)?.text !== actual.get(`${lane} ${name}`)?.text;
  }

  beforeAll(async () => {
    await servers.start();
    const { oracle, subject } = programs();
    const oracleGrid = new Grid(oracle, servers.all);
    const subjectGrid = new Grid(subject, servers.all);
    try {
      await Promise.all([oracleGrid.start(), subjectGrid.start()]);
      lanes = subjectGrid.laneNames;
      const all = (): boolean => true;
      [expected, actual] = await Promise.all([
        oracleGrid.run(requestCases, all, 25, 80),
        subjectGrid.run(requestCases, all, 25, 80),
      ]);
      const doubted = (lane: string, { name }: { name: string }): boolean =>
        differs(lane, name) || (actual.get(`${lane} ${name}`)?.hazards.length ?? 0) > 0;
      for (const { quietMs, silenceMs, atMost } of patience) {
        const doubtful = requestCases.filter(
          (item) => !(item.name in knownDifferences) && lanes.some((lane) => doubted(lane, item)),
        );
        const some = doubtful.slice(0, atMost);
        const isWanted = new Set(
          some.flatMap((item) => lanes.filter((lane) => doubted(lane, item)).map((lane) => `${lane} ${item.name}`)),
        );
        const wanted = (lane: string, item: { name: string }): boolean => isWanted.has(`${lane} ${item.name}`);
        const [second, third] = await Promise.all([
          oracleGrid.run(some, wanted, quietMs, silenceMs),
          subjectGrid.run(some, wanted, quietMs, silenceMs),
        ]);
        for (const [key, outcome] of second) expected.set(key, outcome);
        for (const [key, outcome] of third) actual.set(key, outcome);
      }
    } finally {
      await Promise.all([oracleGrid.stop(), subjectGrid.stop()]);
    }
  }, 120_000);

  afterAll(() => servers.stop());

  describe(title, () => {
    test(`has at least ${atLeast} cases with names of their own, in front of three servers`, () => {
      expect(new Set(requestCases.map((item) => item.name)).size).toBe(requestCases.length);
      expect(requestCases.length).toBeGreaterThanOrEqual(atLeast);
      expect(servers.all.map((server) => server.name)).toEqual(['nginx', 'node', 'lighttpd']);
      expect(lanes.length).toBe(6);
    });

    for (const { name } of requestCases) {
      test(name, () => {
        const differences: string[] = [];
        for (const lane of lanes) {
          const wanted = expected.get(`${lane} ${name}`);
          const got = actual.get(`${lane} ${name}`);
          if (wanted === undefined || got === undefined) throw new Error(`${lane} did not run`);
          if (got.hazards.length > 0) throw new Error(`[${lane}] ${got.hazards.join('\n')}\n${got.text}`);
          if (wanted.hazards.length > 0 && !(name in envoyHazards)) {
            throw new Error(`[${lane}] Envoy: ${wanted.hazards.join('\n')}\n${wanted.text}`);
          }
          if (differs(lane, name)) differences.push(`[${lane}]\n${diffLines(wanted.text, got.text)}`);
          if (process.env.DIFFERENTIAL_SHOW !== undefined) console.log(`-- ${name} [${lane}]\n${wanted.text}`);
        }
        const reason = process.env.DIFFERENTIAL_SELF === undefined ? knownDifferences[name] : undefined;
        if (reason === undefined && differences.length > 0) throw new Error(differences.join('\n'));
        if (reason !== undefined && differences.length === 0) {
          throw new Error('does not differ any more: take it out of known-differences.ts');
        }
      });
    }
  });
}
