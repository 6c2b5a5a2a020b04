import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import { methodIsValid, splitFirstLine, targetIsValid, versionIsValid } from '../../../http/h1/request-target.ts';
import { type AcceptedSocket, ListenerFilter, PeekStatus } from '../../../net/filter.ts';
import type { Counter } from '../../../stats/counter.ts';

/** A request line that is longer closes the connection. Source: Envoy, MAX_INSPECT_SIZE. */
export const MAX_INSPECT_BYTES = 64 * 1024;
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

const H2C: readonly string[] = ['h2c'];
const HTTP_11: readonly string[] = ['http/1.1'];
const HTTP_10: readonly string[] = ['http/1.0'];

export interface HttpInspectorStats {
  readonly http10_found: Counter;
  readonly http11_found: Counter;
  readonly http2_found: Counter;
  readonly http_not_found: Counter;
  readonly read_error: Counter;
}

/** Tells HTTP/1 and HTTP/2 by a connection's first bytes, as application protocols for filter chains to match. */
export class HttpInspectorFilter extends ListenerFilter {
  readonly maxPeekBytes: number = MAX_INSPECT_BYTES;
  readonly #stats: HttpInspectorStats;
  /** No line end before this. */
  #searched = 0;
  /** So many bytes are fit for a method. */
  #methodBytes = 0;
  #methodEnded = false;

  constructor(stats: HttpInspectorStats) {
    super();
    this.#stats = stats;
  }

  override onAccept(socket: AcceptedSocket): PeekStatus {
    const { detectedTransportProtocol } = socket;
    return detectedTransportProtocol === '' || detectedTransportProtocol === 'raw_buffer'
      ? PeekStatus.NeedMore
      : PeekStatus.Continue;
  }

  override onPeek(socket: AcceptedSocket, data: ByteBuffer): PeekStatus {
    const stats = this.#stats;
    if (this.#searched === 0) {
      const common = sharedPrefix(data);
      if (common === PREFACE.length) {
        stats.http2_found.inc();
        socket.applicationProtocols = H2C;
        return PeekStatus.Continue;
      }
      if (common === data.length) return PeekStatus.NeedMore;
    }
    if (!this.#methodIsPossible(data)) return this.#notFound();
    const end = data.indexOf(10, this.#searched);
    if (end < 0 || end >= MAX_INSPECT_BYTES) {
      this.#searched = data.length;
      if (data.length < MAX_INSPECT_BYTES) return PeekStatus.NeedMore;
      stats.read_error.inc();
      return PeekStatus.Close;
    }
    const slice = data.linearize(end);
    const [method, target, version] = splitFirstLine(slice.bytes.latin1Slice(slice.start, slice.start + end));
    const valid = methodIsValid(method, true) && targetIsValid(target, method === 'CONNECT') && versionIsValid(version);
    // Other than the codec's, this parser of Envoy's refuses DEL at once.
    if (!valid || target.includes('\x7f')) return this.#notFound();
    if (version === 'HTTP/1.1') {
      stats.http11_found.inc();
      socket.applicationProtocols = HTTP_11;
    } else {
      // Whatever else calls itself HTTP (Envoy).
      stats.http10_found.inc();
      socket.applicationProtocols = HTTP_10;
    }
    return PeekStatus.Continue;
  }

  /** The method is judged before its line is whole; nothing else is. */
  #methodIsPossible(data: ByteBuffer): boolean {
    while (!this.#methodEnded && this.#methodBytes < data.length) {
      const byte = data.byteAt(this.#methodBytes);
      if (this.#methodBytes > 0 && (byte === 32 || (byte >= 9 && byte <= 13))) {
        this.#methodEnded = true;
      } else if (!methodIsValid(String.fromCharCode(byte), true)) {
        return false;
      } else {
        this.#methodBytes++;
      }
    }
    return true;
  }

  #notFound(): PeekStatus {
    this.#stats.http_not_found.inc();
    return PeekStatus.Continue;
  }
}

/** How many of the first bytes are those of HTTP/2's preface. */
function sharedPrefix(data: ByteBuffer): number {
  const size = Math.min(data.length, PREFACE.length);
  let i = 0;
  while (i < size && data.byteAt(i) === PREFACE[i]) i++;
  return i;
}
