// What stands behind the soak's proxy on the wire: HTTP/1 and HTTP/2, each plain and over TLS, on Node's own modules. One handler for all.
import { readFileSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttp2, createSecureServer as createSecureHttp2 } from 'node:http2';

export const LARGE = Buffer.alloc(1 << 20, 'z');
const PIECE = Buffer.alloc(16 * 1024, 'p');

/** Answers a request of either version by the last part of its path. */
function onRequest(request, response) {
  request.on('error', () => {});
  response.on('error', () => {});
  const isHttp2 = request.httpVersionMajor === 2;
  const what = request.url.slice(request.url.lastIndexOf('/') + 1);
  const abort = () => (isHttp2 ? response.stream.close(2) : request.socket.destroy());
  switch (what) {
    case 'large':
      request.resume();
      response.writeHead(200, { 'content-length': LARGE.length });
      response.end(LARGE);
      return;
    case 'up': {
      let length = 0;
      request.on('data', (bytes) => {
        length += bytes.length;
      });
      request.on('end', () => response.end(String(length)));
      return;
    }
    case 'trailers':
      request.resume();
      request.on('end', () => {
        response.writeHead(200, isHttp2 ? {} : { trailer: 'x-seen' });
        response.write('body');
        response.addTrailers({ 'x-seen': request.trailers['x-sent'] ?? 'nothing' });
        response.end();
      });
      return;
    case 'reset':
      abort();
      return;
    case 'half':
      request.resume();
      response.writeHead(200);
      response.write(PIECE, () => setTimeout(abort, 2));
      return;
    case 'early':
      // An answer before the end of the request, as refusals of uploads are.
      response.writeHead(413);
      response.end('no more');
      request.resume();
      return;
    case 'pieces':
      request.resume();
      response.writeHead(200);
      pieces(response, 20);
      return;
    case 'Call':
    case 'Talk':
      response.writeHead(200, { 'content-type': 'application/grpc' });
      response.on('close', () => request.resume());
      request.on('data', (bytes) => {
        if (!response.destroyed) response.write(bytes);
      });
      request.on('end', () => {
        if (response.destroyed) return;
        response.addTrailers({ 'grpc-status': '0' });
        response.end();
      });
      return;
    default:
      request.resume();
      response.end('small');
  }
}

function pieces(response, left) {
  if (response.destroyed) return;
  if (left === 0) {
    response.end();
    return;
  }
  response.write(PIECE);
  setTimeout(() => pieces(response, left - 1), 1);
}

/** Ends a conversation: like a WebSocket's close frame, since an upgrade of HTTP/1 cannot be half-closed through a proxy. */
export const BYE = Buffer.from('bye');

/** A WebSocket's bytes are nothing to a proxy: they come back as they are. */
function echo(stream) {
  stream.on('error', () => {});
  stream.on('end', () => stream.end());
  stream.on('data', (bytes) => {
    stream.write(bytes);
    if (bytes.subarray(-BYE.length).equals(BYE)) stream.end();
  });
}

function onUpgrade(_request, socket) {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
  echo(socket);
}

/** The same over HTTP/2 (RFC 8441). */
function onConnect(_request, { stream }) {
  stream.respond({ ':status': 200 });
  echo(stream);
}

async function listen(server) {
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('error', () => {});
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server.address().port;
}

/** @returns the port of each, by name */
export async function startUpstreams(pem) {
  const secure = { key: readFileSync(pem('server-ec.key')), cert: readFileSync(pem('server-ec.pem')) };
  const settings = { enableConnectProtocol: true, maxConcurrentStreams: 200 };
  // Megabytes: many streams share a connection, and Node resets those that are too much for it.
  const maxSessionMemory = 1000;
  const http2 = (server) => server.on('connect', onConnect).on('request', onRequest);
  const plain1 = createHttp({ keepAliveTimeout: 60_000 }, onRequest).on('upgrade', onUpgrade);
  const plain2 = http2(createHttp2({ settings, maxSessionMemory }));
  const secure2 = http2(createSecureHttp2({ ...secure, settings, maxSessionMemory, allowHTTP1: true }));
  return { h1: await listen(plain1), h2: await listen(plain2), tls: await listen(secure2) };
}
