/** One admin request as a handler sees it. */
export interface AdminRequest {
  readonly method: string;
  /** Path without query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: string;
}

/** A handler's answer. */
export interface AdminResponse {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Uint8Array;
}

const TEXT = 'text/plain; charset=UTF-8';
const JSON_TYPE = 'application/json';

export function text(body: string, status = 200): AdminResponse {
  return { status, contentType: TEXT, body };
}

export function json(body: string, status = 200): AdminResponse {
  return { status, contentType: JSON_TYPE, body };
}

/** One endpoint. Source: Envoy, operations/admin. */
export interface AdminEndpoint {
  readonly path: string;
  /** As `/help` shows it. */
  readonly help: string;
  /** Changes the server: POST only. */
  readonly mutates: boolean;
  /** Nuncio's own: `/help` and the home page are Envoy's, word for word. */
  readonly unlisted?: boolean;
  /** Query parameters, for `/help`. */
  readonly parameters: readonly AdminParameter[];
  handle(request: AdminRequest): AdminResponse | Promise<AdminResponse>;
}

export interface AdminParameter {
  readonly id: string;
  readonly help: string;
  /** Allowed values; empty: any. */
  readonly values: readonly string[];
  /** Its presence alone says all: a box to tick on the home page. */
  readonly isFlag: boolean;
}

export function choice(id: string, help: string, values: readonly string[]): AdminParameter {
  return { id, help, values, isFlag: false };
}

export function option(id: string, help: string): AdminParameter {
  return { id, help, values: [], isFlag: false };
}

export function flag(id: string, help: string): AdminParameter {
  return { id, help, values: [], isFlag: true };
}

type Handler = AdminEndpoint['handle'];

/** An endpoint that only tells. */
export function query(
  path: string,
  help: string,
  parameters: readonly AdminParameter[],
  handle: Handler,
): AdminEndpoint {
  return { path, help, mutates: false, parameters, handle };
}

/** An endpoint that changes the server: POST only. */
export function command(
  path: string,
  help: string,
  parameters: readonly AdminParameter[],
  handle: Handler,
): AdminEndpoint {
  return { path, help, mutates: true, parameters, handle };
}
