/**
 * `npm run bench [-- --only NAME] [--seconds N] [--rounds N] [--write]`: Nuncio beside the real Envoy and nginx on the same work.
 * The proxy has one core, load and upstream the other; rounds are interleaved; the figure is CPU time of the whole process tree per
 * unit of work, the median of the rounds. `--write` puts the table into docs/benchmarks.md.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dynamicRows } from './dynamic.ts';
import { foundationRows } from './foundation.ts';
import { flags, type PeerName, type Row, rounds, rows, seconds, wanted } from './measure.ts';
import { freePort, LOAD_CORE, startNginx, waitForPort } from './peers.ts';
import { wireRows } from './wire.ts';

const upstreamPort = await freePort();
const upstream = startNginx(
  'upstream',
  `server { listen 127.0.0.1:${upstreamPort} backlog=4096; location / { return 200 "${'x'.repeat(48)}"; } }`,
  LOAD_CORE,
);
await waitForPort(upstreamPort);

const benches = [...foundationRows(upstreamPort), ...wireRows(upstreamPort), ...dynamicRows()];
for (const [name, run] of benches) {
  if (!wanted(name)) continue;
  try {
    await run();
  } catch (error) {
    console.error(`${name} failed: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
await upstream.stop();

if (flags.write) {
  const cell = (row: Row, name: PeerName): string => row.values[name]?.toFixed(row.values[name] < 10 ? 2 : 1) ?? '-';
  const ratio = (row: Row, name: PeerName): string =>
    row.values[name] === undefined || row.values[name] === 0 || row.values.nuncio === undefined
      ? '-'
      : (row.values.nuncio / row.values[name]).toFixed(2);
  const table = [
    '| work | unit | Nuncio | Envoy 1.40 | nginx | Nuncio / Envoy | Nuncio / nginx | target |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...rows.map(
      (row) =>
        `| ${row.work} | ${row.unit} | ${cell(row, 'nuncio')} | ${cell(row, 'envoy')} | ${cell(row, 'nginx')} | ${ratio(row, 'envoy')} | ${ratio(row, 'nginx')} | ${row.target}: ${row.reached ? 'reached' : '**missed**'} |`,
    ),
  ].join('\n');
  const file = new URL('../docs/benchmarks.md', import.meta.url);
  const page = readFileSync(file, 'utf8');
  const stamp = `Measured ${new Date().toISOString().slice(0, 10)} on ${cpus().length} cores (${cpus()[0]?.model ?? 'unknown'}), ${rounds} rounds of ${seconds} s.`;
  writeFileSync(
    file,
    page.replace(/<!-- table -->[\s\S]*<!-- end -->/, `<!-- table -->\n${stamp}\n\n${table}\n<!-- end -->`),
  );
}
process.exit();
