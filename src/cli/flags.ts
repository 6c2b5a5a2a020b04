import { type ParseArgsConfig, parseArgs } from 'node:util';
import { defaultConcurrency } from '../main/available-cpus.ts';
import { parseComponentLevels, parseLogLevel } from '../main/log-levels.ts';
import { DEFAULT_FLAGS, type ServerFlags } from '../main/server-flags.ts';

/** Wrong command line: Envoy's words, exit code 1. */
export class FlagError extends Error {
  /** Printed behind the usage text, which follows the message; empty: no usage text. */
  readonly lastLine: string;

  constructor(message: string, lastLine: string) {
    super(message);
    this.lastLine = lastLine;
  }
}

export type FlagKind = 'flag' | 'text' | 'number' | 'list';

export interface FlagSpec {
  readonly name: string;
  readonly short?: string;
  readonly kind: FlagKind;
  readonly help: string;
}

/** Envoy's flags, in the order of its help. */
export const FLAGS: readonly FlagSpec[] = [
  { name: 'stats-tag', kind: 'list', help: 'A tag for all stats, as tag:value. May be repeated.' },
  { name: 'enable-core-dump', kind: 'flag', help: 'Enable core dumps (not supported)' },
  { name: 'socket-mode', kind: 'text', help: 'Hot restart socket file permission' },
  { name: 'socket-path', kind: 'text', help: 'Path to hot restart socket file' },
  { name: 'disable-extensions', kind: 'text', help: 'Comma-separated list of extensions to disable' },
  { name: 'cpuset-threads', kind: 'flag', help: 'Get the default # of worker threads from cpuset size' },
  { name: 'enable-mutex-tracing', kind: 'flag', help: 'Enable mutex contention tracing (not supported)' },
  { name: 'disable-hot-restart', kind: 'flag', help: 'Disable hot restart functionality' },
  {
    name: 'mode',
    kind: 'text',
    help: "One of 'serve' (default; validate configs and then serve traffic normally), 'validate' (validate configs and exit) or 'init_only' (initialize and exit).",
  },
  { name: 'parent-shutdown-time-s', kind: 'number', help: 'Hot restart parent shutdown time in seconds' },
  {
    name: 'drain-strategy',
    kind: 'text',
    help: "Drain sequence behaviour, one of 'gradual' (default) or 'immediate'.",
  },
  { name: 'drain-time-s', kind: 'number', help: 'Drain time in seconds. Default is 600' },
  { name: 'file-flush-min-size-kb', kind: 'number', help: 'Minimum size in KB for log flushing' },
  { name: 'file-flush-interval-msec', kind: 'number', help: 'Interval for log flushing in msec' },
  { name: 'service-zone', kind: 'text', help: 'Zone name' },
  { name: 'service-node', kind: 'text', help: 'Node name' },
  { name: 'service-cluster', kind: 'text', help: 'Cluster name' },
  { name: 'hot-restart-version', kind: 'flag', help: 'Hot restart compatibility version' },
  { name: 'restart-epoch', kind: 'number', help: 'Hot restart epoch #' },
  { name: 'log-path', kind: 'text', help: 'Path to logfile' },
  { name: 'enable-fine-grain-logging', kind: 'flag', help: 'Enable file level log control (not supported)' },
  { name: 'log-format-escaped', kind: 'flag', help: 'Escape c-style escape sequences in the application logs' },
  { name: 'log-format', kind: 'text', help: 'Log message format in spdlog syntax' },
  {
    name: 'component-log-level',
    kind: 'text',
    help: 'Comma-separated list of component log levels. For example upstream:debug,config:trace',
  },
  {
    name: 'log-level',
    short: 'l',
    kind: 'text',
    help: 'Log levels: [trace][debug][info][warning|warn][error][critical][off]. Default is [info]',
  },
  { name: 'local-address-ip-version', kind: 'text', help: 'The local IP address version (v4 or v6).' },
  { name: 'admin-address-path', kind: 'text', help: 'Admin address path' },
  { name: 'log-stacktrace-single-entry', kind: 'flag', help: 'Emit a stack trace as a single log entry.' },
  { name: 'skip-deprecated-logs', kind: 'flag', help: 'Skips the logging of deprecated field warnings' },
  { name: 'ignore-unknown-dynamic-fields', kind: 'flag', help: 'Ignore unknown fields in dynamic configuration' },
  { name: 'reject-unknown-dynamic-fields', kind: 'flag', help: 'Reject unknown fields in dynamic configuration' },
  { name: 'allow-unknown-static-fields', kind: 'flag', help: 'Allow unknown fields in static configuration' },
  { name: 'allow-unknown-fields', kind: 'flag', help: 'Allow unknown fields in static configuration (DEPRECATED)' },
  {
    name: 'config-yaml',
    kind: 'text',
    help: 'Inline YAML configuration, merges with the contents of --config-path',
  },
  { name: 'watch', kind: 'flag', help: 'Apply edits of the configuration file while running (not in Envoy).' },
  { name: 'config-path', short: 'c', kind: 'text', help: 'Path to configuration file' },
  { name: 'concurrency', kind: 'number', help: '# of worker threads to run' },
  { name: 'base-id-path', kind: 'text', help: 'Path to which the base ID is written' },
  {
    name: 'skip-hot-restart-parent-stats',
    kind: 'flag',
    help: 'When hot restarting, do not copy stats from the parent instance.',
  },
  {
    name: 'skip-hot-restart-on-no-parent',
    kind: 'flag',
    help: 'When hot restarting with epoch>0, start regularly when there is no parent.',
  },
  {
    name: 'use-dynamic-base-id',
    kind: 'flag',
    help: 'The server chooses a base ID dynamically. May not be used when the restart epoch is non-zero.',
  },
  { name: 'base-id', kind: 'number', help: 'Base ID so that multiple instances can run on the same host if needed' },
  { name: 'format', kind: 'text', help: "How configuration errors are printed: 'text' (default) or 'json'." },
  { name: 'version', kind: 'flag', help: 'Displays version information and exits.' },
  { name: 'help', short: 'h', kind: 'flag', help: 'Displays usage information and exits.' },
];

const BY_NAME = new Map(FLAGS.map((flag) => [flag.name, flag]));

/** What was asked for. */
export type Command =
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  | { readonly kind: 'hot-restart-version' }
  | { readonly kind: 'run'; readonly flags: ServerFlags; readonly errorFormat: 'text' | 'json' };

/** TCLAP's name of a flag in its messages. */
function shown(flag: FlagSpec): string {
  return flag.short === undefined ? `(--${flag.name})` : `-${flag.short} (--${flag.name})`;
}

function parseError(argument: string, reason: string): FlagError {
  return new FlagError(`PARSE ERROR: Argument: ${argument}\n             ${reason}`, `${argument} -- ${reason}`);
}

/** The given flags by name. @throws FlagError */
function readArguments(args: readonly string[]): Map<string, string | true | string[]> {
  const options: NonNullable<ParseArgsConfig['options']> = {};
  for (const flag of FLAGS) {
    const type = flag.kind === 'flag' ? 'boolean' : 'string';
    options[flag.name] = { type, ...(flag.short === undefined ? {} : { short: flag.short }) };
  }
  const { tokens } = parseArgs({
    args: [...cutRest(args)],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values = new Map<string, string | true | string[]>();
  for (const token of tokens) {
    if (token.kind === 'positional') throw parseError(token.value, "Couldn't find match for argument");
    if (token.kind !== 'option') continue;
    const flag = BY_NAME.get(token.name);
    if (flag === undefined) throw parseError(token.rawName, "Couldn't find match for argument");
    if (flag.kind === 'flag') {
      if (token.value !== undefined) throw parseError(token.rawName, "Couldn't find match for argument");
      if (values.has(flag.name)) throw parseError(shown(flag), 'Argument already set!');
      values.set(flag.name, true);
      continue;
    }
    if (token.value === undefined) throw parseError(shown(flag), 'Missing a value for this argument!');
    if (flag.kind === 'list') {
      const list = (values.get(flag.name) as string[] | undefined) ?? [];
      list.push(token.value);
      values.set(flag.name, list);
      continue;
    }
    if (values.has(flag.name)) throw parseError(shown(flag), 'Argument already set!');
    if (flag.kind === 'number' && !/^-?\d+$/.test(token.value)) {
      throw parseError(shown(flag), `Couldn't read argument value from string '${token.value}'`);
    }
    values.set(flag.name, token.value);
  }
  return values;
}

/** Everything behind `--` or `--ignore_rest` is not ours. */
function cutRest(args: readonly string[]): readonly string[] {
  const end = args.findIndex((argument) => argument === '--' || argument === '--ignore_rest');
  return end < 0 ? args : args.slice(0, end);
}

/** Reads Envoy's command line. @throws FlagError */
export function parseFlags(args: readonly string[]): Command {
  const values = readArguments(args);
  if (values.has('help')) return { kind: 'help' };
  if (values.has('version')) return { kind: 'version' };
  if (values.has('hot-restart-version')) return { kind: 'hot-restart-version' };
  const text = (name: string, fallback: string): string => (values.get(name) as string | undefined) ?? fallback;
  const number = (name: string, fallback: number): number => {
    const value = values.get(name);
    // Envoy reads these as unsigned and lets -1 become 4294967295: here it is refused.
    if (typeof value !== 'string') return fallback;
    if (value.startsWith('-') || Number(value) > 0xffff_ffff) {
      throw new FlagError(`error: --${name} must be between 0 and 4294967295, not '${value}'`, '');
    }
    return Number(value);
  };
  const has = (name: string): boolean => values.has(name);
  refuseUnsupported(has);

  const logLevelText = text('log-level', 'info');
  const logLevel = parseLogLevel(logLevelText);
  if (logLevel === null) throw new FlagError(`error: invalid log level specified '${logLevelText}'`, '');
  const componentLogLevel = text('component-log-level', '');
  const levels = parseComponentLevels(componentLogLevel);
  if (!levels.ok) throw new FlagError(levels.error, '');
  const mode = oneOf('unknown mode', text('mode', 'serve'), ['serve', 'validate', 'init_only'] as const);
  const version = oneOf('unknown IP address version', text('local-address-ip-version', 'v4'), ['v4', 'v6'] as const);
  const strategy = oneOf('unknown drain-strategy', text('drain-strategy', 'gradual'), [
    'gradual',
    'immediate',
  ] as const);
  const errorFormat = oneOf('unknown format', text('format', 'text'), ['text', 'json'] as const);
  const restartEpoch = number('restart-epoch', 0);
  checkEpoch(restartEpoch, has);
  const statsTags = (values.get('stats-tag') as string[] | undefined) ?? [];
  checkStatsTags(statsTags);
  const socketMode = text('socket-mode', '600');
  if (!/^[0-7]{1,4}$/.test(socketMode)) throw new FlagError(`error: invalid socket-mode '${socketMode}'`, '');
  const concurrency = has('concurrency') ? Math.max(1, number('concurrency', 1)) : defaultConcurrency();
  if (concurrency > MAX_WORKERS) {
    throw new FlagError(`error: --concurrency must be at most ${MAX_WORKERS}, not '${concurrency}'`, '');
  }
  const flags: ServerFlags = {
    ...DEFAULT_FLAGS,
    configPath: text('config-path', ''),
    configYaml: text('config-yaml', ''),
    watch: values.has('watch'),
    mode,
    logLevel,
    componentLogLevel,
    logPath: text('log-path', ''),
    logFormat: text('log-format', DEFAULT_FLAGS.logFormat),
    logFormatEscaped: has('log-format-escaped'),
    concurrency,
    serviceNode: text('service-node', ''),
    serviceCluster: text('service-cluster', ''),
    serviceZone: text('service-zone', ''),
    drainTimeS: number('drain-time-s', DEFAULT_FLAGS.drainTimeS),
    drainStrategy: strategy,
    parentShutdownTimeS: number('parent-shutdown-time-s', DEFAULT_FLAGS.parentShutdownTimeS),
    adminAddressPath: text('admin-address-path', ''),
    localAddressIpVersion: version,
    allowUnknownStaticFields: has('allow-unknown-static-fields') || has('allow-unknown-fields'),
    rejectUnknownDynamicFields: has('reject-unknown-dynamic-fields'),
    ignoreUnknownDynamicFields: has('ignore-unknown-dynamic-fields'),
    skipDeprecatedLogs: has('skip-deprecated-logs'),
    disabledExtensions: text('disable-extensions', '')
      .split(',')
      .filter((name) => name !== '')
      .map((name) => name.slice(name.indexOf('/') + 1)),
    statsTags,
    fileFlushIntervalMs: number('file-flush-interval-msec', DEFAULT_FLAGS.fileFlushIntervalMs),
    fileFlushMinSizeKb: number('file-flush-min-size-kb', DEFAULT_FLAGS.fileFlushMinSizeKb),
    baseId: number('base-id', 0),
    useDynamicBaseId: has('use-dynamic-base-id'),
    baseIdPath: text('base-id-path', ''),
    restartEpoch,
    disableHotRestart: has('disable-hot-restart'),
    skipHotRestartOnNoParent: has('skip-hot-restart-on-no-parent'),
    skipHotRestartParentStats: has('skip-hot-restart-parent-stats'),
    socketPath: text('socket-path', DEFAULT_FLAGS.socketPath),
    socketMode: has('socket-mode') ? Number.parseInt(socketMode, 8) : 0,
    cpusetThreads: has('cpuset-threads'),
    logStacktraceSingleEntry: has('log-stacktrace-single-entry'),
  };
  return { kind: 'run', flags, errorFormat };
}

/** More threads than any machine has processors: a slip of the finger. */
const MAX_WORKERS = 1024;

function oneOf<const T extends string>(complaint: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((each) => each === value);
  if (found === undefined) throw new FlagError(`error: ${complaint} '${value}'`, '');
  return found;
}

/** What this runtime cannot do is not silently accepted. */
function refuseUnsupported(has: (name: string) => boolean): void {
  const reasons: Readonly<Record<string, string>> = {
    'enable-core-dump': 'core dumps are left to the system (ulimit -c)',
    'enable-mutex-tracing': 'there are no mutexes to trace',
    'enable-fine-grain-logging': 'loggers are by component: use --component-log-level',
  };
  for (const [name, reason] of Object.entries(reasons)) {
    if (has(name)) throw new FlagError(`error: --${name} is not supported: ${reason}`, '');
  }
}

function checkEpoch(epoch: number, has: (name: string) => boolean): void {
  if (epoch === 0) return;
  if (has('use-dynamic-base-id')) {
    throw new FlagError(`error: cannot use --restart-epoch=${epoch} with --use-dynamic-base-id`, '');
  }
  if (has('disable-hot-restart') || has('skip-hot-restart-on-no-parent')) return;
  throw new FlagError(
    `error: --restart-epoch=${epoch} is not supported: hot restart is not offered yet (use 0, or --skip-hot-restart-on-no-parent)`,
    '',
  );
}

function checkStatsTags(tags: readonly string[]): void {
  for (const tag of tags) {
    const colon = tag.indexOf(':');
    if (colon < 0) throw new FlagError(`error: misformatted stats-tag '${tag}'`, '');
    const name = tag.slice(0, colon);
    const value = tag.slice(colon + 1);
    const complain = (part: string): FlagError =>
      new FlagError(`error: misformatted stats-tag '${tag}' contains invalid char in '${part}'`, '');
    if (!/^[\w-]+$/.test(name)) throw complain(name);
    if (value === '' || value.includes('.')) throw complain(value);
  }
}
