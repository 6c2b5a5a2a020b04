/**
 * A reader of HTTP/1 requests that is stricter than RFC 9112 asks: it names every message that two servers could read
 * differently. What a proxy forwards must pass it.
 */

/** A request as the reader understands it. */
export interface ReadRequest {
  readonly method: string;
  readonly target: string;
  /** Bytes of body without chunked framing; of an incomplete request what came. */
  readonly bodyLength: number;
  readonly complete: boolean;
  /** Switches protocols: what follows belongs to it. */
  readonly tunnel: boolean;
}

/** What the bytes of one connection say. */
export interface ReadStream {
  readonly requests: readonly ReadRequest[];
  /** Why the stream is ambiguous; null where it is not. */
  readonly fault: string | null;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control bytes are what is looked for
const BAD_VALUE = /[\x00-\x08\x0a-\x1f\x7f]/;

/** Reads all requests in `bytes` (latin1). */
export function readRequests(bytes: string): ReadStream {
  const requests: ReadRequest[] = [];
  let at = 0;
  const faulty = (fault: string): ReadStream => ({ requests, fault: `${fault} (at byte ${at})` });
  while (at < bytes.length) {
    const headEnd = bytes.indexOf('\r\n\r\n', at);
    if (headEnd === -1) {
      if (requests.length > 0 && !/^[A-Z]/.test(bytes.slice(at))) return faulty('bytes beyond a request');
      requests.push({ method: '', target: '', bodyLength: 0, complete: false, tunnel: false });
      return { requests, fault: null };
    }
    const lines = bytes.slice(at, headEnd).split('\r\n');
    const first = /^([^ ]+) ([^ ]+) HTTP\/1\.1$/.exec(lines[0] ?? '');
    if (first === null || !TOKEN.test(first[1] ?? '')) return faulty(`request line ${JSON.stringify(lines[0])}`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control bytes are what is looked for
    if (/[\x00-\x20\x7f]/.test(first[2] ?? '')) return faulty('control byte in the target');
    let length: number | null = null;
    let chunked = false;
    let hosts = 0;
    let upgrade = false;
    for (const line of lines.slice(1)) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon);
      const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '');
      if (colon < 1 || !TOKEN.test(name)) return faulty(`header line ${JSON.stringify(line.slice(0, 80))}`);
      if (BAD_VALUE.test(value)) return faulty(`control byte in the value of ${name}`);
      const lower = name.toLowerCase();
      if (lower === 'host') hosts++;
      if (lower === 'upgrade') upgrade = true;
      if (lower === 'content-length') {
        if (length !== null) return faulty('two Content-Length lines');
        if (!/^0*\d{1,15}$/.test(value)) return faulty(`Content-Length ${JSON.stringify(value)}`);
        length = Number(value);
      }
      if (lower === 'transfer-encoding') {
        if (chunked || value.toLowerCase() !== 'chunked') return faulty(`Transfer-Encoding ${JSON.stringify(value)}`);
        chunked = true;
      }
    }
    if (hosts !== 1) return faulty(`${hosts} Host lines`);
    if (chunked && length !== null) return faulty('Content-Length beside Transfer-Encoding');
    const method = first[1] ?? '';
    const target = first[2] ?? '';
    const tunnel = upgrade || method === 'CONNECT';
    at = headEnd + 4;
    if (!chunked) {
      const have = Math.min(length ?? 0, bytes.length - at);
      requests.push({ method, target, bodyLength: have, complete: have === (length ?? 0), tunnel });
      at += have;
      if (tunnel) return { requests, fault: null };
      continue;
    }
    let bodyLength = 0;
    let complete = false;
    for (;;) {
      const line = /^([0-9a-fA-F]{1,12})\r\n/.exec(bytes.slice(at, at + 20));
      if (line === null) {
        if (/^[0-9a-fA-F]{0,12}\r?$/.test(bytes.slice(at, at + 20))) break;
        return faulty(`chunk line ${JSON.stringify(bytes.slice(at, at + 20))}`);
      }
      const size = Number.parseInt(line[1] ?? '', 16);
      at += line[0].length;
      if (size === 0) {
        const trailersEnd = bytes.startsWith('\r\n', at) ? at : bytes.indexOf('\r\n\r\n', at) + 2;
        if (trailersEnd === 1) break;
        for (const trailer of bytes.slice(at, trailersEnd).split('\r\n')) {
          if (trailer !== '' && !/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+:/.test(trailer)) return faulty('bad trailer');
          if (BAD_VALUE.test(trailer)) return faulty('control byte in a trailer');
        }
        at = trailersEnd + 2;
        complete = true;
        break;
      }
      bodyLength += Math.min(size, bytes.length - at);
      if (bytes.length < at + size + 2) {
        at = bytes.length;
        break;
      }
      if (!bytes.startsWith('\r\n', at + size)) return faulty('chunk without its line end');
      at += size + 2;
    }
    requests.push({ method, target, bodyLength, complete, tunnel });
    if (tunnel || !complete) return { requests, fault: null };
  }
  return { requests, fault: null };
}
