/** Broken and hostile answers of upstreams, through Envoy and Nuncio. */
import { beforeAll, describe, expect, test } from 'bun:test';
import { diffLines } from '../differential/line-diff.ts';
import { patience } from './grid-suite.ts';
import { knownDifferences } from './known-differences.ts';
import { programs } from './programs.ts';
import { responseCases } from './response-cases.ts';
import { ResponseGrid } from './response-grid.ts';

let expected = new Map<string, string>();
let actual = new Map<string, string>();

beforeAll(async () => {
  const { oracle, subject } = programs();
  const oracleGrid = new ResponseGrid(oracle);
  const subjectGrid = new ResponseGrid(subject);
  try {
    await Promise.all([oracleGrid.start(), subjectGrid.start()]);
    [expected, actual] = await Promise.all([
      oracleGrid.run(responseCases, 25, 60),
      subjectGrid.run(responseCases, 25, 60),
    ]);
    for (const { quietMs, silenceMs, atMost } of patience) {
      const doubtful = responseCases.filter(({ name }) => expected.get(name) !== actual.get(name)).slice(0, atMost);
      const [second, third] = await Promise.all([
        oracleGrid.run(doubtful, quietMs, silenceMs),
        subjectGrid.run(doubtful, quietMs, silenceMs),
      ]);
      for (const [name, text] of second) expected.set(name, text);
      for (const [name, text] of third) actual.set(name, text);
    }
  } finally {
    await Promise.all([oracleGrid.stop(), subjectGrid.stop()]);
  }
}, 90_000);

describe('answers of upstreams', () => {
  test('cases have names of their own', () => {
    expect(new Set(responseCases.map(({ name }) => name)).size).toBe(responseCases.length);
  });

  for (const { name } of responseCases) {
    test(name, () => {
      const wanted = expected.get(name) ?? '';
      const got = actual.get(name) ?? '';
      if (process.env.DIFFERENTIAL_SHOW !== undefined) console.log(`-- ${name}\n${wanted}`);
      // No byte of one answer may become an answer to another request.
      for (const part of ['second request', 'another client']) {
        const section = got.split(`== ${part}\n`)[1]?.split('\n== ')[0] ?? '';
        expect(section).not.toContain('smuggled');
      }
      expect(got.split('== another client\n')[1]).toStartWith('HTTP/1.1 200 OK');
      const reason = process.env.DIFFERENTIAL_SELF === undefined ? knownDifferences[`response: ${name}`] : undefined;
      if (reason === undefined && wanted !== got) throw new Error(diffLines(wanted, got));
      if (reason !== undefined && wanted === got) throw new Error('does not differ any more: see known-differences.ts');
    });
  }
});
