import { renderErrors } from '../config/diagnostics/render.ts';
import { readConfigFile } from '../config/load/load-config.ts';
import { upgradeFile } from '../config/upgrade/upgrade-file.ts';

const USAGE = 'usage: nuncio config upgrade FILE\n';

/**
 * `nuncio config upgrade FILE`: the file in version 3 on standard output, what changed on standard error.
 * @returns the exit code
 */
export function configUpgrade(args: readonly string[]): number {
  const [file] = args;
  if (file === undefined || args.length > 1 || file.startsWith('-')) {
    process.stderr.write(USAGE);
    return 1;
  }
  const colours = process.stderr.isTTY === true;
  const input = readConfigFile(file);
  if (!input.ok) {
    process.stderr.write(renderErrors(input.error, { colours }));
    return 1;
  }
  if (input.value.format === 'pb' || input.value.format === 'pb_text') {
    process.stderr.write(`${file}: only YAML and JSON can be upgraded\n`);
    return 1;
  }
  const upgraded = upgradeFile(input.value);
  if (!upgraded.ok) {
    process.stderr.write(renderErrors(upgraded.error, { colours, limit: 1000 }));
    return 1;
  }
  const { text, changed, warnings } = upgraded.value;
  process.stderr.write(renderErrors(warnings, { colours, limit: 1000 }));
  if (!changed) process.stderr.write(`${file}: nothing of version 2, printed as it is\n`);
  process.stdout.write(text);
  return 0;
}
