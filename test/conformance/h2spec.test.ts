/** h2spec against Nuncio in front of an HTTP/1 server. The list of failures that are known may only shrink. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { counterparts } from '../../tools/counterparts.ts';
import { cluster } from '../differential/configs.ts';
import { httpUpstream, reply, ScriptedUpstream } from '../support/scripted-upstream.ts';
import { knownFailures } from './h2spec-known-failures.ts';
import { runProgram } from './programs.ts';
import { nuncio, RunningProxy } from './proxy.ts';

const CASES = 145;

/** Name and section of every case, and whether it passed. */
function readReport(xml: string): Map<string, boolean> {
  const results = new Map<string, boolean>();
  for (const [, attributes = '', body = ''] of xml.matchAll(/<testcase ([^>]*?)(?:\/>|>(.*?)<\/testcase>)/gs)) {
    const attribute = (name: string): string => new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1] ?? '';
    const words = attribute('classname').replaceAll('&gt;', '>').replaceAll('&#34;', '"').replaceAll('&amp;', '&');
    results.set(`${attribute('package')}: ${words}`, !/<(failure|error|skipped)\b/.test(body));
  }
  return results;
}

async function runH2spec(port: number, more: readonly string[]): Promise<Map<string, boolean>> {
  const directory = await mkdtemp(join(tmpdir(), 'h2spec-'));
  const report = join(directory, 'report.xml');
  const flags = ['-h', '127.0.0.1', '-p', String(port), '-o', '2', '-j', report, ...more];
  await runProgram([counterparts().h2spec, ...flags], {}, 120_000);
  const results = readReport(readFileSync(report, 'utf8'));
  await rm(directory, { recursive: true });
  return results;
}

for (const [name, codec, tls] of [
  ['AUTO', 'AUTO', false],
  ['HTTP2', 'HTTP2', false],
  ['AUTO over TLS', 'AUTO', true],
] as const) {
  const known = knownFailures[name];

  describe(`codec_type ${name}`, () => {
    let server: ScriptedUpstream;
    let proxy: RunningProxy;
    let results: Map<string, boolean>;
    beforeAll(async () => {
      server = new ScriptedUpstream(httpUpstream(() => reply(200, 'hello')));
      const upstreams = { u1: server.start() };
      proxy = await RunningProxy.start({ hcm: { codec_type: codec } }, [cluster('u1')], upstreams, nuncio, tls);
      results = await runH2spec(proxy.port, tls ? ['-t', '-k'] : []);
    }, 150_000);
    afterAll(async () => {
      await proxy?.stop();
      server?.stop();
    });

    test('every case was run', () => {
      expect(results.size).toBe(CASES);
    });

    test('no case fails but those that are known', () => {
      const failed = [...results].filter(([, passed]) => !passed).map(([name]) => name);
      expect(failed.filter((name) => known[name] === undefined)).toEqual([]);
    });

    test('the cases that are known to fail do fail: take those off the list that do not', () => {
      for (const name of Object.keys(known)) expect([name, results.get(name)]).toEqual([name, false]);
    });

    test('the proxy is alive and holds nothing', async () => {
      expect(await proxy.stat('http.ingress.downstream_rq_active')).toBe(0);
      expect(await proxy.stat('cluster.u1.upstream_rq_active')).toBe(0);
    });
  });
}
