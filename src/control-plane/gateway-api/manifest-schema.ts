/**
 * The outlines of the Gateway API's objects, v1.6, as an API server would check them: manifests that come from files have passed none.
 * What stands here is read somewhere, or refused in the object's status; everything else is a mistake. Values of enumerations are not
 * checked: what is unknown of them is told in the status (Gateway API, "Unknown values here must result in ...").
 */
type Shape =
  | { readonly type: 'text'; readonly pattern?: RegExp; readonly what?: string; readonly empty: boolean }
  | { readonly type: 'number'; readonly least: number; readonly most: number }
  | { readonly type: 'flag' }
  /** Any object: it is refused, or without a meaning here, as a whole. */
  | { readonly type: 'any' }
  | { readonly type: 'texts' }
  | { readonly type: 'list'; readonly of: Shape; readonly least: number; readonly most: number }
  | { readonly type: 'object'; readonly fields: Readonly<Record<string, Shape>>; readonly needed: readonly string[] };

/** What is wrong, and where: field names and indices from the object's root. */
export interface SchemaFault {
  readonly path: readonly (string | number)[];
  readonly reason: string;
}

const text: Shape = { type: 'text', empty: false };
const optionalText: Shape = { type: 'text', empty: true };
const any: Shape = { type: 'any' };
const flag: Shape = { type: 'flag' };
const texts: Shape = { type: 'texts' };

function matching(pattern: RegExp, what: string): Shape {
  return { type: 'text', pattern, what, empty: false };
}

function number(least: number, most: number): Shape {
  return { type: 'number', least, most };
}

function list(of: Shape, least: number, most: number): Shape {
  return { type: 'list', of, least, most };
}

/** @param fields a name that ends in `!` has to be there */
function object(fields: Readonly<Record<string, Shape>>): Shape {
  const needed = Object.keys(fields).filter((name) => name.endsWith('!'));
  return {
    type: 'object',
    fields: Object.fromEntries(Object.entries(fields).map(([name, shape]) => [name.replace('!', ''), shape])),
    needed: needed.map((name) => name.slice(0, -1)),
  };
}

const LABEL = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const hostname = matching(new RegExp(`^(\\*\\.)?${LABEL}(\\.${LABEL})*$`, 'i'), 'the name of a host');
const preciseHostname = matching(new RegExp(`^${LABEL}(\\.${LABEL})*$`, 'i'), 'the name of a host without a wildcard');
const headerName = matching(/^[A-Za-z0-9!#$%&'*+\-.^_|~]+$/, 'the name of a header');
const section = matching(new RegExp(`^${LABEL}(\\.${LABEL})*$`), 'the name of a section');
const headerValue = matching(/^[!-~]+([\t ]?[!-~]+)*$/, 'the value of a header');
const port = number(1, 65_535);

const headers = list(object({ 'name!': headerName, 'value!': headerValue }), 0, 16);
const headerModifier = object({ set: headers, add: headers, remove: list(headerName, 0, 16) });
const pathModifier = object({ 'type!': text, replaceFullPath: optionalText, replacePrefixMatch: optionalText });

const BACKEND_OBJECT = { group: optionalText, kind: text, 'name!': text, namespace: text, port };
const FILTERS = {
  'type!': text,
  requestHeaderModifier: headerModifier,
  responseHeaderModifier: headerModifier,
  requestMirror: object({
    'backendRef!': object(BACKEND_OBJECT),
    percent: number(0, 100),
    fraction: object({ 'numerator!': number(0, 2 ** 31 - 1), denominator: number(1, 2 ** 31 - 1) }),
  }),
  extensionRef: any,
};
const httpFilters = list(
  object({
    ...FILTERS,
    requestRedirect: object({
      scheme: text,
      hostname: preciseHostname,
      path: pathModifier,
      port,
      statusCode: number(100, 599),
    }),
    urlRewrite: object({ hostname: preciseHostname, path: pathModifier }),
    cors: object({
      allowOrigins: list(text, 0, 64),
      allowCredentials: flag,
      allowMethods: list(text, 0, 9),
      allowHeaders: list(headerName, 0, 64),
      exposeHeaders: list(headerName, 0, 64),
      maxAge: number(1, 2 ** 31 - 1),
    }),
    externalAuth: any,
  }),
  0,
  16,
);
const grpcFilters = list(object(FILTERS), 0, 16);
const weight = number(0, 1_000_000);
const valueMatch = object({ type: text, 'name!': headerName, 'value!': text });

const parentRefs = list(
  object({ group: optionalText, kind: text, 'name!': text, namespace: text, sectionName: section, port }),
  0,
  32,
);

const httpRoute = object({
  parentRefs,
  hostnames: list(hostname, 0, 16),
  rules: list(
    object({
      name: section,
      matches: list(
        object({
          path: object({ type: text, value: text }),
          headers: list(valueMatch, 0, 16),
          queryParams: list(valueMatch, 0, 16),
          method: text,
        }),
        0,
        64,
      ),
      filters: httpFilters,
      backendRefs: list(object({ ...BACKEND_OBJECT, weight, filters: httpFilters }), 0, 16),
      timeouts: object({ request: text, backendRequest: text }),
      retry: object({ codes: list(number(400, 599), 0, 200), attempts: number(0, 2 ** 31 - 1), backoff: text }),
      sessionPersistence: any,
    }),
    1,
    16,
  ),
});

const grpcRoute = object({
  parentRefs,
  hostnames: list(hostname, 0, 16),
  rules: list(
    object({
      name: section,
      matches: list(
        object({
          method: object({ type: text, service: optionalText, method: optionalText }),
          headers: list(valueMatch, 0, 16),
        }),
        0,
        64,
      ),
      filters: grpcFilters,
      backendRefs: list(object({ ...BACKEND_OBJECT, weight, filters: grpcFilters }), 0, 16),
      sessionPersistence: any,
    }),
    0,
    16,
  ),
});

const streamRules = list(
  object({ name: section, backendRefs: list(object({ ...BACKEND_OBJECT, weight }), 0, 16) }),
  1,
  16,
);

const labelSelector = object({
  matchLabels: texts,
  matchExpressions: list(object({ 'key!': text, 'operator!': text, values: list(optionalText, 0, 1000) }), 0, 1000),
});
const objectReference = object({ group: optionalText, kind: text, 'name!': text, namespace: text });
const validation = object({ 'caCertificateRefs!': list(objectReference, 1, 8), mode: text });

const gateway = object({
  'gatewayClassName!': text,
  'listeners!': list(
    object({
      'name!': section,
      hostname,
      'port!': port,
      'protocol!': text,
      tls: object({ mode: text, certificateRefs: list(objectReference, 0, 64), options: texts }),
      allowedRoutes: object({
        namespaces: object({ from: text, selector: labelSelector }),
        kinds: list(object({ group: optionalText, 'kind!': text }), 0, 8),
      }),
    }),
    1,
    64,
  ),
  addresses: list(object({ type: text, value: optionalText }), 0, 16),
  infrastructure: object({
    labels: texts,
    annotations: texts,
    parametersRef: object({ 'group!': optionalText, 'kind!': text, 'name!': text }),
  }),
  // What they would let in is refused itself.
  allowedListeners: any,
  tls: object({
    backend: object({ clientCertificateRef: objectReference }),
    frontend: object({
      'default!': object({ validation }),
      perPort: list(object({ 'port!': port, 'tls!': object({ validation }) }), 0, 64),
    }),
  }),
});

/** By kind, the outline of `spec`. */
const SPECS: Readonly<Record<string, Shape>> = {
  GatewayClass: object({
    'controllerName!': text,
    description: optionalText,
    parametersRef: object({ 'group!': optionalText, 'kind!': text, 'name!': text, namespace: text }),
  }),
  Gateway: gateway,
  HTTPRoute: httpRoute,
  GRPCRoute: grpcRoute,
  TLSRoute: object({ parentRefs, hostnames: list(hostname, 0, 1024), 'rules!': streamRules }),
  TCPRoute: object({ parentRefs, 'rules!': streamRules }),
  ReferenceGrant: object({
    'from!': list(object({ 'group!': optionalText, 'kind!': text, 'namespace!': text }), 1, 16),
    'to!': list(object({ 'group!': optionalText, 'kind!': text, name: optionalText }), 1, 16),
  }),
  BackendTLSPolicy: object({
    'targetRefs!': list(object({ group: optionalText, 'kind!': text, 'name!': text, sectionName: section }), 1, 16),
    'validation!': object({
      caCertificateRefs: list(object({ group: optionalText, 'kind!': text, 'name!': text }), 0, 8),
      wellKnownCACertificates: optionalText,
      'hostname!': preciseHostname,
      subjectAltNames: list(object({ 'type!': text, hostname, uri: text }), 0, 5),
    }),
    options: texts,
  }),
};

const ROOT = ['apiVersion', 'kind', 'metadata', 'spec', 'status'];

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function find(shape: Shape, value: unknown, path: readonly (string | number)[]): SchemaFault | null {
  const fault = (reason: string): SchemaFault => ({ path, reason: `${path.join('.')}: ${reason}` });
  switch (shape.type) {
    case 'any':
      return null;
    case 'flag':
      return typeof value === 'boolean' ? null : fault('this is neither true nor false');
    case 'number':
      if (typeof value !== 'number' || !Number.isInteger(value)) return fault('this is no whole number');
      return value < shape.least || value > shape.most ? fault(`not of ${shape.least} to ${shape.most}`) : null;
    case 'text':
      if (typeof value !== 'string') return fault('this is no text');
      if (value === '') return shape.empty ? null : fault('this is empty');
      return shape.pattern?.test(value) === false ? fault(`${JSON.stringify(value)} is not ${shape.what}`) : null;
    case 'texts':
      return isRecord(value) && Object.values(value).every((each) => typeof each === 'string')
        ? null
        : fault('this is no mapping of texts');
    case 'list': {
      if (!Array.isArray(value)) return fault('this is no list');
      if (value.length < shape.least || value.length > shape.most) {
        return fault(`${value.length} entries; ${shape.least} to ${shape.most} are allowed`);
      }
      for (const [index, each] of value.entries()) {
        const found = find(shape.of, each, [...path, index]);
        if (found !== null) return found;
      }
      return null;
    }
    case 'object': {
      if (!isRecord(value)) return fault('this is no mapping');
      for (const name of shape.needed) {
        if (value[name] === undefined || value[name] === null) return fault(`${name} is missing`);
      }
      for (const [name, each] of Object.entries(value)) {
        const own = shape.fields[name];
        if (own === undefined) {
          return {
            path: [...path, name],
            reason: `${[...path, name].join('.')}: unknown field; known are ${Object.keys(shape.fields).join(', ')}`,
          };
        }
        // As an API server has it: null is nothing.
        if (each === null) continue;
        const found = find(own, each, [...path, name]);
        if (found !== null) return found;
      }
      return null;
    }
  }
}

/** The first mistake in an object of the Gateway API's group; null: none, or its kind is not known. */
export function schemaFault(manifest: Readonly<Record<string, unknown>>): SchemaFault | null {
  const shape = SPECS[manifest.kind as string];
  if (shape === undefined) return null;
  const stray = Object.keys(manifest).find((name) => !ROOT.includes(name));
  if (stray !== undefined) return { path: [stray], reason: `${stray}: unknown field; known are ${ROOT.join(', ')}` };
  return find(shape, manifest.spec, ['spec']);
}
