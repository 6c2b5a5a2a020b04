import { createPrivateKey, type KeyObject } from 'node:crypto';
import { isEncryptedKey, privateKeyBlock } from './pem.ts';

export type LoadedKey =
  | { readonly ok: true; readonly key: KeyObject; readonly pem: string }
  | { readonly ok: false; readonly reason: string };

/** What Envoy's TLS library says where there is no key, or no password for it. */
const NO_START_LINE = 'error:0900006e:PEM routines:OPENSSL_internal:NO_START_LINE';
const BAD_PASSWORD_READ = 'error:09000068:PEM routines:OPENSSL_internal:BAD_PASSWORD_READ';

/**
 * The private key of a PEM text: PKCS#8, PKCS#1 or SEC1, maybe encrypted.
 * @param password empty: none was given
 * @returns the key, decrypted, as PKCS#8; or the cause as Envoy tells it
 */
export function loadPrivateKey(text: string, password: string): LoadedKey {
  const block = privateKeyBlock(text);
  if (block === null) return { ok: false, reason: NO_START_LINE };
  const encrypted = isEncryptedKey(block);
  if (encrypted && password === '') return { ok: false, reason: BAD_PASSWORD_READ };
  try {
    const key = createPrivateKey(encrypted ? { key: block.text, passphrase: password } : { key: block.text });
    return { ok: true, key, pem: key.export({ type: 'pkcs8', format: 'pem' }) as string };
  } catch (error) {
    return { ok: false, reason: (error as Error).message };
  }
}
