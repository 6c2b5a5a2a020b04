import type { HeaderMap, RequestHeaders } from '../http/header-map.ts';

/** gRPC status of an HTTP status without one (gRPC: http-grpc-status-mapping). */
export function grpcStatusOfHttp(status: number): number {
  switch (status) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;
    default:
      return 2;
  }
}

/** HTTP status by which a gRPC status counts as a success or a failure. Source: Envoy, Grpc::Utility::grpcToHttpStatus. */
export function httpStatusOfGrpc(status: number): number {
  return GRPC_TO_HTTP[status] ?? 500;
}

const GRPC_TO_HTTP = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401] as const;

/** By its content type: `application/grpc`, alone or with a suffix such as `+proto`. */
export function isGrpcRequest(headers: RequestHeaders): boolean {
  const type = headers.get('content-type');
  if (type === null || !type.startsWith('application/grpc')) return false;
  return type.length === 16 || type.charCodeAt(16) === 43;
}

/** The value of `grpc-status`; -1: absent or no number. */
export function grpcStatusOf(headers: HeaderMap): number {
  const text = headers.get('grpc-status');
  return text === null || !/^[0-9]{1,9}$/.test(text) ? -1 : Number(text);
}
