import { describe, expect, test } from 'bun:test';
import { fileURLToPath } from 'node:url';
import { toBinary } from '@bufbuild/protobuf';
import { TestBuild } from '../../../test/support/build-messages.ts';
import * as make from '../../../test/support/certificate-maker.ts';
import type { Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.d.ts';
import type {
  DownstreamTlsContext,
  UpstreamTlsContext,
} from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.d.ts';
import type { TlsClientSettings, TlsServerSettings, TlsSettingsSource } from '../../net/tls/tls-settings.ts';
import type { SecretWatcher, TlsEngine, TransportSocketEnvironment } from '../../net/transport-socket.ts';
import { StatsStore } from '../../stats/store.ts';
import { BuildContext } from '../build-context.ts';
import type { SecretDependency } from '../secrets/secret-dependency.ts';
import { StaticSecretTable } from './static-secrets.ts';
import { buildDownstreamTls, buildUpstreamTls } from './tls-context.ts';

const TLS = 'envoy.extensions.transport_sockets.tls.v3';

function pem(name: string): string {
  return fileURLToPath(new URL(`../../net/tls/testdata/${name}`, import.meta.url));
}

const CERT = `{ certificate_chain: { filename: ${pem('server-rsa.pem')} }, private_key: { filename: ${pem('server-rsa.key')} } }`;
const EC = `{ certificate_chain: { filename: ${pem('server-ec.pem')} }, private_key: { filename: ${pem('server-ec.key')} } }`;
const CA = `trusted_ca: { filename: ${pem('root.pem')} }`;

interface Built {
  readonly run: TestBuild;
  readonly dependencies: SecretDependency[];
  readonly errors: string[];
  readonly warnings: string[];
}

/** A dry build, as main makes it. */
function dry(secrets = '[]'): Built & { readonly context: BuildContext } {
  const run = new TestBuild();
  const dependencies: SecretDependency[] = [];
  const list = run.message<{ secrets: Secret[] } & Secret>(
    'envoy.config.bootstrap.v3.Bootstrap.StaticResources',
    `secrets: ${secrets}`,
  ).secrets;
  const staticSecrets = StaticSecretTable.build(run.context, list);
  const tls = {
    staticSecrets,
    refusal: () => null,
    require: (dependency: SecretDependency) => void dependencies.push(dependency),
  };
  const context = new BuildContext({ ...run.shared, tls });
  return {
    run,
    context,
    dependencies,
    get errors() {
      return run.errors;
    },
    get warnings() {
      return run.warnings;
    },
  };
}

function downstream(common: string, rest = '', secrets = '[]') {
  const at = dry(secrets);
  const yaml = `common_tls_context: { ${common} }\n${rest}`;
  const maker = buildDownstreamTls(
    at.context,
    at.run.message<DownstreamTlsContext>(`${TLS}.DownstreamTlsContext`, yaml),
  );
  return { ...at, errors: at.errors, warnings: at.warnings, maker };
}

function upstream(common: string, rest = '') {
  const at = dry();
  const yaml = `common_tls_context: { ${common} }\n${rest}`;
  const maker = buildUpstreamTls(at.context, at.run.message<UpstreamTlsContext>(`${TLS}.UpstreamTlsContext`, yaml));
  return { ...at, errors: at.errors, warnings: at.warnings, maker };
}

/** A worker without sockets: what the engine would be given. */
class FakeWorker {
  readonly store = new StatsStore();
  readonly watchers = new Map<string, SecretWatcher>();
  readonly servers: TlsSettingsSource<TlsServerSettings>[] = [];
  readonly clients: TlsSettingsSource<TlsClientSettings>[] = [];
  readonly releases: (() => void)[] = [];

  get environment(): TransportSocketEnvironment {
    const tls = {
      serverSocket: (source: TlsSettingsSource<TlsServerSettings>) => {
        this.servers.push(source);
        return {};
      },
      clientSocket: (source: TlsSettingsSource<TlsClientSettings>) => {
        this.clients.push(source);
        return {};
      },
      refusal: () => null,
    } as unknown as TlsEngine;
    return {
      dispatcher: null as never,
      tls,
      secrets: {
        enlist: () => () => {},
        watch: (key, watcher) => {
          this.watchers.set(key, watcher);
          return () => this.watchers.delete(key);
        },
      },
      scope: this.store.root.createScope('listener.x'),
      onRelease: (release) => this.releases.push(release),
    };
  }
}

describe('what Envoy refuses is refused in its words', () => {
  const cases: [name: string, common: string, error: string, rest?: string][] = [
    ['no certificate', '', 'common_tls_context: No TLS certificates found for server context'],
    [
      'an empty certificate',
      'tls_certificates: [{}]',
      'common_tls_context.tls_certificates[0]: Server TlsCertificates must have a certificate specified',
    ],
    [
      'no key',
      `tls_certificates: [{ certificate_chain: { filename: ${pem('server-rsa.pem')} } }]`,
      'common_tls_context.tls_certificates[0].private_key: Failed to load incomplete private key from path: ',
    ],
    [
      'no chain',
      `tls_certificates: [{ private_key: { filename: ${pem('server-rsa.key')} } }]`,
      'common_tls_context.tls_certificates[0].certificate_chain: Failed to load incomplete certificate from : certificate chain not set',
    ],
    [
      'a missing file',
      'tls_certificates: [{ certificate_chain: { filename: /nowhere/x }, private_key: { filename: /nowhere/y } }]',
      'common_tls_context.tls_certificates[0].certificate_chain: Failed to load incomplete certificate from /nowhere/x: certificate chain not set',
    ],
    [
      'another key',
      `tls_certificates: [{ certificate_chain: { filename: ${pem('server-rsa.pem')} }, private_key: { filename: ${pem('other-rsa.key')} } }]`,
      `common_tls_context.tls_certificates[0].private_key: Failed to load private key from ${pem('other-rsa.key')}, Cause: error:0b000074:X.509 certificate routines:OPENSSL_internal:KEY_VALUES_MISMATCH`,
    ],
    [
      'a key of another type',
      `tls_certificates: [{ certificate_chain: { filename: ${pem('server-rsa.pem')} }, private_key: { filename: ${pem('server-ec.key')} } }]`,
      `common_tls_context.tls_certificates[0].private_key: Failed to load private key from ${pem('server-ec.key')}, Cause: error:0b000073:X.509 certificate routines:OPENSSL_internal:KEY_TYPE_MISMATCH`,
    ],
    [
      'garbage for a chain',
      `tls_certificates: [{ certificate_chain: { inline_string: garbage }, private_key: { filename: ${pem('server-ec.key')} } }]`,
      'common_tls_context.tls_certificates[0].certificate_chain: Failed to load certificate chain from <inline>',
    ],
    [
      'garbage for a key',
      `tls_certificates: [{ certificate_chain: { filename: ${pem('server-rsa.pem')} }, private_key: { inline_string: garbage } }]`,
      'common_tls_context.tls_certificates[0].private_key: Failed to load private key from <inline>, Cause: error:0900006e:PEM routines:OPENSSL_internal:NO_START_LINE',
    ],
    [
      'PKCS#12 beside a key',
      `tls_certificates: [{ pkcs12: { inline_string: x }, private_key: { inline_string: y } }]`,
      "common_tls_context.tls_certificates[0].private_key: Certificate configuration can't have both pkcs12 and private_key",
    ],
    [
      'garbage for PKCS#12',
      'tls_certificates: [{ pkcs12: { inline_string: x } }]',
      'common_tls_context.tls_certificates[0].pkcs12: Failed to load pkcs12 from <inline>',
    ],
    [
      'garbage for CAs',
      `tls_certificates: [${CERT}], validation_context: { trusted_ca: { inline_string: garbage } }`,
      'common_tls_context.validation_context.trusted_ca: Failed to load trusted CA certificates from <inline>',
    ],
    [
      'a CRL without CA',
      `tls_certificates: [${CERT}], validation_context: { crl: { filename: ${pem('root.crl.pem')} } }`,
      `common_tls_context.validation_context.crl: Failed to load CRL from ${pem('root.crl.pem')} without trusted CA`,
    ],
    [
      'names without CA',
      `tls_certificates: [${CERT}], validation_context: { match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: x } }] }`,
      'common_tls_context.validation_context.match_typed_subject_alt_names: SAN-based verification of peer certificates without trusted CA is insecure and not allowed',
    ],
    [
      'expired ones without CA',
      `tls_certificates: [${CERT}], validation_context: { allow_expired_certificate: true }`,
      'common_tls_context.validation_context.allow_expired_certificate: Certificate validity period is always ignored without trusted CA',
    ],
    [
      'an other name without type',
      `tls_certificates: [${CERT}], validation_context: { ${CA}, match_typed_subject_alt_names: [{ san_type: OTHER_NAME, oid: 1.x, matcher: { exact: x } }] }`,
      'common_tls_context.validation_context.match_typed_subject_alt_names[0].oid: Failed to create SAN matcher for OTHER_NAME with OID: 1.x',
    ],
    [
      'a hash that is none',
      `tls_certificates: [${CERT}], validation_context: { verify_certificate_hash: [${'g'.repeat(64)}] }`,
      `common_tls_context.validation_context.verify_certificate_hash[0]: Invalid hex-encoded SHA-256 ${'g'.repeat(64)}`,
    ],
    [
      'a key hash that is none',
      `tls_certificates: [${CERT}], validation_context: { verify_certificate_spki: [${'a'.repeat(44)}] }`,
      `common_tls_context.validation_context.verify_certificate_spki[0]: Invalid base64-encoded SHA-256 ${'a'.repeat(44)}`,
    ],
    [
      'an unknown static secret',
      'tls_certificate_sds_secret_configs: [{ name: s }]',
      'common_tls_context.tls_certificate_sds_secret_configs[0].name: Unknown static secret: s',
    ],
    [
      'unknown static authorities',
      `tls_certificates: [${CERT}], validation_context_sds_secret_config: { name: s }`,
      'common_tls_context.validation_context_sds_secret_config.name: Unknown static certificate validation context: s',
    ],
    [
      'an unknown cipher',
      `tls_certificates: [${CERT}], tls_params: { cipher_suites: [BOGUS, ECDHE-RSA-AES128-GCM-SHA256] }`,
      'common_tls_context.tls_params.cipher_suites: Failed to initialize cipher suites BOGUS:ECDHE-RSA-AES128-GCM-SHA256. The following ciphers were rejected when tried individually: BOGUS',
    ],
    [
      'an unknown curve',
      `tls_certificates: [${CERT}], tls_params: { ecdh_curves: [P-256, bogus] }`,
      'common_tls_context.tls_params.ecdh_curves: Failed to initialize ECDH curves P-256:bogus',
    ],
    [
      'an unknown signature',
      `tls_certificates: [${CERT}], tls_params: { signature_algorithms: [bogus] }`,
      'common_tls_context.tls_params.signature_algorithms: Failed to initialize TLS signature algorithms bogus',
    ],
    [
      'a protocol too long',
      `tls_certificates: [${CERT}], alpn_protocols: [${'a'.repeat(256)}]`,
      'common_tls_context.alpn_protocols: Invalid ALPN protocol string',
    ],
    [
      'a demand for staples',
      `tls_certificates: [${CERT}]`,
      'ocsp_staple_policy: Required OCSP response is missing from TLS context',
      'ocsp_staple_policy: MUST_STAPLE',
    ],
    [
      'a key log nowhere',
      `tls_certificates: [${CERT}], key_log: { path: /nowhere/at/all.log }`,
      "common_tls_context.key_log.path: unable to open file '/nowhere/at/all.log': No such file or directory",
    ],
  ];
  for (const [name, common, error, rest] of cases) {
    test(name, () => {
      const { errors, maker } = downstream(common, rest);
      expect(errors).toContain(error);
      expect(maker).toBeNull();
    });
  }

  test('upstream contexts', () => {
    expect(upstream(`tls_certificates: [${CERT}, ${EC}]`).errors).toEqual([
      'common_tls_context.tls_certificates: Multiple TLS certificates are not supported for client contexts',
    ]);
    expect(upstream('', 'auto_sni_san_validation: true').errors).toEqual([
      "auto_sni_san_validation: 'auto_sni_san_validation' was configured without configuring a validation context",
    ]);
    expect(upstream('validation_context: {}', 'auto_sni_san_validation: true').errors).toEqual([
      "common_tls_context.validation_context.trusted_ca: 'auto_sni_san_validation' was configured without configuring a trusted CA",
    ]);
  });

  test('what the runtime cannot do is refused with its reason', () => {
    const keys = 'session_ticket_keys: { keys: [{ inline_string: x }] }';
    expect(downstream(`tls_certificates: [${CERT}]`, keys).errors).toEqual([
      'session_ticket_keys: this runtime makes its own session ticket keys and takes none',
    ]);
  });
});

describe('settings', () => {
  test("Envoy's defaults", () => {
    const inline = (name: string) => JSON.stringify(require('node:fs').readFileSync(pem(name), 'utf8'));
    const { maker, errors, dependencies } = downstream(
      `tls_certificates: [{ certificate_chain: { inline_string: ${inline('server-ec.pem')} }, private_key: { inline_string: ${inline('server-ec.key')} } }]`,
    );
    expect(errors).toEqual([]);
    expect(dependencies).toEqual([]);
    const worker = new FakeWorker();
    maker!(worker.environment);
    const settings = worker.servers[0]!.current!;
    expect(settings).toMatchObject({
      parameters: {
        minVersion: 'TLSv1.2',
        maxVersion: 'TLSv1.3',
        cipherSuites: '',
        ecdhCurves: '',
        signatureAlgorithms: '',
      },
      validation: null,
      alpnProtocols: [],
      keyLog: null,
      requireClientCertificate: false,
      requireSni: false,
      fullScanOnSniMismatch: false,
      sessionTimeoutSeconds: 0,
    });
    expect(settings.certificates[0]!.keyType).toBe('ecdsa');
    expect(settings.certificates[0]!.leaf.dnsNames).toContain('server.test');
    const client = upstream('');
    client.maker!(worker.environment);
    expect(worker.clients[0]!.current).toMatchObject({
      parameters: { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' },
      certificate: null,
      validation: null,
      maxSessionKeys: 1,
      sni: '',
    });
  });

  test('files are secrets: read and checked by main, given to workers, and again when they change', () => {
    const main = downstream(`tls_certificates: [${CERT}], validation_context: { ${CA} }`);
    expect(main.errors).toEqual([]);
    expect(main.dependencies.map(({ kind, source }) => [kind, source])).toEqual([
      ['certificate', null],
      ['validation', null],
    ]);
    const run = new TestBuild();
    const yaml = `common_tls_context: { tls_certificates: [${CERT}], validation_context: { ${CA} } }`;
    const maker = buildDownstreamTls(run.context, run.message(`${TLS}.DownstreamTlsContext`, yaml))!;
    const worker = new FakeWorker();
    maker(worker.environment);
    const [source] = worker.servers;
    expect(source!.current).toBeNull();
    expect([...worker.watchers.keys()].sort()).toEqual(main.dependencies.map(({ key }) => key).sort());
    const secretOf = (yamlText: string) =>
      toBinary(run.shared.api.message(`${TLS}.Secret`)!, run.message(`${TLS}.Secret`, yamlText));
    for (const { key, secret } of main.dependencies) worker.watchers.get(key)!.onSecret(secret);
    expect(source!.current!.certificates[0]!.leaf.subject).toBe('CN=server-rsa,O=Nuncio');
    expect(source!.current!.validation!.trustedCaPem).toContain('BEGIN CERTIFICATE');
    const before = source!.current;
    worker.watchers.get(main.dependencies[0]!.key)!.onSecret(secretOf(`tls_certificate: ${EC}`));
    expect(source!.current).not.toBe(before);
    expect(source!.current!.certificates[0]!.leaf.subject).toBe('CN=server-ec,O=Nuncio');
    const stat = 'listener.x.server_ssl_socket_factory.ssl_context_update_by_sds';
    expect(worker.store.valueOf(stat)).toBe(1);
    worker.releases[0]!();
    expect(worker.watchers.size).toBe(0);
  });

  test('a combined context is the default one with what is discovered merged in', () => {
    const yaml = `tls_certificates: [${CERT}], combined_validation_context: {
      default_validation_context: { match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: a.test } }] },
      validation_context_sds_secret_config: { name: s } }`;
    const good = downstream(yaml, '', `[{ name: s, validation_context: { ${CA} } }]`);
    expect(good.errors).toEqual([]);
    expect(good.dependencies.map(({ name }) => name)).toEqual(['', 's']);
    const bad = downstream(yaml, '', '[{ name: s, validation_context: { only_verify_leaf_cert_crl: true } }]');
    expect(bad.errors.join()).toContain('SAN-based verification of peer certificates without trusted CA');
  });
});

test('a certificate that says two things is refused with a reason', () => {
  const names = ['a.test', 'b.test'].map((name) => make.altNames(make.dns(name)));
  const { pem: chain, keyPem } = make.makeCertificate({ cn: 'two', extensions: names });
  const certificate = `{ certificate_chain: { inline_string: ${JSON.stringify(chain)} }, private_key: { inline_string: ${JSON.stringify(keyPem)} } }`;
  const { errors, maker } = downstream(`tls_certificates: [${certificate}]`);
  expect(maker).toBeNull();
  expect(errors.join()).toContain('certificate_chain');
});

test('max_verify_depth of 0 is a limit', () => {
  const own = make.makeCertificate({ cn: 'own', extensions: [] });
  const inline = (text: string): string => `{ inline_string: ${JSON.stringify(text)} }`;
  const certificate = `{ certificate_chain: ${inline(own.pem)}, private_key: ${inline(own.keyPem)} }`;
  const limit = (field: string): number | undefined => {
    const { maker } = downstream(
      `tls_certificates: [${certificate}], validation_context: { trusted_ca: { inline_string: ${JSON.stringify(own.pem)} }${field} }`,
    );
    const worker = new FakeWorker();
    maker!(worker.environment);
    return worker.servers[0]!.current?.validation?.maxVerifyDepth;
  };
  expect(limit(', max_verify_depth: 0')).toBe(0);
  expect(limit('')).toBe(-1);
});
