import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Message, toBinary } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { DataSource } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.d.ts';
import type { DiscoveryResponse } from '../../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import type { ConfigError } from '../../config/diagnostics/config-error.ts';
import { formatOfPath, loadConfig } from '../../config/load/load-config.ts';
import { filesOf, sourcesOf, watchedDirectoryOf, withFilesInline } from '../../config/secrets/credential-files.ts';
import { SecretCheck } from '../../config/secrets/secret-check.ts';
import { ConstraintChecker } from '../../config/validate/constraint-checker.ts';
import { Snapshot, type SnapshotResource, SnapshotType, snapshotResource } from '../xds-server/snapshot.ts';
import type { DirectoryFile } from './directory.ts';

/** Types that may be served, with the field that names a resource. */
const NAMES: Readonly<Record<string, string>> = {
  'envoy.config.cluster.v3.Cluster': 'name',
  'envoy.config.endpoint.v3.ClusterLoadAssignment': 'clusterName',
  'envoy.config.listener.v3.Listener': 'name',
  'envoy.config.route.v3.RouteConfiguration': 'name',
  'envoy.config.route.v3.ScopedRouteConfiguration': 'name',
  'envoy.config.route.v3.VirtualHost': 'name',
  'envoy.extensions.transport_sockets.tls.v3.Secret': 'name',
  'envoy.service.runtime.v3.Runtime': 'name',
  'envoy.config.core.v3.TypedExtensionConfig': 'name',
};

/** What came of the files. With errors the snapshot lacks what they are about: it is not for use. */
export interface LoadedResources {
  readonly snapshot: Snapshot;
  readonly errors: readonly ConfigError[];
  /** Files (and directories) that secrets name: what is in them is part of the resources. */
  readonly credentials: readonly string[];
}

/** A resource in its file. */
interface FileItem {
  readonly index: number;
  readonly typeName: string;
  readonly resource: SnapshotResource;
}

/** What came of one file. */
interface FileContent {
  readonly items: readonly FileItem[];
  readonly errors: readonly ConfigError[];
  readonly credentials: readonly string[];
  /** Says where in the file something is wrong; null: the file has to be read again for that. */
  readonly refuse: ((index: number, reason: string) => ConfigError) | null;
}

const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';

/**
 * Resources of Envoy in files of the form that its file discovery reads: `resources:` with a list of messages, each with its `@type`.
 * They are checked as a proxy would check them, field by field; whether their extensions exist is for the proxies to say.
 */
export class ResourceFiles {
  readonly #api: ApiRegistry;
  readonly #constraints: ConstraintChecker;
  readonly #secrets: SecretCheck;
  /** By name of the file. */
  readonly #kept = new Map<string, { readonly text: string; readonly content: FileContent }>();

  constructor(api: ApiRegistry) {
    this.#api = api;
    this.#constraints = new ConstraintChecker(api);
    this.#secrets = new SecretCheck(api);
  }

  /**
   * Files that secrets name are read here, and their content is served: they are this machine's, not the proxies'.
   * @param root of the files' names
   */
  load(root: string, files: readonly DirectoryFile[]): LoadedResources {
    const errors: ConfigError[] = [];
    const credentials: string[] = [];
    const types = new Map<string, Map<string, SnapshotResource>>();
    const places = new Map<string, string>();
    for (const file of files) {
      const content = this.#contentOf(root, file);
      errors.push(...content.errors);
      credentials.push(...content.credentials);
      for (const item of content.items) {
        const { typeName, resource } = item;
        const key = `${typeName} ${resource.name}`;
        const other = places.get(key);
        if (other !== undefined) {
          // Where it stands is not kept for files that were read before.
          const refuse = content.refuse ?? this.#read(root, file).refuse!;
          errors.push(refuse(item.index, `${key} is in ${other} already`));
          continue;
        }
        places.set(key, file.name);
        const typeUrl = `type.googleapis.com/${typeName}`;
        const list = types.get(typeUrl) ?? new Map<string, SnapshotResource>();
        types.set(typeUrl, list);
        list.set(resource.name, resource);
      }
    }
    return { snapshot: snapshotOf(types), errors, credentials };
  }

  /** Forgets what was kept of other files than these. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const name of this.#kept.keys()) if (!names.has(name)) this.#kept.delete(name);
  }

  /** A file that stayed as it was is not read again: one edit among thousands of files costs what its own file does. */
  #contentOf(root: string, file: DirectoryFile): FileContent {
    const kept = this.#kept.get(file.name);
    if (kept !== undefined && kept.text === file.text) return kept.content;
    const content = this.#read(root, file);
    // Secrets from other files may change without it; what is refused needs its places.
    const isWhole = content.errors.length === 0 && content.credentials.length === 0;
    if (isWhole) this.#kept.set(file.name, { text: file.text, content: { ...content, refuse: null } });
    else this.#kept.delete(file.name);
    return content;
  }

  #read(root: string, file: DirectoryFile): FileContent {
    const loaded = loadConfig<DiscoveryResponse>(
      [{ name: file.name, format: formatOfPath(file.name), content: file.text }],
      { api: this.#api, desc: this.#api.message('envoy.service.discovery.v3.DiscoveryResponse')! },
    );
    if (!loaded.ok) return { items: [], errors: loaded.error, credentials: [], refuse: null };
    const { message, anys, positions } = loaded.value;
    const errors: ConfigError[] = [];
    const credentials: string[] = [];
    const items: FileItem[] = [];
    const refusal = (index: number, reason: string, hint = ''): ConfigError =>
      positions.attach({ path: `resources[${index}]`, reason, hint });
    for (const [index, any] of message.resources.entries()) {
      const unpacked = anys.unpack(any);
      if (!unpacked.ok) {
        errors.push(refusal(index, unpacked.reason));
        continue;
      }
      const resource = unpacked.message;
      const typeName = resource.$typeName;
      const nameField = NAMES[typeName];
      if (nameField === undefined) {
        errors.push(refusal(index, `${typeName} is not served`, `served are ${Object.keys(NAMES).join(', ')}`));
        continue;
      }
      const desc = this.#api.message(typeName)!;
      const faults = this.#constraints.check(resource, desc, anys).errors;
      for (const { path, reason, hint = '' } of faults) {
        errors.push(positions.attach({ path: `resources[${index}].${path}`, reason, hint }));
      }
      if (faults.length > 0) continue;
      const name = String((resource as Message & Record<string, unknown>)[nameField] ?? '');
      if (name === '') {
        errors.push(refusal(index, 'a resource needs a name'));
        continue;
      }
      let served: Message = resource;
      if (typeName === SECRET) {
        const folder = dirname(resolve(root, file.name));
        credentials.push(...credentialsOf(resource as Secret, folder));
        const read = this.#readSecret(resource as Secret, folder);
        if (read.fault !== '') {
          errors.push(refusal(index, read.fault));
          continue;
        }
        served = read.secret;
      }
      items.push({ index, typeName, resource: snapshotResource(served, name, toBinary(desc, served)) });
    }
    return { items, errors, credentials, refuse: refusal };
  }

  #readSecret(secret: Secret, folder: string): { readonly secret: Secret; readonly fault: string } {
    let inline: Secret;
    try {
      const read = (path: string): Buffer => readCredential(resolve(folder, path));
      inline = withoutDirectory(withOthersInline(withFilesInline(secret, read), read));
    } catch (error) {
      return { secret, fault: (error as Error).message };
    }
    // What stands in the environment of the proxies is for them to judge.
    const isTheirs = sourcesOf(inline).some(({ specifier }) => specifier.case === 'environmentVariable');
    return { secret: inline, fault: isTheirs ? '' : this.#secrets.fault(inline) };
  }
}

/** Larger ones are none, bytes. */
const MAX_CREDENTIAL_BYTES = 16 << 20;

/** @throws Error for what is no file: a pipe would hold everybody up, a device would be read without end */
function readCredential(path: string): Buffer {
  const stat = statSync(path);
  if (!stat.isFile()) throw new Error(`${path} is no file`);
  if (stat.size > MAX_CREDENTIAL_BYTES) throw new Error(`${path} is too large for a credential`);
  return readFileSync(path);
}

/** Files whose change is a change of the secret, and the directory that it says to watch. */
function credentialsOf(secret: Secret, folder: string): string[] {
  const directory = watchedDirectoryOf(secret);
  const others = otherSourcesOf(secret).flatMap(({ specifier }) =>
    specifier.case === 'filename' ? [specifier.value] : [],
  );
  const paths = [...filesOf(secret), ...others].map((path) => resolve(folder, path));
  return directory === '' ? paths : [...paths, resolve(folder, directory, '.')];
}

/** Of secrets that are no certificates. */
function otherSourcesOf({ type }: Secret): DataSource[] {
  if (type.case === 'sessionTicketKeys') return [...type.value.keys];
  if (type.case !== 'genericSecret') return [];
  const { secret, secrets } = type.value;
  return [...(secret === undefined ? [] : [secret]), ...Object.values(secrets)];
}

function withOthersInline(secret: Secret, read: (path: string) => Uint8Array): Secret {
  const inline = (source: DataSource): DataSource => {
    const { specifier } = source;
    if (specifier.case !== 'filename') return source;
    return { ...source, specifier: { case: 'inlineBytes', value: read(specifier.value) } };
  };
  const { type } = secret;
  if (type.case === 'sessionTicketKeys') {
    return { ...secret, type: { case: type.case, value: { ...type.value, keys: type.value.keys.map(inline) } } };
  }
  if (type.case !== 'genericSecret') return secret;
  const { secret: one, secrets } = type.value;
  const value = {
    ...type.value,
    ...(one === undefined ? {} : { secret: inline(one) }),
    secrets: Object.fromEntries(Object.entries(secrets).map(([name, source]) => [name, inline(source)])),
  };
  return { ...secret, type: { case: type.case, value } };
}

/** The directory to watch was this machine's as well. */
function withoutDirectory(secret: Secret): Secret {
  const { type } = secret;
  if (type.case === 'tlsCertificate') {
    const { watchedDirectory: _, ...value } = type.value;
    return { ...secret, type: { case: 'tlsCertificate', value } };
  }
  if (type.case === 'validationContext') {
    const { watchedDirectory: _, ...value } = type.value;
    return { ...secret, type: { case: 'validationContext', value } };
  }
  return secret;
}

function snapshotOf(types: ReadonlyMap<string, ReadonlyMap<string, SnapshotResource>>): Snapshot {
  return new Snapshot([...types].map(([typeUrl, list]) => new SnapshotType(typeUrl, [...list.values()])));
}

/** `base` with what `over` has in place of, or beside, its own. */
export function overlay(base: Snapshot, over: Snapshot): Snapshot {
  const types = new Map<string, Map<string, SnapshotResource>>();
  for (const snapshot of [base, over]) {
    for (const typeUrl of snapshot.typeUrls) {
      const list = types.get(typeUrl) ?? new Map<string, SnapshotResource>();
      types.set(typeUrl, list);
      for (const [name, resource] of snapshot.type(typeUrl).resources) list.set(name, resource);
    }
  }
  return snapshotOf(types);
}
