import { ResponseHeaders } from '../http/header-map.ts';
import type { ActiveStream } from './active-stream.ts';
import { grpcStatusOfHttp } from './grpc-status.ts';
import type { LocalReply } from './http-filter.ts';

export interface LocalReplyMessage {
  readonly headers: ResponseHeaders;
  /** UTF-8 when sent; empty: none. */
  readonly body: string;
}

/** Builds the answer: mapped by local_reply_config, as gRPC trailers-only for gRPC requests. Envoy: Utility::sendLocalReply. */
export function formatLocalReply(stream: ActiveStream, reply: LocalReply): LocalReplyMessage {
  const headers = new ResponseHeaders();
  headers.status = reply.status;
  reply.modifyHeaders?.(headers);
  stream.info.responseCode = reply.status;
  const formatted = stream.config.localReplies.rewrite(stream, headers, reply.body);
  const { body, contentType } = formatted;
  if (stream.isGrpcRequest) {
    const status = reply.grpcStatus ?? grpcStatusOfHttp(headers.status);
    headers.status = 200;
    headers.set('content-type', 'application/grpc');
    headers.set('grpc-status', String(status));
    if (body !== '' && !stream.isHeadRequest) headers.set('grpc-message', grpcMessage(withoutNewline(body)));
    stream.info.responseCode = 200;
    return { headers, body: '' };
  }
  stream.info.responseCode = headers.status;
  if (body !== '') {
    headers.set('content-length', String(Buffer.byteLength(body, 'utf8')));
    // Envoy keeps a content type that was set on purpose.
    if (!headers.has('content-type') || contentType !== 'text/plain') headers.set('content-type', contentType);
  } else {
    headers.remove('content-length');
    headers.remove('content-type');
  }
  return { headers, body: stream.isHeadRequest ? '' : body };
}

/** Percent-encodes what may not stand in grpc-message (gRPC over HTTP/2, "Status-Message"). */
function grpcMessage(text: string): string {
  let out = '';
  for (const byte of Buffer.from(text, 'utf8')) {
    out +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out;
}

/** JSON formats end in a newline, which is no part of a header (Envoy strips it here too). */
function withoutNewline(text: string): string {
  return text.endsWith('\n') ? text.slice(0, -1) : text;
}
