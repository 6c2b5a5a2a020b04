/** One block of a PEM text. */
export interface PemBlock {
  /** Such as `CERTIFICATE`. */
  readonly label: string;
  /** With its first and last line. */
  readonly text: string;
}

const BLOCK = /-----BEGIN ([^\r\n-]+)-----[ \t]*\r?\n[\s\S]*?-----END \1-----/g;
const CERTIFICATE = /^(X509 |TRUSTED )?CERTIFICATE$/;
const PRIVATE_KEY = /^((RSA|EC|ANY|ENCRYPTED) )?PRIVATE KEY$/;

/** The blocks of a text, in order; what stands between them is comment (RFC 7468). */
function pemBlocks(text: string): PemBlock[] {
  return [...text.matchAll(BLOCK)].map((match) => ({ label: match[1]!, text: match[0] }));
}

export function certificateBlocks(text: string): string[] {
  return pemBlocks(text)
    .filter((block) => CERTIFICATE.test(block.label))
    .map((block) => block.text);
}

export function crlBlocks(text: string): string[] {
  return pemBlocks(text)
    .filter((block) => block.label === 'X509 CRL')
    .map((block) => block.text);
}

/** The first private key; null: there is none. */
export function privateKeyBlock(text: string): PemBlock | null {
  return pemBlocks(text).find((block) => PRIVATE_KEY.test(block.label)) ?? null;
}

export function isEncryptedKey(block: PemBlock): boolean {
  return block.label === 'ENCRYPTED PRIVATE KEY' || block.text.includes('Proc-Type: 4,ENCRYPTED');
}

/** DER as one PEM block. */
export function toPem(label: string, der: Uint8Array): string {
  const body = Buffer.from(der)
    .toString('base64')
    .replace(/.{1,64}/g, '$&\n');
  return `-----BEGIN ${label}-----\n${body}-----END ${label}-----\n`;
}
