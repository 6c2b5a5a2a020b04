// The wire part of the soak, on Node's own TLS and HTTP/2: node wire-load.mjs TESTDATA. Prints the ports of its upstreams as a line of JSON,
// reads one line `{"ports": {...}, "seconds": n}`, works, and prints `{"done": {...}, "errors": [...], "facts": {...}}`.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect as connectHttp2, constants } from 'node:http2';
import { Agent, request as httpsRequest } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connect as connectTls } from 'node:tls';
import { BYE, LARGE, startUpstreams } from './wire-upstreams.mjs';

const pem = (name) => join(process.argv[2], name);
const ca = readFileSync(pem('root.pem'));
const upstreams = await startUpstreams(pem);
console.log(JSON.stringify(upstreams));

const PATIENCE_MS = 15_000;
/** How many rounds are under way at a time. */
const WORKERS = 8;
/** Certificates change under load: either name is right, but the authority is checked. */
const trust = { ca, servername: 'server.test', checkServerIdentity: () => undefined };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const begun = {};
const done = {};
const errors = [];
/** Things that must have happened at least once. */
const facts = { resumed: 0, 'new handshakes': 0, certificates: {}, goaways: 0 };
let ports = {};

function complain(kind, text) {
  if (errors.length < 20) errors.push(`${kind}: ${text.slice(0, 300)}`);
}

function expect(kind, found, wanted) {
  if (found !== wanted) complain(kind, `${JSON.stringify(found)} instead of ${JSON.stringify(wanted)}`);
}

/** What `begin` resolves, or an error when it takes too long. */
function inTime(what, begin) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} took too long`)), PATIENCE_MS);
    begin(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}

// HTTP/1

/** One HTTP/1 exchange. @returns status and body, as text or as a length where it is long */
function ask1(options, body) {
  const send = options.agent === undefined ? httpRequest : httpsRequest;
  return inTime(`HTTP/1 ${options.path}`, (resolve, reject) => {
    const request = send({ host: '127.0.0.1', headers: { host: 'h' }, ...options }, (response) => {
      let text = '';
      let length = 0;
      response.on('data', (bytes) => {
        length += bytes.length;
        if (length < 1000) text += bytes.latin1Slice();
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode, text, length, trailers: response.trailers }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

let session = null;

function openTls(options = {}) {
  return inTime('a TLS handshake', (resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port: ports.tls, ...trust, ...options }, () => resolve(socket));
    socket.on('error', reject);
  });
}

function noteHandshake(socket) {
  if (socket.isSessionReused()) facts.resumed++;
  else facts['new handshakes']++;
  const name = socket.getPeerCertificate().subject?.CN;
  if (name !== undefined) facts.certificates[name] = (facts.certificates[name] ?? 0) + 1;
}

/** A request on a TLS socket of our own, with `connection: close`, read to the end. */
async function shortTls(options) {
  const socket = await openTls(options);
  noteHandshake(socket);
  socket.on('session', (bytes) => {
    session = bytes;
  });
  const text = await inTime('a short TLS connection', (resolve, reject) => {
    let received = '';
    socket.on('data', (bytes) => {
      received += bytes.latin1Slice();
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(received));
    socket.write('GET /h1/small HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n');
  });
  expect('tls short', /^HTTP\/1\.1 200[\s\S]*small/.test(text), true);
}

// HTTP/2

function open2(where, options = {}) {
  const url = where === 'tls' ? `https://127.0.0.1:${ports.tls}` : `http://127.0.0.1:${ports[where]}`;
  return inTime('an HTTP/2 connection', (resolve, reject) => {
    const opened = connectHttp2(url, { ...trust, ...options }, () => resolve(opened));
    opened.on('error', reject);
    opened.on('goaway', () => facts.goaways++);
  });
}

/** Streams one after the other need their errors heard; those of the session come with them. */
function close2(opened) {
  return inTime('the end of an HTTP/2 connection', (resolve) => {
    if (opened.destroyed) resolve();
    opened.on('close', resolve);
    opened.close();
  });
}

/** One HTTP/2 exchange. */
function ask2(opened, path, { body, headers = {}, trailers, slow = false } = {}) {
  return inTime(`HTTP/2 ${path}`, (resolve, reject) => {
    const hasBody = body !== undefined || trailers !== undefined;
    const stream = opened.request(
      { ':path': path, ':method': hasBody ? 'POST' : 'GET', ...headers },
      { endStream: !hasBody, waitForTrailers: trailers !== undefined },
    );
    const answer = { status: 0, head: {}, text: '', length: 0, trailers: {} };
    stream.on('response', (head) => {
      answer.status = head[':status'];
      answer.head = head;
    });
    stream.on('trailers', (head) => {
      answer.trailers = head;
    });
    stream.on('data', (bytes) => {
      answer.length += bytes.length;
      if (answer.length < 1000) answer.text += bytes.latin1Slice();
      if (slow) {
        stream.pause();
        setTimeout(() => stream.resume(), 1);
      }
    });
    stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.on('error', reject);
    stream.on('close', () => (stream.rstCode === 0 ? resolve(answer) : reject(new Error(`reset ${stream.rstCode}`))));
    if (hasBody) stream.end(body ?? '');
  });
}

/** A message as gRPC frames it. */
function message(text) {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(Buffer.byteLength(text), 1);
  return Buffer.concat([head, Buffer.from(text)]);
}

const grpc = { 'content-type': 'application/grpc', te: 'trailers' };

/** Sends pieces and waits for each to come back: gRPC streams and WebSockets. */
function talk(kind, stream, pieces) {
  return inTime(kind, (resolve, reject) => {
    let index = 0;
    let waiting = 0;
    const next = () => {
      if (index === pieces.length) {
        stream.end();
        return;
      }
      waiting = pieces[index].length;
      stream.write(pieces[index++]);
    };
    stream.on('data', (bytes) => {
      waiting -= bytes.length;
      if (waiting === 0) next();
    });
    // An HTTP/1 upstream that closes ends an upgrade of HTTP/2 by CONNECT_ERROR, as Envoy's does; and what a client still says on a
    // connection that was closed behind the last bytes (its close_notify) is answered by a reset.
    stream.on('error', (error) => {
      const isOver = index === pieces.length && waiting === 0;
      if (!isOver || (stream.rstCode !== constants.NGHTTP2_CONNECT_ERROR && error.code !== 'ECONNRESET')) reject(error);
    });
    stream.on('close', () =>
      index === pieces.length && waiting === 0 ? resolve() : reject(new Error(`${kind} closed after ${index} pieces`)),
    );
    next();
  });
}

/** What a WebSocket says: ten pieces, and that it goes. */
const frames = () => [...Array.from({ length: 10 }, (_, index) => Buffer.alloc(1 + index * 1000)), BYE];

/** Bytes on a plain socket; resolves when the other side closes. */
function provoke(port, ...pieces) {
  return inTime('an answer to garbage', (resolve) => {
    const socket = connectTcp(port, '127.0.0.1', async () => {
      for (const piece of pieces) {
        if (!socket.destroyed) socket.write(piece);
        await sleep(1);
      }
    });
    socket.on('error', () => {});
    socket.resume();
    socket.on('close', resolve);
  });
}

function frame(type, flags, stream, payload = Buffer.alloc(0)) {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0)]);
/** RFC 9113: each is a connection error. */
const BAD_FRAMES = [
  () => frame(0, 0, 0, Buffer.from('data on stream 0')),
  () => frame(1, 4, 2, Buffer.from([0x82])),
  () => frame(1, 4, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
  () => frame(4, 0, 0, Buffer.alloc(5)),
  () => frame(6, 0, 0, Buffer.alloc(7)),
  () => frame(8, 0, 0, Buffer.alloc(4)),
  () => frame(9, 0, 1, Buffer.alloc(4)),
  () => Buffer.concat([Buffer.from([0xff, 0xff, 0xff]), Buffer.alloc(6)]),
  () => Buffer.concat([frame(1, 0, 1, Buffer.from([0x82])), frame(0, 0, 1, Buffer.from('between'))]),
];
let bad = 0;

/** HTTP/2 kinds for one way towards the upstream. */
const ways = ['/h1', '/h2', '/tls', '/auto', '/aged'];
let turn = 0;
const way = () => ways[turn++ % ways.length];

const kinds = {
  'tls kept': async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ...trust });
    for (let i = 0; i < 20; i++) {
      expect('tls kept', (await ask1({ port: ports.tls, agent, path: `${way()}/small` })).text, 'small');
    }
    agent.destroy();
  },
  'tls short': () => shortTls({}),
  'tls resumed': () => shortTls(session === null ? {} : { session }),
  'tls 1.2': () => shortTls({ maxVersion: 'TLSv1.2' }),
  'tls files': () => shortTls({ port: ports.files }),
  'tls bodies': async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ...trust });
    const at = (path) => ({ port: ports.tls, agent, path: `${way()}/${path}` });
    expect('tls download', (await ask1(at('large'))).length, LARGE.length);
    expect('tls upload', (await ask1({ ...at('up'), method: 'POST' }, LARGE)).text, String(LARGE.length));
    agent.destroy();
  },
  'tls leaves': async () => {
    const socket = await openTls();
    socket.write('GET /h2/large HTTP/1.1\r\nhost: h\r\n\r\n');
    await inTime('a first byte', (resolve) => socket.once('data', resolve));
    socket.destroy();
  },
  'http1 over http2': async () => {
    expect('http1 over http2', (await ask1({ port: ports.plain, path: `${way()}/small` })).text, 'small');
    const { trailers } = await ask1({ port: ports.plain, path: '/h2/trailers' });
    expect('http1 trailers', trailers['x-seen'], 'nothing');
  },
  'h2 many': async () => {
    const opened = await open2('plain');
    const asked = Array.from({ length: 100 }, () => ask2(opened, `${way()}/small`));
    for (const { text } of await Promise.all(asked)) expect('h2 many', text, 'small');
    await close2(opened);
  },
  'h2 over tls': async () => {
    const opened = await open2('tls');
    noteHandshake(opened.socket);
    const asked = Array.from({ length: 50 }, () => ask2(opened, `${way()}/small`));
    for (const { text } of await Promise.all(asked)) expect('h2 over tls', text, 'small');
    await close2(opened);
  },
  'h2 download': async () => {
    const opened = await open2(turn % 2 === 0 ? 'plain' : 'tls');
    const asked = [1, 2, 3].map(() => ask2(opened, `${way()}/large`));
    for (const { length } of await Promise.all(asked)) expect('h2 download', length, LARGE.length);
    await close2(opened);
  },
  'h2 upload': async () => {
    const opened = await open2(turn % 2 === 0 ? 'plain' : 'tls');
    const asked = [1, 2].map(() => ask2(opened, `${way()}/up`, { body: LARGE }));
    for (const { text } of await Promise.all(asked)) expect('h2 upload', text, String(LARGE.length));
    await close2(opened);
  },
  'h2 refused upload': async () => {
    const opened = await open2('plain');
    // The answer may come with a reset of what is still being sent (RFC 9113 section 8.1): either end is right.
    const { status } = await ask2(opened, '/h2/early', { body: LARGE }).catch((error) => {
      if (!/reset 0|reset 8/.test(String(error))) throw error;
      return { status: 413 };
    });
    expect('h2 refused upload', status, 413);
    await close2(opened);
  },
  'h2 slow reader': async () => {
    const opened = await open2('plain', { settings: { initialWindowSize: 16 * 1024 } });
    const { length } = await ask2(opened, `${way()}/large`, { slow: true });
    expect('h2 slow reader', length, LARGE.length);
    await close2(opened);
  },
  'h2 pieces': async () => {
    const opened = await open2('tls');
    expect('h2 pieces', (await ask2(opened, `${way()}/pieces`)).length, 20 * 16 * 1024);
    await close2(opened);
  },
  'h2 trailers': async () => {
    const opened = await open2('plain');
    for (const path of ['/h2', '/tls']) {
      const { trailers } = await ask2(opened, `${path}/trailers`, { body: 'b', trailers: { 'x-sent': path } });
      expect('h2 trailers', trailers['x-seen'], path);
    }
    await close2(opened);
  },
  'h2 client resets': async () => {
    const opened = await open2(turn % 2 === 0 ? 'plain' : 'tls');
    const resets = Array.from({ length: 10 }, (_, index) =>
      inTime('a reset', (resolve) => {
        const stream = opened.request({ ':path': `${way()}/${index % 2 === 0 ? 'large' : 'pieces'}` });
        stream.on('error', () => {});
        stream.on('close', resolve);
        stream.once('data', () => stream.close(constants.NGHTTP2_CANCEL));
      }),
    );
    await Promise.all(resets);
    await close2(opened);
  },
  'h2 client resets uploads': async () => {
    const opened = await open2('plain');
    const resets = [1, 2, 3].map(() =>
      inTime('a reset', (resolve) => {
        const stream = opened.request({ ':path': `${way()}/up`, ':method': 'POST' });
        stream.on('error', () => {});
        stream.on('close', resolve);
        stream.write(LARGE.subarray(0, 1 << 17));
        setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), 3);
      }),
    );
    await Promise.all(resets);
    await close2(opened);
  },
  'h2 upstream resets': async () => {
    const opened = await open2('plain');
    for (const path of ways) expect('h2 upstream resets', (await ask2(opened, `${path}/reset`)).status, 503);
    await close2(opened);
  },
  'h2 upstream resets later': async () => {
    const opened = await open2('plain');
    for (const path of ways) {
      const end = await ask2(opened, `${path}/half`).catch((error) => String(error));
      expect('h2 upstream resets later', /reset|error code/.test(String(end)), true);
    }
    await close2(opened);
  },
  'h2 client leaves': async () => {
    const opened = await open2(turn % 2 === 0 ? 'plain' : 'tls');
    for (let i = 0; i < 10; i++) opened.request({ ':path': `${way()}/large` }).on('error', () => {});
    await sleep(5);
    opened.destroy();
  },
  'h2 drained': async () => {
    // The listener says GOAWAY after 20 requests; new ones go to a new connection.
    let opened = await open2('drained');
    for (let i = 0; i < 60; i++) {
      if (opened.closed || opened.destroyed) opened = await open2('drained');
      // One that races with the GOAWAY is refused untouched, and may be asked again (RFC 9113 section 8.7).
      const answer = await ask2(opened, `${way()}/small`).catch(async (error) => {
        if (!/reset 7|GOAWAY|ERR_HTTP2_(GOAWAY|INVALID)_SESSION/.test(`${error.code} ${error}`)) throw error;
        opened = await open2('drained');
        return ask2(opened, '/h2/small');
      });
      expect('h2 drained', answer.text, 'small');
    }
    await close2(opened);
  },
  'grpc unary': async () => {
    const opened = await open2(turn % 2 === 0 ? 'plain' : 'tls');
    const calls = Array.from({ length: 20 }, (_, index) =>
      ask2(opened, `${index % 2 === 0 ? '/h2' : '/tls'}/Call`, { headers: grpc, body: message(`call ${index}`) }),
    );
    for (const { head, trailers } of await Promise.all(calls)) {
      expect('grpc unary', trailers['grpc-status'] ?? head['grpc-message'], '0');
    }
    await close2(opened);
  },
  'grpc streaming': async () => {
    const opened = await open2(turn % 2 === 0 ? 'plain' : 'tls');
    const calls = ['/h2', '/tls', '/aged'].map((path) => {
      const stream = opened.request({ ':path': `${path}/Talk`, ':method': 'POST', ...grpc }, { endStream: false });
      return talk(
        'grpc streaming',
        stream,
        Array.from({ length: 20 }, (_, index) => message('m'.repeat(index * 500))),
      );
    });
    await Promise.all(calls);
    await close2(opened);
  },
  'websocket over http1': async () => {
    for (const [path, secure] of [
      ['/h1', false],
      ['/h2', false],
      ['/h1', true],
      ['/h2', true],
    ]) {
      const head = { connection: 'upgrade', upgrade: 'websocket', host: 'h' };
      const send = secure ? httpsRequest : httpRequest;
      const port = secure ? ports.tls : ports.plain;
      const agent = secure ? new Agent({ ...trust }) : undefined;
      const socket = await inTime('an upgrade', (resolve, reject) => {
        const request = send({ host: '127.0.0.1', port, path: `${path}/ws`, headers: head, agent });
        request.on('upgrade', (_response, upgraded) => resolve(upgraded));
        request.on('response', ({ statusCode }) => reject(new Error(`no upgrade: ${statusCode}`)));
        request.on('error', reject);
        request.end();
      });
      await talk(
        `websocket over http1${secure ? ' over tls' : ''} to ${path}`,
        socket,
        frames(),
      );
      agent?.destroy();
    }
  },
  'websocket over http2': async () => {
    const opened = await open2(turn % 2 === 0 ? 'plain' : 'tls');
    if (!opened.remoteSettings.enableConnectProtocol) {
      await inTime('the settings', (resolve) => opened.once('remoteSettings', resolve));
    }
    for (const path of ['/h1', '/h2']) {
      const stream = opened.request(
        { ':method': 'CONNECT', ':protocol': 'websocket', ':path': `${path}/ws`, ':scheme': 'http', ':authority': 'h' },
        { endStream: false },
      );
      await talk(
        `websocket over http2 to ${path}`,
        stream,
        frames(),
      );
    }
    await close2(opened);
  },
  'malformed http2': () => provoke(ports.plain, PREFACE, BAD_FRAMES[bad++ % BAD_FRAMES.length]()),
  'malformed http2 over tls': async () => {
    const socket = await openTls({ ALPNProtocols: ['h2'] });
    await inTime('an answer to garbage', (resolve) => {
      socket.on('close', resolve);
      socket.resume();
      socket.write(PREFACE);
      socket.write(BAD_FRAMES[bad++ % BAD_FRAMES.length]());
    });
  },
  'tls garbage': () => provoke(ports.tls, 'GET / HTTP/1.1\r\nhost: h\r\n\r\n'),
  'tls random': () => provoke(ports.tls, Buffer.from([22, 3, 1, 0, 200]), randomBytes(200)),
  'tls half a hello': async () => {
    const socket = connectTcp(ports.tls, '127.0.0.1', () => socket.write(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252])));
    socket.on('error', () => {});
    await sleep(5);
    socket.resetAndDestroy();
  },
  'tls strangers': () =>
    // A client that does not trust the server goes in the middle of the handshake.
    inTime('a refusal', (resolve) => {
      const socket = connectTls({ host: '127.0.0.1', port: ports.tls, servername: 'server.test' });
      socket.on('error', () => {});
      socket.on('close', resolve);
    }),
};

/** Does rounds until `deadline`, each of a kind that was done least: dear kinds starve no others. */
async function work(chosen, deadline) {
  while (performance.now() < deadline) {
    const [kind, round] = chosen.reduce((least, each) => (begun[each[0]] < begun[least[0]] ? each : least));
    begun[kind]++;
    try {
      await round();
    } catch (error) {
      complain(kind, `${error.code ?? ''} ${error}`);
      // One that fails at once would do nothing else.
      await sleep(50);
    }
    done[kind] = (done[kind] ?? 0) + 1;
    await sleep(2);
  }
}

process.on('uncaughtException', (error) => complain('uncaught', `${error.code ?? ''} ${error.stack}`));

// Whoever asked for it is gone.
process.stdin.on('end', () => process.exit(1));

createInterface({ input: process.stdin }).once('line', async (line) => {
  const orders = JSON.parse(line);
  ports = orders.ports;
  const only = process.env.SOAK_KINDS?.split(',');
  const chosen = Object.entries(kinds).filter(([kind]) => only === undefined || only.includes(kind));
  const deadline = performance.now() + orders.seconds * 1000;
  for (const [kind] of chosen) begun[kind] = 0;
  await Promise.all(Array.from({ length: WORKERS }, () => work(chosen, deadline)));
  console.log(JSON.stringify({ done, errors, facts }));
  process.exit(0);
});
