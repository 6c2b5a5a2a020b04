import type { LogContext } from '../access-logger.ts';
import type { StreamInfo } from '../stream-info.ts';
import { OperatorProblem } from './format-parser.ts';
import { type Operator, type OperatorTable, plain, withArgument } from './operator-table.ts';
import { FixedSegment, NumberSegment, type Segment } from './segment.ts';
import { IsoTimeSegment, PatternTimeSegment, type TimeReader } from './time-format.ts';

/** A moment in monotonic milliseconds; below zero: it has not come. */
type MomentReader = (stream: StreamInfo) => number;

/** Milliseconds from the stream's start, whole. */
function since(read: MomentReader): Operator {
  return plain(() => new NumberSegment((stream) => wholeUnits(stream.startMs, read(stream), 1)));
}

/** Differences of fractional milliseconds carry noise far below a nanosecond: it must not cost a whole unit. */
const NOISE = 1e-7;

function wholeUnits(from: number, to: number, unitsPerMs: number): number | null {
  if (from < 0 || to < 0 || to < from) return null;
  return Math.floor((to - from) * unitsPerMs + NOISE);
}

function now(stream: StreamInfo): number {
  if (stream.endMs >= 0) return stream.endMs;
  return stream.connection === null ? stream.startMs : stream.connection.dispatcher.clock.monotonicMs();
}

/** Names of COMMON_DURATION's moments. Source: Envoy, CommonDurationFormatter. */
const MOMENTS: Readonly<Record<string, MomentReader>> = {
  DS_CX_BEG: (stream) => stream.connection?.startMs ?? -1,
  // Of the TLS handshake.
  DS_CX_END: () => -1,
  DS_HS_BEG: () => -1,
  DS_HS_END: () => -1,
  DS_RX_BEG: (stream) => stream.startMs,
  DS_RX_HDR_END: (stream) => stream.headersEndMs,
  DS_RX_END: (stream) => stream.lastRxByteMs,
  US_CX_BEG: (stream) => stream.upstream?.connectStartMs ?? -1,
  US_CX_END: (stream) => stream.upstream?.connectEndMs ?? -1,
  US_HS_END: () => -1,
  US_TX_BEG: (stream) => stream.upstream?.firstByteSentMs ?? -1,
  US_TX_END: (stream) => stream.upstream?.lastByteSentMs ?? -1,
  US_RX_BEG: (stream) => stream.upstream?.firstByteReceivedMs ?? -1,
  US_RX_BODY_BEG: (stream) => stream.upstream?.firstBodyByteReceivedMs ?? -1,
  US_RX_END: (stream) => stream.upstream?.lastByteReceivedMs ?? -1,
  DS_TX_BEG: (stream) => stream.firstTxByteMs,
  DS_TX_END: (stream) => stream.lastTxByteMs,
};
const NEVER: MomentReader = () => -1;
const UNITS_PER_MS: Readonly<Record<string, number>> = { ms: 1, us: 1e3, ns: 1e6 };

/** `COMMON_DURATION(FROM:TO:ms|us|ns)`. A moment that nobody knows is one that never comes, as in Envoy. */
function commonDuration(argument: string): Segment | OperatorProblem {
  const parts = argument.split(':');
  if (parts.length < 2 || parts.length > 3) {
    return new OperatorProblem(
      `Invalid common duration configuration: ${argument}.`,
      'write %COMMON_DURATION(FROM:TO:ms)%, with moments such as DS_RX_BEG and DS_TX_END',
    );
  }
  const precision = parts[2] ?? 'ms';
  const unitsPerMs = UNITS_PER_MS[precision];
  if (unitsPerMs === undefined) {
    return new OperatorProblem(`Invalid common duration precision: ${precision}.`, 'one of ms, us, ns');
  }
  const from = MOMENTS[parts[0]!] ?? NEVER;
  const to = MOMENTS[parts[1]!] ?? NEVER;
  return new NumberSegment((stream) => wholeUnits(from(stream), to(stream), unitsPerMs));
}

/** A newline would end the log line or the header (Envoy, SystemTimeFormatter). */
const NEWLINE = /%[-_0^#]*[1-9]*(E|O)?n/;

function time(read: TimeReader, local: boolean): Operator {
  return withArgument('optional', false, (pattern) => {
    if (NEWLINE.test(pattern)) {
      return new OperatorProblem('Invalid header configuration. Format string contains newline.');
    }
    return pattern === '' ? new IsoTimeSegment(read, local) : new PatternTimeSegment(read, pattern, local);
  });
}

const startTime: TimeReader = (context) => context.stream.startWallMs;
const emitTime: TimeReader = (context: LogContext) => {
  const connection = context.stream.connection;
  return connection === null ? Date.now() : connection.dispatcher.wallMs;
};

/** Operators of time. */
export const DURATION_OPERATORS: OperatorTable = {
  START_TIME: time(startTime, false),
  START_TIME_LOCAL: time(startTime, true),
  EMIT_TIME: time(emitTime, false),
  EMIT_TIME_LOCAL: time(emitTime, true),
  DURATION: since(now),
  REQUEST_DURATION: since((stream) => stream.lastRxByteMs),
  REQUEST_TX_DURATION: since((stream) => stream.upstream?.lastByteSentMs ?? -1),
  RESPONSE_DURATION: since((stream) => stream.upstream?.firstByteReceivedMs ?? -1),
  RESPONSE_TX_DURATION: plain(
    () => new NumberSegment((stream) => wholeUnits(stream.upstream?.firstByteReceivedMs ?? -1, stream.lastTxByteMs, 1)),
  ),
  UPSTREAM_CONNECTION_POOL_READY_DURATION: plain(
    () =>
      new NumberSegment((stream) =>
        wholeUnits(stream.upstream?.poolStartMs ?? -1, stream.upstream?.poolReadyMs ?? -1, 1),
      ),
  ),
  // TLS and QUIC have these.
  DOWNSTREAM_HANDSHAKE_DURATION: plain(() => new FixedSegment(null)),
  ROUNDTRIP_DURATION: plain(() => new FixedSegment(null)),
  COMMON_DURATION: withArgument('required', false, commonDuration),
};
