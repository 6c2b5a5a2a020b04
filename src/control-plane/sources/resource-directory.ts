import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Message } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.d.ts';
import type { DiscoveryResponse } from '../../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { encodeMessage } from '../../api/message-codec.ts';
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

const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret';

/**
 * Resources of Envoy in files of the form that its file discovery reads: `resources:` with a list of messages, each with its `@type`.
 * They are checked as a proxy would check them, field by field; whether their extensions exist is for the proxies to say.
 */
export class ResourceFiles {
  readonly #api: ApiRegistry;
  readonly #constraints: ConstraintChecker;
  readonly #secrets: SecretCheck;

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
      const loaded = loadConfig<DiscoveryResponse>(
        [{ name: file.name, format: formatOfPath(file.name), content: file.text }],
        { api: this.#api, desc: this.#api.message('envoy.service.discovery.v3.DiscoveryResponse')! },
      );
      if (!loaded.ok) {
        errors.push(...loaded.error);
        continue;
      }
      const { message, anys, positions } = loaded.value;
      for (const [index, any] of message.resources.entries()) {
        const path = `resources[${index}]`;
        const refuse = (reason: string, hint = ''): void => {
          errors.push(positions.attach({ path, reason, hint }));
        };
        const unpacked = anys.unpack(any);
        if (!unpacked.ok) {
          refuse(unpacked.reason);
          continue;
        }
        const resource = unpacked.message;
        const typeName = resource.$typeName;
        const nameField = NAMES[typeName];
        if (nameField === undefined) {
          refuse(`${typeName} is not served`, `served are ${Object.keys(NAMES).join(', ')}`);
          continue;
        }
        const desc = this.#api.message(typeName)!;
        const faults = this.#constraints.check(resource, desc, anys).errors;
        for (const fault of faults) {
          errors.push(
            positions.attach({ path: `${path}.${fault.path}`, reason: fault.reason, hint: fault.hint ?? '' }),
          );
        }
        if (faults.length > 0) continue;
        const name = String((resource as Message & Record<string, unknown>)[nameField] ?? '');
        const key = `${typeName} ${name}`;
        const other = places.get(key);
        if (name === '') refuse('a resource needs a name');
        else if (other !== undefined) refuse(`${key} is in ${other} already`);
        if (name === '' || other !== undefined) continue;
        places.set(key, file.name);
        let served: Message = resource;
        if (typeName === SECRET) {
          const folder = dirname(resolve(root, file.name));
          credentials.push(...credentialsOf(resource as Secret, folder));
          const read = this.#readSecret(resource as Secret, folder);
          if (read.fault !== '') {
            refuse(read.fault);
            continue;
          }
          served = read.secret;
        }
        const typeUrl = `type.googleapis.com/${typeName}`;
        const list = types.get(typeUrl) ?? new Map<string, SnapshotResource>();
        types.set(typeUrl, list);
        list.set(name, snapshotResource(served, name, encodeMessage(desc, served)));
      }
    }
    return { snapshot: snapshotOf(types), errors, credentials };
  }

  #readSecret(secret: Secret, folder: string): { readonly secret: Secret; readonly fault: string } {
    let inline: Secret;
    try {
      inline = withoutDirectory(withFilesInline(secret, (path) => readFileSync(resolve(folder, path))));
    } catch (error) {
      return { secret, fault: (error as Error).message };
    }
    // What stands in the environment of the proxies is for them to judge.
    const isTheirs = sourcesOf(inline).some(({ specifier }) => specifier.case === 'environmentVariable');
    return { secret: inline, fault: isTheirs ? '' : this.#secrets.fault(inline) };
  }
}

/** Files whose change is a change of the secret, and the directory that it says to watch. */
function credentialsOf(secret: Secret, folder: string): string[] {
  const directory = watchedDirectoryOf(secret);
  const paths = filesOf(secret).map((path) => resolve(folder, path));
  return directory === '' ? paths : [...paths, resolve(folder, directory, '.')];
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
