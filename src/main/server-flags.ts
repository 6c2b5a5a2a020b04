import type { LogLevel } from '../base/log.ts';

/** Everything that Envoy's command line can say, with Envoy's defaults: what `/server_info` shows as `command_line_options`. */
export interface ServerFlags {
  readonly configPath: string;
  readonly configYaml: string;
  /** Nuncio's own: the configuration file is watched, and edits are applied. */
  readonly watch: boolean;
  readonly mode: 'serve' | 'validate' | 'init_only';
  readonly logLevel: LogLevel;
  readonly componentLogLevel: string;
  /** Empty: standard error. */
  readonly logPath: string;
  /** A spdlog pattern. */
  readonly logFormat: string;
  readonly logFormatEscaped: boolean;
  /** Workers; at least 1. */
  readonly concurrency: number;
  readonly serviceNode: string;
  readonly serviceCluster: string;
  readonly serviceZone: string;
  readonly drainTimeS: number;
  readonly drainStrategy: 'gradual' | 'immediate';
  readonly parentShutdownTimeS: number;
  /** Where the bound admin address is written; empty: nowhere. */
  readonly adminAddressPath: string;
  readonly localAddressIpVersion: 'v4' | 'v6';
  readonly allowUnknownStaticFields: boolean;
  readonly rejectUnknownDynamicFields: boolean;
  readonly ignoreUnknownDynamicFields: boolean;
  readonly skipDeprecatedLogs: boolean;
  readonly disabledExtensions: readonly string[];
  /** `name:value`. */
  readonly statsTags: readonly string[];
  readonly fileFlushIntervalMs: number;
  readonly fileFlushMinSizeKb: number;
  readonly baseId: number;
  readonly useDynamicBaseId: boolean;
  readonly baseIdPath: string;
  readonly restartEpoch: number;
  readonly disableHotRestart: boolean;
  readonly skipHotRestartOnNoParent: boolean;
  readonly skipHotRestartParentStats: boolean;
  readonly socketPath: string;
  /** As given, octal; shown as a number. */
  readonly socketMode: number;
  readonly cpusetThreads: boolean;
  readonly enableMutexTracing: boolean;
  readonly enableFineGrainLogging: boolean;
  readonly enableCoreDump: boolean;
  readonly logStacktraceSingleEntry: boolean;
}

export const DEFAULT_LOG_FORMAT = '[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v';

export const DEFAULT_FLAGS: ServerFlags = {
  configPath: '',
  configYaml: '',
  watch: false,
  mode: 'serve',
  logLevel: 'info',
  componentLogLevel: '',
  logPath: '',
  logFormat: DEFAULT_LOG_FORMAT,
  logFormatEscaped: false,
  concurrency: 1,
  serviceNode: '',
  serviceCluster: '',
  serviceZone: '',
  drainTimeS: 600,
  drainStrategy: 'gradual',
  parentShutdownTimeS: 900,
  adminAddressPath: '',
  localAddressIpVersion: 'v4',
  allowUnknownStaticFields: false,
  rejectUnknownDynamicFields: false,
  ignoreUnknownDynamicFields: false,
  skipDeprecatedLogs: false,
  disabledExtensions: [],
  statsTags: [],
  fileFlushIntervalMs: 10_000,
  fileFlushMinSizeKb: 64,
  baseId: 0,
  useDynamicBaseId: false,
  baseIdPath: '',
  restartEpoch: 0,
  disableHotRestart: false,
  skipHotRestartOnNoParent: false,
  skipHotRestartParentStats: false,
  socketPath: '@envoy_domain_socket',
  socketMode: 0,
  cpusetThreads: false,
  enableMutexTracing: false,
  enableFineGrainLogging: false,
  enableCoreDump: false,
  logStacktraceSingleEntry: false,
};
