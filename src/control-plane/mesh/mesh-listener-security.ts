import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import { SecretCheck } from '../../config/secrets/secret-check.ts';
import { SecretFiles } from '../../config/secrets/secret-files.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import { certificatesOf } from '../../net/tls/certificate.ts';
import type { TlsServerSettings, TlsSettingsSource, TlsValidation } from '../../net/tls/tls-settings.ts';
import { settingsOf } from '../security/listener-security.ts';
import type { AuthorityDirectory } from './authority-directory.ts';

const LIFE_MS = 86_400_000;
const RENEW_AFTER_MS = LIFE_MS / 2;
/** Timers are set for no longer. */
const MAX_TIMER_MS = 3_600_000;

/** TLS of the discovery server by a certificate of the mesh's own authority, where none was given. */
export class MeshListenerSecurity implements TlsSettingsSource<TlsServerSettings>, TimerTarget {
  readonly #authority: AuthorityDirectory;
  readonly #names: readonly string[];
  readonly #watch: SecretFiles | null;
  #validation: TlsValidation | null;
  readonly #clientsMayBeUnknown: boolean;
  readonly #dispatcher: Dispatcher;
  readonly #timer: Timer;
  #renewAtMs = 0;
  current: TlsServerSettings;

  /**
   * @param names DNS names and addresses that clients know the server by
   * @param clientCa a file; empty: clients are not asked for a certificate
   * @param onChange told after each attempt to read it again: what is wrong with it; empty: nothing
   * @throws Error when it is not fit for use
   */
  constructor(
    api: ApiRegistry,
    authority: AuthorityDirectory,
    dispatcher: Dispatcher,
    names: readonly string[],
    clientCa: string,
    clientsMayBeUnknown: boolean,
    onChange: (fault: string) => void,
  ) {
    this.#authority = authority;
    this.#names = names;
    this.#clientsMayBeUnknown = clientsMayBeUnknown;
    this.#dispatcher = dispatcher;
    const read = (): TlsValidation | null => {
      if (clientCa === '') return null;
      const clients = new SecretCheck(api).validation(clientCa);
      if (!clients.ok) throw new Error(clients.error);
      return clients.value;
    };
    this.#validation = read();
    const again = (): void => {
      try {
        this.#validation = read();
        this.renew();
        onChange('');
      } catch (error) {
        onChange((error as Error).message);
      }
    };
    this.#watch = clientCa === '' ? null : new SecretFiles([clientCa], '', again);
    this.#timer = dispatcher.createTimer(this);
    this.current = this.#issue();
  }

  #issue(): TlsServerSettings {
    const now = this.#dispatcher.wallMs;
    const isIp = (name: string): boolean => name.includes(':') || /^[\d.]+$/.test(name);
    const names = { uri: '', dns: this.#names.filter((name) => !isIp(name)), ips: this.#names.filter(isIp) };
    const { chainPem, keyPem } = this.#authority.issue(names, now, now + LIFE_MS);
    this.#renewAtMs = now + RENEW_AFTER_MS;
    this.#timer.enable(MAX_TIMER_MS);
    const leaf = certificatesOf(chainPem)[0]!;
    return settingsOf({ chainPem, keyPem, keyType: 'ecdsa', leaf }, this.#validation, this.#clientsMayBeUnknown);
  }

  /** The authority is another, or the time has come. */
  renew(): void {
    this.current = this.#issue();
  }

  onTimer(): void {
    if (this.#dispatcher.wallMs >= this.#renewAtMs) this.renew();
    else this.#timer.enable(MAX_TIMER_MS);
  }

  close(): void {
    this.#watch?.close();
    this.#timer.destroy();
  }
}
