#!/usr/bin/env bun
import { beginStartUp } from '../main/start-up.ts';
import { HOT_RESTART_VERSION, VERSION_TEXT } from '../main/version.ts';
import { FlagError, parseFlags } from './flags.ts';

const PROGRAM = 'nuncio';

/** Subcommands by their first word; each is loaded when it is asked for. */
const COMMANDS: Readonly<Record<string, (args: readonly string[]) => Promise<number>>> = {
  config: async (args) => (await import('./commands/config.ts')).configCommand(args),
  pilot: async (args) => (await import('./commands/pilot.ts')).pilotCommand(args),
  quickstart: async (args) => (await import('./commands/quickstart.ts')).quickstartCommand(args),
  reload: async (args) => (await import('./commands/admin.ts')).reloadCommand(args),
  status: async (args) => (await import('./commands/admin.ts')).statusCommand(args),
};

async function run(args: readonly string[]): Promise<number> {
  const command = COMMANDS[args[0] ?? ''];
  if (command !== undefined) return command(args.slice(1));
  const asked = parseFlags(args);
  switch (asked.kind) {
    case 'help':
      process.stdout.write((await import('./usage.ts')).fullUsage(PROGRAM));
      return 0;
    case 'version':
      process.stdout.write(`\n${PROGRAM}  version: ${VERSION_TEXT}\n\n`);
      return 0;
    case 'hot-restart-version':
      process.stderr.write(`${HOT_RESTART_VERSION}\n`);
      return 0;
    case 'run': {
      const { serve, validateConfig } = await import('../main/process.ts');
      const { flags, errorFormat } = asked;
      return flags.mode === 'validate' ? validateConfig(flags, errorFormat) : serve(flags, errorFormat);
    }
  }
}

async function explain(error: unknown): Promise<number> {
  if (error instanceof FlagError) {
    const { message, lastLine } = error;
    const usage = lastLine === '' ? '' : `\n${(await import('./usage.ts')).briefUsage(PROGRAM)}\n${lastLine}\n`;
    process.stderr.write(`${message}\n${usage}`);
  } else {
    const failure = error as Error;
    process.stderr.write(`${failure.name === 'Error' ? failure.message : (failure.stack ?? failure.message)}\n`);
  }
  return 1;
}

beginStartUp();
void run(process.argv.slice(2))
  .catch(explain)
  .then((code) => process.exit(code));
