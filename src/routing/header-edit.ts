import { type HeaderMap, RequestHeaders } from '../http/header-map.ts';
import { AppendAction, appendHeader, overwriteHeader } from './header-mutation.ts';
import type { FormatContext, ValueFormatter } from './stream-view.ts';
import type { StringMatcher } from './string-matcher.ts';

/** One step of `header_mutation`. Source: envoy.config.common.mutation_rules.v3.HeaderMutation. */
export type HeaderEdit =
  | {
      readonly kind: 'append';
      /** Lower case; no pseudo-header. */
      readonly name: string;
      readonly value: ValueFormatter;
      readonly action: AppendAction;
      /** False: an empty value changes nothing. */
      readonly keepEmptyValue: boolean;
    }
  | { readonly kind: 'remove'; readonly name: string }
  | { readonly kind: 'remove-matching'; readonly names: StringMatcher };

/**
 * Steps that run in their order, each on what the one before left (unlike the mutations of routes). Source: Envoy,
 * Http::HeaderMutations.
 */
export class HeaderEdits {
  static readonly NONE = new HeaderEdits([]);

  readonly edits: readonly HeaderEdit[];

  constructor(edits: readonly HeaderEdit[]) {
    this.edits = edits;
  }

  get isEmpty(): boolean {
    return this.edits.length === 0;
  }

  apply(headers: HeaderMap, context: FormatContext): void {
    const edits = this.edits;
    for (let i = 0; i < edits.length; i++) {
      const edit = edits[i]!;
      switch (edit.kind) {
        case 'remove':
          removeHeader(headers, edit.name);
          break;
        case 'remove-matching':
          removeMatching(headers, edit.names);
          break;
        default: {
          const value = edit.value.constant ?? edit.value.format(context);
          if (value === '' && !edit.keepEmptyValue) break;
          applyAppend(headers, edit.name, value, edit.action);
        }
      }
    }
  }
}

function applyAppend(headers: HeaderMap, name: string, value: string, action: AppendAction): void {
  switch (action) {
    case AppendAction.AppendIfExistsOrAdd:
      appendHeader(headers, name, value);
      break;
    case AppendAction.AddIfAbsent:
      if (!headers.has(name)) headers.add(name, value);
      break;
    case AppendAction.OverwriteIfExists:
      if (headers.has(name)) overwriteHeader(headers, name, value);
      break;
    default:
      overwriteHeader(headers, name, value);
  }
}

function removeHeader(headers: HeaderMap, name: string): void {
  if (name.charCodeAt(0) !== 58 && name !== 'host') {
    headers.remove(name);
    return;
  }
  if (headers instanceof RequestHeaders) removePseudo(headers, name);
}

function removePseudo(headers: RequestHeaders, name: string): void {
  switch (name) {
    case ':method':
      headers.method = '';
      break;
    case ':scheme':
      headers.scheme = '';
      break;
    case ':authority':
    case 'host':
      headers.authority = null;
      break;
    case ':path':
      headers.path = null;
      break;
    case ':protocol':
      headers.protocol = null;
      break;
    default:
      break;
  }
}

function removeMatching(headers: HeaderMap, names: StringMatcher): void {
  headers.removeWhere((name) => names.matches(name));
}
