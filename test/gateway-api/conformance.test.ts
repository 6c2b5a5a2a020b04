/**
 * The Gateway API's own conformance suite, whole, against `nuncio pilot` with Nuncio and with the real Envoy as its proxies. What is claimed is
 * read from the GatewayClass's status; what runs, and passes, is checked against the list of which docs/reference/gateway-api.md is made.
 */
import { describe, expect, test } from 'bun:test';
import { SUPPORTED_FEATURES } from '../../src/control-plane/gateway-api/features.ts';
import { installEnvoy } from '../../tools/envoy.ts';
import { findGatewayApiSuite } from '../../tools/gateway-api.ts';
import { nuncioCommand } from '../support/nuncio-command.ts';
import tests from './conformance-tests.json' with { type: 'json' };
import { SmallCluster } from './small-cluster.ts';

/** Seconds: nothing here takes longer than that where it works. */
const TIMEOUTS = { NamespacesMustBeReady: 60, MaxTimeToConsistency: 20, DefaultTestTimeout: 30 };

async function runSuite(proxy: readonly string[]): Promise<Map<string, string>> {
  const programs = findGatewayApiSuite();
  if (programs === null) throw new Error('the suite is missing: run `node_modules/.bin/bun tools/gateway-api.ts`');
  const cluster = new SmallCluster(programs.echo, proxy);
  try {
    const flags = [
      ...['-test.v', '-test.run', 'TestConformance', '--gateway-class=nuncio', '--cleanup-base-resources=false'],
      `--timeout-config-overrides=${Object.entries(TIMEOUTS)
        .map((each) => each.join(':'))
        .join(';')}`,
    ];
    const child = Bun.spawn([programs.suite, ...flags], {
      env: { ...process.env, KUBECONFIG: await cluster.start() },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const text = await new Response(child.stdout).text();
    await child.exited;
    const results = new Map<string, string>();
    for (const [, result, name] of text.matchAll(/^ {4}--- (PASS|FAIL|SKIP): TestConformance\/(\w+) /gm)) {
      results.set(name!, result!);
    }
    if ([...results.values()].includes('FAIL') || results.size === 0) console.log(text);
    return results;
  } finally {
    await cluster.stop();
  }
}

describe('the conformance suite of the Gateway API', () => {
  const claimed = new Set<string>(SUPPORTED_FEATURES);
  const expected = Object.entries(tests)
    .filter(([, features]) => features.every((each) => claimed.has(each)))
    .map(([name]) => name);

  test.each(['Nuncio', 'Envoy'])(
    '%s: all that is claimed',
    async (name) => {
      const results = await runSuite(name === 'Nuncio' ? nuncioCommand() : [await installEnvoy()]);
      const passed = [...results].filter(([, result]) => result === 'PASS').map(([each]) => each);
      expect(passed.sort()).toEqual(expected.sort());
    },
    600_000,
  );
});
