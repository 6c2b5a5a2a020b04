import { parseAllDocuments } from 'yaml';
import type {
  BackendTlsPolicy,
  ConfigMap,
  EndpointSlice,
  Gateway,
  GatewayClass,
  GrpcRoute,
  HttpRoute,
  Manifest,
  Namespace,
  ReferenceGrant,
  Route,
  Secret,
  Service,
  TcpRoute,
  TlsRoute,
} from './manifest-types.ts';

/** Where one object was found, or why a file was refused. */
export interface ManifestProblem {
  readonly file: string;
  /** From 1; 0: unknown. */
  readonly line: number;
  readonly reason: string;
}

/** One file of a directory. */
export interface ManifestFile {
  readonly name: string;
  readonly text: string;
}

/** The kinds that are read; others in the same files are left alone. */
const KINDS = [
  'GatewayClass',
  'Gateway',
  'HTTPRoute',
  'GRPCRoute',
  'TLSRoute',
  'TCPRoute',
  'ReferenceGrant',
  'BackendTLSPolicy',
  'Service',
  'EndpointSlice',
  'Secret',
  'ConfigMap',
  'Namespace',
] as const;
type Kind = (typeof KINDS)[number];

interface KindTypes {
  GatewayClass: GatewayClass;
  Gateway: Gateway;
  HTTPRoute: HttpRoute;
  GRPCRoute: GrpcRoute;
  TLSRoute: TlsRoute;
  TCPRoute: TcpRoute;
  ReferenceGrant: ReferenceGrant;
  BackendTLSPolicy: BackendTlsPolicy;
  Service: Service;
  EndpointSlice: EndpointSlice;
  Secret: Secret;
  ConfigMap: ConfigMap;
  Namespace: Namespace;
}

export function namespaceOf(manifest: Manifest): string {
  return manifest.metadata.namespace ?? 'default';
}

/** `namespace/name`, unique within a kind. */
export function keyOf(manifest: Manifest): string {
  return `${namespaceOf(manifest)}/${manifest.metadata.name}`;
}

/** All objects of one moment, by kind. Immutable: a change of the files makes another set. */
export class ManifestSet {
  readonly #byKind = new Map<string, Map<string, Manifest>>();

  constructor(manifests: readonly Manifest[]) {
    for (const kind of KINDS) this.#byKind.set(kind, new Map());
    for (const manifest of manifests) this.#byKind.get(manifest.kind)?.set(keyOf(manifest), manifest);
  }

  all<K extends Kind>(kind: K): KindTypes[K][] {
    return [...(this.#byKind.get(kind)?.values() ?? [])] as KindTypes[K][];
  }

  find<K extends Kind>(kind: K, namespace: string, name: string): KindTypes[K] | null {
    return (this.#byKind.get(kind)?.get(`${namespace}/${name}`) as KindTypes[K] | undefined) ?? null;
  }

  /** Oldest first, then by name: who came first wins (Gateway API, "Conflicts"). */
  routes(): Route[] {
    const routes: Route[] = [
      ...this.all('HTTPRoute'),
      ...this.all('GRPCRoute'),
      ...this.all('TLSRoute'),
      ...this.all('TCPRoute'),
    ];
    return routes.sort(byAge);
  }
}

export function byAge(a: Manifest, b: Manifest): number {
  const [first, second] = [a.metadata.creationTimestamp ?? '', b.metadata.creationTimestamp ?? ''];
  if (first !== second) return first < second ? -1 : 1;
  const [one, other] = [keyOf(a), keyOf(b)];
  return one < other ? -1 : one > other ? 1 : 0;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What is wrong with an object's outline; null: nothing. */
function faultOf(value: Record<string, unknown>): string | null {
  if (typeof value.apiVersion !== 'string') return 'apiVersion is missing';
  if (typeof value.kind !== 'string') return 'kind is missing';
  if (!isRecord(value.metadata) || typeof value.metadata.name !== 'string') return 'metadata.name is missing';
  const { namespace } = value.metadata;
  if (namespace !== undefined && typeof namespace !== 'string') return 'metadata.namespace is no text';
  const needsSpec = !['EndpointSlice', 'Secret', 'ConfigMap', 'Namespace'].includes(value.kind);
  if (needsSpec && !isRecord(value.spec)) return 'spec is missing';
  return null;
}

/**
 * Reads every document of every file (a `List` is opened). A file that is not YAML, an object without its outline and a second
 * object of the same name are reported and left out; the others count.
 */
export function readManifests(files: readonly ManifestFile[]): { set: ManifestSet; problems: ManifestProblem[] } {
  const problems: ManifestProblem[] = [];
  const found = new Map<string, Manifest>();
  for (const file of files) {
    for (const document of parseAllDocuments(file.text)) {
      if (!('errors' in document)) continue;
      const lineAt = (offset: number): number => file.text.slice(0, offset).split('\n').length;
      const [error] = document.errors;
      if (error !== undefined) {
        problems.push({ file: file.name, line: lineAt(error.pos[0]), reason: error.message.split('\n')[0] ?? '' });
        continue;
      }
      const value = document.toJS() as unknown;
      if (value === null || value === undefined) continue;
      const line = lineAt((document.contents?.range ?? document.range)?.[0] ?? 0);
      const items = isRecord(value) && value.kind === 'List' && Array.isArray(value.items) ? value.items : [value];
      for (const item of items) {
        const fault = isRecord(item) ? faultOf(item) : 'this is no object';
        if (fault !== null) {
          problems.push({ file: file.name, line, reason: fault });
          continue;
        }
        const manifest = item as Manifest;
        if (!(KINDS as readonly string[]).includes(manifest.kind)) continue;
        const key = `${manifest.kind} ${keyOf(manifest)}`;
        if (found.has(key))
          problems.push({ file: file.name, line, reason: `${key} is there twice: the first one counts` });
        else found.set(key, manifest);
      }
    }
  }
  return { set: new ManifestSet([...found.values()]), problems };
}
