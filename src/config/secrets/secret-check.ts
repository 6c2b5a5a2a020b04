import { fromJson } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type {
  CertificateValidationContext,
  TlsCertificate as TlsCertificateMessage,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.d.ts';
import type { Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.d.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { TlsCertificate, TlsValidation } from '../../net/tls/tls-settings.ts';
import type { BuildContext } from '../build-context.ts';
import { detachedContext } from '../detached-context.ts';
import { buildCertificate } from './build-certificate.ts';
import { buildValidation } from './build-validation.ts';

const TLS = 'envoy.extensions.transport_sockets.tls.v3.';

/** Credentials outside of a proxy's configuration, checked as a proxy would check them. */
export class SecretCheck {
  readonly #api: ApiRegistry;

  constructor(api: ApiRegistry) {
    this.#api = api;
  }

  /** Reads a certificate and its key now. @returns what is wrong with them */
  certificate(chainPath: string, keyPath: string): Result<TlsCertificate, string> {
    const desc = this.#api.message(`${TLS}TlsCertificate`)!;
    const json = { certificate_chain: { filename: chainPath }, private_key: { filename: keyPath } };
    const message = fromJson(desc, json, { registry: this.#api.registry }) as TlsCertificateMessage;
    return this.#build((context) => buildCertificate(context, message));
  }

  /** Reads the certificates of authorities now. @returns what is wrong with them */
  validation(caPath: string): Result<TlsValidation, string> {
    const desc = this.#api.message(`${TLS}CertificateValidationContext`)!;
    const json = { trusted_ca: { filename: caPath } };
    const message = fromJson(desc, json, { registry: this.#api.registry }) as CertificateValidationContext;
    return this.#build((context) => buildValidation(context, message));
  }

  /** What is wrong with a secret whose files are inline; empty: nothing. */
  fault(secret: Secret): string {
    const { type } = secret;
    if (type.case === undefined) return 'the secret is empty';
    const built = this.#build<unknown>((context) => {
      if (type.case === 'tlsCertificate') return buildCertificate(context, type.value);
      return type.case === 'validationContext' ? buildValidation(context, type.value) : true;
    });
    return built.ok ? '' : built.error;
  }

  #build<T>(build: (context: BuildContext) => T | null): Result<T, string> {
    const context = detachedContext(this.#api);
    const built = build(context);
    const { errors } = context.shared;
    if (built !== null && errors.length === 0) return ok(built);
    return err(errors.map(({ reason, hint }) => (hint === '' ? reason : `${reason} (${hint})`)).join('; '));
  }
}
