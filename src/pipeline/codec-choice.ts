import type { Connection } from '../net/connection.ts';

/** How a connection manager finds out the protocol (HttpConnectionManager.CodecType). */
export const CodecType = { Auto: 0, Http1: 1, Http2: 2 } as const;
export type CodecType = (typeof CodecType)[keyof typeof CodecType];

/** What every HTTP/2 client sends first, as far as Envoy looks at it. */
const PREFACE = Buffer.from('PRI * HTTP/2', 'latin1');

/**
 * Whether a connection speaks HTTP/2: by ALPN where that was negotiated, else by its first bytes.
 * @returns null: the bytes could be either's, more are needed
 */
export function speaksHttp2(connection: Connection, type: CodecType): boolean | null {
  if (type !== CodecType.Auto) return type === CodecType.Http2;
  const alpn = connection.security?.alpn ?? '';
  if (alpn !== '') return alpn === 'h2';
  const input = connection.readBuffer;
  const length = Math.min(input.length, PREFACE.length);
  for (let i = 0; i < length; i++) if (input.byteAt(i) !== PREFACE[i]) return false;
  if (length === PREFACE.length) return true;
  // Envoy takes a preface in pieces for HTTP/1, and refuses it. What is never completed is taken for HTTP/1 here too.
  return connection.isOpen ? null : false;
}
