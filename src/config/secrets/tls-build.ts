import type { Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.d.ts';
import type { TlsClientSettings, TlsServerSettings } from '../../net/tls/tls-settings.ts';
import type { SecretDependency, SecretKind } from './secret-dependency.ts';

/** What a dry build on main knows of TLS, and what it is told. In a worker there is none: main has read and checked everything. */
export interface TlsBuild {
  /** The bootstrap's `secrets`. */
  readonly staticSecrets: StaticSecrets;
  /** Something under construction needs this secret; told again for each that does. */
  require(dependency: SecretDependency): void;
  /** What the runtime says of settings; null: it can carry them out. */
  refusal(settings: TlsServerSettings | TlsClientSettings): string | null;
}

export interface StaticSecrets {
  find(kind: SecretKind, name: string): Secret | null;
}

export const NO_STATIC_SECRETS: StaticSecrets = { find: () => null };
