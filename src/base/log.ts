/** Envoy's levels, in its order and spelling (spdlog). */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warning', 'error', 'critical', 'off'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const LogRank = { trace: 0, debug: 1, info: 2, warning: 3, error: 4, critical: 5, off: 6 } as const;

/** Where formatted application-log records go. */
export interface LogSink {
  write(level: LogLevel, logger: string, message: string): void;
}

/** One named component's logger (Envoy: `--component-log-level upstream:debug`). Guard costly messages by `rank`. */
export class Logger {
  readonly name: string;
  /** Records below this rank are dropped. */
  rank: number;
  readonly #sink: LogSink;

  constructor(name: string, level: LogLevel, sink: LogSink) {
    this.name = name;
    this.rank = LogRank[level];
    this.#sink = sink;
  }

  get level(): LogLevel {
    return LOG_LEVELS[this.rank]!;
  }

  setLevel(level: LogLevel): void {
    this.rank = LogRank[level];
  }

  log(level: LogLevel, message: string): void {
    if (LogRank[level] >= this.rank) this.#sink.write(level, this.name, message);
  }

  debug(message: string): void {
    if (this.rank <= LogRank.debug) this.#sink.write('debug', this.name, message);
  }

  info(message: string): void {
    if (this.rank <= LogRank.info) this.#sink.write('info', this.name, message);
  }

  warning(message: string): void {
    if (this.rank <= LogRank.warning) this.#sink.write('warning', this.name, message);
  }

  error(message: string): void {
    if (this.rank <= LogRank.error) this.#sink.write('error', this.name, message);
  }

  critical(message: string): void {
    if (this.rank <= LogRank.critical) this.#sink.write('critical', this.name, message);
  }
}

/** Envoy's logger names: those that `/logging` lists and `--component-log-level` takes. */
export const LOGGER_NAMES = [
  'a2a',
  'admin',
  'ai_protocol_manager',
  'alternate_protocols_cache',
  'aws',
  'assert',
  'backtrace',
  'basic_auth',
  'cache_filter',
  'client',
  'config',
  'connection',
  'conn_handler',
  'compression',
  'credential_injector',
  'decompression',
  'dns',
  'dubbo',
  'envoy_bug',
  'ext_authz',
  'ext_proc',
  'rocketmq',
  'file',
  'filter',
  'forward_proxy',
  'geolocation',
  'grpc',
  'happy_eyeballs',
  'hc',
  'health_checker',
  'http',
  'http2',
  'hystrix',
  'init',
  'io',
  'jwt',
  'json_rpc',
  'kafka',
  'key_value_store',
  'lua',
  'local_rate_limit',
  'main',
  'matcher',
  'mcp',
  'misc',
  'mongo',
  'multi_connection',
  'notification',
  'oauth2',
  'quic',
  'quic_stream',
  'pool',
  'rate_limit_quota',
  'rbac',
  'rds',
  'redis',
  'router',
  'runtime',
  'stats',
  'secret',
  'sse',
  'tap',
  'testing',
  'thrift',
  'tracing',
  'upstream',
  'udp',
  'wasm',
  'websocket',
  'golang',
  'stats_sinks',
  'dynamic_modules',
  'ip_tagging',
] as const;

/** The set of loggers of one thread. */
export class LoggerRegistry {
  readonly #loggers = new Map<string, Logger>();
  readonly #sink: LogSink;
  #level: LogLevel;

  constructor(sink: LogSink, level: LogLevel) {
    this.#sink = sink;
    this.#level = level;
    for (const name of LOGGER_NAMES) this.#loggers.set(name, new Logger(name, level, sink));
  }

  get(name: string): Logger {
    let logger = this.#loggers.get(name);
    if (logger === undefined) {
      logger = new Logger(name, this.#level, this.#sink);
      this.#loggers.set(name, logger);
    }
    return logger;
  }

  has(name: string): boolean {
    return this.#loggers.has(name);
  }

  all(): IterableIterator<Logger> {
    return this.#loggers.values();
  }
}
