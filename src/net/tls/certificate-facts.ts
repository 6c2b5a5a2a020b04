import { createHash } from 'node:crypto';
import type { CertificateFacts } from '../transport.ts';
import { childrenOf, type DerElement, DerError, octetsOf, oidOf, readDer } from './der.ts';
import { distinguishedName, stringOf } from './distinguished-name.ts';
import { SanType } from './tls-settings.ts';

const SUBJECT_ALT_NAME = '2.5.29.17';
/** Where X.509 names its own extensions (RFC 5280 section 4.2.1). */
const CERTIFICATE_EXTENSIONS = '2.5.29.';

/** Tags of GeneralName (RFC 5280 section 4.2.1.6). */
const OTHER_NAME = 0xa0;
const EMAIL = 0x81;
const DNS = 0x82;
const URI = 0x86;
const IP = 0x87;

/** An `otherName` of a certificate: its type and its text. */
export interface OtherName {
  readonly oid: string;
  readonly value: string;
}

/** One name of a certificate. */
export interface SubjectAltName extends OtherName {
  readonly type: SanType;
}

export interface CertificateExtension {
  readonly oid: string;
  readonly critical: boolean;
  /** The content of its octet string. */
  readonly value: Buffer;
}

/** @throws DerError when it is no certificate */
export function certificateFacts(der: Uint8Array): CertificateFactsOf {
  return new CertificateFactsOf(Buffer.from(der.buffer, der.byteOffset, der.length));
}

/**
 * The facts of one X.509 certificate, read from its DER text when they are first asked for. What is malformed is found when
 * it is made, so that nothing throws later: certificates come from peers.
 */
export class CertificateFactsOf implements CertificateFacts {
  readonly der: Buffer;
  readonly #serial: DerElement;
  readonly #issuer: DerElement;
  readonly #validity: DerElement;
  readonly #subject: DerElement;
  readonly #publicKey: DerElement;
  /** By object identifier, read once: a peer may send thousands. */
  readonly #extensions: ReadonlyMap<string, CertificateExtension>;
  #subjectText: string | null = null;
  #issuerText: string | null = null;
  #sha256: string | null = null;
  #names: readonly DerElement[] | null = null;

  /** @throws DerError */
  constructor(der: Buffer) {
    this.der = der;
    const certificate = readDer(der);
    const body = childrenOf(certificate)[0];
    if (body === undefined) throw new DerError('no certificate');
    const fields = childrenOf(body);
    // A version, when there is one, comes first.
    const at = fields[0]?.tag === 0xa0 ? 1 : 0;
    const [serial, , issuer, validity, subject, publicKey] = fields.slice(at);
    if (publicKey === undefined) throw new DerError('no certificate');
    this.#serial = serial!;
    this.#issuer = issuer!;
    this.#validity = validity!;
    this.#subject = subject!;
    this.#publicKey = publicKey;
    const wrapped = fields.find((field) => field.tag === 0xa3);
    this.#extensions = extensionsOf(wrapped === undefined ? undefined : childrenOf(wrapped)[0]);
    // Whatever is malformed throws here.
    this.#check();
  }

  #check(): void {
    void this.validFromMs;
    void this.validToMs;
    void this.subjectAltNames;
    distinguishedName(this.#subject);
    distinguishedName(this.#issuer);
  }

  get subjectDer(): Buffer {
    return this.#subject.whole;
  }

  /** Content of the number. */
  get serial(): Buffer {
    return this.#serial.content;
  }

  /** SubjectPublicKeyInfo. */
  get spki(): Buffer {
    return this.#publicKey.whole;
  }

  get issuerDer(): Buffer {
    return this.#issuer.whole;
  }

  get subject(): string {
    this.#subjectText ??= distinguishedName(this.#subject);
    return this.#subjectText;
  }

  get issuer(): string {
    this.#issuerText ??= distinguishedName(this.#issuer);
    return this.#issuerText;
  }

  get serialNumber(): string {
    const { content } = this.#serial;
    let start = 0;
    while (start < content.length - 1 && content[start] === 0) start++;
    const hex = content.subarray(start).toString('hex');
    return hex === '00' ? '0' : hex;
  }

  get dnsNames(): readonly string[] {
    return this.#textNames(DNS);
  }

  get uriNames(): readonly string[] {
    return this.#textNames(URI);
  }

  get emailNames(): readonly string[] {
    return this.#textNames(EMAIL);
  }

  get ipNames(): readonly string[] {
    return this.#generalNames()
      .filter((name) => name.tag === IP)
      .map((name) => ipText(name.content));
  }

  get otherNames(): readonly string[] {
    return this.otherNamesWithTypes.map((name) => name.value);
  }

  get otherNamesWithTypes(): readonly OtherName[] {
    return this.subjectAltNames.filter((name) => name.type === SanType.OtherName);
  }

  /** All names of the kinds that can be matched, in the order of the certificate. */
  get subjectAltNames(): readonly SubjectAltName[] {
    const out: SubjectAltName[] = [];
    for (const name of this.#generalNames()) {
      const text = () => name.content.toString('latin1');
      if (name.tag === EMAIL) out.push({ type: SanType.Email, oid: '', value: text() });
      else if (name.tag === DNS) out.push({ type: SanType.Dns, oid: '', value: text() });
      else if (name.tag === URI) out.push({ type: SanType.Uri, oid: '', value: text() });
      else if (name.tag === IP) out.push({ type: SanType.IpAddress, oid: '', value: ipText(name.content) });
      else if (name.tag === OTHER_NAME) out.push(otherName(name));
    }
    return out;
  }

  get oids(): readonly string[] {
    return [...this.#extensions.keys()];
  }

  get sha256(): string {
    this.#sha256 ??= createHash('sha256').update(this.der).digest('hex');
    return this.#sha256;
  }

  get sha1(): string {
    return createHash('sha1').update(this.der).digest('hex');
  }

  get spkiSha256(): string {
    return createHash('sha256').update(this.#publicKey.whole).digest('base64');
  }

  get validFromMs(): number {
    return timeOf(childrenOf(this.#validity)[0]);
  }

  get validToMs(): number {
    return timeOf(childrenOf(this.#validity)[1]);
  }

  get pem(): string {
    const body = this.der.toString('base64').replace(/.{1,64}/g, '$&\n');
    return `-----BEGIN CERTIFICATE-----\n${body}-----END CERTIFICATE-----\n`;
  }

  /** The value of an extension (the content of its octet string); null: the certificate has none of this type. */
  extension(oid: string): Buffer | null {
    return this.#extensions.get(oid)?.value ?? null;
  }

  get extensions(): readonly CertificateExtension[] {
    return [...this.#extensions.values()];
  }

  #textNames(tag: number): readonly string[] {
    return this.#generalNames()
      .filter((name) => name.tag === tag)
      .map((name) => name.content.toString('latin1'));
  }

  #generalNames(): readonly DerElement[] {
    if (this.#names === null) {
      const value = this.extension(SUBJECT_ALT_NAME);
      this.#names = value === null ? [] : childrenOf(readDer(value));
    }
    return this.#names;
  }
}

/** Each kind may come once (RFC 5280 section 4.2). @throws DerError for two of a kind that is looked at: which would count? */
function extensionsOf(list: DerElement | undefined): ReadonlyMap<string, CertificateExtension> {
  const out = new Map<string, CertificateExtension>();
  for (const extension of list === undefined ? [] : childrenOf(list)) {
    const parts = childrenOf(extension);
    const oid = oidOf(parts[0]);
    if (out.has(oid)) {
      if (oid.startsWith(CERTIFICATE_EXTENSIONS)) throw new DerError('an extension comes twice');
      // Of others the first is kept, unless only a later one is critical.
      if (out.get(oid)!.critical || parts.length < 3) continue;
    }
    const critical = parts.length > 2 && parts[1]!.content[0] !== 0;
    out.set(oid, { oid, critical, value: octetsOf(parts.at(-1)) });
  }
  return out;
}

function otherName(name: DerElement): SubjectAltName {
  const [type, value] = childrenOf(name);
  const inner = value === undefined ? undefined : childrenOf(value)[0];
  return { type: SanType.OtherName, oid: oidOf(type), value: inner === undefined ? '' : stringOf(inner) };
}

/** Two-digit years are of 1950 to 2049 (RFC 5280 section 4.1.2.5). */
function timeOf(element: DerElement | undefined): number {
  const text = element?.content.toString('latin1') ?? '';
  const match = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (match === null) throw new DerError('a time is malformed');
  const [, digits, month, day, hour, minute, second] = match;
  const year = digits!.length === 4 ? Number(digits) : Number(digits) + (Number(digits) < 50 ? 2000 : 1900);
  return Date.UTC(year, Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
}

/** As inet_ntop prints it (RFC 5952); empty for what is no address. */
function ipText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) return '';
  const isMapped = bytes.readUInt16BE(10) === 0xffff || bytes.readUInt16BE(12) !== 0;
  if (isMapped && bytes.subarray(0, 10).every((byte) => byte === 0) && [0, 0xffff].includes(bytes.readUInt16BE(10))) {
    return `::${bytes.readUInt16BE(10) === 0 ? '' : 'ffff:'}${bytes.subarray(12).join('.')}`;
  }
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(bytes.readUInt16BE(i).toString(16));
  const text = groups.join(':');
  let best = '';
  for (const [run] of text.matchAll(/\b0(?::0\b)+/g)) if (run.length > best.length) best = run;
  if (best === '') return text;
  const at = text.search(new RegExp(`\\b${best}\\b`));
  const head = text.substring(0, at).replace(/:$/, '');
  const tail = text.substring(at + best.length).replace(/^:/, '');
  return `${head}::${tail}`;
}
