/**
 * `npm test`: everything. Gates, then unit, integration and differential tests; prints `N passed, N failed` last.
 *
 *   bun tools/test.ts [unit|integration|differential|smuggling|conformance|counterparts|faults|envoy-gateway|gateway-api|grpc-java ...] [--self] [-- arguments for bun test]
 *
 * --self compares Envoy with Envoy in the differential tests, which must find no difference.
 *
 * envoy-gateway, gateway-api and grpc-java run only where they are named: their programs take minutes to build, or Java and Maven.
 *
 * A file that failed runs once more (up to five of a stage do); what passed only then is named at the end.
 * With CI set, a skipped test counts as a failed one.
 */
import { installCounterparts } from './counterparts.ts';
import { installEnvoy } from './envoy.ts';
import { installEnvoyGateway } from './envoy-gateway.ts';
import { installGatewayApiSuite } from './gateway-api.ts';
import { installGrpcJava } from './grpc-java.ts';
import { installServers } from './servers.ts';
import { generate, runGates, runTestStage, type StageResult, testStages } from './stages.ts';

const separator = process.argv.indexOf('--');
const own = process.argv.slice(2, separator === -1 ? undefined : separator);
const chosen = own.filter((argument) => !argument.startsWith('--'));
if (own.includes('--self')) process.env.DIFFERENTIAL_SELF = '1';
const extra = separator === -1 ? [] : process.argv.slice(separator + 1);
const total: StageResult = { passed: 0, failed: 0, skipped: 0, failures: [], unsteady: [] };

function add(result: StageResult): void {
  total.passed += result.passed;
  total.failed += result.failed;
  total.skipped += result.skipped;
  total.failures.push(...result.failures);
  total.unsteady.push(...result.unsteady);
}

if (!(await generate())) {
  total.failed++;
  total.failures.push({ file: 'npm run build:api', name: 'generating the sources' });
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
  if (stage.name === 'grpc-java') {
    await installCounterparts();
    await installGrpcJava();
  }
  const began = performance.now();
  add(await runTestStage(stage, extra));
  console.log(`${stage.name} tests took ${Math.round((performance.now() - began) / 1000)} s`);
}
for (const { file, name } of total.unsteady) console.log(`PASSED ONLY WHEN RUN AGAIN: ${file}: ${name}`);
for (const { file, name } of total.failures) console.log(`FAILED: ${file}: ${name}`);
if (total.skipped > 0) console.log(`${total.skipped} skipped`);
if (process.env.CI !== undefined) total.failed += total.skipped;
console.log(`\n${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 ? 0 : 1);
