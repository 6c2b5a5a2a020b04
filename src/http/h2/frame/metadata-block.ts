import type { StreamMetadata } from '../../stream-metadata.ts';
import { DEFAULT_TABLE_SIZE, type FieldTarget, HpackDecoder } from '../hpack/hpack-decoder.ts';

const EMPTY = Buffer.alloc(0);

/**
 * Collects the frames of one METADATA message and decodes them. Each message has a table of its own. Bounds: both the message and
 * what it expands to by `maxBytes`.
 */
export class MetadataBlock implements FieldTarget {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #size = 0;
  #fields = new Map<string, string>();
  #expanded = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** @returns false: larger than allowed */
  add(bytes: Buffer, start: number, end: number): boolean {
    this.#size += end - start;
    if (this.#size > this.#maxBytes) return false;
    // Copied: the buffer is the connection's.
    if (end > start) this.#parts.push(Buffer.from(bytes.subarray(start, end)));
    return true;
  }

  get isEmpty(): boolean {
    return this.#size === 0;
  }

  /** @returns null: it is no header block, or expands too far */
  finish(): StreamMetadata | null {
    const parts = this.#parts;
    const block = parts.length === 1 ? parts[0]! : parts.length === 0 ? EMPTY : Buffer.concat(parts);
    this.#parts = [];
    this.#fields = new Map();
    this.#expanded = 0;
    if (!new HpackDecoder(DEFAULT_TABLE_SIZE, this.#maxBytes).decode(block, 0, block.length, this)) return null;
    return this.#expanded > this.#maxBytes ? null : this.#fields;
  }

  onField(name: string, value: string): void {
    this.#expanded += name.length + value.length;
    if (this.#expanded <= this.#maxBytes && !this.#fields.has(name)) this.#fields.set(name, value);
  }
}

/** Literals without indexing, without Huffman: what every decoder reads without a table (RFC 7541 section 6.2.2). */
export function metadataPayload(metadata: StreamMetadata): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of metadata) parts.push(LITERAL, literal(name), literal(value));
  return Buffer.concat(parts);
}

const LITERAL = Buffer.from([0]);

function literal(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  const length: number[] = [];
  if (bytes.length < 127) {
    length.push(bytes.length);
  } else {
    length.push(127);
    let rest = bytes.length - 127;
    for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}
