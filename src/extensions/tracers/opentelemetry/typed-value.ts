import { TagType } from '../../../routing/span-tag.ts';

/** An attribute's value: text is one UTF-16 unit per byte, integers are bigints. */
export type AttributeValue = string | bigint | number | boolean;

const INTEGER = /^[ \t\n\v\f\r]*([+-]?\d+)[ \t\n\v\f\r]*$/;
const DOUBLE = /^[ \t\n\v\f\r]*\+?(-?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?))[ \t\n\v\f\r]*$/i;
const HEXADECIMAL = /^[ \t\n\v\f\r]*\+?(-?)0x([0-9a-f]+)(?:\.([0-9a-f]*))?(?:p([+-]?\d+))?[ \t\n\v\f\r]*$/i;
const TRUE = /^(?:true|t|yes|y|1)$/i;
const FALSE = /^(?:false|f|no|n|0)$/i;
const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;

/** `0x1.8p3`, as strtod reads it; null: it is no such number. */
function hexadecimal(text: string): number | null {
  const found = HEXADECIMAL.exec(text);
  if (found === null) return null;
  const [, sign, whole, fraction = '', exponent = '0'] = found;
  const value = Number.parseInt(whole! + fraction, 16) * 2 ** (Number(exponent) - 4 * fraction.length);
  return sign === '-' ? -value : value;
}

/** The text as a value of that type; itself where it is none. Source: absl::SimpleAtoi, SimpleAtod, SimpleAtob. */
export function typedValue(text: string, type: TagType): AttributeValue {
  switch (type) {
    case TagType.Integer: {
      const found = INTEGER.exec(text);
      if (found === null) return text;
      const value = BigInt(found[1]!.replace(/^\+/, ''));
      return value < MIN_INT64 || value > MAX_INT64 ? text : value;
    }
    case TagType.Double: {
      const found = DOUBLE.exec(text);
      return found === null ? (hexadecimal(text) ?? text) : Number(found[1]);
    }
    case TagType.Boolean:
      return TRUE.test(text) ? true : FALSE.test(text) ? false : text;
    default:
      return text;
  }
}
