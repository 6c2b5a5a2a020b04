import { DerReader, DerTag } from './der.ts';

/** Short names of attributes as BoringSSL prints them. */
const SHORT_NAMES: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.4': 'SN',
  '2.5.4.5': 'serialNumber',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.9': 'street',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '2.5.4.12': 'title',
  '2.5.4.13': 'description',
  '2.5.4.15': 'businessCategory',
  '2.5.4.17': 'postalCode',
  '2.5.4.41': 'name',
  '2.5.4.42': 'GN',
  '2.5.4.43': 'initials',
  '2.5.4.44': 'generationQualifier',
  '2.5.4.46': 'dnQualifier',
  '2.5.4.65': 'pseudonym',
  '0.9.2342.19200300.100.1.1': 'UID',
  '0.9.2342.19200300.100.1.25': 'DC',
  '1.2.840.113549.1.9.1': 'emailAddress',
  '1.3.6.1.4.1.311.60.2.1.1': 'jurisdictionL',
  '1.3.6.1.4.1.311.60.2.1.2': 'jurisdictionST',
  '1.3.6.1.4.1.311.60.2.1.3': 'jurisdictionC',
};

/** Text of one of ASN.1's string types; null: it is none. */
export function derString(tag: number, content: Buffer): string | null {
  switch (tag) {
    case DerTag.Utf8String:
      return content.toString('utf8');
    case DerTag.PrintableString:
    case DerTag.Ia5String:
    case DerTag.TeletexString:
    case 0x12:
    case 0x1a:
      return content.latin1Slice(0, content.length);
    case DerTag.BmpString: {
      if (content.length % 2 !== 0) return null;
      return Buffer.from(content).swap16().toString('utf16le');
    }
    case DerTag.UniversalString: {
      let text = '';
      for (let at = 0; at + 4 <= content.length; at += 4) {
        const point = content.readUInt32BE(at);
        if (point > 0x10ffff) return null;
        text += String.fromCodePoint(point);
      }
      return text;
    }
    default:
      return null;
  }
}

/** RFC 2253 2.4, with everything beyond ASCII as its UTF-8 bytes in hex (OpenSSL's ASN1_STRFLGS_ESC_MSB). */
function escaped(text: string): string {
  const bytes = Buffer.from(text, 'utf8');
  let out = '';
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    const char = String.fromCharCode(byte);
    if (byte < 0x20 || byte > 0x7e) out += `\\${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    else if (',+"\\<>;'.includes(char)) out += `\\${char}`;
    else if (i === 0 && (char === '#' || char === ' ')) out += `\\${char}`;
    else if (i === bytes.length - 1 && char === ' ') out += '\\ ';
    else out += char;
  }
  return out;
}

/** A Name (RFC 5280 4.1.2.4) by RFC 2253: `CN=a,OU=b`, the last part first. @param reader stands within the sequence */
export function distinguishedName(reader: DerReader): string {
  const parts: string[] = [];
  while (reader.nextIf(DerTag.Set)) {
    const set = reader.inside();
    const pairs: string[] = [];
    while (set.nextIf(DerTag.Sequence)) {
      const pair = set.inside();
      if (!pair.nextIf(DerTag.Oid)) continue;
      const oid = pair.oid();
      if (!pair.next()) continue;
      const name = SHORT_NAMES[oid];
      const value = name === undefined ? null : derString(pair.tag, pair.content());
      const text = value === null ? `#${pair.whole().toString('hex').toUpperCase()}` : escaped(value);
      pairs.push(`${name ?? oid}=${text}`);
    }
    parts.push(pairs.join('+'));
  }
  return parts.reverse().join(',');
}

/** The first common name; empty: none. */
export function commonName(reader: DerReader): string {
  while (reader.nextIf(DerTag.Set)) {
    const set = reader.inside();
    while (set.nextIf(DerTag.Sequence)) {
      const pair = set.inside();
      if (pair.nextIf(DerTag.Oid) && pair.oid() === '2.5.4.3' && pair.next()) {
        return derString(pair.tag, pair.content()) ?? '';
      }
    }
  }
  return '';
}

