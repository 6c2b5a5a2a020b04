import type { MetadataValue } from '../../routing/stream-view.ts';
import type { LogContext } from '../access-logger.ts';
import type { StreamInfo } from '../stream-info.ts';
import { jsonText } from './json-text.ts';

/**
 * What an operator may yield in typed JSON: null where it has nothing to say. All text in here, as in header maps, is one
 * UTF-16 unit per byte (latin1): what is not ASCII stands as its UTF-8 bytes.
 */
export type FormatValue = MetadataValue;

/** One piece of a compiled format. Immutable but for caches of its own; never throws. */
export abstract class Segment {
  /** Its text where it depends on nothing; null otherwise. */
  readonly literal: string | null;

  constructor(literal: string | null) {
    this.literal = literal;
  }

  /** @returns null where there is nothing to say: shown as `-` or as nothing, as the format asks */
  abstract text(context: LogContext): string | null;

  /** The same as a JSON value. */
  value(context: LogContext): FormatValue {
    return this.text(context);
  }

  /** `value` as JSON text. Numbers of operators are written out, those of metadata as `jsonNumber` does (so does Envoy). */
  json(context: LogContext): string {
    return jsonText(this.value(context));
  }
}

/** Text between operators. */
export class LiteralSegment extends Segment {
  readonly #text: string;

  constructor(text: string) {
    super(text);
    this.#text = text;
  }

  text(_context: LogContext): string {
    return this.#text;
  }
}

/** What an operator found out when the format was compiled (`HOSTNAME`, `ENVIRONMENT`). */
export class FixedSegment extends Segment {
  readonly #text: string | null;

  constructor(text: string | null) {
    super(null);
    this.#text = text;
  }

  text(_context: LogContext): string | null {
    return this.#text;
  }
}

/** A text of the stream; an empty result is a value. */
export class TextSegment extends Segment {
  readonly #read: (stream: StreamInfo) => string | null;

  constructor(read: (stream: StreamInfo) => string | null) {
    super(null);
    this.#read = read;
  }

  text(context: LogContext): string | null {
    return this.#read(context.stream);
  }
}

/** A number of the stream. */
export class NumberSegment extends Segment {
  readonly #read: (stream: StreamInfo) => number | null;

  constructor(read: (stream: StreamInfo) => number | null) {
    super(null);
    this.#read = read;
  }

  text(context: LogContext): string | null {
    const value = this.#read(context.stream);
    return value === null ? null : String(value);
  }

  override value(context: LogContext): FormatValue {
    return this.#read(context.stream);
  }

  override json(context: LogContext): string {
    return this.text(context) ?? 'null';
  }
}

/** A text that needs more than the stream. */
export class ContextSegment extends Segment {
  readonly #read: (context: LogContext) => string | null;
  /** Bytes. */
  readonly #maxLength: number;

  constructor(read: (context: LogContext) => string | null, maxLength: number = Number.POSITIVE_INFINITY) {
    super(null);
    this.#read = read;
    this.#maxLength = maxLength;
  }

  text(context: LogContext): string | null {
    const text = this.#read(context);
    return text === null || text.length <= this.#maxLength ? text : text.substring(0, this.#maxLength);
  }
}

/** A number that needs more than the stream. */
export class ContextNumberSegment extends Segment {
  readonly #read: (context: LogContext) => number | null;

  constructor(read: (context: LogContext) => number | null) {
    super(null);
    this.#read = read;
  }

  text(context: LogContext): string | null {
    const value = this.#read(context);
    return value === null ? null : String(value);
  }

  override value(context: LogContext): FormatValue {
    return this.#read(context);
  }

  override json(context: LogContext): string {
    return this.text(context) ?? 'null';
  }
}

export function truncated(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : text.substring(0, maxLength);
}
