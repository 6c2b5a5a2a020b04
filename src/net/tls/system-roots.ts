import { existsSync, readFileSync } from 'node:fs';
import type { TlsClientSettings, TlsServerSettings } from './tls-settings.ts';

/** Where systems keep their CAs. */
const PATHS = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** The system's CAs as PEM (SSL_CERT_FILE goes before the usual places); empty: none are found. */
function systemRootsPem(): string {
  const path = process.env.SSL_CERT_FILE ?? PATHS.find((each) => existsSync(each));
  try {
    return path === undefined ? '' : readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/**
 * The settings with the system's CAs in the place of the wish for them: the runtimes' own lists are others.
 * @throws Error when there are none: nothing would be trusted, or everything
 */
export function withSystemRoots<S extends TlsServerSettings | TlsClientSettings>(settings: S): S {
  const { validation } = settings;
  if (validation === null || !validation.systemRoots) return settings;
  const trustedCaPem = systemRootsPem();
  if (!trustedCaPem.includes('-----BEGIN'))
    throw new Error('no CA certificates of this system were found: set SSL_CERT_FILE');
  return { ...settings, validation: { ...validation, trustedCaPem, systemRoots: false } };
}
