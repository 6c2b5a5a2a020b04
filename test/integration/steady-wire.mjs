// Well-behaved clients and upstreams over TLS, on Node's own: node steady-wire.mjs TESTDATA. Prints the ports of three upstreams (HTTP/1 and
// HTTP/2 over TLS) as a line of JSON; reads `{"port": n}`, keeps clients of either version at a steady pace on that port until standard
// input ends, and prints `{"answered": {...}, "failures": [...], "connections": {...}}`.
import { readFileSync } from 'node:fs';
import { connect as connectHttp2, constants, createSecureServer } from 'node:http2';
import { Agent, request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const pem = (name) => readFileSync(join(process.argv[2], name));
const ca = pem('root.pem');
const CLIENTS_OF_EACH = 4;
const PATIENCE_MS = 5000;
const BODY = 'b'.repeat(2000);

const servers = [];
for (let i = 0; i < 3; i++) {
  const server = createSecureServer({ cert: pem('server-ec.pem'), key: pem('server-ec.key'), allowHTTP1: true });
  server.on('request', (request, response) => {
    let size = 0;
    request.on('data', (part) => {
      size += part.length;
    });
    request.on('end', () => response.end(`${request.method} ${size}`));
  });
  // What comes of sessions that a proxy leaves is not what this is about.
  server.on('sessionError', () => {});
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.push(server);
}
console.log(JSON.stringify(servers.map((server) => server.address().port)));

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { port } = JSON.parse((await lines.next()).value);
let stopped = false;
void lines.next().then(() => {
  stopped = true;
});

const answered = { 'HTTP/1': 0, 'HTTP/2': 0 };
const connections = { 'HTTP/1': 0, 'HTTP/2': 0 };
const failures = [];
const trust = { ca, servername: 'server.test', checkServerIdentity: () => undefined };
const pause = () => new Promise((resolve) => setTimeout(resolve, 1));

function judge(kind, status, text, body) {
  const wanted = body === null ? 'GET 0' : `POST ${body.length}`;
  if (status === 200 && text === wanted) answered[kind]++;
  else failures.push(`${kind}: ${status} ${text.slice(0, 200)}`);
}

/** Keeps one connection as long as the proxy lets it. */
async function http1() {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  
  let seen = null;
  for (let i = 0; !stopped; i++) {
    const body = i % 3 === 0 ? BODY : null;
    const begun = performance.now();
    await new Promise((resolve) => {
      const options = { ...trust, agent, host: '127.0.0.1', port, method: body === null ? 'GET' : 'POST', timeout: PATIENCE_MS };
      const request = httpsRequest(options, (response) => {
        let text = '';
        response.setEncoding('latin1');
        response.on('data', (part) => {
          text += part;
        });
        response.on('end', () => {
          seen.asked = (seen.asked ?? 0) + 1;
          seen.answeredAt = performance.now();
          seen.lastConnection = response.headers.connection;
          judge('HTTP/1', response.statusCode, text, body);
          resolve();
        });
        response.on('error', (error) => {
          failures.push(`HTTP/1: ${error}`);
          resolve();
        });
      });
      request.on('socket', (socket) => {
        if (socket !== seen) connections['HTTP/1']++;
        seen = socket;
      });
      request.on('timeout', () => request.destroy(new Error('no answer')));
      request.on('error', (error) => {
        const socket = request.socket;
        failures.push(
          `HTTP/1: ${error} (${socket?.asked ?? 0} requests before on this connection, the last answered ${(performance.now() - (socket?.answeredAt ?? 0)).toFixed(1)} ms ago, begun ${(performance.now() - begun).toFixed(1)} ms ago, last answer ${socket?.lastConnection} body ${body !== null})`,
        );
        resolve();
      });
      request.end(body ?? undefined);
    });
    await pause();
  }
  agent.destroy();
}

/** Keeps one session until GOAWAY; what GOAWAY says was not begun is asked again (RFC 9113 section 8.7). */
async function http2() {
  let session = null;
  const open = () => {
    const made = connectHttp2(`https://127.0.0.1:${port}`, trust);
    connections['HTTP/2']++;
    const leave = () => {
      if (session === made) session = null;
    };
    made.on('goaway', leave);
    made.on('close', leave);
    made.on('error', (error) => {
      // A connection that ends after its GOAWAY, with nothing under way, harms nobody.
      if (session === made) failures.push(`HTTP/2: session: ${error}`);
      leave();
    });
    return made;
  };
  for (let i = 0; !stopped; i++) {
    const body = i % 3 === 0 ? BODY : null;
    for (;;) {
      session ??= open();
      if (await ask(session, body)) break;
      session = null;
    }
    await pause();
  }
  session?.close();
}

/** @returns false: it was not begun */
function ask(session, body) {
  return new Promise((resolve) => {
    let stream;
    try {
      stream = session.request({ ':method': body === null ? 'GET' : 'POST', ':path': '/' }, { endStream: body === null });
    } catch {
      // The session ended between two requests.
      resolve(false);
      return;
    }
    let status = 0;
    let text = '';
    stream.setEncoding('latin1');
    stream.setTimeout(PATIENCE_MS, () => stream.close(constants.NGHTTP2_CANCEL));
    stream.on('response', (headers) => {
      status = headers[':status'];
    });
    stream.on('data', (part) => {
      text += part;
    });
    let error = null;
    stream.on('error', (thrown) => {
      error = thrown;
    });
    stream.on('close', () => {
      if (status === 0 && (stream.rstCode === constants.NGHTTP2_REFUSED_STREAM || error?.code === 'ERR_HTTP2_GOAWAY_SESSION')) {
        resolve(false);
        return;
      }
      if (error !== null) failures.push(`HTTP/2: ${error} (status ${status}, code ${stream.rstCode})`);
      else judge('HTTP/2', status, text, body);
      resolve(true);
    });
    if (body !== null) stream.end(body);
  });
}

await Promise.all(Array.from({ length: CLIENTS_OF_EACH }, () => [http1(), http2()]).flat());
console.log(JSON.stringify({ answered, failures: failures.slice(0, 20), connections }));
process.exit(0);
