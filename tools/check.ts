/** `npm run check`: the gates and the unit tests; `--no-tests` leaves the tests out. */
import { generate, runGates, runTestStage, testStages } from './stages.ts';

if (!(await generate())) {
  console.log('FAILED: generating the sources');
  process.exit(1);
}
const tally = await runGates();
if (!process.argv.includes('--no-tests')) {
  for (const stage of testStages) {
    if (stage.name !== 'unit') continue;
    const totals = await runTestStage(stage);
    tally.passed += totals.passed;
    tally.failed += totals.failed;
  }
}
console.log(`\n${tally.passed} passed, ${tally.failed} failed`);
process.exit(tally.failed === 0 ? 0 : 1);
