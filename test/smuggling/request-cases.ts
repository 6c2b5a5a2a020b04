/** What a smuggler sends. Every case is bytes; where a body can hide a second request, it holds one for `/smuggled`. */

/** One malformed or ambiguous request. */
export interface RequestCase {
  readonly name: string;
  /** Bytes (latin1), or pieces that are sent one after another, each after the other has gone. */
  readonly bytes: string | readonly string[];
  /** Sent over HTTP/2: what comes back are frames. */
  readonly http2?: boolean;
}

const cases: RequestCase[] = [];

function add(name: string, bytes: string | readonly string[]): void {
  cases.push({ name, bytes });
}

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n';

/** A message of lines and a body; `Host: h` unless `start` is a whole head already. */
function message(start: string, headers: readonly string[], body = ''): string {
  return [start, 'Host: h', ...headers, '', body].join('\r\n');
}

const post = (headers: readonly string[], body = ''): string => message('POST /p HTTP/1.1', headers, body);
const get = (headers: readonly string[] = [], path = '/g'): string => message(`GET ${path} HTTP/1.1`, headers);
const chunk = (data: string): string => `${data.length.toString(16)}\r\n${data}\r\n`;

/** A body that is empty to who reads chunks, and whole to who reads Content-Length. */
const emptyForChunks = `0\r\n\r\n${SMUGGLED}`;
/** A body that is whole to who reads chunks; with a short Content-Length its rest is a request. */
const wholeForChunks = `${chunk(SMUGGLED)}0\r\n\r\n`;
const firstLineLength = wholeForChunks.indexOf('\r\n') + 2;

// Transfer-Encoding in every disguise; the lines are whole header lines.
const transferEncodings: readonly (readonly [string, readonly string[]])[] = [
  ['plain', ['Transfer-Encoding: chunked']],
  ['upper-case value', ['Transfer-Encoding: CHUNKED']],
  ['mixed-case name', ['tRaNsFeR-eNcOdInG: cHuNkEd']],
  ['no space', ['Transfer-Encoding:chunked']],
  ['many spaces', ['Transfer-Encoding:      chunked   ']],
  ['tab before', ['Transfer-Encoding:\tchunked']],
  ['tab behind', ['Transfer-Encoding: chunked\t']],
  ['vertical tab before', ['Transfer-Encoding: \x0bchunked']],
  ['form feed before', ['Transfer-Encoding: \x0cchunked']],
  ['NUL behind', ['Transfer-Encoding: chunked\0']],
  ['DEL behind', ['Transfer-Encoding: chunked\x7f']],
  ['nbsp before', ['Transfer-Encoding: \xa0chunked']],
  ['space before the colon', ['Transfer-Encoding : chunked']],
  ['tab before the colon', ['Transfer-Encoding\t: chunked']],
  ['space before the name', [' Transfer-Encoding: chunked']],
  ['folded value', ['Transfer-Encoding:\r\n chunked']],
  ['folded with tab', ['Transfer-Encoding:\r\n\tchunked']],
  ['fold behind', ['Transfer-Encoding: chunked\r\n ']],
  ['folded word', ['Transfer-Encoding: chun\r\n ked']],
  ['bare LF in front', ['X: y\nTransfer-Encoding: chunked']],
  ['bare CR in front', ['X: y\rTransfer-Encoding: chunked']],
  ['bare LF behind', ['Transfer-Encoding: chunked\nX: y']],
  ['bare CR behind', ['Transfer-Encoding: chunked\rX: y']],
  ['CR CR LF behind', ['Transfer-Encoding: chunked\r']],
  ['bare CR inside', ['Transfer-Encoding: chun\rked']],
  ['folded without a space', ['Transfer-Encoding: chun\r\n\r ked']],
  ['quoted', ['Transfer-Encoding: "chunked"']],
  ['single quotes', ["Transfer-Encoding: 'chunked'"]],
  ['with a parameter', ['Transfer-Encoding: chunked;q=1']],
  ['identity', ['Transfer-Encoding: identity']],
  ['identity, chunked', ['Transfer-Encoding: identity, chunked']],
  ['chunked, identity', ['Transfer-Encoding: chunked, identity']],
  ['gzip, chunked', ['Transfer-Encoding: gzip, chunked']],
  ['chunked, gzip', ['Transfer-Encoding: chunked, gzip']],
  ['chunked, chunked', ['Transfer-Encoding: chunked, chunked']],
  ['comma in front', ['Transfer-Encoding: ,chunked']],
  ['comma behind', ['Transfer-Encoding: chunked,']],
  ['unknown coding', ['Transfer-Encoding: xchunked']],
  ['prefix of it', ['Transfer-Encoding: chunke']],
  ['empty', ['Transfer-Encoding:']],
  ['empty, then chunked', ['Transfer-Encoding:', 'Transfer-Encoding: chunked']],
  ['twice chunked', ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked']],
  ['chunked then identity', ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity']],
  ['identity then chunked', ['Transfer-Encoding: identity', 'Transfer-Encoding: chunked']],
  ['chunked then rubbish', ['Transfer-Encoding: chunked', 'Transfer-Encoding: x']],
  ['underscore name', ['Transfer_Encoding: chunked']],
  ['name with a dot', ['Transfer.Encoding: chunked']],
  ['hidden by Connection', ['Transfer-Encoding: chunked', 'Connection: transfer-encoding']],
  ['long s in the name', ['Tran\xc5\xbffer-Encoding: chunked']],
  ['x- name', ['X-Transfer-Encoding: chunked']],
];
for (const [name, lines] of transferEncodings) {
  add(`TE ${name}`, post(lines, wholeForChunks));
  add(`CL.TE ${name}`, post([`Content-Length: ${emptyForChunks.length}`, ...lines], emptyForChunks));
  add(`TE.CL ${name}`, post([...lines, `Content-Length: ${firstLineLength}`], wholeForChunks));
}

// Content-Length in every disguise; the body is 4 bytes and then a request.
const contentLengths: readonly (readonly [string, readonly string[]])[] = [
  ['plain', ['Content-Length: 4']],
  ['leading zeros', ['Content-Length: 00000000000000000000000004']],
  ['no space', ['Content-Length:4']],
  ['tabs around', ['Content-Length:\t4\t']],
  ['plus', ['Content-Length: +4']],
  ['minus', ['Content-Length: -4']],
  ['minus zero', ['Content-Length: -0']],
  ['hex', ['Content-Length: 0x4']],
  ['octal', ['Content-Length: 04']],
  ['decimal point', ['Content-Length: 4.0']],
  ['exponent', ['Content-Length: 4e0']],
  ['underscored', ['Content-Length: 1_0']],
  ['letters behind', ['Content-Length: 4abc']],
  ['semicolon behind', ['Content-Length: 4;']],
  ['comma behind', ['Content-Length: 4,']],
  ['comma in front', ['Content-Length: ,4']],
  ['list of equal values', ['Content-Length: 4, 4']],
  ['list of different values', ['Content-Length: 4, 40']],
  ['space inside', ['Content-Length: 4 0']],
  ['twice equal', ['Content-Length: 4', 'Content-Length: 4']],
  ['twice different', ['Content-Length: 4', 'Content-Length: 40']],
  ['twice different, zero first', ['Content-Length: 0', 'Content-Length: 4']],
  ['empty', ['Content-Length:']],
  ['empty, then 4', ['Content-Length:', 'Content-Length: 4']],
  ['4, then empty', ['Content-Length: 4', 'Content-Length:']],
  ['quoted', ['Content-Length: "4"']],
  ['64 bits and more', ['Content-Length: 18446744073709551620']],
  ['wraps to 4 in 32 bits', ['Content-Length: 4294967300']],
  ['space before the colon', ['Content-Length : 4']],
  ['folded', ['Content-Length:\r\n 4']],
  ['folded digit', ['Content-Length: 4\r\n 0']],
  ['bare CR inside', ['Content-Length: 4\r0']],
  ['bare LF inside', ['Content-Length: 4\n0']],
  ['NUL inside', ['Content-Length: 4\x000']],
  ['full-width digit', ['Content-Length: \xef\xbc\x94']],
  ['vertical tab', ['Content-Length: \x0b4']],
  ['underscore name', ['Content_Length: 4']],
  ['hidden by Connection', ['Content-Length: 4', 'Connection: content-length']],
  ['hidden by Connection, in a list', ['Content-Length: 4', 'Connection: keep-alive, Content-Length']],
  ['hidden by Proxy-Connection', ['Content-Length: 4', 'Proxy-Connection: content-length']],
  ['behind a NUL in a name', ['X\0Content-Length: 4']],
];
for (const [name, lines] of contentLengths) add(`CL ${name}`, post(lines, `abcd${SMUGGLED}`));
add('CL GET with a body', message('GET /g HTTP/1.1', ['Content-Length: 4'], `abcd${SMUGGLED}`));
add('CL HEAD with a body', message('HEAD /g HTTP/1.1', ['Content-Length: 4'], `abcd${SMUGGLED}`));
add('CL OPTIONS with a body', message('OPTIONS /g HTTP/1.1', ['Content-Length: 4'], `abcd${SMUGGLED}`));
add('CL short of the body', post(['Content-Length: 2'], 'abcd'));
add('CL beyond the body', post(['Content-Length: 20'], 'abcd'));
add('CL zero with a body', post(['Content-Length: 0'], SMUGGLED));
add('CL none with a body', post([], SMUGGLED));
add('TE GET chunked', message('GET /g HTTP/1.1', ['Transfer-Encoding: chunked'], wholeForChunks));
add('TE HEAD chunked', message('HEAD /g HTTP/1.1', ['Transfer-Encoding: chunked'], wholeForChunks));
add('TE GET chunked, empty', message('GET /g HTTP/1.1', ['Transfer-Encoding: chunked'], emptyForChunks));

// Chunks.
const chunked = (name: string, body: string): void =>
  add(`chunk ${name}`, post(['Transfer-Encoding: chunked'], body + SMUGGLED));
chunked('plain', '4\r\nabcd\r\n0\r\n\r\n');
chunked('size in upper case', 'A\r\n0123456789\r\n0\r\n\r\n');
chunked('size with leading zeros', '00000004\r\nabcd\r\n0\r\n\r\n');
chunked('size with 40 leading zeros', `${'0'.repeat(40)}4\r\nabcd\r\n0\r\n\r\n`);
chunked('size with 0x', '0x4\r\nabcd\r\n0\r\n\r\n');
chunked('size with plus', '+4\r\nabcd\r\n0\r\n\r\n');
chunked('size with minus', '-4\r\nabcd\r\n0\r\n\r\n');
chunked('size empty', '\r\nabcd\r\n0\r\n\r\n');
chunked('size with a space before', ' 4\r\nabcd\r\n0\r\n\r\n');
chunked('size with a tab before', '\t4\r\nabcd\r\n0\r\n\r\n');
chunked('size with a space behind', '4 \r\nabcd\r\n0\r\n\r\n');
chunked('size with a tab behind', '4\t\r\nabcd\r\n0\r\n\r\n');
chunked('size with a vertical tab behind', '4\x0b\r\nabcd\r\n0\r\n\r\n');
chunked('size with NUL behind', '4\0\r\nabcd\r\n0\r\n\r\n');
chunked('size not hex', 'g\r\nabcd\r\n0\r\n\r\n');
chunked('size with underscore', '0_4\r\nabcd\r\n0\r\n\r\n');
chunked('size of 2^64', '10000000000000000\r\nabcd\r\n0\r\n\r\n');
chunked('size of 2^64 + 4', '10000000000000004\r\nabcd\r\n0\r\n\r\n');
chunked('size of 2^32 + 4', '100000004\r\nabcd\r\n0\r\n\r\n');
chunked('size of 2^63', '8000000000000000\r\nabcd\r\n0\r\n\r\n');
chunked('size line ended by LF', '4\nabcd\r\n0\r\n\r\n');
chunked('size line ended by CR', '4\rabcd\r\n0\r\n\r\n');
chunked('size line ended by CR CR LF', '4\r\r\nabcd\r\n0\r\n\r\n');
chunked('size line ended by LF CR', '4\n\rabcd\r\n0\r\n\r\n');
chunked('data ended by LF', '4\r\nabcd\n0\r\n\r\n');
chunked('data ended by CR', '4\r\nabcd\r0\r\n\r\n');
chunked('data without an end', '4\r\nabcd0\r\n\r\n');
chunked('data longer than its size', '4\r\nabcdef\r\n0\r\n\r\n');
chunked('data longer by what looks like a chunk', '4\r\nabcd5\r\n0\r\n\r\n');
chunked('data shorter than its size', '8\r\nabcd\r\n0\r\n\r\n');
chunked('data ended by spaces', '4\r\nabcd  \r\n0\r\n\r\n');
chunked('data ended twice', '4\r\nabcd\r\n\r\n0\r\n\r\n');
chunked('last size 00', '4\r\nabcd\r\n00\r\n\r\n');
chunked('last size 000000000000000000000', '4\r\nabcd\r\n000000000000000000000\r\n\r\n');
chunked('last line ended by LF', '4\r\nabcd\r\n0\n\r\n');
chunked('end by LF', '4\r\nabcd\r\n0\r\n\n');
chunked('end by CR', '4\r\nabcd\r\n0\r\n\r');
chunked('end missing', '4\r\nabcd\r\n0\r\n');
chunked('last chunk missing', '4\r\nabcd\r\n');
chunked('extension', '4;a=b\r\nabcd\r\n0;c\r\n\r\n');
chunked('extension quoted', '4;a="b;c"\r\nabcd\r\n0\r\n\r\n');
chunked('extension quoted with CR LF', '4;a="\r\nabcd"\r\n0\r\n\r\n');
chunked('extension with LF', '4;a\nabcd\r\n0\r\n\r\n');
chunked('extension with LF inside', '4;a\nb\r\nabcd\r\n0\r\n\r\n');
chunked('extension with CR inside', '4;a\rb\r\nabcd\r\n0\r\n\r\n');
chunked('extension with NUL', '4;a\0b\r\nabcd\r\n0\r\n\r\n');
chunked('extension without a name', '4;\r\nabcd\r\n0\r\n\r\n');
chunked('extension behind a space', '4 ;a=b\r\nabcd\r\n0\r\n\r\n');
chunked('extension without a semicolon', '4 a=b\r\nabcd\r\n0\r\n\r\n');
chunked('extension of 8 kB', `4;${'a'.repeat(8192)}\r\nabcd\r\n0\r\n\r\n`);
chunked('extension that looks like a chunk', '4;\n0\r\n\r\nabcd\r\n0\r\n\r\n');
chunked('extension on the last chunk with LF', '4\r\nabcd\r\n0;\n\r\n\r\n');
chunked('trailer', '4\r\nabcd\r\n0\r\nT: v\r\n\r\n');
chunked('trailer Content-Length', '4\r\nabcd\r\n0\r\nContent-Length: 100\r\n\r\n');
chunked('trailer Transfer-Encoding', '4\r\nabcd\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n');
chunked('trailer Host', '4\r\nabcd\r\n0\r\nHost: other\r\n\r\n');
chunked('trailer with a space before the colon', '4\r\nabcd\r\n0\r\nT : v\r\n\r\n');
chunked('trailer without a colon', '4\r\nabcd\r\n0\r\nTv\r\n\r\n');
chunked('trailer without a name', '4\r\nabcd\r\n0\r\n: v\r\n\r\n');
chunked('trailer folded', '4\r\nabcd\r\n0\r\nT: v\r\n w\r\n\r\n');
chunked('trailer ended by LF', '4\r\nabcd\r\n0\r\nT: v\n\r\n');
chunked('trailer ended by LF LF', '4\r\nabcd\r\n0\r\nT: v\n\n');
chunked('trailer with CR inside', '4\r\nabcd\r\n0\r\nT: v\rX: y\r\n\r\n');
chunked('trailer with NUL', '4\r\nabcd\r\n0\r\nT: v\0\r\n\r\n');
chunked('trailer that is a request line', '4\r\nabcd\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n');
chunked('trailer pseudo-header', '4\r\nabcd\r\n0\r\n:path: /smuggled\r\n\r\n');
chunked('trailers of 70 kB', `4\r\nabcd\r\n0\r\n${`T: ${'v'.repeat(1000)}\r\n`.repeat(70)}\r\n`);
add('chunk every byte alone', [...post(['Transfer-Encoding: chunked'], '4;a\r\nabcd\r\n0\r\nT: v\r\n\r\n')]);
add('chunk split in the size', [post(['Transfer-Encoding: chunked'], '1'), `0\r\n0123456789abcdef\r\n0\r\n\r\n`]);
add('chunk split in CR LF', [
  post(['Transfer-Encoding: chunked'], '4\r'),
  '\nabcd\r',
  '\n0\r',
  '\n\r',
  `\n${SMUGGLED}`,
]);

// Versions.
add('HTTP/0.9', 'GET /g\r\n\r\n');
add('HTTP/0.9 with a header', 'GET /g\r\nHost: h\r\n\r\n');
add('HTTP/1.0', 'GET /g HTTP/1.0\r\n\r\n');
add('HTTP/1.0 with Host', 'GET /g HTTP/1.0\r\nHost: h\r\n\r\n');
add('HTTP/1.0 keep-alive, two requests', `${'GET /g HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n'.repeat(2)}`);
add('HTTP/1.0 not kept, two requests', `${'GET /g HTTP/1.0\r\nHost: h\r\n\r\n'.repeat(2)}`);
add('HTTP/1.0 with TE', message('POST /p HTTP/1.0', ['Transfer-Encoding: chunked'], wholeForChunks));
add(
  'HTTP/1.0 keep-alive with TE',
  message('POST /p HTTP/1.0', ['Connection: keep-alive', 'Transfer-Encoding: chunked'], emptyForChunks),
);
add(
  'HTTP/1.0 keep-alive with CL and TE',
  message(
    'POST /p HTTP/1.0',
    ['Connection: keep-alive', `Content-Length: ${emptyForChunks.length}`, 'Transfer-Encoding: chunked'],
    emptyForChunks,
  ),
);
add('HTTP/1.0 POST without a length', message('POST /p HTTP/1.0', [], 'abcd'));
for (const version of [
  'HTTP/1.2',
  'HTTP/2.0',
  'HTTP/1.10',
  'HTTP/01.1',
  'http/1.1',
  'HTTP/1',
  'HTTP/1.1x',
  'XTTP/1.1',
]) {
  add(`version ${version}`, `GET /g ${version}\r\nHost: h\r\n\r\n`);
}
add('version with a space inside', 'GET /g HTTP/ 1.1\r\nHost: h\r\n\r\n');
add('version with text behind', 'GET /g HTTP/1.1 x\r\nHost: h\r\n\r\n');
add('h2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

// Request lines.
const line = (name: string, first: string): void => add(`line ${name}`, `${first}\r\nHost: h\r\n\r\n`);
line('two spaces', 'GET  /g HTTP/1.1');
line('tab instead of a space', 'GET\t/g HTTP/1.1');
line('tab in the path', 'GET /g\t/x HTTP/1.1');
line('space in the path', 'GET /g /x HTTP/1.1');
line('space in front', ' GET /g HTTP/1.1');
line('space behind', 'GET /g HTTP/1.1 ');
line('vertical tab instead of a space', 'GET\x0b/g HTTP/1.1');
line('CR inside', 'GET /g\rHTTP/1.1');
line('NUL in the path', 'GET /g\0 HTTP/1.1');
line('DEL in the path', 'GET /g\x7f HTTP/1.1');
line('8-bit path', 'GET /\xe9 HTTP/1.1');
line('encoded CR LF in the path', 'GET /g%0d%0aHost:%20s HTTP/1.1');
line('encoded NUL in the path', 'GET /g%00 HTTP/1.1');
line('encoded slash', 'GET /a%2f..%2fg HTTP/1.1');
line('dots', 'GET /a/../../g HTTP/1.1');
line('backslashes', 'GET /a\\..\\g HTTP/1.1');
line('two slashes', 'GET //other/g HTTP/1.1');
line('fragment', 'GET /g#x HTTP/1.1');
line('query only', 'GET ?x HTTP/1.1');
line('no slash', 'GET g HTTP/1.1');
line('empty', '');
line('method only', 'GET');
line('path missing', 'GET HTTP/1.1');
line('asterisk', 'OPTIONS * HTTP/1.1');
line('asterisk with GET', 'GET * HTTP/1.1');
line('asterisk with a path', 'OPTIONS *x HTTP/1.1');
line('path of 16 kB', `GET /${'a'.repeat(16_384)} HTTP/1.1`);
line('path of 70 kB', `GET /${'a'.repeat(70_000)} HTTP/1.1`);
for (const method of ['get', 'GETT', 'TRACE', 'TRACK', 'CONNECT', 'PATCH', 'PURGE', 'G@T', 'GE\0T', '"GET"', 'X', '']) {
  line(`method ${JSON.stringify(method)}`, `${method} /g HTTP/1.1`);
}
line('CONNECT host:port', 'CONNECT h:80 HTTP/1.1');
line('CONNECT without a port', 'CONNECT h HTTP/1.1');
add('line CONNECT with a request behind', `CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n${SMUGGLED}`);
add('line CONNECT with a body', `CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nContent-Length: 4\r\n\r\nabcd${SMUGGLED}`);
add('line ended by LF', `GET /g HTTP/1.1\nHost: h\r\n\r\n`);
add('line ended by CR', `GET /g HTTP/1.1\rHost: h\r\n\r\n`);
add('line all ended by LF', `GET /g HTTP/1.1\nHost: h\n\n${SMUGGLED}`);
add('line blank lines in front', `\r\n\n\r\n${get()}`);
add('line garbage', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03');
add('line NULs', '\0\0\0\0\r\n\r\n');
add('line of 70 kB without an end', 'A'.repeat(70_000));

// Targets against Host.
line('absolute form, same host', 'GET http://h/g HTTP/1.1');
line('absolute form, other host', 'GET http://other/g HTTP/1.1');
line('absolute form, https', 'GET https://h/g HTTP/1.1');
line('absolute form, other scheme', 'GET ftp://h/g HTTP/1.1');
line('absolute form, userinfo', 'GET http://user@h/g HTTP/1.1');
line('absolute form, two @', 'GET http://a@b@h/g HTTP/1.1');
line('absolute form, password', 'GET http://u:p@h/g HTTP/1.1');
line('absolute form, empty host', 'GET http:///g HTTP/1.1');
line('absolute form, bad port', 'GET http://h:99999/g HTTP/1.1');
line('absolute form, no port behind the colon', 'GET http://h:/g HTTP/1.1');
line('absolute form, no path', 'GET http://h HTTP/1.1');
line('absolute form, query without a path', 'GET http://h?q HTTP/1.1');
line('absolute form, fragment in the host', 'GET http://h#@other/g HTTP/1.1');
line('absolute form, backslash in the host', 'GET http://h\\@other/g HTTP/1.1');
line('absolute form, IPv6', 'GET http://[::1]:80/g HTTP/1.1');
line('absolute form, bad IPv6', 'GET http://[::1/g HTTP/1.1');
add('target absolute without Host', 'GET http://h/g HTTP/1.1\r\n\r\n');
add('host twice equal', 'GET /g HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n');
add('host twice different', 'GET /g HTTP/1.1\r\nHost: h\r\nHost: other\r\n\r\n');
add('host missing', 'GET /g HTTP/1.1\r\n\r\n');
for (const [name, value] of [
  ['empty', ''],
  ['list', 'h, other'],
  ['with a space', 'h other'],
  ['with a slash', 'h/x'],
  ['with userinfo', 'u@h'],
  ['with a bad port', 'h:x'],
  ['with two ports', 'h:1:2'],
  ['with a NUL', 'h\0'],
  ['with a tab inside', 'h\tother'],
  ['with a bare CR', 'h\rother'],
  ['8-bit', 'h\xe9'],
  ['with a query', 'h?x'],
  ['with a fragment', 'h#x'],
  ['with brackets', '[h]'],
  ['of 9 kB', 'h'.repeat(9000)],
] as const) {
  add(`host ${name}`, `GET /g HTTP/1.1\r\nHost: ${value}\r\n\r\n`);
}
add('host folded', 'GET /g HTTP/1.1\r\nHost: h\r\n other\r\n\r\n');
add('host with a space before the colon', 'GET /g HTTP/1.1\r\nHost : h\r\n\r\n');
add('host behind a space', 'GET /g HTTP/1.1\r\n Host: h\r\nX: y\r\n\r\n');

// Header lines.
const header = (name: string, ...lines: readonly string[]): void => add(`header ${name}`, get(lines));
header('space before the colon', 'X : y');
header('tab before the colon', 'X\t: y');
header('without a name', ': y');
header('without a colon', 'Xy');
header('only a colon', ':');
header('with a space inside the name', 'X Y: z');
header('with a NUL in the name', 'X\0: y');
header('with a NUL in the value', 'X: y\0z');
header('with a bare CR in the value', 'X: y\rz');
header('with a bare CR and a header', 'X: y\rSmuggled: z');
header('with a bare LF and a header', 'X: y\nSmuggled: z');
header('with CR CR LF', 'X: y\r');
header('with LF CR', 'X: y\n\rZ: w');
header('with control bytes', 'X: \x01\x02\x1f');
header('with DEL', 'X: y\x7f');
header('with 8-bit bytes in the value', 'X: \xff\xfe');
header('with 8-bit bytes in the name', 'X\xff: y');
header('with underscore', 'X_Y: z');
header('with a slash in the name', 'X/Y: z');
header('with parentheses in the name', 'X(Y): z');
header('with a quote in the name', 'X"Y: z');
header('with @ in the name', 'X@Y: z');
header('folded', 'X: y', ' z');
header('folded with a tab', 'X: y', '\tz');
header('folded into a request', 'X: y', ' GET /smuggled HTTP/1.1', ' Host: s');
header('folded by a blank', 'X: y', ' ');
header('pseudo :path', ':path: /smuggled');
header('pseudo :authority', ':authority: other');
header('pseudo :method', ':method: POST');
header('of 9 kB', `X: ${'y'.repeat(9000)}`);
header('of 70 kB', `X: ${'y'.repeat(70_000)}`);
header('101 of them', ...Array.from({ length: 101 }, (_, i) => `X-${i}: y`));
header('method override', 'X-HTTP-Method-Override: DELETE', 'X-HTTP-Method: PUT', 'X-Method-Override: PATCH');
header('original URL', 'X-Original-URL: /smuggled', 'X-Rewrite-URL: /smuggled');
header('internal Envoy', 'x-envoy-original-path: /smuggled', 'x-envoy-internal: true');
header('forwarded', 'X-Forwarded-Host: other', 'X-Forwarded-Proto: gopher', 'X-Forwarded-For: 1.2.3.4');
header('keep-alive', 'Keep-Alive: timeout=5', 'Connection: keep-alive');
header('proxy-connection', 'Proxy-Connection: keep-alive');
header('te trailers', 'TE: trailers', 'Connection: TE');
header('te gzip', 'TE: gzip');
header('range', 'Range: bytes=0-0');
add('header none, then LF', 'GET /g HTTP/1.1\r\n\nHost: h\r\n\r\n');
add('header first line begins with a space', 'GET /g HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n');
add('header block ended by LF LF', `GET /g HTTP/1.1\r\nHost: h\n\n${SMUGGLED}`);
add('header block ended by CR LF LF', `GET /g HTTP/1.1\r\nHost: h\r\n\n${SMUGGLED}`);
add('header block ended by LF CR LF', `GET /g HTTP/1.1\r\nHost: h\n\r\n${SMUGGLED}`);
add('header block ended by CR CR', `GET /g HTTP/1.1\r\nHost: h\r\r${SMUGGLED}`);
add('header block never ended', 'GET /g HTTP/1.1\r\nHost: h\r\nX: y');

// Hop-by-hop.
for (const token of [
  'close',
  'close, content-length',
  'close, host',
  'host',
  'keep-alive, transfer-encoding',
  'x-forwarded-for',
  ':path',
  'x, y, cookie',
  'upgrade',
  'te, close',
  ',',
  'close close',
]) {
  const lines = [`Connection: ${token}`, 'Content-Length: 4', 'Cookie: a=b', 'X: y'];
  add(`Connection: ${token}`, post(lines, `abcd${SMUGGLED}`));
}
add('Connection twice', post(['Connection: keep-alive', 'Connection: close', 'Content-Length: 4'], `abcd${SMUGGLED}`));

// Upgrades, expectations.
add(
  'upgrade websocket',
  `${get(['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: x'])}${SMUGGLED}`,
);
add(
  'upgrade websocket, wrong version',
  `${get(['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 777'])}${SMUGGLED}`,
);
add('upgrade without Connection', `${get(['Upgrade: websocket'])}${SMUGGLED}`);
add(
  'upgrade h2c',
  `${get(['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'])}${SMUGGLED}`,
);
add(
  'upgrade h2c with a body',
  post(
    ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMA', 'Content-Length: 4'],
    `abcd${SMUGGLED}`,
  ),
);
add('upgrade TLS', get(['Connection: Upgrade', 'Upgrade: TLS/1.0']));
add('upgrade unknown', get(['Connection: Upgrade', 'Upgrade: x/1']));
add('upgrade with CL', post(['Connection: Upgrade', 'Upgrade: websocket', 'Content-Length: 4'], `abcd${SMUGGLED}`));
add(
  'upgrade with TE',
  post(['Connection: Upgrade', 'Upgrade: websocket', 'Transfer-Encoding: chunked'], wholeForChunks),
);
add('expect 100-continue with the body', post(['Expect: 100-continue', 'Content-Length: 4'], `abcd${SMUGGLED}`));
add('expect 100-continue without the body', post(['Expect: 100-continue', 'Content-Length: 4']));
add('expect 100-continue, body later', [post(['Expect: 100-continue', 'Content-Length: 4']), `abcd${SMUGGLED}`]);
add('expect 100-continue chunked', post(['Expect: 100-continue', 'Transfer-Encoding: chunked'], wholeForChunks));
add('expect 100-continue on GET', `${get(['Expect: 100-continue'])}${SMUGGLED}`);
add('expect rubbish', post(['Expect: 200-ok', 'Content-Length: 4'], `abcd${SMUGGLED}`));
add('expect obfuscated', post(['Expect: y 100-continue', 'Content-Length: 4'], `abcd${SMUGGLED}`));

// Pipelining.
add('pipeline three good ones', get([], '/1') + post(['Content-Length: 2'], 'ab') + get([], '/3'));
add('pipeline behind a bad one', post(['Content-Length: -1']) + get([], '/never'));
add('pipeline behind close', get(['Connection: close']) + get([], '/never'));
add('pipeline bad behind a good one', get([], '/1') + post(['Content-Length: x'], 'abcd'));
add('pipeline rubbish behind a good one', `${get([], '/1')}rubbish\r\n\r\n`);
add('pipeline a response behind a good one', `${get([], '/1')}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`);
add('pipeline chunk end behind Content-Length', `${post(['Content-Length: 4'], 'abcd')}\r\n0\r\n\r\n${get([], '/2')}`);
add('pipeline extra CR LF between', `${post(['Content-Length: 4'], 'abcd')}\r\n${get([], '/2')}`);
add('pipeline HEAD then GET', `${message('HEAD /h HTTP/1.1', [])}${get([], '/2')}`);
add('pipeline split in the method', [`${get([], '/1')}GE`, 'T /2 HTTP/1.1\r\nHost: h\r\n\r\n']);

/** All cases; names are unique. */
export const requestCases: readonly RequestCase[] = cases;
