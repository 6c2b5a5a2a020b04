/** Value of a query parameter of a path, both percent-decoded; the first of that name. Null: absent. */
export function queryParameter(path: string, name: string): string | null {
  let at = path.indexOf('?') + 1;
  if (at === 0) return null;
  while (at <= path.length) {
    let end = path.indexOf('&', at);
    if (end < 0) end = path.length;
    const equals = path.indexOf('=', at);
    const hasValue = equals >= 0 && equals < end;
    if (percentDecoded(path.substring(at, hasValue ? equals : end)) === name) {
      return hasValue ? percentDecoded(path.substring(equals + 1, end)) : '';
    }
    at = end + 1;
  }
  return null;
}

/** Text behind the question mark; null where there is none. */
export function queryOf(path: string): string | null {
  const mark = path.indexOf('?');
  return mark < 0 ? null : path.substring(mark + 1);
}

export function withoutQuery(path: string): string {
  const mark = path.indexOf('?');
  return mark < 0 ? path : path.substring(0, mark);
}

/** Every `%xx` decoded; what is no valid escape stands as it is. */
export function percentDecoded(text: string): string {
  if (!text.includes('%')) return text;
  let out = '';
  for (let i = 0; i < text.length; i++) {
    const byte = text.charCodeAt(i) === 0x25 ? hexByte(text, i + 1) : -1;
    if (byte < 0) {
      out += text[i]!;
    } else {
      out += String.fromCharCode(byte);
      i += 2;
    }
  }
  return out;
}

/**
 * As Envoy's `%QUERY_PARAMS(DECODED)%`: only escapes of visible ASCII are decoded; the percent sign of an invalid escape
 * that has two characters behind it is dropped.
 */
export function visiblyDecoded(text: string): string {
  if (!text.includes('%')) return text;
  let out = '';
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) !== 0x25 || i + 2 >= text.length) {
      out += text[i]!;
      continue;
    }
    const byte = hexByte(text, i + 1);
    if (byte < 0) continue;
    out += byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : text.substring(i, i + 3);
    i += 2;
  }
  return out;
}

function hexByte(text: string, at: number): number {
  if (at + 1 >= text.length) return -1;
  const high = hexDigit(text.charCodeAt(at));
  const low = hexDigit(text.charCodeAt(at + 1));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const upper = code & 0xdf;
  return upper >= 65 && upper <= 70 ? upper - 55 : -1;
}
