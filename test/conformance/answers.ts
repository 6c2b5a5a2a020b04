import { createHash } from 'node:crypto';

/** What the servers behind the proxy answer to a request, and what clients must therefore have seen. */
export function answerTo(method: string, path: string, body: Uint8Array): { status: number; body: string } {
  const digest = createHash('sha256').update(body).digest('hex').slice(0, 16);
  const text = `${method} ${path} ${body.length} ${digest}\n`;
  return { status: path === '/missing' ? 404 : 200, body: path === '/large' ? text.repeat(10_000) : text };
}

/** The line that the client programs print for an exchange. */
function lineFor(method: string, path: string, body: Uint8Array): string {
  const answer = answerTo(method, path, body);
  const seen = method === 'HEAD' ? '' : answer.body;
  return `${method} ${path} ${answer.status} ${createHash('sha256').update(seen).digest('hex').slice(0, 8)}`;
}

/** Every exchange of the client programs. */
export const exchangeLines: readonly string[] = [
  lineFor('GET', '/a', Buffer.alloc(0)),
  lineFor('POST', '/large', Buffer.alloc(700_000, 'x')),
  lineFor('HEAD', '/head', Buffer.alloc(0)),
  lineFor('POST', '/trailers', Buffer.from('with trailers')),
  lineFor('GET', '/missing', Buffer.alloc(0)),
  ...Array.from({ length: 40 }, (_, n) => lineFor('GET', `/many/${n}`, Buffer.alloc(0))),
];

/** A real HTTP/1 server that answers so. */
export function startHttp1Server(): { port: number; stop: () => void } {
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch: async (request) => {
      const { pathname } = new URL(request.url);
      const answer = answerTo(request.method, pathname, new Uint8Array(await request.arrayBuffer()));
      return new Response(answer.body, { status: answer.status });
    },
  });
  return { port: server.port ?? 0, stop: () => void server.stop(true) };
}
