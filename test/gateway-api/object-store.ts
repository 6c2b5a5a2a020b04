/** As much of Kubernetes' API server as the Gateway API's conformance suite asks for: objects that are kept, and said to have changed. */
import type { Server } from 'bun';

export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    generation?: number;
    resourceVersion?: string;
    uid?: string;
    creationTimestamp?: string;
  };
  spec?: Record<string, unknown>;
  status?: Record<string, unknown>;
  [field: string]: unknown;
}

interface Resource {
  readonly group: string;
  readonly versions: readonly string[];
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

function resource(group: string, versions: string, plural: string, kind: string, namespaced = true): Resource {
  return { group, versions: versions.split(' '), plural, kind, namespaced };
}

const GATEWAY = 'gateway.networking.k8s.io';
const RESOURCES: readonly Resource[] = [
  resource('', 'v1', 'namespaces', 'Namespace', false),
  resource('', 'v1', 'pods', 'Pod'),
  resource('', 'v1', 'services', 'Service'),
  resource('', 'v1', 'serviceaccounts', 'ServiceAccount'),
  resource('', 'v1', 'secrets', 'Secret'),
  resource('', 'v1', 'configmaps', 'ConfigMap'),
  resource('apps', 'v1', 'deployments', 'Deployment'),
  resource('discovery.k8s.io', 'v1', 'endpointslices', 'EndpointSlice'),
  resource('apiextensions.k8s.io', 'v1', 'customresourcedefinitions', 'CustomResourceDefinition', false),
  resource(GATEWAY, 'v1 v1beta1', 'gatewayclasses', 'GatewayClass', false),
  resource(GATEWAY, 'v1 v1beta1', 'gateways', 'Gateway'),
  resource(GATEWAY, 'v1 v1beta1', 'httproutes', 'HTTPRoute'),
  resource(GATEWAY, 'v1', 'grpcroutes', 'GRPCRoute'),
  resource(GATEWAY, 'v1 v1alpha3 v1alpha2', 'tlsroutes', 'TLSRoute'),
  resource(GATEWAY, 'v1 v1alpha2', 'tcproutes', 'TCPRoute'),
  resource(GATEWAY, 'v1 v1alpha2', 'udproutes', 'UDPRoute'),
  resource(GATEWAY, 'v1 v1beta1', 'referencegrants', 'ReferenceGrant'),
  resource(GATEWAY, 'v1 v1alpha3', 'backendtlspolicies', 'BackendTLSPolicy'),
  resource(GATEWAY, 'v1', 'listenersets', 'ListenerSet'),
];

/** What the schemas of the real server would fill in, where the suite compares it. */
function applyDefaults(object: KubernetesObject): void {
  const spec = object.spec as Record<string, never> | undefined;
  if (object.kind === 'HTTPRoute' && spec !== undefined) {
    for (const rule of (spec.rules ?? []) as { matches?: unknown }[]) {
      rule.matches ??= [{ path: { type: 'PathPrefix', value: '/' } }];
    }
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** RFC 7396. */
function merged(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const result: Record<string, unknown> = isRecord(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merged(result[key], value);
  }
  return result;
}

function failure(code: number, reason: string, message: string): Response {
  return Response.json(
    { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message },
    { status: code },
  );
}

function selects(selector: string | null, labels: Record<string, string> = {}): boolean {
  return (selector ?? '')
    .split(',')
    .filter((each) => each !== '')
    .every((each) => {
      const [key = '', value = ''] = each.split(/==?/);
      return labels[key] === value;
    });
}

export class ObjectStore {
  /** By `group/plural`, objects by `namespace/name`. */
  readonly #objects = new Map<string, Map<string, KubernetesObject>>();
  #server: Server<undefined> | null = null;
  #version = 1;
  /** Told of every change that is not one of a status alone. */
  onChange: (object: KubernetesObject, change: 'created' | 'updated' | 'deleted') => void = () => {};
  /** The log of a pod from a moment on. */
  logOf: (namespace: string, name: string, since: Date) => string = () => '';

  constructor() {
    for (const { group, plural } of RESOURCES) this.#objects.set(`${group}/${plural}`, new Map());
  }

  /** @returns its address, for a kubeconfig */
  start(): string {
    this.#server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: (request) => this.#answer(request) });
    return `http://127.0.0.1:${this.#server.port}`;
  }

  stop(): void {
    void this.#server?.stop(true);
  }

  all(kind: string): KubernetesObject[] {
    const found = RESOURCES.find((each) => each.kind === kind)!;
    return [...this.#objects.get(`${found.group}/${found.plural}`)!.values()];
  }

  find(kind: string, namespace: string, name: string): KubernetesObject | null {
    const found = RESOURCES.find((each) => each.kind === kind)!;
    return this.#objects.get(`${found.group}/${found.plural}`)!.get(`${namespace}/${name}`) ?? null;
  }

  create(object: KubernetesObject): KubernetesObject {
    const found = RESOURCES.find((each) => each.kind === object.kind)!;
    const kept = structuredClone(object);
    applyDefaults(kept);
    Object.assign(kept.metadata, {
      uid: crypto.randomUUID(),
      resourceVersion: `${++this.#version}`,
      generation: 1,
      creationTimestamp: `${new Date().toISOString().slice(0, 19)}Z`,
    });
    this.#objects
      .get(`${found.group}/${found.plural}`)!
      .set(`${kept.metadata.namespace ?? ''}/${kept.metadata.name}`, kept);
    this.onChange(kept, 'created');
    return kept;
  }

  remove(kind: string, namespace: string, name: string): void {
    const found = RESOURCES.find((each) => each.kind === kind)!;
    const list = this.#objects.get(`${found.group}/${found.plural}`)!;
    const object = list.get(`${namespace}/${name}`);
    if (object === undefined) return;
    list.delete(`${namespace}/${name}`);
    this.onChange(object, 'deleted');
  }

  setStatus(kind: string, namespace: string, name: string, status: Record<string, unknown>): void {
    const object = this.find(kind, namespace, name);
    if (object === null || JSON.stringify(object.status) === JSON.stringify(status)) return;
    object.status = status;
    object.metadata.resourceVersion = `${++this.#version}`;
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const parts = url.pathname.split('/').filter((each) => each !== '');
    const isCore = parts[0] === 'api';
    const [group = '', version = '', ...rest] = isCore ? ['', ...parts.slice(1)] : parts.slice(1);
    if (rest.length === 0) return this.#discovery(isCore, group, version);
    const namespace = rest[0] === 'namespaces' && rest.length > 2 ? rest[1]! : '';
    const [plural = '', name = '', sub = ''] = namespace === '' ? rest : rest.slice(2);
    const found = RESOURCES.find((each) => each.group === group && each.plural === plural);
    if (found === undefined) return failure(404, 'NotFound', `no resource ${group}/${plural}`);
    const list = this.#objects.get(`${group}/${plural}`)!;
    const apiVersion = group === '' ? version : `${group}/${version}`;
    const shown = (object: KubernetesObject): KubernetesObject => ({ ...object, apiVersion, kind: found.kind });
    if (sub === 'log') {
      const since = new Date(url.searchParams.get('sinceTime') ?? 0);
      return new Response(this.logOf(namespace, name, since));
    }
    if (name === '') {
      if (request.method === 'POST') {
        const object = (await request.json()) as KubernetesObject;
        if (found.namespaced) object.metadata.namespace ??= namespace;
        if (list.has(`${object.metadata.namespace ?? ''}/${object.metadata.name}`)) {
          return failure(409, 'AlreadyExists', `${plural} ${object.metadata.name} exists`);
        }
        return Response.json(shown(this.create({ ...object, kind: found.kind })), { status: 201 });
      }
      const selector = url.searchParams.get('labelSelector');
      const items = [...list.values()].filter(
        (each) =>
          (namespace === '' || each.metadata.namespace === namespace) && selects(selector, each.metadata.labels),
      );
      const metadata = { resourceVersion: `${this.#version}` };
      return Response.json({ apiVersion, kind: `${found.kind}List`, metadata, items: items.map(shown) });
    }
    const object = list.get(`${namespace}/${name}`);
    if (object === undefined) return failure(404, 'NotFound', `${plural} "${name}" not found`);
    switch (request.method) {
      case 'GET':
        return Response.json(shown(object));
      case 'DELETE':
        this.remove(found.kind, namespace, name);
        return Response.json({ kind: 'Status', apiVersion: 'v1', status: 'Success' });
      case 'PUT':
        return Response.json(shown(this.#replace(object, (await request.json()) as KubernetesObject, sub)));
      case 'PATCH':
        return Response.json(
          shown(this.#replace(object, merged(object, await request.json()) as KubernetesObject, sub)),
        );
      default:
        return failure(405, 'MethodNotAllowed', request.method);
    }
  }

  #replace(object: KubernetesObject, next: KubernetesObject, sub: string): KubernetesObject {
    object.metadata.resourceVersion = `${++this.#version}`;
    if (sub === 'status') {
      if (next.status !== undefined) object.status = next.status;
      return object;
    }
    const { metadata, status, apiVersion, kind, ...rest } = next;
    applyDefaults(next);
    if (JSON.stringify(rest.spec) !== JSON.stringify(object.spec)) {
      object.metadata.generation = (object.metadata.generation ?? 1) + 1;
    }
    for (const field of ['labels', 'annotations'] as const) {
      if (metadata[field] !== undefined) object.metadata[field] = metadata[field];
    }
    Object.assign(object, rest);
    this.onChange(object, 'updated');
    return object;
  }

  #discovery(isCore: boolean, group: string, version: string): Response {
    if (isCore && version === '') return Response.json({ kind: 'APIVersions', versions: ['v1'] });
    const groups = [...new Set(RESOURCES.map((each) => each.group))].filter((each) => each !== '');
    const described = (name: string): object => {
      const versions = [...new Set(RESOURCES.filter((each) => each.group === name).flatMap((each) => each.versions))];
      const list = versions.map((each) => ({ groupVersion: `${name}/${each}`, version: each }));
      return { name, versions: list, preferredVersion: list[0] };
    };
    if (group === '' && !isCore) {
      return Response.json({ kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map(described) });
    }
    if (version === '') {
      if (!groups.includes(group)) return failure(404, 'NotFound', `no group ${group}`);
      return Response.json({ kind: 'APIGroup', apiVersion: 'v1', ...described(group) });
    }
    const own = RESOURCES.filter((each) => each.group === group && each.versions.includes(version));
    const verbs = ['create', 'delete', 'get', 'list', 'patch', 'update'];
    return Response.json({
      kind: 'APIResourceList',
      apiVersion: 'v1',
      groupVersion: group === '' ? version : `${group}/${version}`,
      resources: own.flatMap(({ plural, kind, namespaced }) => [
        { name: plural, singularName: kind.toLowerCase(), kind, namespaced, verbs },
        { name: `${plural}/status`, singularName: '', kind, namespaced, verbs },
      ]),
    });
  }
}
