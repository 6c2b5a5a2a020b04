import { type HeaderMap, RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import { AppendAction, appendHeader, overwriteHeader } from './header-mutation.ts';
import type { FormatContext, ValueFormatter } from './stream-view.ts';
import type { StringMatcher } from './string-matcher.ts';

/** One step of `header_mutation`. Source: envoy.config.common.mutation_rules.v3.HeaderMutation. */
export type HeaderEdit =
  | {
      readonly kind: 'append';
      /** Lower case; pseudo-headers are allowed. */
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
      if (isPseudo(name)) {
        const before = headers.lookup(name);
        setPseudo(headers, name, before === null || before === '' ? value : `${before},${value}`);
      } else {
        appendHeader(headers, name, value);
      }
      break;
    case AppendAction.AddIfAbsent:
      if (headers.lookup(name) === null) setHeader(headers, name, value);
      break;
    case AppendAction.OverwriteIfExists:
      if (headers.lookup(name) !== null) setHeader(headers, name, value);
      break;
    default:
      setHeader(headers, name, value);
  }
}

function isPseudo(name: string): boolean {
  return name.charCodeAt(0) === 58 || name === 'host';
}

function setHeader(headers: HeaderMap, name: string, value: string): void {
  if (isPseudo(name)) setPseudo(headers, name, value);
  else overwriteHeader(headers, name, value);
}

function setPseudo(headers: HeaderMap, name: string, value: string): void {
  if (headers instanceof RequestHeaders) {
    switch (name) {
      case ':method':
        headers.method = value;
        return;
      case ':scheme':
        headers.scheme = value;
        return;
      case ':authority':
      case 'host':
        headers.authority = value;
        return;
      case ':path':
        headers.path = value;
        return;
      case ':protocol':
        headers.protocol = value;
        return;
      default:
        return;
    }
  }
  if (headers instanceof ResponseHeaders) {
    if (name === ':status') {
      const status = Number(value);
      // A status that is none would break the codec.
      if (Number.isInteger(status) && status >= 100 && status <= 999) headers.status = status;
      return;
    }
    if (name === 'host') headers.set(name, value);
  }
}

function removeHeader(headers: HeaderMap, name: string): void {
  if (!isPseudo(name) || !(headers instanceof RequestHeaders)) {
    headers.remove(name);
    return;
  }
  removePseudo(headers, name);
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
