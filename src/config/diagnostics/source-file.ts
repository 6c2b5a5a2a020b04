/** A place in a text. Lines and columns count from 1; columns count UTF-16 code units. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** The column after the last one of the text meant, when it ends on the same line. */
  readonly endColumn?: number;
}

/** A text that configuration was read from; line starts are found when the first position is asked for. */
export class SourceFile {
  readonly name: string;
  readonly text: string;
  #lineStarts: number[] | undefined;

  /** @param name what a person calls it: a path, or `--config-yaml`. */
  constructor(name: string, text: string) {
    this.name = name;
    this.text = text;
    this.#lineStarts = undefined;
  }

  /** The position of the text from offset `start` up to `end` (exclusive). */
  position(start: number, end: number = start): Position {
    const starts = this.#starts();
    const line = lineOf(starts, start);
    const lineStart = starts[line] ?? 0;
    const column = start - lineStart + 1;
    const nextLine = starts[line + 1];
    const lineEnd = nextLine === undefined ? this.text.length : nextLine - 1;
    const endColumn = Math.min(end, Math.max(lineEnd, start)) - lineStart + 1;
    return endColumn > column
      ? { file: this.name, line: line + 1, column, endColumn }
      : { file: this.name, line: line + 1, column };
  }

  /** The text of one line (from 1) without its line break; empty past the end. */
  line(line: number): string {
    const starts = this.#starts();
    const start = starts[line - 1];
    if (start === undefined) return '';
    const next = starts[line];
    const text = this.text.slice(start, next === undefined ? this.text.length : next - 1);
    return text.endsWith('\r') ? text.slice(0, -1) : text;
  }

  #starts(): number[] {
    if (this.#lineStarts === undefined) {
      const starts = [0];
      let at = this.text.indexOf('\n');
      while (at >= 0) {
        starts.push(at + 1);
        at = this.text.indexOf('\n', at + 1);
      }
      this.#lineStarts = starts;
    }
    return this.#lineStarts;
  }
}

function lineOf(starts: readonly number[], offset: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}
