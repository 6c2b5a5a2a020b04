/** What a broken or hostile upstream answers. */

/** One upstream answer, given to one request; the request after it is answered well. */
export interface ResponseCase {
  readonly name: string;
  /** Bytes (latin1), or pieces, each sent after the other has gone. */
  readonly bytes: string | readonly string[];
  /** What the upstream does behind the bytes. */
  readonly ending: 'open' | 'fin' | 'reset';
  readonly method: string;
}

const cases: ResponseCase[] = [];
const SMUGGLED = 'HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled';

function add(
  name: string,
  bytes: string | readonly string[],
  options: { ending?: ResponseCase['ending']; method?: string } = {},
): void {
  cases.push({ name, bytes, ending: options.ending ?? 'open', method: options.method ?? 'GET' });
}

const ok = (headers: readonly string[], body = ''): string => ['HTTP/1.1 200 OK', ...headers, '', body].join('\r\n');
const chunks = (data: string): string => `${data.length.toString(16)}\r\n${data}\r\n0\r\n\r\n`;

// Framing.
add('plain', ok(['content-length: 2'], 'ab'));
add('content-length and chunked', ok(['content-length: 2', 'transfer-encoding: chunked'], chunks('ab')));
add('chunked and content-length', ok(['transfer-encoding: chunked', 'content-length: 2'], chunks('ab')));
add('content-length twice equal', ok(['content-length: 2', 'content-length: 2'], 'ab'));
add('content-length twice different', ok(['content-length: 2', 'content-length: 3'], 'abc'));
for (const value of ['-1', '+2', '0x2', '2,2', '2, 3', '2 2', '', '2x', '99999999999999999999', '002', ' 2 ']) {
  add(`content-length ${JSON.stringify(value)}`, ok([`content-length: ${value}`], 'ab'));
}
for (const value of [
  'identity',
  'gzip',
  'gzip, chunked',
  'chunked, gzip',
  'xchunked',
  'CHUNKED',
  '',
  'chunked, chunked',
  '\x0bchunked',
]) {
  add(`transfer-encoding ${JSON.stringify(value)}`, ok([`transfer-encoding: ${value}`], chunks('ab')), {
    ending: 'fin',
  });
}
add('transfer-encoding with a space before the colon', ok(['transfer-encoding : chunked'], chunks('ab')));
add('transfer-encoding twice', ok(['transfer-encoding: chunked', 'transfer-encoding: chunked'], chunks('ab')));
add('transfer-encoding on HTTP/1.0', `HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunks('ab')}`, {
  ending: 'fin',
});
add('no framing, then FIN', ok([], 'abcd'), { ending: 'fin' });
add('no framing, then reset', ok([], 'abcd'), { ending: 'reset' });
add('no framing, kept open', ok([], 'abcd'));
add('content-length hidden by Connection', ok(['content-length: 2', 'connection: content-length'], 'ab'));

// Bodies that do not fit.
add('more than content-length', ok(['content-length: 2'], 'abcd'));
add('a second response behind', ok(['content-length: 2'], 'ab') + SMUGGLED);
add('a second response behind, later', [ok(['content-length: 2'], 'ab'), SMUGGLED]);
add('a second response behind chunks', ok(['transfer-encoding: chunked'], chunks('ab')) + SMUGGLED);
add('blank lines behind', `${ok(['content-length: 2'], 'ab')}\r\n\r\n`);
add('less than content-length, then FIN', ok(['content-length: 4'], 'ab'), { ending: 'fin' });
add('less than content-length, then reset', ok(['content-length: 4'], 'ab'), { ending: 'reset' });
add('no body at all, then FIN', ok(['content-length: 4']), { ending: 'fin' });
add('to HEAD with a body', ok(['content-length: 2'], 'ab'), { method: 'HEAD' });
add('to HEAD with chunks', ok(['transfer-encoding: chunked'], chunks('ab')), { method: 'HEAD' });
add('to HEAD with a second response', ok(['content-length: 2']) + SMUGGLED, { method: 'HEAD' });
add('to HEAD without a length', ok([]), { method: 'HEAD' });
add('204 with content-length', 'HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nab');
add('204 with chunks', `HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n${chunks('ab')}`);
add('304 with content-length and a body', 'HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\nab');
add('304 with content-length', 'HTTP/1.1 304 Not Modified\r\ncontent-length: 200\r\n\r\n');
add('205 with a body', 'HTTP/1.1 205 Reset Content\r\ncontent-length: 2\r\n\r\nab');

// Chunks.
const chunked = (name: string, body: string, ending: ResponseCase['ending'] = 'open'): void =>
  add(`chunk ${name}`, ok(['transfer-encoding: chunked'], body), { ending });
chunked('extension', '2;a=b\r\nab\r\n0\r\n\r\n');
chunked('extension with LF', '2;a\nab\r\n0\r\n\r\n');
chunked('size not hex', 'x\r\nab\r\n0\r\n\r\n');
chunked('size negative', '-2\r\nab\r\n0\r\n\r\n');
chunked('size empty', '\r\nab\r\n0\r\n\r\n');
chunked('size with 0x', '0x2\r\nab\r\n0\r\n\r\n');
chunked('size of 2^64', '10000000000000000\r\nab\r\n0\r\n\r\n');
chunked('size ended by LF', '2\nab\r\n0\r\n\r\n');
chunked('size ended by CR', '2\rab\r\n0\r\n\r\n');
chunked('data longer', '2\r\nabcd\r\n0\r\n\r\n');
chunked('data ended by LF', '2\r\nab\n0\r\n\r\n');
chunked('cut in the data', '4\r\nab', 'fin');
chunked('cut behind the data', '2\r\nab\r\n', 'fin');
chunked('cut before the end', '2\r\nab\r\n0\r\n', 'fin');
chunked('good, then bad', '2\r\nab\r\nx\r\n', 'open');
chunked('trailer', '2\r\nab\r\n0\r\nt: v\r\n\r\n');
chunked('trailer without a name', '2\r\nab\r\n0\r\n: v\r\n\r\n');
chunked('trailer content-length', '2\r\nab\r\n0\r\ncontent-length: 9\r\n\r\n');
add('chunk every byte alone', [...ok(['transfer-encoding: chunked'], '2;x\r\nab\r\n0\r\n\r\n')]);

// Heads.
for (const start of [
  'HTTP/1.1 200',
  'HTTP/1.1 200 ',
  'HTTP/1.1  200 OK',
  'HTTP/1.1 2000 OK',
  'HTTP/1.1 20 OK',
  'HTTP/1.1 099 OK',
  'HTTP/1.1 999 OK',
  'HTTP/1.1 600 OK',
  'HTTP/1.1 abc OK',
  'HTTP/1.1 -20 OK',
  'HTTP/1.1 200 O\rK',
  'HTTP/1.1 200 O\0K',
  'HTTP/1.1 200 \xff',
  'HTTP/1.0 200 OK',
  'HTTP/2.0 200 OK',
  'HTTP/1.2 200 OK',
  'http/1.1 200 OK',
  'HTTP/1.1\t200 OK',
  ' HTTP/1.1 200 OK',
  'ICY 200 OK',
  'GET / HTTP/1.1',
]) {
  add(`start ${JSON.stringify(start)}`, `${start}\r\ncontent-length: 2\r\n\r\nab`);
}
for (const [name, lines] of [
  ['space before the colon', 'x : y'],
  ['no colon', 'xy'],
  ['no name', ': y'],
  ['folded', 'x: y\r\n z'],
  ['fold of content-length', 'x: y\r\n content-length: 9'],
  ['bare CR', 'x: y\rcontent-length: 9'],
  ['bare LF', 'x: y\nz: w'],
  ['NUL in the value', 'x: y\0z'],
  ['NUL in the name', 'x\0: y'],
  ['DEL', 'x: y\x7f'],
  ['8-bit value', 'x: \xff'],
  ['8-bit name', 'x\xff: y'],
  ['underscore', 'x_y: z'],
  ['pseudo-header', ':status: 500'],
  ['space in the name', 'x y: z'],
  ['response splitting', 'location: /x%0d%0aset-cookie: a=b'],
  ['connection close', 'connection: close'],
  ['keep-alive', 'keep-alive: timeout=1\r\nconnection: keep-alive'],
  ['proxy-connection', 'proxy-connection: close'],
  ['hop-by-hop names', 'connection: x-secret\r\nx-secret: 1'],
  ['upgrade', 'connection: upgrade\r\nupgrade: websocket'],
  ['of 9 kB', `x: ${'y'.repeat(9000)}`],
  ['of 70 kB', `x: ${'y'.repeat(70_000)}`],
  ['of 81 kB', `x: ${'y'.repeat(81_700)}`],
  ['of 83 kB', `x: ${'y'.repeat(83_000)}`],
  ['101 of them', Array.from({ length: 101 }, (_, i) => `x-${i}: y`).join('\r\n')],
] as const) {
  add(`header ${name}`, ok([lines, 'content-length: 2'], 'ab'));
}
add('head ended by LF LF', 'HTTP/1.1 200 OK\ncontent-length: 2\n\nab');
add('head ended by CR', 'HTTP/1.1 200 OK\rcontent-length: 2\r\rab', { ending: 'fin' });
add('blank line in front', `\r\n${ok(['content-length: 2'], 'ab')}`);
add('half a head, then FIN', 'HTTP/1.1 200 OK\r\ncontent-le', { ending: 'fin' });
add('half a head, then reset', 'HTTP/1.1 200 OK\r\ncontent-le', { ending: 'reset' });
add('nothing, then FIN', '', { ending: 'fin' });
add('nothing, then reset', '', { ending: 'reset' });
add('garbage', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03');
add('NULs', '\0'.repeat(64));
add('HTTP/0.9', '<html>hello</html>', { ending: 'fin' });
add('h2 settings', '\x00\x00\x00\x04\x00\x00\x00\x00\x00');
add('garbage of 100 kB', 'A'.repeat(100_000));

// 1xx.
const early = (count: number, text = '103 Early Hints\r\nlink: </a>'): string =>
  `HTTP/1.1 ${text}\r\n\r\n`.repeat(count);
add('100 unasked', early(1, '100 Continue') + ok(['content-length: 2'], 'ab'));
add('103', early(1) + ok(['content-length: 2'], 'ab'));
add('102', early(1, '102 Processing') + ok(['content-length: 2'], 'ab'));
add('1xx flood', early(200) + ok(['content-length: 2'], 'ab'));
add('100 flood', early(200, '100 Continue') + ok(['content-length: 2'], 'ab'));
add('100 with a length', `${early(1, '100 Continue\r\ncontent-length: 2')}ab${ok(['content-length: 2'], 'ab')}`);
add('100 with chunked', early(1, '100 Continue\r\ntransfer-encoding: chunked') + ok(['content-length: 2'], 'ab'));
add('101 unasked', early(1, '101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket'));
add('101 unasked with a response behind', early(1, '101 Switching Protocols') + SMUGGLED);
add('199', early(1, '199 X') + ok(['content-length: 2'], 'ab'));
add('100 only, then FIN', early(1, '100 Continue'), { ending: 'fin' });

/** All cases; names are unique. */
export const responseCases: readonly ResponseCase[] = cases;
