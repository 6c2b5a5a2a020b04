import { ByteBuffer } from '../../base/byte-buffer.ts';
import { type HeaderMap, type RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import { Flow, HttpFilter } from '../../pipeline/http-filter.ts';
import type { AdminResponse } from './admin-request.ts';
import type { AdminRouter } from './admin-router.ts';

/** Bodies above this are refused: admin requests carry little. */
const MAX_BODY_BYTES = 64 * 1024;

/** The terminal filter of the admin listener: collects the request and answers by the endpoint's handler. */
export class AdminFilter extends HttpFilter {
  readonly #router: AdminRouter;
  readonly #body = new ByteBuffer();
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
    this.#body.moveFrom(data);
    if (this.#body.length > MAX_BODY_BYTES) {
      this.#send({ status: 413, contentType: 'text/plain; charset=UTF-8', body: 'Payload Too Large' });
    } else if (end) this.#answer();
    return Flow.Pause;
  }

  override onRequestTrailers(_trailers: HeaderMap): Flow {
    this.#answer();
    return Flow.Pause;
  }

  override onDestroy(): void {
    this.#destroyed = true;
  }

  #answer(): void {
    const headers = this.stream.requestHeaders!;
    const target = headers.path ?? '/';
    const query = target.indexOf('?');
    const outcome = this.#router.handle({
      method: headers.method,
      path: query < 0 ? target : target.slice(0, query),
      query: new URLSearchParams(query < 0 ? '' : target.slice(query + 1)),
      body: this.#body.utf8(),
    });
    if (outcome instanceof Promise) {
      outcome.then(
        (response) => this.#later(response),
        (error: unknown) =>
          this.#later({ status: 500, contentType: 'text/plain; charset=UTF-8', body: `${(error as Error).message}\n` }),
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
    if (this.#destroyed) return;
    const headers = ResponseHeaders.of(response.status);
    headers.add('content-type', response.contentType);
    headers.add('cache-control', 'no-cache, max-age=0');
    headers.add('x-content-type-options', 'nosniff');
    const body = typeof response.body === 'string' ? Buffer.from(response.body, 'utf8') : Buffer.from(response.body);
    const head = this.stream.requestHeaders?.method === 'HEAD' || body.length === 0;
    this.stream.encodeHeaders(headers, head);
    if (!head && !this.#destroyed) this.stream.encodeData(ByteBuffer.from(body), true);
  }
}
