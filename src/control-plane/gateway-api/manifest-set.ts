import { type Document, isNode, parseAllDocuments, parseDocument } from 'yaml';
import { schemaFault } from './manifest-schema.ts';
import {
  type BackendTlsPolicy,
  type ConfigMap,
  type EndpointSlice,
  EXPERIMENTS_GROUP,
  GATEWAY_GROUP,
  type Gateway,
  type GatewayClass,
  type GrpcRoute,
  type HttpRoute,
  type Manifest,
  type Namespace,
  type ReferenceGrant,
  type Route,
  type Secret,
  type Service,
  type TcpRoute,
  type TlsRoute,
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

/** The kinds that are read, with the group of each; those of other groups in the same files are left alone. */
const KINDS = {
  GatewayClass: GATEWAY_GROUP,
  Gateway: GATEWAY_GROUP,
  HTTPRoute: GATEWAY_GROUP,
  GRPCRoute: GATEWAY_GROUP,
  TLSRoute: GATEWAY_GROUP,
  TCPRoute: GATEWAY_GROUP,
  ReferenceGrant: GATEWAY_GROUP,
  BackendTLSPolicy: GATEWAY_GROUP,
  Service: '',
  EndpointSlice: 'discovery.k8s.io',
  Secret: '',
  ConfigMap: '',
  Namespace: '',
} as const;
type Kind = keyof typeof KINDS;

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
  /** Objects of the Gateway API of which nothing is done: they are to be told so. */
  readonly unsupported: readonly Manifest[];

  constructor(manifests: readonly Manifest[]) {
    for (const kind of Object.keys(KINDS)) this.#byKind.set(kind, new Map());
    const unsupported: Manifest[] = [];
    for (const manifest of manifests) {
      const known = this.#byKind.get(manifest.kind);
      if (known === undefined) unsupported.push(manifest);
      else known.set(keyOf(manifest), manifest);
    }
    this.unsupported = unsupported;
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

/** An object without a time counts as the oldest: files seldom have one. */
function createdMs({ metadata }: Manifest): number {
  const ms = Date.parse(metadata.creationTimestamp ?? '');
  return Number.isNaN(ms) ? 0 : ms;
}

export function byAge(a: Manifest, b: Manifest): number {
  const [first, second] = [createdMs(a), createdMs(b)];
  if (first !== second) return first - second;
  const [one, other] = [keyOf(a), keyOf(b)];
  return one < other ? -1 : one > other ? 1 : 0;
}

function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/');
  return slash < 0 ? '' : apiVersion.slice(0, slash);
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
  const needsSpec =
    value.kind === 'Service' ||
    (KINDS[value.kind as Kind] === GATEWAY_GROUP && groupOf(value.apiVersion) === GATEWAY_GROUP);
  if (needsSpec && !isRecord(value.spec)) return 'spec is missing';
  return null;
}

/** One document of a file. */
interface SourceDocument {
  readonly value: unknown;
  /** Line of the value at a path, or of the nearest thing around it that is there. */
  readonly lineAt: (path: readonly (string | number)[]) => number;
}

function lineOfOffset(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}

function offsetOf(document: Document, path: readonly (string | number)[]): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return (document.contents?.range ?? document.range)?.[0] ?? 0;
}

/** @returns the documents; where one cannot be read, why */
function* documentsOf({ name, text }: ManifestFile): Generator<SourceDocument | ManifestProblem> {
  if (text.trimStart().startsWith('{')) {
    try {
      // Many times faster than YAML; where something is, is asked for mistakes only.
      const value = JSON.parse(text) as unknown;
      const lineAt = (path: readonly (string | number)[]): number =>
        lineOfOffset(text, offsetOf(parseDocument(text), path));
      yield { value, lineAt };
      return;
    } catch {
      // It is YAML, or a mistake that YAML has words for.
    }
  }
  for (const document of parseAllDocuments(text)) {
    if (!('errors' in document)) continue;
    const [error] = document.errors;
    if (error !== undefined) {
      yield { file: name, line: lineOfOffset(text, error.pos[0]), reason: error.message.split('\n')[0] ?? '' };
    } else {
      yield { value: document.toJS() as unknown, lineAt: (path) => lineOfOffset(text, offsetOf(document, path)) };
    }
  }
}

/** What was read of one file. */
interface ReadFile {
  readonly text: string;
  readonly objects: readonly { readonly manifest: Manifest; readonly lineAt: () => number }[];
  readonly problems: readonly ManifestProblem[];
}

function readFile(file: ManifestFile): ReadFile {
  const problems: ManifestProblem[] = [];
  const objects: { manifest: Manifest; lineAt: () => number }[] = [];
  for (const document of documentsOf(file)) {
    if ('reason' in document) {
      problems.push(document);
      continue;
    }
    const { value, lineAt } = document;
    if (value === null || value === undefined) continue;
    const root = isRecord(value) ? value : {};
    const isList = root.kind === 'List' && Array.isArray(root.items);
    const items: readonly unknown[] = isList ? (root.items as unknown[]) : [value];
    for (const [index, item] of items.entries()) {
      const place = isList ? ['items', index] : [];
      const fault = isRecord(item) ? faultOf(item) : 'this is no object';
      if (fault !== null) {
        problems.push({ file: file.name, line: lineAt(place), reason: fault });
        continue;
      }
      const manifest = item as Manifest;
      const group = groupOf(manifest.apiVersion);
      const known = KINDS[manifest.kind as Kind];
      if (known === undefined ? group !== GATEWAY_GROUP && group !== EXPERIMENTS_GROUP : group !== known) continue;
      const mistake = group === GATEWAY_GROUP ? schemaFault(item as Record<string, unknown>) : null;
      if (mistake === null) objects.push({ manifest, lineAt: () => lineAt(place) });
      else {
        problems.push({
          file: file.name,
          line: lineAt([...place, ...mistake.path]),
          reason: `${manifest.kind} ${keyOf(manifest)}: ${mistake.reason}`,
        });
      }
    }
  }
  return { text: file.text, objects, problems };
}

/** Reads manifests, and keeps what it has read of files that do not change. */
export class ManifestReader {
  #files: ReadonlyMap<string, ReadFile> = new Map();

  /**
   * Reads every document of every file (a `List` is opened). A file that is not YAML, an object without its outline, a field
   * that the Gateway API does not have and a second object of the same name are reported and left out; the others count.
   */
  read(files: readonly ManifestFile[]): { set: ManifestSet; problems: ManifestProblem[] } {
    const problems: ManifestProblem[] = [];
    const found = new Map<string, Manifest>();
    const now = new Map<string, ReadFile>();
    for (const file of files) {
      const before = this.#files.get(file.name);
      const own = before?.text === file.text ? before : readFile(file);
      now.set(file.name, own);
      problems.push(...own.problems);
      for (const { manifest, lineAt } of own.objects) {
        const key = `${manifest.kind} ${keyOf(manifest)}`;
        if (found.has(key)) {
          problems.push({ file: file.name, line: lineAt(), reason: `${key} is there twice: the first one counts` });
        } else found.set(key, manifest);
      }
    }
    this.#files = now;
    return { set: new ManifestSet([...found.values()]), problems };
  }
}

/** For files that are read once. */
export function readManifests(files: readonly ManifestFile[]): { set: ManifestSet; problems: ManifestProblem[] } {
  return new ManifestReader().read(files);
}
