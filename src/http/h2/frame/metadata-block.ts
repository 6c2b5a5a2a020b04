import type { StreamMetadata } from '../../stream-metadata.ts';
import { DEFAULT_TABLE_SIZE, type FieldTarget, HpackDecoder } from '../hpack/hpack-decoder.ts';
import { FIELD_OVERHEAD, writeString } from '../hpack/hpack-encoder.ts';
import { FrameParts } from './frame-parts.ts';

/**
 * Collects the frames of one METADATA message and decodes them. Each message has a table of its own. Bounds: both the message and
 * what it expands to by `maxBytes`.
 */
export class MetadataBlock implements FieldTarget {
  readonly #maxBytes: number;
  readonly #parts = new FrameParts();
  readonly #fields = new Map<string, string>();
  #expanded = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** @returns false: larger than allowed */
  add(bytes: Buffer, start: number, end: number): boolean {
    if (this.#parts.length + end - start > this.#maxBytes) return false;
    this.#parts.add(bytes, start, end);
    return true;
  }

  get isEmpty(): boolean {
    return this.#parts.length === 0;
  }

  /** Once. @returns null: it is no header block, or expands too far */
  finish(): StreamMetadata | null {
    const { bytes, length } = this.#parts;
    if (!new HpackDecoder(DEFAULT_TABLE_SIZE, this.#maxBytes).decode(bytes, 0, length, this)) return null;
    return this.#expanded > this.#maxBytes ? null : this.#fields;
  }

  onField(name: string, value: string): void {
    this.#expanded += name.length + value.length;
    if (this.#expanded <= this.#maxBytes && !this.#fields.has(name)) this.#fields.set(name, value);
  }
}

const LITERAL = 0;

/** Literals without indexing, without Huffman: what every decoder reads without a table (RFC 7541 section 6.2.2). */
export function metadataPayload(metadata: StreamMetadata): Buffer {
  let bound = 0;
  for (const [name, value] of metadata) bound += name.length + value.length + FIELD_OVERHEAD;
  const bytes = Buffer.allocUnsafe(bound);
  let at = 0;
  for (const [name, value] of metadata) {
    bytes[at++] = LITERAL;
    at = writeString(bytes, at, name, false);
    at = writeString(bytes, at, value, false);
  }
  return bytes.subarray(0, at);
}
