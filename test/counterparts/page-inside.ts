/**
 * Runs inside a network namespace of its own: the ```sh inside=before and inside=run blocks of a page of documentation, in one shell,
 * beside its files. Prints what each command of the latter printed, as one line of JSON. Arguments: the page, then programs for its
 * folder as `name=path`.
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { nuncioCommand } from '../support/nuncio-command.ts';

const [page = '', ...programs] = process.argv.slice(2);
const text = readFileSync(page, 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'page-'));

const blocks = (fence: string): string[] =>
  [...text.matchAll(new RegExp(`^\`\`\`${fence}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, body]) => body!);

for (const [, path, body] of text.matchAll(/^```yaml (?:file|beside)=(\S+)\n([\s\S]*?)^```$/gm)) {
  mkdirSync(dirname(join(folder, path!)), { recursive: true });
  writeFileSync(join(folder, path!), body!);
}
mkdirSync(join(folder, 'bin'));
writeFileSync(join(folder, 'bin', 'nuncio'), `#!/bin/sh\nexec ${nuncioCommand().join(' ')} "$@"\n`);
chmodSync(join(folder, 'bin', 'nuncio'), 0o755);
for (const program of programs) {
  const [name, path] = program.split('=') as [string, string];
  symlinkSync(path, join(folder, name));
}
/** What pages have stand on port 3000. */
const upstream = Bun.serve({ port: 3000, hostname: '127.0.0.1', fetch: () => new Response('hello\n') });

const commands = blocks('sh inside=run')
  .flatMap((body) => body.trim().split('\n'))
  .map((line) => line.split(/\s+# /)[0]!);
const MARK = '-- command';
const script = [
  ...blocks('sh inside=before'),
  ...commands.flatMap((command, index) => [`echo '${MARK} ${index}'`, command]),
  `echo; echo '${MARK} ${commands.length}'`,
  'for pid in *.pid; do kill $(cat "$pid"); done',
];
const child = Bun.spawn(['bash', '-c', script.join('\n')], {
  cwd: folder,
  stdio: ['ignore', 'pipe', 'pipe'],
  env: { ...process.env, PATH: `${join(folder, 'bin')}:${process.env.PATH}` },
});
const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
await child.exited;
const said = output.split(new RegExp(`${MARK} \\d+\\n`)).slice(1, commands.length + 1);
console.log(JSON.stringify({ said, errors }));
upstream.stop(true);
rmSync(folder, { recursive: true, force: true });
process.exit(0);
