import { writeFileSync } from 'node:fs';
import { openApiRegistry } from '../api/api-registry.ts';
import { endStartUp } from '../base/jit-policy.ts';
import { LoggerRegistry } from '../base/log.ts';
import type { BootstrapPlan } from '../config/builders/bootstrap.ts';
import type { ConfigError } from '../config/diagnostics/config-error.ts';
import { errorLine, renderErrors, renderErrorsAsJson } from '../config/diagnostics/render.ts';
import { ExtensionRegistry } from '../config/extension-registry.ts';
import { type ConfigInput, readConfigFile } from '../config/load/load-config.ts';
import { EXTENSIONS } from '../extensions/index.ts';
import { type LoadedBootstrap, loadBootstrap } from './load-bootstrap.ts';
import { parseComponentLevels } from './log-levels.ts';
import { LogOutput } from './logging/log-output.ts';
import type { LoadAgain } from './reload/static-reload.ts';
import { Server, type ServerParts } from './server.ts';
import { DEFAULT_LOG_FORMAT, type ServerFlags } from './server-flags.ts';
import { loadSockets } from './socket-runtime.ts';
import { loadTls, type TlsFactory, tlsRefusal } from './tls-runtime.ts';

/** How configuration errors are printed. */
export type ErrorFormat = 'text' | 'json';

const NO_CONFIG = 'At least one of --config-path or --config-yaml or Options::configProto() should be non-empty';

class StartupError extends Error {}

/** Takes `--disable-extensions` off: `category/name`, as Envoy writes them. */
function enabledExtensions(flags: ServerFlags): ExtensionRegistry {
  const disabled = new Set(flags.disabledExtensions);
  return new ExtensionRegistry(
    disabled.size === 0 ? EXTENSIONS : EXTENSIONS.filter((factory) => !disabled.has(factory.name)),
  );
}

function readInputs(flags: ServerFlags): ConfigInput[] {
  const inputs: ConfigInput[] = [];
  if (flags.configPath !== '') {
    const file = readConfigFile(flags.configPath);
    if (!file.ok) throw new StartupError(`Invalid path: ${flags.configPath}`);
    inputs.push(file.value);
  }
  if (flags.configYaml !== '') inputs.push({ name: '--config-yaml', format: 'yaml', content: flags.configYaml });
  if (inputs.length === 0) throw new StartupError(NO_CONFIG);
  return inputs;
}

function printErrors(errors: readonly ConfigError[], format: ErrorFormat): void {
  const colours = process.stderr.isTTY === true;
  process.stderr.write(format === 'json' ? renderErrorsAsJson(errors) : renderErrors(errors, { colours }));
}

interface Prepared {
  readonly parts: Omit<ServerParts, 'createSockets' | 'createTls'>;
  readonly bootstrap: LoadedBootstrap;
}

/** Loads what the flags name. @returns null when errors were printed */
function prepare(flags: ServerFlags, format: ErrorFormat, createTls: TlsFactory): Prepared | null {
  const logOutput = openLog(flags.logPath, flags.logFormat, flags.logFormatEscaped);
  const loggers = new LoggerRegistry(logOutput, flags.logLevel);
  const levels = parseComponentLevels(flags.componentLogLevel);
  const componentLevels = levels.ok ? levels.value : [];
  for (const [name, level] of componentLevels) loggers.get(name).setLevel(level);
  const main = loggers.get('main');
  if (flags.mode !== 'validate') main.info(`initializing epoch ${flags.restartEpoch} (base id=${flags.baseId})`);
  try {
    const api = openApiRegistry();
    const extensions = enabledExtensions(flags);
    const unknownFields = flags.allowUnknownStaticFields ? 'warn' : 'reject';
    const { serviceNode, serviceCluster } = flags;
    const onlyValidates = flags.mode === 'validate';
    const settings = { statsTags: flags.statsTags.map(splitTag), serviceNode, serviceCluster, onlyValidates };
    const refusal = tlsRefusal(createTls);
    const load: LoadAgain = () => loadBootstrap(readInputs(flags), api, extensions, unknownFields, settings, refusal);
    const loaded = load();
    if (!loaded.ok) {
      printErrors(loaded.error, format);
      return null;
    }
    const bootstrap = loaded.value;
    logOutput.setPattern(applicationPattern(flags, bootstrap.plan) ?? flags.logFormat, flags.logFormatEscaped);
    main.info(
      `runtime: ${JSON.stringify(bootstrap.plan.message.layeredRuntime?.layers.map((layer) => layer.name) ?? [])}`,
    );
    return {
      parts: { api, extensions, loggers, logOutput, componentLevels, loadAgain: flags.configPath === '' ? null : load },
      bootstrap,
    };
  } catch (error) {
    if (!(error instanceof StartupError)) throw error;
    main.critical(`error \`${error.message}\` initializing config '${flags.configPath}'`);
    main.info('exiting');
    process.stderr.write(`${error.message}\n`);
    return null;
  }
}

function openLog(path: string, pattern: string, escaped: boolean): LogOutput {
  try {
    return new LogOutput(path, pattern, escaped);
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'No such file or directory' : String(error);
    throw new StartupFailure(`Failed to open log-file '${path}'. e.what(): unable to open file '${path}': ${reason}`);
  }
}

/** A failure that is told in one line before anything can be logged. */
export class StartupFailure extends Error {}

/** `application_log_config`, which may not be combined with `--log-format`. */
function applicationPattern(flags: ServerFlags, plan: BootstrapPlan): string | null {
  if (plan.applicationLog === null) return null;
  if (flags.logFormat !== DEFAULT_LOG_FORMAT) {
    throw new StartupError('Only one of ApplicationLogConfig.log_format or CLI option --log-format can be specified.');
  }
  return plan.applicationLog.pattern;
}

function splitTag(tag: string): { name: string; value: string } {
  const colon = tag.indexOf(':');
  return { name: tag.slice(0, colon), value: tag.slice(colon + 1) };
}

/** `--mode validate`. @returns the exit code */
export async function validateConfig(flags: ServerFlags, format: ErrorFormat): Promise<number> {
  const prepared = prepare(flags, format, await loadTls());
  if (prepared === null) return 1;
  const { bootstrap, parts } = prepared;
  const misc = parts.loggers.get('misc');
  for (const warning of bootstrap.warnings) misc.warning(errorLine(warning));
  const config = parts.loggers.get('config');
  config.info('loading tracing configuration');
  config.info(`loading ${bootstrap.plan.message.staticResources?.secrets.length ?? 0} static secret(s)`);
  config.info(`loading ${bootstrap.plan.clusters.length} cluster(s)`);
  config.info(`loading ${bootstrap.plan.listeners.length} listener(s)`);
  config.info('loading stats configuration');
  process.stdout.write(`configuration '${flags.configPath}' OK\n`);
  return 0;
}

/** Runs until a signal or `/quitquitquit`. @returns the exit code */
export async function serve(flags: ServerFlags, format: ErrorFormat): Promise<number> {
  const sockets = loadSockets();
  const createTls = await loadTls();
  const prepared = prepare(flags, format, createTls);
  if (prepared === null) return 1;
  const server = new Server(flags, { ...prepared.parts, createSockets: await sockets, createTls }, prepared.bootstrap);
  const { loggers } = prepared.parts;
  const main = loggers.get('main');
  logWarnings(server);
  writeBaseId(flags, server);
  handleSignals(server);
  const onError = (error: unknown): void =>
    server.onBug(error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.on('uncaughtException', onError);
  process.on('unhandledRejection', onError);
  try {
    // A signal need not wait for names that nobody resolves.
    await Promise.race([server.start(), server.finished]);
  } catch (error) {
    const { message } = error as Error;
    main.critical(`error \`${message}\` initializing config '${flags.configPath}'`);
    await server.stop();
    process.stderr.write(`${message}\n`);
    return 1;
  }
  if (flags.mode === 'init_only') {
    await server.stop();
    return 0;
  }
  endStartUp();
  await server.finished;
  main.info('main dispatch loop exited');
  await server.stop();
  return server.failed ? 1 : 0;
}

function logWarnings({ parts, bootstrap, flags }: Server): void {
  const logger = parts.loggers.get('misc');
  for (const warning of bootstrap.warnings) {
    if (flags.skipDeprecatedLogs && /deprecated/i.test(warning.reason)) continue;
    logger.warning(errorLine(warning));
  }
}

/** Hot restart is not offered, so the base id is what was given. */
function writeBaseId(flags: ServerFlags, server: Server): void {
  if (flags.baseIdPath === '') return;
  try {
    writeFileSync(flags.baseIdPath, String(flags.baseId));
  } catch {
    server.parts.loggers.get('main').critical(`cannot open base id output file ${flags.baseIdPath} for writing.`);
  }
}

/** Envoy's signals: TERM and INT end, USR1 reopens logs, HUP is ignored. */
function handleSignals(server: Server): void {
  const main = server.parts.loggers.get('main');
  process.on('SIGTERM', () => {
    main.warning('caught ENVOY_SIGTERM');
    server.shutDown();
  });
  process.on('SIGINT', () => {
    main.warning('caught SIGINT');
    server.shutDown();
  });
  process.on('SIGUSR1', () => {
    main.info('caught SIGUSR1. Reopening access logs.');
    server.reopenLogs();
  });
  process.on('SIGHUP', () => main.warning('caught and eating SIGHUP. See documentation for how to hot restart.'));
}
