import type { Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.d.ts';
import type { BuildContext } from '../build-context.ts';
import type { SecretKind } from '../secrets/secret-dependency.ts';
import type { StaticSecrets } from '../secrets/tls-build.ts';

/** Those of TLS, and those that filters ask for by themselves. */
type StaticKind = SecretKind | 'generic';

/** Envoy's names of the kinds. */
const KIND_NAMES: Readonly<Record<StaticKind, string>> = {
  certificate: 'TlsCertificate',
  validation: 'CertificateValidationContext',
  generic: 'GenericSecret',
};

/** The bootstrap's `static_resources.secrets`, by kind and name. One that nothing uses is not looked into, as in Envoy. */
export class StaticSecretTable implements StaticSecrets {
  readonly #secrets = new Map<string, Secret>();

  /** @param context that of `static_resources` */
  static build(context: BuildContext, secrets: readonly Secret[]): StaticSecretTable {
    const table = new StaticSecretTable();
    secrets.forEach((secret, index) => {
      const kind = kindOf(secret);
      if (kind === null) {
        if (secret.type.case === undefined) context.refuse(`secrets[${index}]`, 'Secret type not implemented');
        return;
      }
      const key = `${kind}|${secret.name}`;
      if (table.#secrets.has(key)) {
        context.refuse(`secrets[${index}].name`, `Duplicate static ${KIND_NAMES[kind]} secret name ${secret.name}`);
      }
      table.#secrets.set(key, secret);
    });
    return table;
  }

  find(kind: SecretKind, name: string): Secret | null {
    return this.#secrets.get(`${kind}|${name}`) ?? null;
  }
}

function kindOf(secret: Secret): StaticKind | null {
  switch (secret.type.case) {
    case 'tlsCertificate':
      return 'certificate';
    case 'validationContext':
      return 'validation';
    case 'genericSecret':
      return 'generic';
    default:
      return null;
  }
}
