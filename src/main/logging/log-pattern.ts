import type { LogLevel } from '../../base/log.ts';

/** One application-log record. */
export interface LogRecord {
  readonly time: Date;
  readonly level: LogLevel;
  readonly logger: string;
  readonly message: string;
  /** Ms since the record before it. */
  readonly elapsedMs: number;
}

type Piece = (record: LogRecord) => string;

const SHORT_LEVELS: Readonly<Record<LogLevel, string>> = {
  trace: 'T',
  debug: 'D',
  info: 'I',
  warning: 'W',
  error: 'E',
  critical: 'C',
  off: 'O',
};
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = [
  ...['January', 'February', 'March', 'April', 'May', 'June', 'July'],
  ...['August', 'September', 'October', 'November', 'December'],
];

const two = (value: number): string => String(value).padStart(2, '0');
const clock = (time: Date): string => `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
const hour12 = (time: Date): string => two(time.getHours() % 12 === 0 ? 12 : time.getHours() % 12);
const half = (time: Date): string => (time.getHours() < 12 ? 'AM' : 'PM');
const date = (time: Date): string =>
  `${two(time.getMonth() + 1)}/${two(time.getDate())}/${two(time.getFullYear() % 100)}`;

const ESCAPES: Readonly<Record<string, string>> = {
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '"': '\\"',
  "'": "\\'",
  '\\': '\\\\',
};

/** C-style escapes, so that a record is one line (Envoy: `%_`, and `%v` under `--log-format-escaped`). */
function escapeMessage(text: string): string {
  let out = '';
  for (const character of text) {
    const code = character.charCodeAt(0);
    if (code < 0x20 || code === 0x7f) out += ESCAPES[character] ?? `\\x${code.toString(16).padStart(2, '0')}`;
    else out += ESCAPES[character] ?? character;
  }
  return out;
}

/** The message as the inside of a JSON string (Envoy: `%j`). */
function jsonInside(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

function zone(time: Date): string {
  const minutes = -time.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

/** spdlog's flags by letter. Source locations do not exist here: `%g %s %# %! %@` are empty. */
const FLAGS: Readonly<Record<string, Piece>> = {
  v: (record) => record.message,
  _: (record) => escapeMessage(record.message),
  j: (record) => jsonInside(record.message),
  t: () => String(process.pid),
  P: () => String(process.pid),
  n: (record) => record.logger,
  l: (record) => record.level,
  L: (record) => SHORT_LEVELS[record.level],
  a: ({ time }) => DAYS[time.getDay()]!.slice(0, 3),
  A: ({ time }) => DAYS[time.getDay()]!,
  b: ({ time }) => MONTHS[time.getMonth()]!.slice(0, 3),
  h: ({ time }) => MONTHS[time.getMonth()]!.slice(0, 3),
  B: ({ time }) => MONTHS[time.getMonth()]!,
  c: ({ time }) =>
    `${DAYS[time.getDay()]!.slice(0, 3)} ${MONTHS[time.getMonth()]!.slice(0, 3)} ${time.getDate()} ${clock(time)} ${time.getFullYear()}`,
  C: ({ time }) => two(time.getFullYear() % 100),
  Y: ({ time }) => String(time.getFullYear()),
  D: ({ time }) => date(time),
  x: ({ time }) => date(time),
  m: ({ time }) => two(time.getMonth() + 1),
  d: ({ time }) => two(time.getDate()),
  H: ({ time }) => two(time.getHours()),
  I: ({ time }) => hour12(time),
  M: ({ time }) => two(time.getMinutes()),
  S: ({ time }) => two(time.getSeconds()),
  e: ({ time }) => String(time.getMilliseconds()).padStart(3, '0'),
  f: ({ time }) => `${String(time.getMilliseconds()).padStart(3, '0')}000`,
  F: ({ time }) => `${String(time.getMilliseconds()).padStart(3, '0')}000000`,
  p: ({ time }) => half(time),
  r: ({ time }) => `${hour12(time)}:${two(time.getMinutes())}:${two(time.getSeconds())} ${half(time)}`,
  R: ({ time }) => `${two(time.getHours())}:${two(time.getMinutes())}`,
  T: ({ time }) => clock(time),
  X: ({ time }) => clock(time),
  z: ({ time }) => zone(time),
  E: ({ time }) => String(Math.floor(time.getTime() / 1000)),
  o: (record) => String(Math.round(record.elapsedMs)),
  i: (record) => String(Math.round(record.elapsedMs * 1e3)),
  u: (record) => String(Math.round(record.elapsedMs * 1e6)),
  O: (record) => String(Math.floor(record.elapsedMs / 1e3)),
  '%': () => '%',
  g: () => '',
  s: () => '',
  '#': () => '',
  '!': () => '',
  '@': () => '',
  // Colours are for terminals; Envoy's sink drops them too.
  '^': () => '',
  $: () => '',
};

function padded(piece: Piece, width: number, side: string, truncate: boolean): Piece {
  return (record) => {
    const text = piece(record);
    const missing = width - text.length;
    if (missing <= 0) return truncate ? text.slice(0, width) : text;
    if (side === '-') return text + ' '.repeat(missing);
    if (side === '=') {
      const left = Math.floor(missing / 2);
      return ' '.repeat(left) + text + ' '.repeat(missing - left);
    }
    return ' '.repeat(missing) + text;
  };
}

/**
 * Compiles a spdlog pattern (`--log-format`). Unknown flags are kept as they are, as spdlog does.
 * @param escaped `%v` writes C escapes (`--log-format-escaped`)
 */
export function compileLogPattern(pattern: string, escaped: boolean): (record: LogRecord) => string {
  const pieces: Piece[] = [];
  let last = 0;
  const literal = (to: number): void => {
    const text = pattern.slice(last, to);
    if (text !== '') pieces.push(() => text);
  };
  for (const found of pattern.matchAll(/%([-=]?)(\d{0,2})(!?)([\s\S])/g)) {
    const [whole, side, width, cut, letter] = found as unknown as [string, string, string, string, string];
    // `%!` is a flag of its own; as a truncation mark it needs a width before it.
    const flag = cut === '!' && width === '' ? '!' : letter;
    const piece = escaped && flag === 'v' ? FLAGS._ : FLAGS[flag];
    if (piece === undefined) continue;
    literal(found.index);
    pieces.push(width === '' ? piece : padded(piece, Math.min(Number(width), 64), side, cut === '!'));
    last = found.index + (flag === '!' && cut === '!' && width === '' ? whole.length - letter.length : whole.length);
  }
  literal(pattern.length);
  return (record) => {
    let text = '';
    for (const piece of pieces) text += piece(record);
    return text;
  };
}
