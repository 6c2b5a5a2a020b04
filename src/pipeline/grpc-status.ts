import { grpcStatusIn, httpStatusOfGrpc, isGrpcContentType } from '../http/grpc-headers.ts';
import type { RequestHeaders } from '../http/header-map.ts';

export { grpcStatusIn as grpcStatusOf, httpStatusOfGrpc };

/** By its content type. */
export function isGrpcRequest(headers: RequestHeaders): boolean {
  return isGrpcContentType(headers.get('content-type'));
}
