/** TLS extension numbers that are looked at here (IANA, "TLS ExtensionType Values"). */
const Extension = {
  ServerName: 0,
  StatusRequest: 5,
  SupportedGroups: 10,
  EcPointFormats: 11,
  SignatureAlgorithms: 13,
  Alpn: 16,
  SupportedVersions: 43,
  EncryptedClientHello: 0xfe0d,
} as const;

const TLS_1_0 = 0x0301;
const TLS_1_3 = 0x0304;
const ECH_OUTER = 0;
const MAX_HOST_NAME_BYTES = 255;

/** A run of bytes of the hello. */
interface Span {
  readonly start: number;
  readonly end: number;
}

/** Reads numbers and length-prefixed runs; -1 or null: not there. */
class SpanReader {
  readonly #bytes: Buffer;
  at: number;
  readonly end: number;

  constructor(bytes: Buffer, span: Span) {
    this.#bytes = bytes;
    this.at = span.start;
    this.end = span.end;
  }

  get isDone(): boolean {
    return this.at === this.end;
  }

  number(size: number): number {
    if (this.at + size > this.end) return -1;
    this.at += size;
    return this.#bytes.readUIntBE(this.at - size, size);
  }

  take(size: number): Span | null {
    if (size < 0 || this.at + size > this.end) return null;
    const start = this.at;
    this.at += size;
    return { start, end: this.at };
  }

  /** A run behind its length, which takes `lengthBytes`. */
  prefixed(lengthBytes: number): Span | null {
    return this.take(this.number(lengthBytes));
  }
}

/** Numbers of two bytes; an odd byte at the end is not seen. */
function numbersOf(bytes: Buffer, span: Span): number[] {
  const out: number[] = [];
  for (let at = span.start; at + 2 <= span.end; at += 2) out.push(bytes.readUInt16BE(at));
  return out;
}

/** RFC 8701. */
export function isGrease(value: number): boolean {
  return (value & 0x0f0f) === 0x0a0a && value >> 8 === (value & 0xff);
}

/** A TLS ClientHello (RFC 8446 4.1.2, RFC 5246 7.4.1.2), parsed in place. */
export class ClientHello {
  readonly bytes: Buffer;
  readonly version: number;
  readonly cipherSuites: readonly number[];
  /** In the order in which they came. */
  readonly extensions: readonly { readonly type: number; readonly span: Span }[];

  private constructor(
    bytes: Buffer,
    version: number,
    cipherSuites: readonly number[],
    extensions: readonly { readonly type: number; readonly span: Span }[],
  ) {
    this.bytes = bytes;
    this.version = version;
    this.cipherSuites = cipherSuites;
    this.extensions = extensions;
  }

  /** @param bytes the handshake message's body. @returns null when it is none */
  static parse(bytes: Buffer): ClientHello | null {
    const reader = new SpanReader(bytes, { start: 0, end: bytes.length });
    const version = reader.number(2);
    if (version < 0 || reader.take(32) === null) return null;
    const session = reader.prefixed(1);
    if (session === null || session.end - session.start > 32) return null;
    const ciphers = reader.prefixed(2);
    if (ciphers === null || ciphers.end - ciphers.start < 2 || ((ciphers.end - ciphers.start) & 1) !== 0) return null;
    const compressions = reader.prefixed(1);
    if (compressions === null || compressions.end === compressions.start) return null;
    const extensions: { type: number; span: Span }[] = [];
    if (!reader.isDone) {
      const block = reader.prefixed(2);
      if (block === null || !reader.isDone) return null;
      const list = new SpanReader(bytes, block);
      while (!list.isDone) {
        const type = list.number(2);
        const span = list.prefixed(2);
        if (span === null || extensions.some((other) => other.type === type)) return null;
        extensions.push({ type, span });
      }
    }
    return new ClientHello(bytes, version, numbersOf(bytes, ciphers), extensions);
  }

  #extension(type: number): Span | null {
    return this.extensions.find((each) => each.type === type)?.span ?? null;
  }

  #reader(type: number): SpanReader | null {
    const span = this.#extension(type);
    return span === null ? null : new SpanReader(this.bytes, span);
  }

  /** An OCSP answer is asked for; what is in the extension is not looked at (Envoy). */
  get hasStatusRequest(): boolean {
    return this.#extension(Extension.StatusRequest) !== null;
  }

  get hasServerName(): boolean {
    return this.#extension(Extension.ServerName) !== null;
  }

  /** The name asked for, as sent; empty: none; null: the extension is malformed. */
  serverName(): string | null {
    const reader = this.#reader(Extension.ServerName);
    if (reader === null) return '';
    const list = reader.prefixed(2);
    if (list === null || !reader.isDone) return null;
    const names = new SpanReader(this.bytes, list);
    const type = names.number(1);
    const name = names.prefixed(2);
    if (type !== 0 || name === null || !names.isDone) return null;
    const size = name.end - name.start;
    if (size === 0 || size > MAX_HOST_NAME_BYTES) return null;
    const text = this.bytes.latin1Slice(name.start, name.end);
    return text.includes('\0') ? null : text;
  }

  /** Null: none, or malformed, which is for the TLS stack to say. */
  applicationProtocols(): string[] | null {
    const reader = this.#reader(Extension.Alpn);
    if (reader === null) return null;
    const list = reader.prefixed(2);
    if (list === null || !reader.isDone || list.end - list.start < 2) return null;
    const names = new SpanReader(this.bytes, list);
    const out: string[] = [];
    while (!names.isDone) {
      const name = names.prefixed(1);
      if (name === null || name.start === name.end) return null;
      out.push(this.bytes.latin1Slice(name.start, name.end));
    }
    return out;
  }

  /** Bytes of the first protocol, for JA4: null where there is none. The list's length is not looked at (Envoy). */
  firstApplicationProtocol(): Buffer | null {
    const reader = this.#reader(Extension.Alpn);
    if (reader === null || reader.number(2) < 0) return null;
    const name = reader.prefixed(1);
    return name === null || name.start === name.end ? null : this.bytes.subarray(name.start, name.end);
  }

  /** Of `supported_versions`; null where there is no such extension or it is malformed. */
  supportedVersions(): number[] | null {
    const list = this.#reader(Extension.SupportedVersions)?.prefixed(1) ?? null;
    return list === null ? null : numbersOf(this.bytes, list);
  }

  get hasSupportedVersions(): boolean {
    return this.#extension(Extension.SupportedVersions) !== null;
  }

  supportedGroups(): number[] {
    return this.#listBehind(Extension.SupportedGroups);
  }

  signatureAlgorithms(): number[] {
    return this.#listBehind(Extension.SignatureAlgorithms);
  }

  pointFormats(): number[] {
    const span = this.#extension(Extension.EcPointFormats);
    return span === null ? [] : [...this.bytes.subarray(Math.min(span.start + 1, span.end), span.end)];
  }

  /** Behind the list's own length, whatever it says. */
  #listBehind(type: number): number[] {
    const span = this.#extension(type);
    return span === null ? [] : numbersOf(this.bytes, { start: Math.min(span.start + 2, span.end), end: span.end });
  }

  /** Whether a server of TLS 1.0 to 1.3 would talk on at all. `supported_versions` is not asked (Envoy). */
  get isOfKnownVersion(): boolean {
    return this.version >= TLS_1_0 && this.version <= TLS_1_3;
  }

  /** Encrypted ClientHello (RFC 9849 5): well-formed, or not there. */
  get encryptedHelloIsWellFormed(): boolean {
    const reader = this.#reader(Extension.EncryptedClientHello);
    if (reader === null) return true;
    const type = reader.number(1);
    // Who has no keys does not look into an inner hello.
    if (type !== ECH_OUTER) return type >= 0;
    return reader.take(5) !== null && reader.prefixed(2) !== null && reader.prefixed(2) !== null && reader.isDone;
  }
}
