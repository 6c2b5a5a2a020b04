import { ByteBuffer } from '../../base/byte-buffer.ts';
import { type HeaderMap, type RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import { Flow, HttpFilter } from '../../pipeline/http-filter.ts';
import { type AdminResponse, text } from './admin-request.ts';
import type { AdminRouter } from './admin-router.ts';

/** Bodies above this are refused: admin requests carry little. */
const MAX_BODY_BYTES = 64 * 1024;

/** Envoy takes `+` for itself where URLSearchParams reads a space: filters are regular expressions. */
function parseQuery(text: string): URLSearchParams {
  return new URLSearchParams(text.replaceAll('+', '%2B'));
}

/** The terminal filter of the admin listener: collects the request and answers by the endpoint's handler. */
export class AdminFilter extends HttpFilter {
  readonly #router: AdminRouter;
  readonly #body = new ByteBuffer();
  #answered = false;
  #destroyed = false;

  constructor(router: AdminRouter) {
    super();
    this.#router = router;
  }

  override onRequestHeaders(_headers: RequestHeaders, end: boolean): Flow {
    if (end) this.#answer();
    return Flow.Pause;
  }

  override onRequestData(data: ByteBuffer, end: boolean): Flow {
    if (this.#answered) {
      data.clear();
      return Flow.PauseAndBuffer;
    }
    this.#body.moveFrom(data);
    if (this.#body.length > MAX_BODY_BYTES) this.#send(text('Payload Too Large', 413));
    else if (end) this.#answer();
    // Only a filter that collects is shown the rest of the body; what it takes is not kept.
    return Flow.PauseAndBuffer;
  }

  override onRequestTrailers(_trailers: HeaderMap): Flow {
    this.#answer();
    return Flow.Pause;
  }

  override onDestroy(): void {
    this.#destroyed = true;
    this.#body.clear();
  }

  #answer(): void {
    if (this.#answered) return;
    const headers = this.stream.requestHeaders!;
    const target = headers.path ?? '/';
    const at = target.indexOf('?');
    const body = this.#body.utf8();
    let query = parseQuery(at < 0 ? '' : target.slice(at + 1));
    const isForm = headers.get('content-type') === 'application/x-www-form-urlencoded';
    if (headers.method === 'POST' && isForm && query.size === 0) query = parseQuery(body);
    const outcome = this.#router.handle({
      method: headers.method,
      path: at < 0 ? target : target.slice(0, at),
      query,
      body,
    });
    if (outcome instanceof Promise) {
      this.#answered = true;
      outcome.then(
        (response) => this.#later(response),
        (error: unknown) => this.#later(text(`${(error as Error).message}\n`, 500)),
      );
    } else {
      this.#send(outcome);
    }
  }

  #later(response: AdminResponse): void {
    if (this.#destroyed) return;
    const { dispatcher } = this.stream;
    dispatcher.enter();
    try {
      this.#send(response);
    } finally {
      dispatcher.leave();
    }
  }

  #send(response: AdminResponse): void {
    this.#answered = true;
    if (this.#destroyed) return;
    const headers = ResponseHeaders.of(response.status);
    headers.add('content-type', response.contentType);
    headers.add('cache-control', 'no-cache, max-age=0');
    headers.add('x-content-type-options', 'nosniff');
    const body = typeof response.body === 'string' ? Buffer.from(response.body, 'utf8') : Buffer.from(response.body);
    this.stream.encodeHeaders(headers, body.length === 0);
    if (body.length > 0 && !this.#destroyed) this.stream.encodeData(ByteBuffer.from(body), true);
  }
}
