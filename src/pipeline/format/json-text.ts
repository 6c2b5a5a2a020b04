import type { MetadataValue } from '../../routing/stream-view.ts';

/** JSON as Envoy writes it, over byte texts (one UTF-16 unit per byte): no spaces, keys sorted. */
export function jsonText(value: MetadataValue): string {
  if (value === null) return 'null';
  switch (typeof value) {
    case 'string':
      return jsonString(value);
    case 'number':
      return jsonNumber(value);
    case 'boolean':
      return value ? 'true' : 'false';
    default:
  }
  let out = '';
  if (Array.isArray(value)) {
    for (const element of value as readonly MetadataValue[]) out += (out === '' ? '' : ',') + jsonText(element);
    return `[${out}]`;
  }
  const struct = value as Readonly<Record<string, MetadataValue>>;
  for (const key of Object.keys(struct).sort()) {
    out += `${out === '' ? '' : ','}${jsonString(key)}:${jsonText(struct[key]!)}`;
  }
  return `{${out}}`;
}

/** A quoted JSON string of a byte text. */
export function jsonString(text: string): string {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code === 0x22 || code === 0x5c || code > 0x7e) return escaped(text);
  }
  return `"${text}"`;
}

/** The inside of a JSON string. */
export function jsonStringBody(text: string): string {
  return jsonString(text).slice(1, -1);
}

/**
 * UTF-8 passes, with JSON's short escapes. A text that is not UTF-8 has every byte that is not plain ASCII written as
 * `\u00xx` (Envoy, Json::sanitize), quotes included.
 */
function escaped(text: string): string {
  const valid = isUtf8(text);
  let out = '"';
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const special = code < 0x20 || code === 0x22 || code === 0x5c;
    if (!special && (code < 0x7f || valid)) continue;
    out += text.substring(from, i) + (valid ? shortEscape(code) : hexEscape(code));
    from = i + 1;
  }
  return `${out}${text.substring(from)}"`;
}

function shortEscape(code: number): string {
  switch (code) {
    case 0x08:
      return '\\b';
    case 0x09:
      return '\\t';
    case 0x0a:
      return '\\n';
    case 0x0c:
      return '\\f';
    case 0x0d:
      return '\\r';
    case 0x22:
      return '\\"';
    case 0x5c:
      return '\\\\';
    default:
      return hexEscape(code);
  }
}

function hexEscape(code: number): string {
  return `\\u${code.toString(16).padStart(4, '0')}`;
}

/** RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
function isUtf8(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const lead = text.charCodeAt(i);
    if (lead < 0x80) continue;
    let low = 0x80;
    let high = 0xbf;
    let more: number;
    if (lead >= 0xc2 && lead <= 0xdf) more = 1;
    else if (lead >= 0xe0 && lead <= 0xef) {
      more = 2;
      if (lead === 0xe0) low = 0xa0;
      else if (lead === 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      more = 3;
      if (lead === 0xf0) low = 0x90;
      else if (lead === 0xf4) high = 0x8f;
    } else return false;
    for (; more > 0; more--) {
      const next = text.charCodeAt(++i);
      // NaN behind the end fails both comparisons.
      if (!(next >= low && next <= high)) return false;
      low = 0x80;
      high = 0xbf;
    }
  }
  return true;
}

/**
 * Decimal or scientific, whichever is shorter; decimal when they tie (C++ `std::to_chars`): 100000 is `1e+05`. Numbers of
 * operators are not written by this: see `Segment.json`.
 */
function jsonNumber(value: number): string {
  if (!Number.isFinite(value)) return 'null';
  if (Number.isInteger(value) && Math.abs(value) < 100_000) return String(value);
  const [mantissa, power] = value.toExponential().split('e') as [string, string];
  const scientific = `${mantissa}e${power[0]}${power.slice(1).padStart(2, '0')}`;
  const fixed = Number.isInteger(value) ? BigInt(value).toString() : String(value);
  // String() itself turns to scientific notation below 1e-6, where that is always the shorter one.
  return fixed.length <= scientific.length && !fixed.includes('e') ? fixed : scientific;
}
