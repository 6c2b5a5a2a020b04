import type { Logger } from '../../base/log.ts';
import type { StringMatcher } from '../../routing/string-matcher.ts';
import { type AdminEndpoint, type AdminRequest, type AdminResponse, text } from './admin-request.ts';

/** Finds the endpoint of a request and enforces its method and the allowed paths. */
export class AdminRouter {
  readonly #endpoints = new Map<string, AdminEndpoint>();
  readonly #allowPaths: readonly StringMatcher[] | null;
  readonly #logger: Logger;

  /** @param allowPaths null: all paths are served */
  constructor(allowPaths: readonly StringMatcher[] | null, logger: Logger) {
    this.#allowPaths = allowPaths;
    this.#logger = logger;
  }

  add(endpoint: AdminEndpoint): void {
    this.#endpoints.set(endpoint.path, endpoint);
  }

  /** Those that `/help` shows, by path. */
  endpoints(): AdminEndpoint[] {
    return [...this.#endpoints.values()]
      .filter((endpoint) => endpoint.unlisted !== true)
      .sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  handle(request: AdminRequest): AdminResponse | Promise<AdminResponse> {
    const { path, method } = request;
    if (this.#allowPaths !== null && !this.#allowPaths.some((matcher) => matcher.matches(path))) {
      return text(`request to path ${path} not allowed`, 403);
    }
    const endpoint = this.#endpoints.get(path);
    if (endpoint === undefined) return text(`invalid path. ${this.help()}`, 404);
    if (endpoint.mutates && method !== 'POST') {
      this.#logger.error(`admin path "${path}" mutates state, method=${method} rather than POST`);
      return text(`Method ${method} not allowed, POST required.`, 405);
    }
    return endpoint.handle(request);
  }

  /** The text of `/help`. */
  help(): string {
    let out = 'admin commands are:\n';
    for (const endpoint of this.endpoints()) {
      out += `  ${endpoint.path}${endpoint.mutates ? ' (POST)' : ''}: ${endpoint.help}\n`;
      for (const parameter of endpoint.parameters) {
        out += `      ${parameter.id}: ${parameter.help}`;
        if (parameter.values.length > 0) out += `; One of (${parameter.values.join(', ')})`;
        out += '\n';
      }
    }
    return out;
  }
}
