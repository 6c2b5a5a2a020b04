import { childrenOf, type DerElement, oidOf } from './der.ts';

/** Short names of attribute types, as BoringSSL prints them. */
const SHORT_NAMES: ReadonlyMap<string, string> = new Map([
  ['2.5.4.3', 'CN'],
  ['2.5.4.4', 'SN'],
  ['2.5.4.5', 'serialNumber'],
  ['2.5.4.6', 'C'],
  ['2.5.4.7', 'L'],
  ['2.5.4.8', 'ST'],
  ['2.5.4.9', 'street'],
  ['2.5.4.10', 'O'],
  ['2.5.4.11', 'OU'],
  ['2.5.4.12', 'title'],
  ['2.5.4.13', 'description'],
  ['2.5.4.15', 'businessCategory'],
  ['2.5.4.17', 'postalCode'],
  ['2.5.4.41', 'name'],
  ['2.5.4.42', 'GN'],
  ['2.5.4.43', 'initials'],
  ['2.5.4.44', 'generationQualifier'],
  ['2.5.4.45', 'x500UniqueIdentifier'],
  ['2.5.4.46', 'dnQualifier'],
  ['2.5.4.65', 'pseudonym'],
  ['2.5.4.72', 'role'],
  ['2.5.4.97', 'organizationIdentifier'],
  ['1.2.840.113549.1.9.1', 'emailAddress'],
  ['1.2.840.113549.1.9.2', 'unstructuredName'],
  ['0.9.2342.19200300.100.1.1', 'UID'],
  ['0.9.2342.19200300.100.1.25', 'DC'],
  ['1.3.6.1.4.1.311.60.2.1.1', 'jurisdictionL'],
  ['1.3.6.1.4.1.311.60.2.1.2', 'jurisdictionST'],
  ['1.3.6.1.4.1.311.60.2.1.3', 'jurisdictionC'],
]);

const BMP_STRING = 0x1e;
const UNIVERSAL_STRING = 0x1c;
const UTF8_STRING = 0x0c;
/** Numeric, printable, teletex, IA5, visible and general strings: one byte per character. */
const BYTE_STRINGS: ReadonlySet<number> = new Set([0x12, 0x13, 0x14, 0x16, 0x1a, 0x1b]);

/**
 * A Name as text, last attribute first. Source: RFC 2253, as Envoy prints it: beyond ASCII every byte of UTF-8 is escaped,
 * attributes of unknown types are dumped.
 * @throws DerError
 */
export function distinguishedName(name: DerElement): string {
  return childrenOf(name)
    .reverse()
    .map((set) => childrenOf(set).reverse().map(attributeText).join('+'))
    .join(',');
}

function attributeText(attribute: DerElement): string {
  const [type, value] = childrenOf(attribute);
  const oid = oidOf(type);
  if (value === undefined) return '';
  const short = SHORT_NAMES.get(oid);
  const text = utf8Of(value);
  if (short === undefined || text === null) return `${short ?? oid}=#${value.whole.toString('hex').toUpperCase()}`;
  return `${short}=${escaped(text)}`;
}

/** The text of a string of any ASN.1 type; of what is no string, its bytes. */
export function stringOf(element: DerElement): string {
  return (utf8Of(element) ?? element.content).toString('utf8');
}

function utf8Of(value: DerElement): Buffer | null {
  if (value.tag === UTF8_STRING) return value.content;
  if (BYTE_STRINGS.has(value.tag)) return Buffer.from(value.content.toString('latin1'), 'utf8');
  if (value.tag === BMP_STRING) {
    const swapped = Buffer.from(value.content.subarray(0, value.content.length & ~1)).swap16();
    return Buffer.from(swapped.toString('utf16le'), 'utf8');
  }
  if (value.tag === UNIVERSAL_STRING) {
    let text = '';
    for (let i = 0; i + 4 <= value.content.length; i += 4) {
      const point = value.content.readUInt32BE(i);
      text += point > 0x10ffff ? '\ufffd' : String.fromCodePoint(point);
    }
    return Buffer.from(text, 'utf8');
  }
  return null;
}

function escaped(bytes: Buffer): string {
  let out = '';
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    const char = String.fromCharCode(byte);
    if (byte < 0x20 || byte > 0x7e) out += `\\${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    else if (',+"\\<>;'.includes(char)) out += `\\${char}`;
    else if (char === '#' && i === 0) out += '\\#';
    else if (char === ' ' && (i === 0 || i === bytes.length - 1)) out += '\\ ';
    else out += char;
  }
  return out;
}
