import { encodeGrpcMessage, grpcStatusOfHttp } from '../http/grpc-headers.ts';
import { ResponseHeaders } from '../http/header-map.ts';
import { ActionKind } from '../routing/route-action.ts';
import { AccessLogType, type LogContext } from './access-logger.ts';
import type { ActiveStream } from './active-stream.ts';
import type { LocalReply } from './http-filter.ts';

export interface LocalReplyMessage {
  readonly headers: ResponseHeaders;
  /** Latin1 string of its bytes; empty: none. */
  readonly body: string;
}

/** Builds the answer: mapped by local_reply_config, as gRPC trailers-only for gRPC requests. Envoy: Utility::sendLocalReply. */
export function formatLocalReply(stream: ActiveStream, reply: LocalReply): LocalReplyMessage {
  const headers = new ResponseHeaders();
  headers.status = reply.status;
  const route = stream.info.route;
  if (route !== null && route.action.kind === ActionKind.Forward && !route.responseMutations.isEmpty) {
    route.responseMutations.apply(headers, replyContext(stream, headers));
  }
  reply.modifyHeaders?.(headers);
  stream.info.responseCode = reply.status;
  const typeBefore = headers.get('content-type');
  const formatted = stream.config.localReplies.rewrite(stream, headers, reply.body);
  const { body, contentType } = formatted;
  if (stream.isGrpcRequest) {
    const status = headers.status;
    headers.status = 200;
    stream.info.responseCode = 200;
    headers.set('content-type', 'application/grpc');
    if (!headers.has('grpc-status')) headers.set('grpc-status', String(reply.grpcStatus ?? grpcStatusOfHttp(status)));
    if (body !== '' && !stream.isHeadRequest && !headers.has('grpc-message')) {
      headers.set('grpc-message', encodeGrpcMessage(contentType === 'application/json' ? withoutNewline(body) : body));
    }
    headers.remove('content-length');
    return { headers, body: '' };
  }
  stream.info.responseCode = headers.status;
  if (body !== '') {
    headers.set('content-length', String(body.length));
    // A content type that was set on purpose stays, unless the body is another now.
    const ownType = headers.get('content-type') !== typeBefore;
    if (!headers.has('content-type') || (body !== reply.body && !ownType)) headers.set('content-type', contentType);
  } else {
    headers.remove('content-length');
    headers.remove('content-type');
  }
  return { headers, body: stream.isHeadRequest ? '' : body };
}

function replyContext(stream: ActiveStream, responseHeaders: ResponseHeaders): LogContext {
  return {
    stream: stream.info,
    requestHeaders: stream.requestHeaders,
    responseHeaders,
    responseTrailers: null,
    logType: AccessLogType.NotSet,
  };
}

/** JSON formats end in a newline, which is no part of a header (Envoy strips it here too). */
function withoutNewline(text: string): string {
  return text.endsWith('\n') ? text.slice(0, -1) : text;
}
