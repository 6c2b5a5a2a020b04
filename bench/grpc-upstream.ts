/** `node grpc-upstream.ts PORT`: answers every unary call over HTTP/2 with what it was sent, and status 0. */
import { createServer, type ServerHttp2Stream } from 'node:http2';

const server = createServer({ settings: { maxConcurrentStreams: 1000 } });
server.on('stream', (stream: ServerHttp2Stream) => {
  const parts: Buffer[] = [];
  stream.on('data', (part: Buffer) => parts.push(part));
  stream.on('end', () => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.concat(parts));
  });
  stream.on('error', () => {});
});
server.listen(Number(process.argv[2]), '127.0.0.1');
