import type { FormatContext, ValueFormatter } from '../../routing/stream-view.ts';
import type { LogContext } from '../access-logger.ts';
import { jsonString, jsonStringBody, jsonText } from './json-text.ts';
import type { FormatValue, Segment } from './segment.ts';

/** A node of a JSON format: a fixed value, a text of segments, a struct (keys in byte order) or a list. */
export type JsonNode =
  | { readonly kind: 'fixed'; readonly value: FormatValue }
  | { readonly kind: 'format'; readonly segments: readonly Segment[] }
  | { readonly kind: 'struct'; readonly entries: readonly (readonly [string, JsonNode])[] }
  | { readonly kind: 'list'; readonly items: readonly JsonNode[] };

/**
 * A compiled JSON format: one line per call. A sole operator keeps its type; operators among text make a string. With
 * `omitEmptyValues`, null values and objects that end up empty are left out (lists stay).
 */
export class JsonFormat implements ValueFormatter {
  readonly constant = null;
  readonly #root: JsonNode;
  readonly #omitEmpty: boolean;
  /** For the format without omissions: raw text, and what goes between. */
  readonly #pieces: readonly (string | readonly Segment[])[];

  constructor(root: JsonNode, omitEmptyValues: boolean) {
    this.#root = root;
    this.#omitEmpty = omitEmptyValues;
    const pieces: (string | readonly Segment[])[] = [];
    if (!omitEmptyValues) flatten(root, pieces);
    this.#pieces = pieces;
  }

  format(context: FormatContext): string {
    const log = context as LogContext;
    if (this.#omitEmpty) return `${renderPruned(this.#root, log) ?? '{}'}\n`;
    let out = '';
    for (const piece of this.#pieces) {
      out += typeof piece === 'string' ? piece : renderSegments(piece, log, '-');
    }
    return `${out}\n`;
  }
}

function flatten(node: JsonNode, pieces: (string | readonly Segment[])[]): void {
  const raw = (text: string): void => {
    const last = pieces.at(-1);
    if (typeof last === 'string') pieces[pieces.length - 1] = last + text;
    else pieces.push(text);
  };
  switch (node.kind) {
    case 'fixed':
      raw(jsonText(node.value));
      return;
    case 'format':
      if (node.segments.length === 1 && node.segments[0]!.literal !== null) raw(jsonString(node.segments[0]!.literal));
      else pieces.push(node.segments);
      return;
    case 'struct':
      raw('{');
      node.entries.forEach(([key, child], index) => {
        raw(`${index === 0 ? '' : ','}${jsonString(key)}:`);
        flatten(child, pieces);
      });
      raw('}');
      return;
    case 'list':
      raw('[');
      node.items.forEach((child, index) => {
        if (index > 0) raw(',');
        flatten(child, pieces);
      });
      raw(']');
  }
}

function renderSegments(segments: readonly Segment[], context: LogContext, emptyValue: string): string {
  if (segments.length === 1) return segments[0]!.json(context);
  let out = '"';
  for (let i = 0; i < segments.length; i++) {
    const text = segments[i]!.text(context);
    out += text === null ? emptyValue : jsonStringBody(text);
  }
  return `${out}"`;
}

/** @returns null where the value is to be left out */
function renderPruned(node: JsonNode, context: LogContext): string | null {
  switch (node.kind) {
    case 'fixed':
      return node.value === null ? null : jsonText(node.value);
    case 'format': {
      if (node.segments.length > 1) return renderSegments(node.segments, context, '');
      const text = node.segments[0]!.json(context);
      return text === 'null' ? null : text;
    }
    case 'struct': {
      let out = '';
      for (const [key, child] of node.entries) {
        const text = renderPruned(child, context);
        if (text !== null) out += `${out === '' ? '' : ','}${jsonString(key)}:${text}`;
      }
      return out === '' ? null : `{${out}}`;
    }
    default: {
      let out = '';
      for (const child of node.items) {
        const text = renderPruned(child, context);
        if (text !== null) out += (out === '' ? '' : ',') + text;
      }
      return `[${out}]`;
    }
  }
}
