// One gRPC stream on Node's http2 over TLS: `server PORT KEY CERTIFICATE`, which sends every message back, and
// `client PORT CA COUNT`, which checks that all come back in order, and says how many at every tenth part.
import { readFileSync } from 'node:fs';
import { connect, createSecureServer } from 'node:http2';

const [role, port, ...rest] = process.argv.slice(2);

/** Takes length-prefixed messages out of chunks. */
class Messages {
  #rest = Buffer.alloc(0);

  *take(chunk) {
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (data.length >= 5) {
      const size = 5 + data.readUInt32BE(1);
      if (data.length < size) break;
      yield data.subarray(0, size);
      data = data.subarray(size);
    }
    this.#rest = data;
  }

  get complete() {
    return this.#rest.length === 0;
  }
}

function serve(key, certificate) {
  const server = createSecureServer({ key: readFileSync(key), cert: readFileSync(certificate) });
  server.on('stream', (stream) => {
    const messages = new Messages();
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': messages.complete ? '0' : '13' }));
    stream.on('error', () => {});
    stream.on('data', (chunk) => {
      let room = true;
      for (const message of messages.take(chunk)) room = stream.write(Buffer.from(message));
      if (room) return;
      stream.pause();
      stream.once('drain', () => stream.resume());
    });
    stream.on('end', () => stream.end());
  });
  server.listen(Number(port), '127.0.0.1');
}

/** Message `number`: its number, and as many bytes as that says. */
function message(number) {
  const size = 4 + ((number * 7) % 90);
  const bytes = Buffer.alloc(5 + size, number & 0xff);
  bytes[0] = 0;
  bytes.writeUInt32BE(size, 1);
  bytes.writeUInt32BE(number, 5);
  return bytes;
}

function ask(ca, count) {
  const session = connect(`https://127.0.0.1:${port}`, { ca: readFileSync(ca), servername: 'server.test' });
  const stream = session.request({
    ':method': 'POST',
    ':path': '/test.Service/Stream',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const fail = (error) => {
    console.error(error);
    process.exit(1);
  };
  session.on('error', fail);
  stream.on('error', fail);
  let sent = 0;
  let received = 0;
  const send = () => {
    while (sent < count) {
      // Messages of one write share a frame, or not: some go alone.
      const group = [];
      for (let i = 0; i <= sent % 20 && sent < count; i++) group.push(message(sent++));
      if (!stream.write(Buffer.concat(group))) {
        stream.once('drain', send);
        return;
      }
    }
    stream.end();
  };
  const messages = new Messages();
  stream.on('data', (chunk) => {
    for (const one of messages.take(chunk)) {
      if (!one.equals(message(received))) fail(`message ${received} is another`);
      if (++received % (count / 10) === 0) console.log(received);
    }
  });
  let status = 'none';
  stream.on('trailers', (trailers) => {
    status = trailers['grpc-status'];
  });
  stream.on('close', () => {
    console.log(`${received} messages, status ${status}`);
    session.close();
  });
  send();
}

if (role === 'server') serve(...rest);
else ask(rest[0], Number(rest[1]));
