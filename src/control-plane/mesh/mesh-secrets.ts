import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { Logger } from '../../base/log.ts';
import type { Timer, TimerTarget } from '../../base/timer-wheel.ts';
import { SecretFiles } from '../../config/secrets/secret-files.ts';
import type { GrpcServerCall } from '../../grpc/grpc-server-call.ts';
import type { Dispatcher } from '../../net/dispatcher.ts';
import type { Metrics } from '../metrics.ts';
import type { PersonalResources } from '../xds-server/personal-resources.ts';
import { SECRET_URL } from '../xds-server/resource-view.ts';
import { resourceOfJson, type SnapshotResource } from '../xds-server/snapshot.ts';
import { AuthorityDirectory } from './authority-directory.ts';
import { IdentityRules } from './identity-rules.ts';
import type { Issued, SubjectNames } from './x509-issuer.ts';

const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';
/** Names that SPIRE and Istio serve the same under. */
const CERTIFICATE_NAME = 'default';
const BUNDLE_NAME = 'ROOTCA';
/** A certificate is renewed when so much of its life is over. */
const ROTATION_SHARE = 0.5;
/** Of the life: proxies that started together do not all come at once. */
const JITTER_SHARE = 0.05;
/** Timers are set for no longer, ms; they are set again. */
const MAX_TIMER_MS = 3_600_000;
/** Certificates that are kept for clients that come back. */
const MAX_KEPT = 10_000;

export interface MeshSettings {
  /** Where the authority is kept. */
  readonly directory: string;
  readonly trustDomain: string;
  /** YAML; empty: who has a certificate of the mesh gets the same identity again. */
  readonly rulesFile: string;
  /** Life of a certificate, seconds. */
  readonly ttlSeconds: number;
}

/** What the mesh needs from its process. */
export interface MeshEnvironment {
  readonly api: ApiRegistry;
  readonly dispatcher: Dispatcher;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

/** One certificate, as it is given out. */
interface Held {
  readonly issued: Issued;
  /** Unix ms. */
  readonly renewAtMs: number;
  readonly resource: SnapshotResource;
  readonly byIdentity: SnapshotResource;
}

/**
 * The mesh's authority at work: X.509 certificates with SPIFFE IDs for clients that have proved who they are, and the bundle of roots to
 * check their peers by. Source: SPIFFE, X.509-SVID; Envoy, "Secret discovery service".
 */
export class MeshSecrets {
  readonly environment: MeshEnvironment;
  readonly authority: AuthorityDirectory;
  readonly #settings: MeshSettings;
  readonly #watch: SecretFiles | null;
  #rules: IdentityRules;
  #bundle: { readonly pem: string; readonly byName: ReadonlyMap<string, SnapshotResource> } | null = null;
  readonly #kept = new Map<string, Held>();
  readonly #open = new Set<PersonalSecrets>();

  /**
   * @param onNewAuthority told when the directory holds another authority
   * @throws Error when the authority or the rules are not fit for use
   */
  constructor(settings: MeshSettings, environment: MeshEnvironment, onNewAuthority: () => void) {
    this.#settings = settings;
    this.environment = environment;
    const { trustDomain, rulesFile, directory } = settings;
    const { dispatcher, logger } = environment;
    this.#rules = this.#readRules();
    this.authority = new AuthorityDirectory(directory, trustDomain, dispatcher.wallMs, (fault) => {
      if (fault !== '') {
        logger.error(`the authority of the mesh stays as it was: ${fault}`);
        return;
      }
      logger.info('the authority of the mesh is another: certificates are renewed');
      this.#kept.clear();
      onNewAuthority();
      this.#renewAll();
    });
    this.#watch =
      rulesFile === ''
        ? null
        : new SecretFiles([rulesFile], '', () => {
            try {
              this.#rules = this.#readRules();
              logger.info('the rules of the mesh are read again');
              this.#renewAll();
            } catch (error) {
              logger.error(`the rules of the mesh stay as they were: ${(error as Error).message}`);
            }
          });
    const ends = this.authority.validToMs;
    if (ends < dispatcher.wallMs) throw new Error('the root of the mesh has expired');
    if (ends < dispatcher.wallMs + 30 * 86_400_000) {
      logger.warning(`the root of the mesh expires on ${new Date(ends).toISOString()}`);
    }
  }

  #readRules(): IdentityRules {
    const { rulesFile, trustDomain } = this.#settings;
    return rulesFile === '' ? IdentityRules.ownIdentity(trustDomain) : IdentityRules.read(rulesFile, trustDomain);
  }

  #renewAll(): void {
    const { dispatcher } = this.environment;
    dispatcher.enter();
    try {
      for (const each of this.#open) each.review();
    } finally {
      dispatcher.leave();
    }
  }

  /** Whether a secret of this name is the mesh's. */
  owns(name: string): boolean {
    const domain = `spiffe://${this.#settings.trustDomain}`;
    return name === CERTIFICATE_NAME || name === BUNDLE_NAME || name === domain || name.startsWith(`${domain}/`);
  }

  /** @param onChange told when what was given out is another */
  open(call: GrpcServerCall, node: Node, onChange: (typeUrl: string) => void): PersonalResources {
    const secrets = new PersonalSecrets(this, call, node, () => onChange(SECRET_URL));
    this.#open.add(secrets);
    return secrets;
  }

  forget(secrets: PersonalSecrets): void {
    this.#open.delete(secrets);
  }

  bundle(name: string): SnapshotResource | null {
    const pem = this.authority.bundlePem;
    if (this.#bundle?.pem !== pem) {
      const names = [BUNDLE_NAME, `spiffe://${this.#settings.trustDomain}`];
      const content = { trusted_ca: { inline_bytes: Buffer.from(pem, 'latin1').toString('base64') } };
      const secret = (own: string) => this.#secret(own, { validation_context: content });
      this.#bundle = { pem, byName: new Map(names.map((own) => [own, secret(own)])) };
    }
    return this.#bundle.byName.get(name) ?? null;
  }

  #secret(name: string, content: object): SnapshotResource {
    return resourceOfJson(this.environment.api, SECRET, name, { name, ...content });
  }

  entitlementOf(call: GrpcServerCall, node: Node): ReturnType<IdentityRules['entitlementOf']> {
    // What it signed would be worth nothing.
    if (this.authority.validToMs <= this.environment.dispatcher.wallMs) {
      return { ok: false, reason: 'the root of the mesh has expired' };
    }
    return this.#rules.entitlementOf(call, node);
  }

  /** The certificate of one proxy: who comes back gets what it had, while it is young. */
  certificate(names: SubjectNames, node: Node): Held {
    const { dispatcher, metrics } = this.environment;
    const now = dispatcher.wallMs;
    const key = JSON.stringify([names.uri, names.dns, node.id]);
    const kept = this.#kept.get(key);
    if (kept !== undefined && kept.renewAtMs > now) return kept;
    const life = this.#settings.ttlSeconds * 1000;
    const issued = this.authority.issue(names, now, now + life);
    metrics.counter('certificates_issued', 'Certificates that the authority of the mesh has issued.').inc();
    const bytes = (pem: string): object => ({ inline_bytes: Buffer.from(pem, 'latin1').toString('base64') });
    const content = {
      tls_certificate: { certificate_chain: bytes(issued.chainPem), private_key: bytes(issued.keyPem) },
    };
    const share = ROTATION_SHARE - Math.random() * JITTER_SHARE;
    const held: Held = {
      issued,
      renewAtMs: now + (issued.validToMs - now) * share,
      resource: this.#secret(CERTIFICATE_NAME, content),
      byIdentity: this.#secret(names.uri, content),
    };
    this.#kept.delete(key);
    if (this.#kept.size >= MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    this.#kept.set(key, held);
    return held;
  }

  close(): void {
    this.authority.close();
    this.#watch?.close();
    for (const each of [...this.#open]) each.close();
  }
}

/** The secrets of one client on one stream. */
class PersonalSecrets implements PersonalResources, TimerTarget {
  readonly #mesh: MeshSecrets;
  readonly #call: GrpcServerCall;
  readonly #node: Node;
  readonly #onChange: () => void;
  readonly #timer: Timer;
  /** Null: never asked for, or never granted. */
  #held: Held | null = null;
  #uri = '';
  /** It was said in the log that nothing is issued. */
  #isDenied = false;
  /** Unix ms. */
  #deniedAtMs = 0;

  constructor(mesh: MeshSecrets, call: GrpcServerCall, node: Node, onChange: () => void) {
    this.#mesh = mesh;
    this.#call = call;
    this.#node = node;
    this.#onChange = onChange;
    this.#timer = mesh.environment.dispatcher.createTimer(this);
  }

  get(typeUrl: string, name: string): SnapshotResource | null {
    if (typeUrl !== SECRET_URL || !this.#mesh.owns(name)) return null;
    const bundle = this.#mesh.bundle(name);
    if (bundle !== null) return bundle;
    if (this.#held === null) this.#renew();
    if (name === CERTIFICATE_NAME) return this.#held?.resource ?? null;
    return name === this.#uri ? (this.#held?.byIdentity ?? null) : null;
  }

  /** @returns whether there is another certificate than before */
  #renew(): boolean {
    const { environment } = this.#mesh;
    const { wallMs } = environment.dispatcher;
    // The rules read files: whoever asks for many names in vain must not have them read for each.
    if (this.#isDenied && Math.abs(wallMs - this.#deniedAtMs) < DENIED_MS) return false;
    const entitlement = this.#mesh.entitlementOf(this.#call, this.#node);
    if (!entitlement.ok) {
      this.#deniedAtMs = wallMs;
      // What was issued before ends by itself, soon.
      if (this.#isDenied) return false;
      this.#isDenied = true;
      environment.metrics.counter('certificates_denied', 'Clients that asked for a certificate in vain.').inc();
      environment.logger.warning(
        `node ${this.#node.id} (${this.#call.peer}) gets no certificate: ${entitlement.reason}`,
      );
      return false;
    }
    this.#isDenied = false;
    const held = this.#mesh.certificate(entitlement.names, this.#node);
    const isNew = held !== this.#held;
    this.#held = held;
    this.#uri = entitlement.names.uri;
    this.#arm();
    return isNew;
  }

  #arm(): void {
    const wait = (this.#held?.renewAtMs ?? 0) - this.#mesh.environment.dispatcher.wallMs;
    this.#timer.enable(Math.max(1, Math.min(wait, MAX_TIMER_MS)));
  }

  onTimer(): void {
    if (this.#held === null) return;
    if (this.#held.renewAtMs > this.#mesh.environment.dispatcher.wallMs) this.#arm();
    else if (this.#renew()) this.#onChange();
    else this.#timer.enable(RETRY_MS);
  }

  /** The authority or the rules are others. */
  review(): void {
    this.#isDenied = false;
    if (this.#held !== null) this.#renew();
    this.#onChange();
  }

  close(): void {
    this.#timer.destroy();
    this.#mesh.forget(this);
  }
}

/** Who is no longer entitled is looked at again after this, ms. */
const RETRY_MS = 60_000;
/** Who was denied is denied without another look for this long, ms. */
const DENIED_MS = 1000;
