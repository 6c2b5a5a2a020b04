import { readFileSync } from 'node:fs';
import { fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.d.ts';
import type { Logger } from '../../base/log.ts';
import { filesOf, watchedDirectoryOf, withFilesInline } from '../../config/secrets/credential-files.ts';
import type { SecretDependency, SecretKind } from '../../config/secrets/secret-dependency.ts';
import { SecretFiles } from '../../config/secrets/secret-files.ts';
import { mergeSecrets } from '../../config/secrets/slots.ts';
import type { StaticSecrets } from '../../config/secrets/tls-build.ts';
import type { Counter } from '../../stats/counter.ts';
import type { Scope } from '../../stats/store.ts';
import type { ResourceRefusal, ResourceUpdate, ResourceWatcher, Subscription } from '../../xds/resource-source.ts';
import { SECRET_TYPE } from '../../xds/resource-type.ts';
import { sameBytes } from './cluster-updates.ts';
import type { InitTarget } from './init-targets.ts';
import { FirstAnswer, type Provider, Providers } from './providers.ts';
import type { Subscriptions } from './subscriptions.ts';

const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';
/** What Envoy's words are for the kind of a secret that came as another one. */
const FIELDS: Readonly<Record<SecretKind, Secret['type']['case']>> = {
  certificate: 'tlsCertificate',
  validation: 'validationContext',
};

/** A discovered secret as it is in force, for `/config_dump`. */
export interface SecretVersion {
  readonly name: string;
  /** With its files inline. */
  readonly secret: Secret;
  readonly version: string;
  readonly updatedMs: number;
}

export interface SecretUpdatesParts {
  readonly api: ApiRegistry;
  readonly logger: Logger;
  /** Root of main's store. */
  readonly stats: Scope;
  readonly subscriptions: Subscriptions;
  /** What is wrong with a secret whose files are inline; empty: nothing. */
  faultOf(kind: SecretKind, secret: Secret): string;
  /** Gives workers a secret. */
  send(key: string, secret: Uint8Array): void;
  /** Workers need it no more. */
  remove(key: string): void;
}

/** One secret: from its source, and from the files that it names. Source: Envoy, SdsApi. */
class SecretProvider implements ResourceWatcher, Provider {
  readonly dependency: SecretDependency;
  readonly name: string;
  readonly first = new FirstAnswer();
  users = 0;
  readonly sinceMs = Date.now();
  current: SecretVersion | null = null;
  readonly #parts: SecretUpdatesParts;
  readonly #subscription: Subscription | null;
  /** Null: of all secrets in files, which Envoy does not follow: their counts are there once they change. */
  readonly #scope: Scope | null;
  readonly #rotationFailed: Counter | null;
  #started = false;
  /** With the names of its files. */
  #secret: Secret | null = null;
  #found: Secret | null = null;
  #version = '';
  #sent: Uint8Array | null = null;
  #files: SecretFiles | null = null;
  #watched = '';

  constructor(dependency: SecretDependency, parts: SecretUpdatesParts) {
    this.dependency = dependency;
    this.#parts = parts;
    const { name, source } = dependency;
    this.name = name;
    if (source === null) {
      this.#rotationFailed = null;
      this.#subscription = null;
      this.#scope = null;
      return;
    }
    const scope = parts.stats.createScope(`sds.${name}`);
    this.#scope = scope;
    this.#rotationFailed = scope.counter('key_rotation_failed');
    this.#subscription = parts.subscriptions.open(source, { type: SECRET_TYPE, names: [name] }, this, scope);
  }

  /** @param target is ready with the first answer, whatever it is; null: nobody waits */
  start(target: InitTarget | null): void {
    if (this.#subscription === null) {
      if (this.#started) {
        target?.ready();
        return;
      }
      this.#started = true;
      // The configuration was built with it: it is good unless its files changed since.
      const fault = this.#take(this.#decode(this.dependency.secret));
      if (fault !== '') this.#parts.logger.warning(`Failed to load certificates: ${fault}`);
      target?.ready();
      return;
    }
    if (target !== null) this.first.await(target);
    if (this.#started) return;
    this.#started = true;
    this.#subscription.start();
  }

  /** The configuration file has been edited. */
  replaceStatic(secrets: StaticSecrets): void {
    const { source, kind, name } = this.dependency;
    const found = source === null && name !== '' ? secrets.find(kind, name) : null;
    if (found === null) return;
    const fault = this.#take(found);
    if (fault !== '') this.#parts.logger.warning(`Failed to load certificates: ${fault}`);
  }

  stop(): void {
    this.#subscription?.stop();
    this.#files?.close();
    this.#scope?.close();
  }

  #decode(bytes: Uint8Array): Secret {
    return fromBinary(this.#parts.api.message(SECRET)!, bytes) as Message as Secret;
  }

  async onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]> {
    const { name } = this.dependency;
    const refuse = (details: string): readonly ResourceRefusal[] => {
      this.#parts.logger.warning(`sds: secret '${name}' config rejected: ${details}`);
      return [{ name: '', details }];
    };
    const [resource] = update.changed;
    if (resource === undefined) return refuse(`Missing SDS resources for ${name} in onConfigUpdate()`);
    if (update.changed.length > 1) return refuse(`Unexpected SDS secrets length: ${update.changed.length}`);
    if (resource.name !== name) return refuse(`Unexpected SDS secret (expecting ${name}): ${resource.name}`);
    // Its own: a delta answer's is that of the whole (Envoy: SdsApi::onConfigUpdate).
    this.#version = resource.version;
    const fault = this.#take(resource.message as Secret);
    if (fault !== '') return refuse(fault);
    this.first.came();
    return [];
  }

  onFailure(reason: 'timeout' | 'rejected' | 'connection', details: string): void {
    this.first.refused(details);
    if (reason !== 'connection') this.first.came();
  }

  /** @returns what is wrong with it; empty: it is in force */
  #take(secret: Secret): string {
    const { kind, base } = this.dependency;
    if (secret.type.case !== FIELDS[kind]) return `Unexpected SDS secret type ${secret.type.case ?? ''}`;
    const desc = this.#parts.api.message(SECRET)!;
    const whole = base.length === 0 ? secret : mergeSecrets(desc, base, toBinary(desc, secret));
    // Even one that is not good is watched: it may become so.
    this.#watch(whole);
    const fault = this.#publish(whole, secret);
    if (fault === '') {
      this.#secret = whole;
      this.#found = secret;
    }
    return fault;
  }

  #watch(secret: Secret): void {
    const files = filesOf(secret);
    const directory = watchedDirectoryOf(secret);
    const watched = JSON.stringify([files, directory]);
    if (watched === this.#watched) return;
    this.#watched = watched;
    this.#files?.close();
    this.#files = files.length === 0 ? null : new SecretFiles(files, directory, () => this.#onFiles(secret));
  }

  #onFiles(secret: Secret): void {
    const before = this.#sent;
    const fault = this.#publish(this.#secret ?? secret, this.#found ?? secret);
    if (fault !== '') {
      (this.#rotationFailed ?? this.#parts.stats.counter('secrets.files.key_rotation_failed')).inc();
      const files = filesOf(this.#secret ?? secret).join(', ');
      this.#parts.logger.warning(`Failed to reload certificates: ${fault} (${files})`);
    } else if (before !== this.#sent && this.#scope === null) {
      this.#parts.stats.counter('secrets.files.update_success').inc();
    }
  }

  /** @param found `secret` without what the configuration adds to it */
  #publish(secret: Secret, found: Secret): string {
    const inline = withFilesInline(secret, readOrNothing);
    const fault = this.#parts.faultOf(this.dependency.kind, inline);
    if (fault !== '') return fault;
    const desc = this.#parts.api.message(SECRET)!;
    const bytes = toBinary(desc, inline);
    const { name, key } = this.dependency;
    const shown = found === secret ? inline : withFilesInline(found, readOrNothing);
    this.current = { name, secret: shown, version: this.#version, updatedMs: Date.now() };
    if (this.#sent !== null && sameBytes(this.#sent, bytes)) return '';
    this.#sent = bytes;
    this.#parts.send(key, bytes);
    return '';
  }
}

function readOrNothing(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch {
    return new Uint8Array(0);
  }
}

/** The secrets of the process, on main: read, checked, watched, and given to workers. */
export class SecretUpdates {
  readonly #parts: SecretUpdatesParts;
  readonly #providers = new Providers<SecretProvider>();

  constructor(parts: SecretUpdatesParts) {
    this.#parts = parts;
  }

  /**
   * Something needs the secret, until it says {@link release}. One that stands in files is with the workers when this returns.
   * @param target waits for the first answer of one that is discovered
   */
  acquire(dependency: SecretDependency, target: InitTarget | null): void {
    this.#providers.acquire(dependency.key, () => new SecretProvider(dependency, this.#parts)).start(target);
  }

  /** One that needed it is gone. What nobody needs is not followed any more. */
  release(key: string): void {
    if (this.#providers.release(key)) this.#parts.remove(key);
  }

  /** Those of the configuration file that are in use, as they are in another version of it, which has been checked. */
  replaceStatic(secrets: StaticSecrets): void {
    for (const provider of this.#providers.values()) provider.replaceStatic(secrets);
  }

  /** Discovered secrets in force, for `/config_dump`. */
  *current(): IterableIterator<SecretVersion> {
    for (const { current, dependency } of this.#providers.values()) {
      if (current !== null && dependency.source !== null) yield current;
    }
  }

  /** Discovered secrets that are asked for and have not come, since when (wall-clock ms). */
  *missing(): IterableIterator<{ readonly name: string; readonly sinceMs: number }> {
    for (const { current, dependency, sinceMs } of this.#providers.values()) {
      if (current === null && dependency.source !== null) yield { name: dependency.name, sinceMs };
    }
  }

  stop(): void {
    this.#providers.stop();
  }
}
