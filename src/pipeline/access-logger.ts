import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { StreamInfo } from './stream-info.ts';

/** At which moment an entry is written (envoy.data.accesslog.v3.AccessLogType). */
export const AccessLogType = {
  NotSet: 0,
  TcpUpstreamConnected: 1,
  TcpPeriodic: 2,
  TcpConnectionEnd: 3,
  DownstreamStart: 4,
  DownstreamPeriodic: 5,
  DownstreamEnd: 6,
  UpstreamPoolReady: 7,
  UpstreamPeriodic: 8,
  UpstreamEnd: 9,
  DownstreamTunnelSuccessfullyEstablished: 10,
  UdpTunnelUpstreamConnected: 11,
  UdpPeriodic: 12,
  UdpSessionEnd: 13,
  TcpConnectionStart: 14,
} as const;
export type AccessLogType = (typeof AccessLogType)[keyof typeof AccessLogType];
export const ACCESS_LOG_TYPE_NAMES = [
  'NotSet',
  'TcpUpstreamConnected',
  'TcpPeriodic',
  'TcpConnectionEnd',
  'DownstreamStart',
  'DownstreamPeriodic',
  'DownstreamEnd',
  'UpstreamPoolReady',
  'UpstreamPeriodic',
  'UpstreamEnd',
  'DownstreamTunnelSuccessfullyEstablished',
  'UdpTunnelUpstreamConnected',
  'UdpPeriodic',
  'UdpSessionEnd',
  'TcpConnectionStart',
] as const;

/** What a log entry is made from. Header maps are null where there are none (TCP, no response). */
export interface LogContext {
  readonly stream: StreamInfo;
  readonly requestHeaders: RequestHeaders | null;
  readonly responseHeaders: ResponseHeaders | null;
  readonly responseTrailers: HeaderMap | null;
  readonly logType: AccessLogType;
}

/** Decides whether an entry is written. */
export interface AccessLogFilter {
  matches(context: LogContext): boolean;
}

/** Writes entries; filters are already applied by the logger itself. Must not throw and must not block. */
export interface AccessLogger {
  log(context: LogContext): void;
}

/** A named, buffered file of log lines; opened once per path and thread, reopened on SIGUSR1. */
export interface LogFile {
  /** `line` includes its newline and is one UTF-16 unit per byte (latin1), as header values are. Bounded: when the disk does not keep up, lines are dropped and counted. */
  write(line: string): void;
}

/** Opens log files (`/dev/stdout` and `/dev/stderr` included). */
export interface LogFiles {
  open(path: string): LogFile;
}
