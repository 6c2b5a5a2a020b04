import { ByteBuffer } from '../../base/byte-buffer.ts';

/** The request's body so far, kept for attempts to come. Made only for requests that may need it again. */
export class RetainedBody {
  #data: ByteBuffer | null = null;
  /** More came than may be kept: nothing is kept any more. */
  overflowed = false;

  /**
   * Keeps a copy.
   * @param limit bytes; 0: none
   * @returns false: the limit is passed with it, all is let go
   */
  add(data: ByteBuffer, limit: number): boolean {
    const held = this.#data === null ? 0 : this.#data.length;
    if (limit > 0 && held + data.length > limit) {
      this.overflowed = true;
      this.clear();
      return false;
    }
    if (data.length === 0) return true;
    this.#data ??= new ByteBuffer();
    this.#data.append(data.toBytes());
    return true;
  }

  get isEmpty(): boolean {
    return this.#data === null || this.#data.length === 0;
  }

  copy(): ByteBuffer {
    const copy = new ByteBuffer();
    if (this.#data !== null) copy.append(this.#data.toBytes());
    return copy;
  }

  /** @returns what was kept, which is the caller's from now on; null: nothing */
  take(): ByteBuffer | null {
    const data = this.isEmpty ? null : this.#data;
    this.#data = null;
    return data;
  }

  clear(): void {
    this.#data?.clear();
    this.#data = null;
  }
}
