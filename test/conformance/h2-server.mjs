// An HTTP/2 server on Node's http2, without TLS: node h2-server.mjs PORT. Answers as answers.ts says.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http2';

const server = createServer();
server.on('stream', (stream, headers) => {
  const pieces = [];
  stream.on('error', () => {});
  stream.on('data', (data) => pieces.push(data));
  stream.on('end', () => {
    const body = Buffer.concat(pieces);
    const digest = createHash('sha256').update(body).digest('hex').slice(0, 16);
    const path = headers[':path'];
    const text = `${headers[':method']} ${path} ${body.length} ${digest}\n`;
    stream.respond({ ':status': path === '/missing' ? 404 : 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-server-trailer': 'yes' }));
    stream.end(headers[':method'] === 'HEAD' ? '' : path === '/large' ? text.repeat(10_000) : text);
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
