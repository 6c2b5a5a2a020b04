import type { Dispatcher } from '../net/dispatcher.ts';

/** The present time as an HTTP date (RFC 9110 section 5.6.7), made once per second. One per worker. */
export class HttpDateCache {
  #second = -1;
  #text = '';

  text(dispatcher: Dispatcher): string {
    const second = Math.floor(dispatcher.wallMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = new Date(second * 1000).toUTCString();
    }
    return this.#text;
  }
}
