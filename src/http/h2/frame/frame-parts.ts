const EMPTY = Buffer.alloc(0);

/**
 * The payload of frames that belong together. Its room doubles, so that no part is copied more than twice and small parts cost no
 * memory of their own. Unbounded: the owner looks at `length` before it adds.
 */
export class FrameParts {
  /** Its first `length` bytes count. */
  bytes: Buffer = EMPTY;
  length = 0;

  add(bytes: Buffer, start: number, end: number): void {
    const size = this.length + end - start;
    if (size > this.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(size, this.bytes.length * 2));
      this.bytes.copy(larger, 0, 0, this.length);
      this.bytes = larger;
    }
    bytes.copy(this.bytes, this.length, start, end);
    this.length = size;
  }

  clear(): void {
    this.bytes = EMPTY;
    this.length = 0;
  }
}
