/** `bun sink-upstream.ts PORT`: reads a body to its end, then answers 200. */
import { createServer } from 'node:http';

createServer((request, response) => {
  request.on('data', () => {});
  request.on('end', () => response.end());
}).listen(Number(process.argv[2]), '127.0.0.1');
