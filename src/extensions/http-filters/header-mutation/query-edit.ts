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

/** A name with its values, as they are written. */
interface Parameter {
  readonly wireName: string;
  readonly values: string[];
}

/**
 * Applies `edits` to the query of `path`. Parameters come out sorted by name and percent-decoded, as Envoy writes them; but an
 * escape stays where the bare character would end the request line or split the query (Envoy lets it through).
 */
export function editQuery(path: string, edits: readonly QueryEdit[], context: FormatContext): string {
  const mark = path.indexOf('?');
  const parameters = parse(mark < 0 ? '' : path.slice(mark + 1));
  for (const edit of edits) apply(parameters, edit, context);
  const base = mark < 0 ? path : path.slice(0, mark);
  const names = [...parameters.keys()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const parts: string[] = [];
  for (const name of names) {
    const { wireName, values } = parameters.get(name)!;
    for (const value of values) parts.push(`${wireName}=${value}`);
  }
  return parts.length === 0 ? base : `${base}?${parts.join('&')}`;
}

function parse(query: string): Map<string, Parameter> {
  const out = new Map<string, Parameter>();
  if (query === '') return out;
  for (const part of query.split('&')) {
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals);
    const value = equals < 0 ? '' : part.slice(equals + 1);
    add(out, percentDecoded(name), harmlesslyDecoded(name), harmlesslyDecoded(value));
  }
  return out;
}

/** Decodes the escapes of characters that may stand bare in a query. */
function harmlesslyDecoded(text: string): string {
  if (!text.includes('%')) return text;
  return text.replace(/%[0-9A-Fa-f]{2}/g, (code) => {
    const character = String.fromCharCode(Number.parseInt(code.slice(1), 16));
    return /[A-Za-z0-9\-._~/?:@!$'()*,;]/.test(character) ? character : code;
  });
}

function add(parameters: Map<string, Parameter>, name: string, wireName: string, value: string): void {
  const known = parameters.get(name);
  if (known === undefined) parameters.set(name, { wireName, values: [value] });
  else known.values.push(value);
}

function apply(parameters: Map<string, Parameter>, edit: QueryEdit, context: FormatContext): void {
  const { name } = edit;
  if (edit.kind === 'remove') {
    parameters.delete(name);
    return;
  }
  const value = encoded(edit.value.constant ?? edit.value.format(context));
  const exists = parameters.has(name);
  switch (edit.action) {
    case AppendAction.AppendIfExistsOrAdd:
      add(parameters, name, encoded(name), value);
      break;
    case AppendAction.AddIfAbsent:
      if (!exists) add(parameters, name, encoded(name), value);
      break;
    case AppendAction.OverwriteIfExists:
      if (exists) parameters.set(name, { wireName: encoded(name), values: [value] });
      break;
    default:
      parameters.set(name, { wireName: encoded(name), values: [value] });
  }
}

/** All but unreserved characters (RFC 3986, section 2.3) as `%XX`. */
function encoded(text: string): string {
  return text.replace(
    /[^A-Za-z0-9\-._~]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}
