import { existsSync } from 'node:fs';
import { parseFlags } from '../flags.ts';

const USAGE = `usage: nuncio config check [--format text|json] FILE
       nuncio config upgrade FILE
`;

/** `nuncio config ...`. @returns the exit code */
export async function configCommand(args: readonly string[]): Promise<number> {
  const [action, ...rest] = args;
  switch (action) {
    case 'check':
      return check(rest);
    case 'upgrade':
      return (await import('../config-upgrade.ts')).configUpgrade(rest);
    default:
      process.stderr.write(USAGE);
      return 1;
  }
}

/** `--mode validate` without the log: only what is wrong, or OK. */
async function check(args: readonly string[]): Promise<number> {
  const file = args.find((argument, index) => !argument.startsWith('-') && args[index - 1] !== '--format');
  if (file === undefined) {
    process.stderr.write(USAGE);
    return 1;
  }
  if (!existsSync(file)) {
    process.stderr.write(`no such file: ${file}\n`);
    return 1;
  }
  const others = args.filter((argument) => argument !== file);
  const command = parseFlags(['--mode', 'validate', '-l', 'warning', ...others, '-c', file]);
  if (command.kind !== 'run') return 1;
  const { validateConfig } = await import('../../main/process.ts');
  return validateConfig(command.flags, command.errorFormat);
}
