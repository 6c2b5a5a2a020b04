/** Reading HTTP/1 byte streams for tests: where a message ends, and how its bytes look to a person. Strings are latin1. */

/** How far a message reaches. */
export interface MessageExtent {
  /** Offset just after the header block's empty line. */
  readonly bodyStart: number;
  /** Offset just after the message. */
  readonly end: number;
}

interface Framing {
  readonly chunked: boolean;
  readonly contentLength: number | null;
}

function readFraming(head: string): Framing {
  const chunked = /^transfer-encoding:[^\r\n]*\bchunked\s*$/im.test(head);
  const length = /^content-length:\s*(\d+)\s*$/im.exec(head)?.[1];
  return { chunked, contentLength: length === undefined ? null : Number(length) };
}

/** The end of a chunked body that begins at `start` (trailers included), or -1 where it is not complete or not chunked. */
function findChunkedEnd(text: string, start: number): number {
  let at = start;
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd === -1) return -1;
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    if (Number.isNaN(size)) return -1;
    at = lineEnd + 2;
    if (size === 0) {
      const end = text.startsWith('\r\n', at) ? at : text.indexOf('\r\n\r\n', at);
      if (end === -1) return -1;
      return end === at ? at + 2 : end + 4;
    }
    at += size + 2;
    if (at > text.length) return -1;
  }
}

/** What the reader of a response knows of its request and connection. */
export interface ResponseContext {
  /** The request was HEAD: no body follows. */
  readonly head?: boolean;
  /** The peer has closed: a body that runs until the end is complete. */
  readonly closed?: boolean;
}

/** Finds one complete response at `start`, or null while bytes are missing. A 1xx is a response of its own. */
export function findResponse(text: string, start: number, context: ResponseContext = {}): MessageExtent | null {
  const headEnd = text.indexOf('\r\n\r\n', start);
  if (headEnd === -1) return null;
  const bodyStart = headEnd + 4;
  const head = text.slice(start, bodyStart);
  const status = Number(/^HTTP\/1\.[01] (\d+)/.exec(head)?.[1] ?? '0');
  if (context.head === true || (status >= 100 && status < 200) || status === 204 || status === 304) {
    return { bodyStart, end: bodyStart };
  }
  const { chunked, contentLength } = readFraming(head);
  if (chunked) {
    const end = findChunkedEnd(text, bodyStart);
    return end === -1 ? null : { bodyStart, end };
  }
  if (contentLength !== null) {
    return text.length >= bodyStart + contentLength ? { bodyStart, end: bodyStart + contentLength } : null;
  }
  return context.closed === true ? { bodyStart, end: text.length } : null;
}

/** Finds one complete request at `start`, or null while bytes are missing. */
export function findRequest(text: string, start: number): MessageExtent | null {
  const headEnd = text.indexOf('\r\n\r\n', start);
  if (headEnd === -1) return null;
  const bodyStart = headEnd + 4;
  const { chunked, contentLength } = readFraming(text.slice(start, bodyStart));
  if (chunked) {
    const end = findChunkedEnd(text, bodyStart);
    return end === -1 ? null : { bodyStart, end };
  }
  const end = bodyStart + (contentLength ?? 0);
  return text.length >= end ? { bodyStart, end } : null;
}

/**
 * Joins the chunks of every well-formed chunked body, so that two streams that differ in chunk sizes alone read the
 * same. Anything else stays as it is.
 */
export function joinChunks(text: string): string {
  let out = '';
  let at = 0;
  for (;;) {
    const headEnd = text.indexOf('\r\n\r\n', at);
    if (headEnd === -1) return out + text.slice(at);
    const bodyStart = headEnd + 4;
    const head = text.slice(at, bodyStart);
    out += head;
    at = bodyStart;
    if (!/^transfer-encoding:[^\r\n]*\bchunked\s*$/im.test(head)) continue;
    const joined = readChunks(text, bodyStart);
    if (joined === null) continue;
    out += joined.text;
    at = joined.end;
  }
}

/** The body of a message whose head ends at `bodyStart`, without its chunked framing. */
export function bodyOf(text: string, bodyStart: number): string {
  if (!readFraming(text.slice(0, bodyStart)).chunked) return text.slice(bodyStart);
  let body = '';
  let at = bodyStart;
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at);
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    if (lineEnd === -1 || !(size > 0)) return body;
    body += text.slice(lineEnd + 2, lineEnd + 2 + size);
    at = lineEnd + 4 + size;
  }
}

function readChunks(text: string, start: number): { text: string; end: number } | null {
  let at = start;
  let body = '';
  for (;;) {
    const line = /^([0-9a-fA-F]+)(;[^\r\n]*)?\r\n/.exec(text.slice(at, at + 256));
    if (line === null) {
      return at === start ? null : { text: `[chunked]${body}[incomplete]`, end: at };
    }
    const size = Number.parseInt(line[1] ?? '0', 16);
    const extension = line[2] ?? '';
    at += line[0].length;
    if (size === 0) {
      const end = findChunkedEnd(text, at - line[0].length);
      if (end === -1) return { text: `[chunked]${body}${extension}[incomplete]`, end: at };
      const trailers = text.slice(at, end - 2);
      return { text: `[chunked]${body}${extension}[end]\r\n${trailers}`, end };
    }
    body += extension + text.slice(at, at + size);
    at = Math.min(at + size + 2, text.length);
  }
}

const LONG_LINE = 400;

function shorten(line: string): string {
  if (line.length <= LONG_LINE) return line;
  const digest = new Bun.CryptoHasher('sha256').update(Buffer.from(line, 'latin1')).digest('hex').slice(0, 16);
  return `${line.slice(0, 80)}[... ${line.length} bytes in all, sha256 ${digest}]`;
}

/** Bytes as a person reads them: CRLF is a new line, other control bytes and 8-bit bytes are escaped, long lines are cut. */
export function showBytes(text: string): string {
  const lines = text.split('\r\n').map(shorten);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control bytes are what is looked for
  const control = /[\x00-\x1f\x7f-\xff]/g;
  const toHex = (found: string): string => `\\x${found.charCodeAt(0).toString(16).padStart(2, '0')}`;
  return lines.map((line) => line.replace(control, toHex)).join('\n');
}
