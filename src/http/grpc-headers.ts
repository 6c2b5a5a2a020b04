import type { HeaderMap } from './header-map.ts';

/** gRPC status codes. Source: gRPC, doc/statuscodes.md. */
export const GrpcStatus = {
  Ok: 0,
  Cancelled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;
/** One of the codes above. Peers may send others: where those are met, the type is `number`. */
export type GrpcStatus = (typeof GrpcStatus)[keyof typeof GrpcStatus];

const GRPC_TYPE = 'application/grpc';

/** `application/grpc`, alone or with a suffix such as `+proto`. Source: Envoy, Grpc::Common::hasGrpcContentType. */
export function isGrpcContentType(value: string | null): boolean {
  if (value === null || !value.startsWith(GRPC_TYPE)) return false;
  return value.length === GRPC_TYPE.length || value.charCodeAt(GRPC_TYPE.length) === 43;
}

/** gRPC status of an HTTP status without one. Source: gRPC, doc/http-grpc-status-mapping.md. */
export function grpcStatusOfHttp(status: number): GrpcStatus {
  switch (status) {
    case 400:
      return GrpcStatus.Internal;
    case 401:
      return GrpcStatus.Unauthenticated;
    case 403:
      return GrpcStatus.PermissionDenied;
    case 404:
      return GrpcStatus.Unimplemented;
    case 429:
    case 502:
    case 503:
    case 504:
      return GrpcStatus.Unavailable;
    default:
      return GrpcStatus.Unknown;
  }
}

const GRPC_TO_HTTP = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401] as const;

/** HTTP status by which a gRPC status counts as a success or a failure. Source: Envoy, Grpc::Utility::grpcToHttpStatus. */
export function httpStatusOfGrpc(status: number): number {
  return GRPC_TO_HTTP[status] ?? 500;
}

/** The value of `grpc-status`; -1: absent or no number. */
export function grpcStatusIn(headers: HeaderMap): number {
  const text = headers.get('grpc-status');
  return text === null || !/^[0-9]{1,9}$/.test(text) ? -1 : Number(text);
}

/**
 * Percent-encodes what may not stand in `grpc-message`, and the tilde, as Envoy does. Source: gRPC over HTTP/2,
 * "Status-Message".
 *
 * @param text latin1 string of the message's UTF-8 bytes
 */
export function encodeGrpcMessage(text: string): string {
  if (/^[ -$&-}]*$/.test(text)) return text;
  let out = '';
  for (let i = 0; i < text.length; i++) {
    const byte = text.charCodeAt(i);
    out +=
      byte >= 0x20 && byte < 0x7e && byte !== 0x25 ? text[i] : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out;
}

/** The text of a `grpc-message`; what is no valid encoding stays as it is, as the specification demands. */
export function decodeGrpcMessage(value: string): string {
  if (!value.includes('%')) return value;
  const bytes = value.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

const UNITS_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };
const MAX_TIMEOUT_VALUE = 99_999_999;

/**
 * `grpc-timeout` in ms, rounded up; null: absent or malformed. Source: gRPC over HTTP/2, "Timeout"; a sign and spaces around the
 * number pass with Envoy, and so here.
 */
export function readGrpcTimeout(headers: HeaderMap): number | null {
  const text = headers.get('grpc-timeout');
  if (text === null || !/^\s*(\+?[0-9]{1,19}|-0+)\s*[HMSmun]$/.test(text)) return null;
  const value = Math.abs(Number(text.slice(0, -1)));
  if (value > MAX_TIMEOUT_VALUE * 10) return null;
  return Math.ceil(value * UNITS_MS[text.slice(-1)]!);
}

/** The text of `grpc-timeout`: at most eight digits and a unit. */
export function formatGrpcTimeout(ms: number): string {
  let value = Math.floor(ms);
  if (value <= MAX_TIMEOUT_VALUE) return `${value}m`;
  value = Math.floor(value / 1000);
  for (const unit of ['S', 'M']) {
    if (value <= MAX_TIMEOUT_VALUE) return `${value}${unit}`;
    value = Math.floor(value / 60);
  }
  return `${Math.min(value, MAX_TIMEOUT_VALUE)}H`;
}
