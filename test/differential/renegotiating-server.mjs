/** Node's TLS server, which asks for another handshake before it answers: `node renegotiating-server.mjs <port> <cert> <key>`. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:tls';

const [port, cert, key] = process.argv.slice(2);
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key), maxVersion: 'TLSv1.2' }, (socket) => {
  socket.on('error', () => {});
  socket.once('data', () => {
    socket.renegotiate({}, (error) => {
      const body = error === null ? 'renegotiated' : 'refused';
      socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`);
    });
  });
});
server.listen(Number(port), '127.0.0.1');
