import { existsSync, readFileSync } from 'node:fs';
import { type Certificate, certificatesOf } from '../certificate.ts';
import type {
  TlsCertificate,
  TlsClientSettings,
  TlsParameters,
  TlsServerSettings,
  TlsValidation,
} from '../tls-settings.ts';

// Bundled for Node's own test runner, this file is elsewhere: that one runs in the root of the project.
const HERE = new URL('.', import.meta.url).pathname;
const FOLDER = existsSync(`${HERE}root.pem`) ? HERE : 'src/net/tls/testdata/';

export function pem(name: string): string {
  return readFileSync(`${FOLDER}${name}.pem`, 'utf8');
}

function key(name: string): string {
  return readFileSync(`${FOLDER}${name}.key`, 'utf8');
}

export function leafOf(name: string): Certificate {
  return certificatesOf(pem(name))[0]!;
}

export function certificate(name: string): TlsCertificate {
  const keyType = name.includes('rsa') ? 'rsa' : 'ecdsa';
  return { chainPem: pem(name), keyPem: key(name), keyType, leaf: leafOf(name) };
}

export const PARAMETERS: TlsParameters = {
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.3',
  cipherSuites: '',
  ecdhCurves: '',
  signatureAlgorithms: '',
};

export function validation(change: Partial<TlsValidation> = {}): TlsValidation {
  return {
    trustedCaPem: pem('root'),
    systemRoots: false,
    crlPem: '',
    verifyOnlyLeafCrl: false,
    sanMatchers: [],
    certificateHashes: [],
    spkiHashes: [],
    maxVerifyDepth: -1,
    allowExpired: false,
    acceptUntrusted: false,
    ...change,
  };
}

export function serverSettings(change: Partial<TlsServerSettings> = {}): TlsServerSettings {
  return {
    parameters: PARAMETERS,
    validation: null,
    alpnProtocols: [],
    keyLog: null,
    certificates: [certificate('server-ec')],
    requireClientCertificate: false,
    requireSni: false,
    fullScanOnSniMismatch: false,
    preferClientCiphers: false,
    disableStatelessResumption: false,
    sessionTimeoutSeconds: 0,
    ...change,
  };
}

export function clientSettings(change: Partial<TlsClientSettings> = {}): TlsClientSettings {
  return {
    parameters: PARAMETERS,
    validation: validation(),
    alpnProtocols: [],
    keyLog: null,
    certificate: null,
    sni: 'server.test',
    autoHostSni: false,
    autoSniSanValidation: false,
    allowRenegotiation: false,
    maxSessionKeys: 1,
    enforceRsaKeyUsage: true,
    ...change,
  };
}
