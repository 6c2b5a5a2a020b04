import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import type { HeaderMap, RequestHeaders } from '../../../http/header-map.ts';
import { Flow, HttpFilter } from '../../../pipeline/http-filter.ts';

export interface BufferSettings {
  readonly disabled: boolean;
  /** More: 413. */
  readonly maxRequestBytes: number;
}

/** Holds a request until its last byte is here, and gives it a content-length. Source: Envoy, BufferFilter. */
export class BufferFilter extends HttpFilter {
  readonly #settings: BufferSettings;
  #headers: RequestHeaders | null = null;
  #received = 0;

  constructor(settings: BufferSettings) {
    super();
    this.#settings = settings;
  }

  override onRequestHeaders(headers: RequestHeaders, end: boolean): Flow {
    if (end) return Flow.Continue;
    const settings = (this.stream.routeConfig() as BufferSettings | undefined) ?? this.#settings;
    if (settings.disabled) return Flow.Continue;
    this.stream.requestBufferLimit = settings.maxRequestBytes;
    this.#headers = headers;
    return Flow.PauseAndBuffer;
  }

  override onRequestData(data: ByteBuffer, end: boolean): Flow {
    if (this.#headers === null) return Flow.Continue;
    this.#received += data.length;
    if (!end) return Flow.PauseAndBuffer;
    this.#addLength(this.#headers);
    return Flow.Continue;
  }

  override onRequestTrailers(_trailers: HeaderMap): Flow {
    if (this.#headers !== null) this.#addLength(this.#headers);
    return Flow.Continue;
  }

  #addLength(headers: RequestHeaders): void {
    if (!headers.has('content-length')) headers.add('content-length', String(this.#received));
  }
}
