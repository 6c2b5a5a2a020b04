/**
 * `npm test`: everything. Gates, then unit, integration and differential tests; prints `N passed, N failed` last.
 *
 *   bun tools/test.ts [unit|integration|differential|smuggling|conformance|counterparts|faults|envoy-gateway|gateway-api ...] [--self] [-- arguments for bun test]
 *
 * --self compares Envoy with Envoy in the differential tests, which must find no difference.
 *
 * envoy-gateway and gateway-api run only where they are named: their programs take minutes to build.
 *
 * With CI set, a skipped test counts as a failed one.
 */
import { installCounterparts } from './counterparts.ts';
import { installEnvoy } from './envoy.ts';
import { installEnvoyGateway } from './envoy-gateway.ts';
import { installGatewayApiSuite } from './gateway-api.ts';
import { installServers } from './servers.ts';
import { generate, runGates, runTestStage, type Tally, testStages } from './stages.ts';

const separator = process.argv.indexOf('--');
const own = process.argv.slice(2, separator === -1 ? undefined : separator);
const chosen = own.filter((argument) => !argument.startsWith('--'));
if (own.includes('--self')) process.env.DIFFERENTIAL_SELF = '1';
const extra = separator === -1 ? [] : process.argv.slice(separator + 1);
const total: Tally = { passed: 0, failed: 0, skipped: 0 };

function add(tally: Tally): void {
  total.passed += tally.passed;
  total.failed += tally.failed;
  total.skipped += tally.skipped;
}

if (!(await generate())) {
  console.log('FAILED: generating the sources');
  total.failed++;
}
if (chosen.length === 0) add(await runGates());
for (const stage of testStages) {
  if (chosen.length > 0 ? !chosen.includes(stage.name) : stage.onDemand === true) continue;
  if (stage.name !== 'unit') await installEnvoy();
  if (stage.name === 'smuggling') await installServers();
  if (stage.name === 'conformance' || stage.name === 'counterparts') await installCounterparts();
  if (stage.name === 'envoy-gateway') {
    await installCounterparts();
    await installEnvoyGateway();
  }
  if (stage.name === 'gateway-api') await installGatewayApiSuite();
  add(await runTestStage(stage, extra));
}
if (total.skipped > 0) console.log(`${total.skipped} skipped`);
if (process.env.CI !== undefined) total.failed += total.skipped;
console.log(`\n${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 ? 0 : 1);
