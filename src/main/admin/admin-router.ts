import { type AdminEndpoint, type AdminRequest, type AdminResponse, text } from './admin-request.ts';

/** Finds the endpoint of a request and enforces its method. */
export class AdminRouter {
  readonly #endpoints = new Map<string, AdminEndpoint>();

  add(endpoint: AdminEndpoint): void {
    this.#endpoints.set(endpoint.path, endpoint);
  }

  endpoints(): AdminEndpoint[] {
    return [...this.#endpoints.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  handle(request: AdminRequest): AdminResponse | Promise<AdminResponse> {
    const endpoint = this.#endpoints.get(request.path);
    if (endpoint === undefined) {
      return text(`invalid path. ${this.help()}`, 404);
    }
    if (endpoint.mutates && request.method !== 'POST') {
      return text(`Method ${request.method} not allowed, POST required.`, 405);
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
