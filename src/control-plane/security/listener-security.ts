import type { ApiRegistry } from '../../api/api-registry.ts';
import { SecretCheck } from '../../config/secrets/secret-check.ts';
import { SecretFiles } from '../../config/secrets/secret-files.ts';
import type {
  TlsCertificate,
  TlsServerSettings,
  TlsSettingsSource,
  TlsValidation,
} from '../../net/tls/tls-settings.ts';

/** Where the credentials of the discovery server stand. */
export interface SecurityFiles {
  /** Chain of the server's certificate, leaf first, and its key; PEM. */
  readonly certificate: string;
  readonly key: string;
  /** Authorities of the clients' certificates; empty: clients are not asked for one. */
  readonly clientCa: string;
  /** Who presents no certificate is let in all the same; one that is presented must be good. */
  readonly clientsMayBeUnknown: boolean;
}

/** What a gRPC server offers (gRPC over HTTP/2, "Security"). */
const ALPN = ['h2'];

export function settingsOf(
  certificate: TlsCertificate,
  validation: TlsValidation | null,
  clientsMayBeUnknown: boolean,
): TlsServerSettings {
  return {
    parameters: {
      minVersion: 'TLSv1.2',
      maxVersion: 'TLSv1.3',
      cipherSuites: '',
      ecdhCurves: '',
      signatureAlgorithms: '',
    },
    validation,
    alpnProtocols: ALPN,
    keyLog: null,
    certificates: [certificate],
    requireClientCertificate: validation !== null && !clientsMayBeUnknown,
    requireSni: false,
    fullScanOnSniMismatch: false,
    preferClientCiphers: false,
    disableStatelessResumption: false,
    sessionTimeoutSeconds: 0,
  };
}

/**
 * TLS settings of the discovery server. They follow their files: connections that there are keep what they began with, later ones
 * get what is current. What is wrong with renewed files is told, and the former go on.
 */
export class ListenerSecurity implements TlsSettingsSource<TlsServerSettings> {
  readonly #files: SecurityFiles;
  readonly #check: SecretCheck;
  readonly #watch: SecretFiles;
  current: TlsServerSettings;

  /**
   * @param onChange told after each attempt to read the files again: what is wrong with them; empty: nothing
   * @throws Error when the files are not fit for use
   */
  constructor(api: ApiRegistry, files: SecurityFiles, onChange: (fault: string) => void) {
    this.#files = files;
    this.#check = new SecretCheck(api);
    this.current = this.#read();
    const paths = [files.certificate, files.key, ...(files.clientCa === '' ? [] : [files.clientCa])];
    this.#watch = new SecretFiles(paths, '', () => {
      try {
        this.current = this.#read();
        onChange('');
      } catch (error) {
        onChange((error as Error).message);
      }
    });
  }

  #read(): TlsServerSettings {
    const { certificate, key, clientCa, clientsMayBeUnknown } = this.#files;
    const own = this.#check.certificate(certificate, key);
    if (!own.ok) throw new Error(own.error);
    if (clientCa === '') return settingsOf(own.value, null, true);
    const clients = this.#check.validation(clientCa);
    if (!clients.ok) throw new Error(clients.error);
    return settingsOf(own.value, clients.value, clientsMayBeUnknown);
  }

  close(): void {
    this.#watch.close();
  }
}
