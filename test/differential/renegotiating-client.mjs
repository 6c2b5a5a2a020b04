/** Node's TLS client, which can ask for a second handshake: `node renegotiating-client.mjs <port>`. Prints what came of it. */
import { connect } from 'node:tls';

const port = Number(process.argv[2]);
const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, maxVersion: 'TLSv1.2' });
const said = [];
const say = (what) => said.push(what);
socket.once('secureConnect', () => socket.write('GET / HTTP/1.1\r\nhost: h\r\n\r\n'));
socket.once('data', (bytes) => {
  say(bytes.toString('latin1').split('\r\n', 1)[0]);
  socket.renegotiate({ rejectUnauthorized: false }, (error) => say(error === null ? 'renegotiated' : `refused: ${error.code}`));
});
socket.on('error', (error) => say(`error: ${error.code}`));
socket.on('close', () => {
  say('closed');
  console.log(said.join('; '));
});
