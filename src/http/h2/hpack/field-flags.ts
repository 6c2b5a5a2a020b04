/** What is wrong or unusual with a field's bytes. Worked out once per entry of a table. */
export const FieldFlag = {
  /** An upper-case letter in the name: malformed (RFC 9113 section 8.2.1). */
  UpperCase: 1,
  /** The name is empty or holds a byte that is no token character. */
  BadName: 2,
  /** The value holds a control character other than tab. */
  BadValue: 4,
  /** The name holds an underscore. */
  Underscore: 8,
} as const;

/** By byte: 0 may stand in a name, otherwise the flag it raises. */
export const NAME_FLAG = new Uint8Array(256).fill(FieldFlag.BadName);
for (const c of "!#$%&'*+-.0123456789^`abcdefghijklmnopqrstuvwxyz|~") NAME_FLAG[c.charCodeAt(0)] = 0;
for (let c = 65; c <= 90; c++) NAME_FLAG[c] = FieldFlag.UpperCase;
NAME_FLAG[95] = FieldFlag.Underscore;

/** By byte: 0 may stand in a value, otherwise the flag it raises. */
export const VALUE_FLAG = new Uint8Array(256);
for (let c = 0; c < 32; c++) if (c !== 9) VALUE_FLAG[c] = FieldFlag.BadValue;
VALUE_FLAG[127] = FieldFlag.BadValue;
