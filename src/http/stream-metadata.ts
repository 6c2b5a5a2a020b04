/**
 * What one METADATA message of HTTP/2 says: names and values, of a name the first. Envoy's extension of HTTP/2; source: its document
 * on METADATA (`source/docs/h2_metadata.md`).
 */
export type StreamMetadata = ReadonlyMap<string, string>;

/** Takes metadata of a stream on. */
export interface MetadataSink {
  encodeMetadata(metadata: StreamMetadata): void;
}

/** What a map costs beside its texts. */
const OVERHEAD = 64;
const MAX_HELD_BYTES = 1024 * 1024;

/** Metadata that waits for the headers it has to follow. Bound: a mebibyte of names and values. */
export class HeldMetadata {
  readonly #held: StreamMetadata[] = [];
  #bytes = 0;

  /** @returns false: it is too much */
  add(metadata: StreamMetadata): boolean {
    this.#bytes += OVERHEAD;
    for (const [name, value] of metadata) this.#bytes += OVERHEAD + name.length + value.length;
    if (this.#bytes > MAX_HELD_BYTES) return false;
    this.#held.push(metadata);
    return true;
  }

  /** In their order; nothing is held any more. */
  passTo(sink: MetadataSink): void {
    this.#bytes = 0;
    for (const metadata of this.#held.splice(0)) sink.encodeMetadata(metadata);
  }
}
