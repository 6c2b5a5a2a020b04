import { type PathMatch, quoted, Unsupported } from './http-matches.ts';
import type { CorsFilter, HeaderModifier, HttpRouteFilter, PathModifier } from './manifest-types.ts';
import { type Resource, typed } from './resources.ts';

export const CORS_FILTER = 'envoy.filters.http.cors';

const REDIRECT_CODES: Readonly<Record<number, string>> = {
  301: 'MOVED_PERMANENTLY',
  302: 'FOUND',
  303: 'SEE_OTHER',
  307: 'TEMPORARY_REDIRECT',
  308: 'PERMANENT_REDIRECT',
};

/** The listener that a request comes in by: where a redirect leads depends on it. */
export interface Entrance {
  readonly port: number;
  readonly secure: boolean;
}

/** Fields of a header modifier, for a route or a weighted cluster. */
export function modifierFields(modifier: HeaderModifier | undefined, prefix: 'request' | 'response'): Resource {
  if (modifier === undefined) return {};
  const names = [...(modifier.set ?? []), ...(modifier.add ?? [])].map(({ name }) => name);
  const seen = new Set<string>();
  for (const name of [...names, ...(modifier.remove ?? [])].map((each) => each.toLowerCase())) {
    // "Filters specifying multiple actions of the same or different type for any one header name are invalid."
    if (seen.has(name)) throw new Unsupported(`several actions for header ${name}`);
    seen.add(name);
    // Envoy lets nobody touch it here, and refuses the route table.
    if (name === 'host') throw new Unsupported('header host is changed by a URLRewrite filter only');
  }
  const option = (name: string, value: string, append_action: string): Resource => ({
    header: { key: name, value: value.replaceAll('%', '%%') },
    append_action,
  });
  const add = [
    ...(modifier.set ?? []).map(({ name, value }) => option(name, value, 'OVERWRITE_IF_EXISTS_OR_ADD')),
    ...(modifier.add ?? []).map(({ name, value }) => option(name, value, 'APPEND_IF_EXISTS_OR_ADD')),
  ];
  return {
    ...(add.length > 0 ? { [`${prefix}_headers_to_add`]: add } : {}),
    ...((modifier.remove ?? []).length > 0 ? { [`${prefix}_headers_to_remove`]: modifier.remove } : {}),
  };
}

function absolute(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}

/** How the path of a request is replaced, for a match by `path`; null: by the whole of `full`. */
function prefixRewrite(modifier: PathModifier, path: PathMatch): Resource {
  // "ReplacePrefixMatch is only compatible with a `PathPrefix` HTTPRouteMatch."
  if (path.kind !== 'prefix') throw new Unsupported('ReplacePrefixMatch without a PathPrefix match');
  const replacement = (modifier.replacePrefixMatch ?? '').replace(/\/+$/, '');
  if (path.value === '/') return { prefix_rewrite: replacement === '' ? '/' : `${absolute(replacement)}/` };
  // Of `/prefix/rest`, `/rest` remains; of `/prefix`, `/`.
  if (replacement === '') {
    return { regex_rewrite: { pattern: { regex: `^${quoted(path.value)}/*` }, substitution: '/' } };
  }
  return { prefix_rewrite: absolute(replacement) };
}

function fullPath({ replaceFullPath }: PathModifier): string {
  if (replaceFullPath === undefined) throw new Unsupported('ReplaceFullPath without a path');
  return absolute(replaceFullPath);
}

export function rewriteFields(
  rewrite: NonNullable<HttpRouteFilter['urlRewrite']>,
  path: PathMatch,
): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  if (rewrite.hostname !== undefined) fields.host_rewrite_literal = rewrite.hostname;
  switch (rewrite.path?.type) {
    case undefined:
      break;
    case 'ReplaceFullPath':
      fields.regex_rewrite = {
        pattern: { regex: '^/.*$' },
        // A backslash begins a group of RE2's.
        substitution: fullPath(rewrite.path).replaceAll('\\', '\\\\'),
      };
      break;
    case 'ReplacePrefixMatch':
      Object.assign(fields, prefixRewrite(rewrite.path, path));
      break;
    default:
      throw new Unsupported(`path modifier ${rewrite.path?.type}`);
  }
  return fields;
}

export function redirectFields(
  filter: NonNullable<HttpRouteFilter['requestRedirect']>,
  path: PathMatch,
  entrance: Entrance,
): Resource {
  const code = REDIRECT_CODES[filter.statusCode ?? 302];
  if (code === undefined) throw new Unsupported(`redirect status ${filter.statusCode}`);
  const { scheme, hostname } = filter;
  if (scheme !== undefined && scheme !== 'http' && scheme !== 'https') throw new Unsupported(`scheme ${scheme}`);
  const fields: Record<string, unknown> = { response_code: code };
  if (scheme !== undefined) fields.scheme_redirect = scheme;
  if (hostname !== undefined) fields.host_redirect = hostname;
  const defaultOf = (secure: boolean): number => (secure ? 443 : 80);
  const secure = scheme === undefined ? entrance.secure : scheme === 'https';
  // HTTPRequestRedirectFilter.port: that of the scheme, if one is given, else the listener's.
  const port = filter.port ?? (scheme === undefined ? entrance.port : defaultOf(secure));
  // A port that goes without saying is left out; but where the request's own name has another, it must be said.
  const unsaid = hostname !== undefined || entrance.port === defaultOf(entrance.secure);
  if (port !== defaultOf(secure) || !unsaid) fields.port_redirect = port;
  switch (filter.path?.type) {
    case undefined:
      break;
    case 'ReplaceFullPath':
      fields.path_redirect = fullPath(filter.path);
      break;
    case 'ReplacePrefixMatch':
      Object.assign(fields, prefixRewrite(filter.path, path));
      break;
    default:
      throw new Unsupported(`path modifier ${filter.path?.type}`);
  }
  return fields;
}

const ORIGIN = /^(\*|https?:\/\/(\*|(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*)(:([0-9]{1,5}|\*))?)$/;

/** The policy of the CORS filter for one route (HTTPCORSFilter). */
export function corsPolicy(filter: CorsFilter): Resource {
  const origins = (filter.allowOrigins ?? []).map((origin) => {
    if (!ORIGIN.test(origin)) throw new Unsupported(`origin ${origin}`);
    if (origin === '*') return { safe_regex: { regex: '.*' } };
    // A wildcard stands for any number of labels.
    const parts = origin.split('*').map(quoted);
    return origin.includes('*') ? { safe_regex: { regex: parts.join('.*') } } : { exact: origin };
  });
  const joined = (names: readonly string[] | undefined): string => (names ?? []).join(', ');
  return typed('envoy.extensions.filters.http.cors.v3.CorsPolicy', {
    allow_origin_string_match: origins,
    allow_credentials: filter.allowCredentials ?? false,
    allow_methods: joined(filter.allowMethods),
    allow_headers: joined(filter.allowHeaders),
    expose_headers: joined(filter.exposeHeaders),
    max_age: `${filter.maxAge ?? 5}`,
    // What is not allowed ends here, without the headers that would allow it.
    forward_not_matching_preflights: false,
  });
}
