import { wireText } from '../../routing/wire-text.ts';
import type { LogContext } from '../access-logger.ts';
import { Segment } from './segment.ts';

/** A moment in wall-clock milliseconds with fraction; null: not known. */
export type TimeReader = (context: LogContext) => number | null;

/** ISO 8601 with milliseconds, what `%START_TIME%` gives; the text up to the second is kept from one call to the next. */
export class IsoTimeSegment extends Segment {
  readonly #read: TimeReader;
  readonly #local: boolean;
  #second = Number.NaN;
  #prefix = '';
  #suffix = 'Z';

  constructor(read: TimeReader, local: boolean) {
    super(null);
    this.#read = read;
    this.#local = local;
  }

  text(context: LogContext): string | null {
    const time = this.#read(context);
    if (time === null) return null;
    const second = Math.floor(time / 1000);
    if (second !== this.#second) this.#renew(second);
    const ms = Math.floor(time) - second * 1000;
    return this.#prefix + (ms < 10 ? '00' : ms < 100 ? '0' : '') + ms + this.#suffix;
  }

  #renew(second: number): void {
    this.#second = second;
    if (!this.#local) {
      this.#prefix = new Date(second * 1000).toISOString().slice(0, 20);
      return;
    }
    const offset = -new Date(second * 1000).getTimezoneOffset();
    this.#prefix = new Date(second * 1000 + offset * 60_000).toISOString().slice(0, 20);
    this.#suffix = offsetText(offset, '');
  }
}

/** A moment by a pattern of the user's; see {@link compileTimePattern}. */
export class PatternTimeSegment extends Segment {
  readonly #read: TimeReader;
  readonly #parts: readonly TimePart[];
  readonly #local: boolean;
  #second = Number.NaN;
  #cached: string[] = [];

  constructor(read: TimeReader, pattern: string, local: boolean) {
    super(null);
    this.#read = read;
    this.#parts = compileTimePattern(pattern);
    this.#local = local;
  }

  text(context: LogContext): string | null {
    const time = this.#read(context);
    if (time === null) return null;
    const second = Math.floor(time / 1000);
    if (second !== this.#second) {
      this.#second = second;
      const moment = new Moment(second, this.#local);
      this.#cached = this.#parts.map((part) => (part.kind === 'moment' ? part.render(moment) : ''));
    }
    // The clock's digits end at the microsecond.
    const nanos = Math.floor((time - second * 1000) * 1000) * 1000;
    let out = '';
    for (let i = 0; i < this.#parts.length; i++) {
      const part = this.#parts[i]!;
      out += part.kind === 'moment' ? this.#cached[i]! : part.render(nanos);
    }
    return out;
  }
}

type TimePart =
  | { readonly kind: 'moment'; readonly render: (moment: Moment) => string }
  | { readonly kind: 'fraction'; readonly render: (nanos: number) => string };

/** A broken-down second in UTC or in the machine's zone. */
class Moment {
  readonly epochSecond: number;
  /** Minutes east of Greenwich. */
  readonly offset: number;
  readonly local: boolean;
  /** Shifted so that its UTC fields are the wanted ones. */
  readonly date: Date;

  constructor(epochSecond: number, local: boolean) {
    this.epochSecond = epochSecond;
    this.local = local;
    this.offset = local ? -new Date(epochSecond * 1000).getTimezoneOffset() : 0;
    this.date = new Date(epochSecond * 1000 + this.offset * 60_000);
  }

  get year(): number {
    return this.date.getUTCFullYear();
  }

  /** 0 = Sunday. */
  get weekday(): number {
    return this.date.getUTCDay();
  }

  get dayOfYear(): number {
    return Math.floor((this.date.getTime() - Date.UTC(this.year, 0, 1)) / 86_400_000);
  }

  get hour12(): number {
    return ((this.date.getUTCHours() + 11) % 12) + 1;
  }

  /** ISO 8601 week and the year it belongs to. */
  get isoWeek(): { year: number; week: number } {
    const thursday = new Date(this.date.getTime() - (((this.weekday + 6) % 7) - 3) * 86_400_000);
    const year = thursday.getUTCFullYear();
    return { year, week: 1 + Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / (7 * 86_400_000)) };
  }

  get zone(): string {
    if (!this.local || this.offset === 0) return 'UTC';
    const parts = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' }).formatToParts(this.epochSecond * 1000);
    return parts.find((part) => part.type === 'timeZoneName')?.value ?? '';
  }
}

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'] as const;
const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
] as const;

/** A conversion's text, its usual width and its usual padding. */
interface Conversion {
  readonly width: number;
  readonly pad: string;
  readonly render: (moment: Moment) => string;
}

function number(width: number, read: (moment: Moment) => number, pad = '0'): Conversion {
  return { width, pad, render: (moment) => String(read(moment)) };
}

function words(render: (moment: Moment) => string): Conversion {
  return { width: 0, pad: ' ', render };
}

function compound(pattern: string): Conversion {
  return words((moment) => renderMoment(pattern, moment));
}

/** The conversions of strftime in the C locale. */
const CONVERSIONS: Readonly<Record<string, Conversion>> = {
  a: words((m) => DAYS[m.weekday]!.slice(0, 3)),
  A: words((m) => DAYS[m.weekday]!),
  b: words((m) => MONTHS[m.date.getUTCMonth()]!.slice(0, 3)),
  h: words((m) => MONTHS[m.date.getUTCMonth()]!.slice(0, 3)),
  B: words((m) => MONTHS[m.date.getUTCMonth()]!),
  c: compound('%a %b %e %H:%M:%S %Y'),
  C: number(2, (m) => Math.floor(m.year / 100)),
  d: number(2, (m) => m.date.getUTCDate()),
  D: compound('%m/%d/%y'),
  e: number(2, (m) => m.date.getUTCDate(), ' '),
  F: compound('%Y-%m-%d'),
  g: number(2, (m) => m.isoWeek.year % 100),
  G: number(1, (m) => m.isoWeek.year),
  H: number(2, (m) => m.date.getUTCHours()),
  I: number(2, (m) => m.hour12),
  j: number(3, (m) => m.dayOfYear + 1),
  k: number(2, (m) => m.date.getUTCHours(), ' '),
  l: number(2, (m) => m.hour12, ' '),
  m: number(2, (m) => m.date.getUTCMonth() + 1),
  M: number(2, (m) => m.date.getUTCMinutes()),
  p: words((m) => (m.date.getUTCHours() < 12 ? 'AM' : 'PM')),
  P: words((m) => (m.date.getUTCHours() < 12 ? 'am' : 'pm')),
  r: compound('%I:%M:%S %p'),
  R: compound('%H:%M'),
  s: number(1, (m) => m.epochSecond),
  S: number(2, (m) => m.date.getUTCSeconds()),
  t: words(() => '\t'),
  T: compound('%H:%M:%S'),
  u: number(1, (m) => ((m.weekday + 6) % 7) + 1),
  U: number(2, (m) => Math.floor((m.dayOfYear + 7 - m.weekday) / 7)),
  V: number(2, (m) => m.isoWeek.week),
  w: number(1, (m) => m.weekday),
  W: number(2, (m) => Math.floor((m.dayOfYear + 7 - ((m.weekday + 6) % 7)) / 7)),
  x: compound('%m/%d/%y'),
  X: compound('%H:%M:%S'),
  y: number(2, (m) => m.year % 100),
  Y: number(1, (m) => m.year),
  z: words((m) => offsetText(m.offset, '')),
  Z: words((m) => m.zone),
  '%': words(() => '%'),
};

function renderMoment(pattern: string, moment: Moment): string {
  let out = '';
  for (const part of compileTimePattern(pattern)) out += part.kind === 'moment' ? part.render(moment) : part.render(0);
  return out;
}

/**
 * Compiles strftime's conversions (C locale, GNU's flags and widths), cctz's `%E#S %E*S %E#f %E*f %Ez %E*z %:z %::z %:::z
 * %E4Y %ET`, and Envoy's own `%s` (seconds; a digit before it changes nothing) and `%f`, `%1f`...`%9f` (that many digits of
 * the second's fraction). What is none of them stands for itself.
 */
function compileTimePattern(pattern: string): readonly TimePart[] {
  const parts: TimePart[] = [];
  let literal = '';
  const push = (part: TimePart): void => {
    if (literal !== '') {
      const text = wireText(literal);
      parts.push({ kind: 'moment', render: () => text });
      literal = '';
    }
    parts.push(part);
  };
  const token =
    /%(?:([1-9])?([fs])|E(?:(\d{1,4}|\*)([Sf])|(\*?)(z)|(4)(Y)|(T))|(:{1,3})z|([-_0^#]*)(\d{0,4})[EO]?([A-Za-z%]))/y;
  for (let i = 0; i < pattern.length; ) {
    token.lastIndex = i;
    const match = pattern[i] === '%' ? token.exec(pattern) : null;
    const found = match === null ? null : partsOf(match);
    if (match === null || found === null) {
      literal += match === null ? pattern[i]! : match[0];
      i += match === null ? 1 : match[0].length;
      continue;
    }
    for (const part of found) push(part);
    i += match[0].length;
  }
  if (literal !== '') {
    const text = wireText(literal);
    parts.push({ kind: 'moment', render: () => text });
  }
  return parts;
}

function partsOf(match: RegExpExecArray): readonly TimePart[] | null {
  const [, digits, own, count, fraction, star, offset, four, , separator, colons, flags, width, letter] = match;
  if (own === 's') return [ofMoment((moment) => String(moment.epochSecond))];
  if (own === 'f') return [fractionPart('', digits === undefined ? 9 : Number(digits))];
  if (fraction === 'f') return [count === '*' ? trimmedFraction('') : fractionPart('', Math.max(1, Number(count)))];
  if (fraction === 'S') {
    const second = ofMoment((moment) => padded(CONVERSIONS.S!, '', '', moment));
    if (count === '*') return [second, trimmedFraction('.')];
    return Number(count) === 0 ? [second] : [second, fractionPart('.', Number(count))];
  }
  if (offset === 'z') return [ofMoment((moment) => offsetText(moment.offset, star === '*' ? '*' : ':'))];
  if (four === '4') return [ofMoment((moment) => String(moment.year).padStart(4, '0'))];
  if (separator === 'T') return [ofMoment(() => 'T')];
  if (colons !== undefined) {
    const style = colons.length === 1 ? ':' : colons.length === 2 ? '*' : '-';
    return [ofMoment((moment) => offsetText(moment.offset, style))];
  }
  const conversion = letter === undefined ? undefined : CONVERSIONS[letter];
  if (conversion === undefined) return null;
  return [ofMoment((moment) => padded(conversion, flags ?? '', width ?? '', moment))];
}

function ofMoment(render: (moment: Moment) => string): TimePart {
  return { kind: 'moment', render };
}

function padded(conversion: Conversion, flags: string, width: string, moment: Moment): string {
  let text = conversion.render(moment);
  let pad = conversion.pad;
  let length = conversion.width;
  let upper = false;
  for (const flag of flags) {
    if (flag === '-') length = 0;
    else if (flag === '_') pad = ' ';
    else if (flag === '0') pad = '0';
    else if (flag === '^') upper = true;
    else text = text === text.toUpperCase() && conversion.width === 0 ? text.toLowerCase() : text.toUpperCase();
  }
  if (upper) text = text.toUpperCase();
  if (width !== '') length = Number(width);
  return text.padStart(length, pad);
}

function fractionPart(prefix: string, places: number): TimePart {
  return {
    kind: 'fraction',
    render: (nanos) => {
      const digits = String(nanos).padStart(9, '0');
      return prefix + (places <= 9 ? digits.slice(0, places) : digits.padEnd(places, '0'));
    },
  };
}

/** As many digits as there are; with no prefix at least one. */
function trimmedFraction(prefix: string): TimePart {
  return {
    kind: 'fraction',
    render: (nanos) => {
      const digits = String(nanos).padStart(9, '0');
      let end = digits.length;
      while (end > 0 && digits.charCodeAt(end - 1) === 48) end--;
      if (end === 0) return prefix === '' ? '0' : '';
      return prefix + digits.slice(0, end);
    },
  };
}

/** Hours and minutes: '' `+hhmm`, ':' `+hh:mm`, '*' `+hh:mm:ss`, '-' as short as it goes. */
function offsetText(minutes: number, style: '' | ':' | '*' | '-'): string {
  const size = Math.abs(minutes);
  const hours = String(Math.floor(size / 60)).padStart(2, '0');
  const rest = String(size % 60).padStart(2, '0');
  const sign = minutes < 0 ? '-' : '+';
  if (style === '-') return rest === '00' ? sign + hours : `${sign}${hours}:${rest}`;
  return sign + hours + (style === '' ? '' : ':') + rest + (style === '*' ? ':00' : '');
}
