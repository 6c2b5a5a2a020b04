import { percentDecoded } from '../../../pipeline/format/query-text.ts';
import { AppendAction } from '../../../routing/header-mutation.ts';
import type { FormatContext, ValueFormatter } from '../../../routing/stream-view.ts';

/** One change to the parameters of a query. Source: envoy.config.core.v3.KeyValueMutation. */
export type QueryEdit =
  | {
      readonly kind: 'append';
      readonly name: string;
      readonly value: ValueFormatter;
      readonly action: AppendAction;
    }
  | { readonly kind: 'remove'; readonly name: string };

/** Applies `edits` to the query of `path`. Parameters come out sorted by name, as Envoy keeps them. */
export function editQuery(path: string, edits: readonly QueryEdit[], context: FormatContext): string {
  const mark = path.indexOf('?');
  const parameters = parse(mark < 0 ? '' : path.slice(mark + 1));
  for (const edit of edits) apply(parameters, edit, context);
  const base = mark < 0 ? path : path.slice(0, mark);
  const names = [...parameters.keys()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const parts: string[] = [];
  for (const name of names) {
    for (const value of parameters.get(name)!) parts.push(`${encoded(name)}=${encoded(value)}`);
  }
  return parts.length === 0 ? base : `${base}?${parts.join('&')}`;
}

function parse(query: string): Map<string, string[]> {
  const out = new Map<string, string[]>();
  if (query === '') return out;
  for (const part of query.split('&')) {
    const equals = part.indexOf('=');
    const name = percentDecoded(equals < 0 ? part : part.slice(0, equals));
    add(out, name, equals < 0 ? '' : percentDecoded(part.slice(equals + 1)));
  }
  return out;
}

function add(parameters: Map<string, string[]>, name: string, value: string): void {
  const values = parameters.get(name);
  if (values === undefined) parameters.set(name, [value]);
  else values.push(value);
}

function apply(parameters: Map<string, string[]>, edit: QueryEdit, context: FormatContext): void {
  if (edit.kind === 'remove') {
    parameters.delete(edit.name);
    return;
  }
  const value = edit.value.constant ?? edit.value.format(context);
  switch (edit.action) {
    case AppendAction.AppendIfExistsOrAdd:
      add(parameters, edit.name, value);
      break;
    case AppendAction.AddIfAbsent:
      if (!parameters.has(edit.name)) parameters.set(edit.name, [value]);
      break;
    case AppendAction.OverwriteIfExists:
      if (parameters.has(edit.name)) parameters.set(edit.name, [value]);
      break;
    default:
      parameters.set(edit.name, [value]);
  }
}

/** All but unreserved characters (RFC 3986, section 2.3) as `%XX`. */
function encoded(text: string): string {
  return text.replace(
    /[^A-Za-z0-9\-._~]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}
