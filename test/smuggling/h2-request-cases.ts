/** What a smuggler sends over HTTP/2, for the next hop to read over HTTP/1. Where a body can hide a second request, it holds one. */
import {
  data,
  END_HEADERS,
  END_STREAM,
  type Field,
  FrameType,
  fields,
  frame,
  headers,
  PADDED,
  PREFACE,
  settings,
  settingsAck,
} from '../support/h2-frames.ts';
import type { RequestCase } from './request-cases.ts';

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n';
const EMPTY_FOR_CHUNKS = `0\r\n\r\n${SMUGGLED}`;

const cases: RequestCase[] = [];

function add(name: string, ...frames: Uint8Array[]): void {
  const bytes = Buffer.concat([PREFACE, settings(), settingsAck(), ...frames]).toString('latin1');
  cases.push({ name: `h2: ${name}`, bytes, http2: true });
}

const method = (value: string): Field => [':method', value];
const scheme = (value = 'http'): Field => [':scheme', value];
const authority = (value = 'h'): Field => [':authority', value];
const path = (value: string): Field => [':path', value];

const GET: readonly Field[] = [method('GET'), scheme(), authority(), path('/g')];
const POST: readonly Field[] = [method('POST'), scheme(), authority(), path('/p')];

/** A GET without a body. */
function get(name: string, more: readonly Field[], base: readonly Field[] = GET): void {
  add(name, headers(1, [...base, ...more], true));
}

/** A POST with a body in one DATA frame. */
function post(name: string, more: readonly Field[], body: string): void {
  add(name, headers(1, [...POST, ...more], false), data(1, body, true));
}

// Content-Length against DATA.
post('content-length as long as the body', [['content-length', '5']], 'abcde');
post('content-length shorter than the body', [['content-length', '3']], `abc${SMUGGLED}`);
post('content-length longer than the body', [['content-length', '500']], 'abc');
post('content-length 0 with a body', [['content-length', '0']], SMUGGLED);
get('content-length without a body', [['content-length', '10']]);
get('content-length 0 without a body', [['content-length', '0']]);
for (const [name, value] of [
  ['signed', '+5'],
  ['negative', '-5'],
  ['hexadecimal', '0x5'],
  ['with a space', '5 '],
  ['with a tab', '\t5'],
  ['of two values', '5, 5'],
  ['of two different values', '5, 6'],
  ['empty', ''],
  ['with leading zeros', '0005'],
  ['beyond 64 bits', '18446744073709551621'],
  ['with letters', '5x'],
] as const) {
  post(`content-length ${name}`, [['content-length', value]], 'abcde');
}
post(
  'two content-lengths, equal',
  [
    ['content-length', '5'],
    ['content-length', '5'],
  ],
  'abcde',
);
post(
  'two content-lengths, different',
  [
    ['content-length', '5'],
    ['content-length', '0'],
  ],
  'abcde',
);
post('no content-length', [], SMUGGLED);
add(
  'a body in three frames',
  headers(1, [...POST, ['content-length', '6']], false),
  data(1, 'ab', false),
  data(1, '', false),
  data(1, 'cdef', true),
);
add(
  'a padded body',
  headers(1, [...POST, ['content-length', '2']], false),
  frame(FrameType.Data, END_STREAM | PADDED, 1, Buffer.from('\x03ab\0\0\0', 'latin1')),
);
add('a GET with a body', headers(1, GET, false), data(1, SMUGGLED, true));
add(
  'a GET with a body and its length',
  headers(1, [...GET, ['content-length', String(SMUGGLED.length)]], false),
  data(1, SMUGGLED, true),
);
add(
  'a HEAD with a body',
  headers(1, [method('HEAD'), scheme(), authority(), path('/g')], false),
  data(1, SMUGGLED, true),
);
add('an empty DATA frame at the end', headers(1, GET, false), data(1, '', true));

// What HTTP/2 forbids because HTTP/1 frames by it.
for (const value of ['chunked', 'identity', 'CHUNKED', ' chunked', 'chunked, identity', 'xchunked', '']) {
  post(`transfer-encoding ${JSON.stringify(value)}`, [['transfer-encoding', value]], EMPTY_FOR_CHUNKS);
}
post(
  'transfer-encoding and content-length',
  [
    ['content-length', String(EMPTY_FOR_CHUNKS.length)],
    ['transfer-encoding', 'chunked'],
  ],
  EMPTY_FOR_CHUNKS,
);
for (const value of ['close', 'keep-alive', 'upgrade', 'transfer-encoding', 'content-length', 'x-secret', 'TE', '']) {
  get(`connection ${JSON.stringify(value)}`, [
    ['connection', value],
    ['x-secret', 's'],
  ]);
}
get('proxy-connection', [['proxy-connection', 'close']]);
get('keep-alive', [['keep-alive', 'timeout=5']]);
get('upgrade to websocket', [['upgrade', 'websocket']]);
get('upgrade and connection', [
  ['connection', 'upgrade'],
  ['upgrade', 'h2c'],
  ['http2-settings', 'AAMAAABkAAQAAP__'],
]);
for (const value of ['trailers', 'Trailers', 'gzip', 'trailers, deflate', 'chunked', ''])
  get(`te ${JSON.stringify(value)}`, [['te', value]]);
get('expect', [['expect', '100-continue']]);
post(
  'expect with a body',
  [
    ['expect', '100-continue'],
    ['content-length', '3'],
  ],
  'abc',
);

// Line ends and other controls, where they would split a head.
const SPLITTERS: readonly (readonly [string, string])[] = [
  ['CR', '\r'],
  ['LF', '\n'],
  ['CR LF', '\r\n'],
  ['NUL', '\0'],
];
for (const [name, split] of SPLITTERS) {
  get(`${name} in a value`, [['x-split', `a${split}Transfer-Encoding: chunked`]]);
  get(`${name} at the end of a value`, [['x-split', `a${split}`]]);
  get(`${name} at the start of a value`, [['x-split', `${split}a`]]);
  get(`${name} in a name`, [[`x-split${split}transfer-encoding`, 'chunked']]);
  get(
    `${name} in :path`,
    [],
    [method('GET'), scheme(), authority(), path(`/g HTTP/1.1${split}Host: s${split}${split}`)],
  );
  get(`${name} in :method`, [], [method(`GET /smuggled HTTP/1.1${split}Host:`), scheme(), authority(), path('/g')]);
  get(`${name} in :authority`, [], [method('GET'), scheme(), authority(`h${split}x: y`), path('/g')]);
  get(`${name} in :scheme`, [], [method('GET'), scheme(`http${split}`), authority(), path('/g')]);
  get(`${name} in a cookie`, [['cookie', `a=b${split}x: y`]]);
  get(`${name} in host`, [['host', `h${split}x: y`]]);
}

// Names.
for (const name of [
  'X-Upper',
  'x space',
  'x:colon',
  ' x-front',
  'x-behind ',
  'x\ttab',
  '',
  'x\x7f',
  'x\xe9',
  'x"quote',
  '(x)',
  'x_underscore',
  'x@at',
]) {
  get(`the name ${JSON.stringify(name)}`, [[name, 'v']]);
}
// Values.
for (const value of [' front', 'behind ', '\ttab', 'mid\tdle', '\x7f', '\x01', '\x80\xff', ''])
  get(`the value ${JSON.stringify(value)}`, [['x-value', value]]);

// Pseudo-header fields.
get('an unknown pseudo-header', [], [...GET, [':foo', 'bar']]);
get(':status in a request', [], [...GET, [':status', '200']]);
get('a pseudo-header behind others', [], [method('GET'), scheme(), ['x-first', 'v'], authority(), path('/g')]);
for (const twice of GET) get(`${twice[0]} twice`, [], [...GET, twice]);
get(':path twice, different', [], [...GET, path('/smuggled')]);
get(':authority twice, different', [], [...GET, authority('other')]);
for (const missing of GET)
  get(
    `${missing[0]} missing`,
    [],
    GET.filter((field) => field !== missing),
  );
for (const empty of GET)
  get(
    `${empty[0]} empty`,
    [],
    GET.map((field) => (field === empty ? [field[0], ''] : field)),
  );

// Targets.
for (const target of [
  'no-slash',
  '*',
  '/a b',
  '/a\tb',
  '/a#fragment',
  '//double',
  '/%00',
  '/%0d%0aX:%20y',
  '/a\\b',
  '/../up',
  'http://other/absolute',
  '/\xe9',
  '/g HTTP/1.1',
  '?query',
]) {
  get(`:path ${JSON.stringify(target)}`, [], [method('GET'), scheme(), authority(), path(target)]);
}
get('OPTIONS *', [], [method('OPTIONS'), scheme(), authority(), path('*')]);
for (const verb of ['get', 'GE T', 'G@T', 'GET:', 'PRI', 'CUSTOM', 'G\x7fT'])
  get(`:method ${JSON.stringify(verb)}`, [], [method(verb), scheme(), authority(), path('/g')]);
for (const value of ['https', 'ftp', 'http://x', 'HTTP', 'a b'])
  get(`:scheme ${JSON.stringify(value)}`, [], [method('GET'), scheme(value), authority(), path('/g')]);

// Who is asked.
for (const host of ['user@h', 'h:80', 'h:x', 'h,other', 'h other', 'h/', 'h?x', '[::1]', 'H', 'h\\x', 'h#x']) {
  get(`:authority ${JSON.stringify(host)}`, [], [method('GET'), scheme(), authority(host), path('/g')]);
}
get(
  'host instead of :authority',
  [['host', 'h']],
  GET.filter(([name]) => name !== ':authority'),
);
get('host beside :authority', [['host', 'other']]);
get('the same host beside :authority', [['host', 'h']]);
get(
  'two hosts without :authority',
  [
    ['host', 'h'],
    ['host', 'other'],
  ],
  GET.filter(([name]) => name !== ':authority'),
);
get('two hosts beside :authority', [
  ['host', 'a'],
  ['host', 'b'],
]);

// Cookies, which come in crumbs.
get('cookies in crumbs', [
  ['cookie', 'a=1'],
  ['cookie', 'b=2'],
  ['x', 'y'],
  ['cookie', 'c=3'],
]);
get('a cookie that ends in a semicolon', [
  ['cookie', 'a=1;'],
  ['cookie', 'b=2'],
]);

// Trailers.
const trailers = (name: string, list: readonly Field[]): void =>
  add(`trailers: ${name}`, headers(1, POST, false), data(1, 'abc', false), headers(1, list, true));
trailers('plain', [['x-trailer', 'v']]);
trailers('content-length', [['content-length', '1']]);
trailers('transfer-encoding', [['transfer-encoding', 'chunked']]);
trailers('host', [['host', 'other']]);
trailers('a pseudo-header', [[':path', '/smuggled']]);
trailers('connection', [['connection', 'close']]);
trailers('an upper-case name', [['X-Trailer', 'v']]);
trailers('CR LF in a value', [['x-trailer', `v\r\n\r\n${SMUGGLED}`]]);
trailers('CR LF in a name', [[`x\r\n\r\n${SMUGGLED}`, 'v']]);
add(
  'trailers behind a content-length',
  headers(1, [...POST, ['content-length', '3']], false),
  data(1, 'abc', false),
  headers(1, [['x-trailer', 'v']], true),
);
add(
  'trailers behind too short a body',
  headers(1, [...POST, ['content-length', '30']], false),
  data(1, 'abc', false),
  headers(1, [['x-trailer', 'v']], true),
);

// CONNECT.
get('CONNECT', [], [method('CONNECT'), authority('h:80')]);
get('CONNECT with :path and :scheme', [], [method('CONNECT'), scheme(), authority('h:80'), path('/')]);
add('CONNECT with a body', headers(1, [method('CONNECT'), authority('h:80')], false), data(1, SMUGGLED, false));
add(
  'extended CONNECT',
  headers(1, [method('CONNECT'), [':protocol', 'websocket'], scheme(), path('/g'), authority()], false),
  data(1, SMUGGLED, false),
);
get('extended CONNECT for h2c', [], [method('CONNECT'), [':protocol', 'h2c'], scheme(), path('/g'), authority()]);
get(':protocol on a GET', [], [...GET, [':protocol', 'websocket']]);

// Streams side by side.
add('a request behind a refused one', headers(1, [...GET, ['x', 'a\r\nb']], true), headers(3, GET, true));
add(
  'a body beside another request',
  headers(1, [...POST, ['content-length', '4']], false),
  headers(3, GET, true),
  data(1, 'abcd', true),
);
add(
  'a head in two frames',
  frame(FrameType.Headers, END_STREAM, 1, fields(GET)),
  frame(FrameType.Continuation, END_HEADERS, 1, fields([['x', 'y']])),
);

export const http2RequestCases: readonly RequestCase[] = cases;
