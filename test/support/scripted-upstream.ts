import type { Socket, TCPSocketListener } from 'bun';
import { BytePipe, pipeHandlers } from './byte-pipe.ts';
import { bodyOf, findRequest } from './wire-text.ts';

/** One request as an upstream saw it, bytes and all. */
export interface SeenRequest {
  /** The whole message. */
  readonly text: string;
  readonly method: string;
  readonly path: string;
  /** Without chunked framing. */
  readonly body: string;
  /** 1 for the first request of this upstream since it was started or `forget` was called. */
  readonly number: number;
  /** The value of a header, or null. */
  header(name: string): string | null;
}

/** What an upstream does with a request: bytes to send, or nothing where the script sends by itself. */
export type Reply = string | Uint8Array | undefined;

/** Answers requests one at a time; runs when the request is complete. */
export type RequestScript = (request: SeenRequest, connection: UpstreamConnection) => Reply | Promise<Reply>;

/** Runs once for every connection. */
export type ConnectionScript = (connection: UpstreamConnection) => void | Promise<void>;

/** A connection that a scripted upstream accepted. */
export class UpstreamConnection extends BytePipe {
  /** Order of acceptance, from 1. */
  readonly number: number;
  #parsed: number;

  constructor(number: number) {
    super();
    this.number = number;
    this.#parsed = 0;
  }

  /** The text of the next complete request, or null when the peer ended or none came within `timeoutMs`. */
  async nextRequest(timeoutMs = 30_000): Promise<{ text: string; bodyStart: number } | null> {
    await this.until(() => findRequest(this.received, this.#parsed) !== null, timeoutMs);
    const extent = findRequest(this.received, this.#parsed);
    if (extent === null) return null;
    const start = this.#parsed;
    this.#parsed = extent.end;
    return { text: this.received.slice(start, extent.end), bodyStart: extent.bodyStart - start };
  }
}

/** How an upstream behaves. */
export type UpstreamScript = (
  | { readonly kind: 'http'; readonly respond: RequestScript }
  | { readonly kind: 'raw'; readonly run: ConnectionScript }
) & {
  /** Speaks TLS; what is kept of its connections is what was inside. */
  readonly tls?: Bun.TLSOptions;
};

/** An HTTP/1 upstream that answers each complete request by `respond`. */
export function httpUpstream(respond: RequestScript): UpstreamScript {
  return { kind: 'http', respond };
}

/** A TCP upstream: `run` is called with every connection. */
export function rawUpstream(run: ConnectionScript): UpstreamScript {
  return { kind: 'raw', run };
}

/** The same server behind TLS. */
export function overTls(script: UpstreamScript, tls: Bun.TLSOptions): UpstreamScript {
  return { ...script, tls };
}

/** The bytes of a response with a body of known length. */
export function reply(status: number | string, body = '', headers: readonly string[] = []): string {
  const line = typeof status === 'number' ? `${status} ${reasons[status] ?? 'Reason'}` : status;
  return [`HTTP/1.1 ${line}`, `content-length: ${body.length}`, ...headers, '', body].join('\r\n');
}

const reasons: Record<number, string> = {
  200: 'OK',
  201: 'Created',
  204: 'No Content',
  301: 'Moved Permanently',
  302: 'Found',
  304: 'Not Modified',
  400: 'Bad Request',
  404: 'Not Found',
  409: 'Conflict',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

/** An upstream server on a free loopback port; its connections are kept for inspection. */
export class ScriptedUpstream {
  readonly connections: UpstreamConnection[];
  requests: number;
  #listener: TCPSocketListener<BytePipe> | null;
  readonly #script: UpstreamScript;

  constructor(script: UpstreamScript) {
    this.connections = [];
    this.requests = 0;
    this.#listener = null;
    this.#script = script;
  }

  /** Listens on a free port of `hostname`, or on `port`, and returns the port. */
  start(hostname = '127.0.0.1', port = 0): number {
    this.#listener = Bun.listen<BytePipe>({
      hostname,
      port,
      allowHalfOpen: true,
      ...(this.#script.tls === undefined ? {} : { tls: this.#script.tls }),
      socket: { ...pipeHandlers, open: (socket) => this.#onOpen(socket) },
    });
    return this.#listener.port;
  }

  #onOpen(socket: Socket<BytePipe>): void {
    const connection = new UpstreamConnection(this.connections.length + 1);
    socket.data = connection;
    connection.attach(socket);
    this.connections.push(connection);
    void this.#serve(connection);
  }

  async #serve(connection: UpstreamConnection): Promise<void> {
    if (this.#script.kind === 'raw') {
      await this.#script.run(connection);
      return;
    }
    for (;;) {
      const next = await connection.nextRequest();
      if (next === null) {
        // Like any server: when the client is done, so are we.
        if (connection.fate !== 'open') connection.end();
        return;
      }
      this.requests++;
      const [method = '', path = ''] = next.text.split(' ', 2);
      const head = next.text.slice(0, next.bodyStart);
      const seen: SeenRequest = {
        text: next.text,
        method,
        path,
        body: bodyOf(next.text, next.bodyStart),
        number: this.requests,
        header: (name) => new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'im').exec(head)?.[1] ?? null,
      };
      const bytes = await this.#script.respond(seen, connection);
      if (bytes !== undefined) connection.send(bytes);
    }
  }

  /** Ends all connections and forgets them and their requests. */
  async forget(): Promise<void> {
    const connections = this.connections.splice(0);
    this.requests = 0;
    for (const connection of connections) connection.end();
    for (const connection of connections) {
      await connection.closed(300);
      connection.reset();
    }
  }

  stop(): void {
    this.#listener?.stop(true);
    for (const connection of this.connections) connection.reset();
  }
}

/** Says `greeting`, then what it gets in capitals; `bye` ends the connection, `rst` resets it. It tells when the other side has ended. */
export function shoutingUpstream(greeting = ''): UpstreamScript {
  return rawUpstream(async (connection) => {
    if (greeting !== '') connection.send(greeting);
    for (let seen = 0; ; ) {
      if (!(await connection.until(() => connection.received.length > seen, 30_000))) {
        connection.send('saw the end\n');
        connection.end();
        return;
      }
      const text = connection.received.slice(seen);
      seen = connection.received.length;
      if (text.includes('rst')) {
        connection.reset();
        return;
      }
      connection.send(text.toUpperCase());
      if (text.includes('bye')) {
        connection.end();
        return;
      }
    }
  });
}
