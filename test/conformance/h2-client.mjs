// An HTTP/2 client on Node's http2: node h2-client.mjs PORT [no-trailers]. Prints what came, one line per exchange.
import { createHash } from 'node:crypto';
import { connect } from 'node:http2';

const session = connect(`http://127.0.0.1:${process.argv[2]}`);
session.on('error', (error) => fail(`session: ${error.message}`));

function fail(what) {
  console.log(what);
  process.exit(1);
}

function exchange(method, path, body, trailers) {
  return new Promise((resolve) => {
    const stream = session.request({ ':method': method, ':path': path }, { endStream: body === null, waitForTrailers: trailers });
    const hash = createHash('sha256');
    let status = 0;
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-trailer': 'sent' }));
    stream.on('response', (headers) => {
      status = headers[':status'];
    });
    stream.on('data', (data) => hash.update(data));
    stream.on('error', (error) => fail(`${method} ${path} ${error.message}`));
    stream.on('end', () => resolve(`${method} ${path} ${status} ${hash.digest('hex').slice(0, 8)}`));
    if (body !== null) stream.end(body);
  });
}

const lines = await Promise.all([
  exchange('GET', '/a', null, false),
  exchange('POST', '/large', Buffer.alloc(700_000, 'x'), false),
  exchange('HEAD', '/head', null, false),
  exchange('POST', '/trailers', Buffer.from('with trailers'), process.argv[3] !== 'no-trailers'),
  exchange('GET', '/missing', null, false),
  ...Array.from({ length: 40 }, (_, n) => exchange('GET', `/many/${n}`, null, false)),
]);
for (const line of lines) console.log(line);
session.close();
