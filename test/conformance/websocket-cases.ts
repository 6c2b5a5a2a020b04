/**
 * The cases of the Autobahn test suite's groups 1 (framing), 2 (pings and pongs), 5 (fragmentation), 6.1 (UTF-8: empty payloads) and
 * 7 (close handling), by its numbers: what the client sends. Autobahn's own program needs Python 2.7 and knows HTTP/1 alone.
 */

export interface WebSocketCase {
  readonly id: string;
  /** Sent one after the other, each as a piece of its own. */
  readonly pieces: readonly Buffer[];
  /** What a right server answers, as `describeFrames` writes it; null: the case is about a fault, and the server has a choice. */
  readonly expected: readonly string[] | null;
}

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const MASK = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

/** A client's frame (RFC 6455, 5.2). */
function clientFrame(opcode: number, payload: string | Uint8Array = '', fin = true): Buffer {
  const body = Buffer.from(payload as string);
  const head = [(fin ? 0x80 : 0) | opcode];
  if (body.length < 126) head.push(0x80 | body.length);
  else if (body.length < 65_536) head.push(0x80 | 126, body.length >> 8, body.length & 255);
  else
    head.push(
      0x80 | 127,
      0,
      0,
      0,
      0,
      body.length >>> 24,
      (body.length >> 16) & 255,
      (body.length >> 8) & 255,
      body.length & 255,
    );
  for (let i = 0; i < body.length; i++) body[i]! ^= MASK[i & 3]!;
  return Buffer.concat([Buffer.from(head), MASK, body]);
}

/** One line for each frame that a server sent. */
export function describeFrames(bytes: Buffer): string[] {
  const lines: string[] = [];
  for (let at = 0; at + 2 <= bytes.length; ) {
    const opcode = bytes[at]! & 15;
    let size = bytes[at + 1]! & 127;
    let start = at + 2;
    if (size === 126) {
      size = bytes.readUInt16BE(start);
      start += 2;
    } else if (size === 127) {
      size = Number(bytes.readBigUInt64BE(start));
      start += 8;
    }
    const payload = bytes.subarray(start, start + size);
    const fin = (bytes[at]! & 0x80) !== 0 ? '' : ' more';
    lines.push(`${opcode}${fin} ${payload.length} ${payload.toString('latin1').slice(0, 40)}`);
    at = start + size;
  }
  return lines;
}

function close(code: number, reason: string | Uint8Array = ''): Buffer {
  return clientFrame(CLOSE, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason as string)]));
}

const BYE = close(1000);
const BYE_ECHO = `8 2 \x03\xe8`;

function chop(frame: Buffer, size: number): Buffer[] {
  const out: Buffer[] = [];
  for (let at = 0; at < frame.length; at += size) out.push(frame.subarray(at, at + size));
  return out;
}

function line(opcode: number, payload: string | Uint8Array): string {
  const bytes = Buffer.from(payload as string);
  return `${opcode} ${bytes.length} ${bytes.toString('latin1').slice(0, 40)}`;
}

const cases: WebSocketCase[] = [];

function good(id: string, pieces: readonly Buffer[], answers: readonly string[]): void {
  cases.push({ id, pieces: [...pieces, BYE], expected: [...answers, BYE_ECHO] });
}

function fault(id: string, pieces: readonly Buffer[]): void {
  cases.push({ id, pieces, expected: null });
}

// 1: framing
for (const [group, opcode] of [
  ['1.1', TEXT],
  ['1.2', BINARY],
] as const) {
  for (const [index, size] of [0, 125, 126, 127, 128, 65_535, 65_536].entries()) {
    const payload = opcode === TEXT ? '*'.repeat(size) : Buffer.alloc(size, 0xfe);
    good(`${group}.${index + 1}`, [clientFrame(opcode, payload)], [line(opcode, payload)]);
  }
  const long = opcode === TEXT ? '*'.repeat(65_536) : Buffer.alloc(65_536, 0xfe);
  good(`${group}.8`, chop(clientFrame(opcode, long), 997), [line(opcode, long)]);
}

// 2: pings and pongs
const binary = Buffer.from([0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff]);
const largest = Buffer.alloc(125, 0xfe);
good('2.1', [clientFrame(PING)], [line(PONG, '')]);
good('2.2', [clientFrame(PING, 'Hello, world!')], [line(PONG, 'Hello, world!')]);
good('2.3', [clientFrame(PING, binary)], [line(PONG, binary)]);
good('2.4', [clientFrame(PING, largest)], [line(PONG, largest)]);
fault('2.5', [clientFrame(PING, Buffer.alloc(126, 0xfe))]);
good('2.6', chop(clientFrame(PING, largest), 1), [line(PONG, largest)]);
good('2.7', [clientFrame(PONG)], []);
good('2.8', [clientFrame(PONG, 'unsolicited pong payload')], []);
good('2.9', [clientFrame(PONG, 'unsolicited pong payload'), clientFrame(PING, 'ping')], [line(PONG, 'ping')]);
const tenPings = Array.from({ length: 10 }, (_, n) => `payload-${n}`);
const tenPongs = tenPings.map((payload) => line(PONG, payload));
good(
  '2.10',
  tenPings.map((payload) => clientFrame(PING, payload)),
  tenPongs,
);
good('2.11', chop(Buffer.concat(tenPings.map((payload) => clientFrame(PING, payload))), 1), tenPongs);

// 5: fragmentation
const two = [clientFrame(TEXT, 'fragment1', false), clientFrame(0, 'fragment2')];
const echoTwo = line(TEXT, 'fragment1fragment2');
fault('5.1', [clientFrame(PING, 'fragment1', false), clientFrame(0, 'fragment2')]);
fault('5.2', [clientFrame(PONG, 'fragment1', false), clientFrame(0, 'fragment2')]);
good('5.3', [Buffer.concat(two)], [echoTwo]);
good('5.4', two, [echoTwo]);
good('5.5', chop(Buffer.concat(two), 1), [echoTwo]);
const between = [two[0]!, clientFrame(PING, 'ping payload'), two[1]!];
good('5.6', [Buffer.concat(between)], [line(PONG, 'ping payload'), echoTwo]);
good('5.7', between, [line(PONG, 'ping payload'), echoTwo]);
good('5.8', chop(Buffer.concat(between), 1), [line(PONG, 'ping payload'), echoTwo]);
for (const [first, fin] of [
  [9, true],
  [12, false],
] as const) {
  const stray = [clientFrame(0, 'non-continuation payload', fin), clientFrame(TEXT, 'Hello, world!')];
  fault(`5.${first}`, [Buffer.concat(stray)]);
  fault(`5.${first + 1}`, stray);
  fault(`5.${first + 2}`, chop(Buffer.concat(stray), 1));
}
fault('5.15', [...two, clientFrame(0, 'fragment3', false), clientFrame(TEXT, 'fragment4')]);
const repeated = [
  clientFrame(0, 'fragment1', false),
  clientFrame(TEXT, 'fragment2', false),
  clientFrame(0, 'fragment3'),
];
fault('5.16', [...repeated, ...repeated]);
const ended = [clientFrame(0, 'fragment1'), clientFrame(TEXT, 'fragment2', false), clientFrame(0, 'fragment3')];
fault('5.17', [...ended, ...ended]);
fault('5.18', [clientFrame(TEXT, 'fragment1', false), clientFrame(TEXT, 'fragment2')]);
const five = [
  clientFrame(TEXT, 'fragment1', false),
  clientFrame(0, 'fragment2', false),
  clientFrame(PING, 'pongme 1!'),
  clientFrame(0, 'fragment3', false),
  clientFrame(0, 'fragment4', false),
  clientFrame(PING, 'pongme 2!'),
  clientFrame(0, 'fragment5'),
];
const echoFive = [
  line(PONG, 'pongme 1!'),
  line(PONG, 'pongme 2!'),
  line(TEXT, 'fragment1fragment2fragment3fragment4fragment5'),
];
good('5.19', [Buffer.concat(five.slice(0, 3)), Buffer.concat(five.slice(3))], echoFive);
good('5.20', five, echoFive);

// 6.1: empty payloads
good('6.1.1', [clientFrame(TEXT)], [line(TEXT, '')]);
good('6.1.2', [clientFrame(TEXT, '', false), clientFrame(0, '', false), clientFrame(0)], [line(TEXT, '')]);
good('6.1.3', [clientFrame(TEXT, '', false), clientFrame(0, 'middle', false), clientFrame(0)], [line(TEXT, 'middle')]);

// 7: close handling
good('7.1.1', [clientFrame(TEXT, 'Hello World!')], [line(TEXT, 'Hello World!')]);
const afterBye: readonly (readonly [string, Buffer])[] = [
  ['7.1.2', BYE],
  ['7.1.3', clientFrame(PING)],
  ['7.1.4', clientFrame(TEXT, 'Hello World!')],
];
for (const [id, frame] of afterBye) cases.push({ id, pieces: [Buffer.concat([BYE, frame])], expected: [BYE_ECHO] });
cases.push({ id: '7.1.5', pieces: [Buffer.concat([two[0]!, BYE, two[1]!])], expected: [BYE_ECHO] });
const large = 'BAsd7&jh23'.repeat(26_214);
good('7.1.6', [clientFrame(TEXT, large)], [line(TEXT, large)]);
fault('7.3.1', [clientFrame(CLOSE)]);
fault('7.3.2', [clientFrame(CLOSE, 'a')]);
fault('7.3.3', [close(1000)]);
fault('7.3.4', [close(1000, 'Hello World!')]);
fault('7.3.5', [close(1000, '*'.repeat(123))]);
fault('7.3.6', [close(1000, '*'.repeat(124))]);
fault('7.5.1', [close(1000, Buffer.from([0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xcf, 0x83, 0xed, 0xa0, 0x80]))]);
for (const [index, code] of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999].entries()) {
  fault(`7.7.${index + 1}`, [close(code)]);
}
for (const [index, code] of [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999].entries())
  fault(`7.9.${index + 1}`, [close(code)]);
for (const [index, code] of [5000, 65_535].entries()) fault(`7.13.${index + 1}`, [close(code)]);

export const webSocketCases: readonly WebSocketCase[] = cases;
