import type { FormatContext, ValueFormatter } from '../../routing/stream-view.ts';
import type { LogContext } from '../access-logger.ts';
import type { Segment } from './segment.ts';

/** A compiled text format. */
export class TextFormat implements ValueFormatter {
  readonly constant: string | null;
  readonly #segments: readonly Segment[];
  readonly #emptyValue: string;

  /** @param emptyValue stands where an operator has nothing to say: `-` in logs, nothing in headers */
  constructor(segments: readonly Segment[], emptyValue: '-' | '') {
    this.#segments = segments;
    this.#emptyValue = emptyValue;
    this.constant = segments.every((segment) => segment.literal !== null)
      ? segments.map((segment) => segment.literal).join('')
      : null;
  }

  /** The stream of the context must be a StreamInfo, which it is wherever the pipeline asks. */
  format(context: FormatContext): string {
    const log = context as LogContext;
    const segments = this.#segments;
    let out = '';
    for (let i = 0; i < segments.length; i++) {
      const text = segments[i]!.text(log);
      out += text === null ? this.#emptyValue : text;
    }
    return out;
  }
}
