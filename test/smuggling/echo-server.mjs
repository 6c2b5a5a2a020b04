// Node's own HTTP server as a next hop: says for each request what it understood. Prints its port when it listens.
import { createServer } from 'node:http';

function answer(request, response) {
  let length = 0;
  request.on('data', (data) => {
    length += data.length;
  });
  request.on('end', () => {
    response.end(`${request.method} ${request.url} ${length}`);
  });
}

const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0, headersTimeout: 0 }, answer);
// An upgrade that nobody takes is answered like any other request.
server.on('upgrade', (request, socket) => {
  const body = `${request.method} ${request.url} 0`;
  socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
