/**
 * Scalars of the proto3 JSON mapping, as the C++ reader inside Envoy takes them. Every function returns undefined for
 * what is not such a value.
 */
import type { TreeScalar } from './tree.ts';

const TRUE = new Set(['true', 't', 'yes', 'y', '1']);
const FALSE = new Set(['false', 'f', 'no', 'n', '0']);

/** Protobuf's limit for a Duration: ten thousand years, in seconds. */
const MAX_DURATION_SECONDS = 315_576_000_000n;

export interface SecondsNanos {
  readonly seconds: bigint;
  readonly nanos: number;
}

export function readBool(node: TreeScalar): boolean | undefined {
  switch (node.form) {
    case 'bool':
      return node.text === 'true';
    case 'string':
    case 'identifier': {
      const word = node.text.toLowerCase();
      if (TRUE.has(word)) return true;
      return FALSE.has(word) ? false : undefined;
    }
    default:
      return undefined;
  }
}

/** Also from text; `1e3` and `5.0` are integers too. */
export function readInteger(node: TreeScalar, min: bigint, max: bigint): bigint | undefined {
  if (node.form !== 'number' && node.form !== 'string') return undefined;
  const text = node.text;
  let value: bigint;
  if (/^[+-]?[0-9]+$/.test(text)) value = BigInt(text.startsWith('+') ? text.slice(1) : text);
  else {
    if (/^\s|\s$/.test(text)) return undefined;
    const float = parseDouble(text);
    if (float === undefined || !Number.isInteger(float)) return undefined;
    value = BigInt(float);
  }
  return value < min || value > max ? undefined : value;
}

export function readDouble(node: TreeScalar): number | undefined {
  if (node.form !== 'number' && node.form !== 'string' && node.form !== 'identifier') return undefined;
  return parseDouble(node.text.trim());
}

function parseDouble(text: string): number | undefined {
  const match = /^([+-]?)(.+)$/s.exec(text);
  if (match === null) return undefined;
  const digits = match[2] ?? '';
  let value: number;
  if (/^(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$/.test(digits)) value = Number(digits);
  else if (/^0[xX][0-9a-fA-F]+$/.test(digits)) value = Number(digits);
  else if (/^inf(?:inity)?$/i.test(digits)) value = Number.POSITIVE_INFINITY;
  else if (/^nan$/i.test(digits)) value = Number.NaN;
  else return undefined;
  return match[1] === '-' ? -value : value;
}

/** Standard or URL-safe base64, with or without padding. */
export function readBase64(text: string): Uint8Array | undefined {
  const match = /^([A-Za-z0-9+/_-]*)(={0,2})$/.exec(text);
  if (match === null) return undefined;
  const digits = match[1] ?? '';
  const padding = match[2] ?? '';
  if (digits.length % 4 === 1 || (padding !== '' && (digits.length + padding.length) % 4 !== 0)) return undefined;
  return new Uint8Array(Buffer.from(digits.replace(/-/g, '+').replace(/_/g, '/'), 'base64'));
}

/** Such as `1.5s`; at most nine decimals; within ten thousand years either way. */
export function readDuration(text: string): SecondsNanos | undefined {
  const match = /^(-?)([0-9]+)(?:\.([0-9]{1,9}))?s$/.exec(text);
  if (match === null || (match[2]?.length ?? 0) > 20) return undefined;
  const seconds = BigInt(match[2] ?? '0');
  const nanos = Number((match[3] ?? '').padEnd(9, '0'));
  if (seconds > MAX_DURATION_SECONDS) return undefined;
  return match[1] === '-' ? { seconds: -seconds, nanos: nanos === 0 ? 0 : -nanos } : { seconds, nanos };
}

/** RFC 3339, upper-case T and Z, from year 1 to 9999. */
export function readTimestamp(text: string): SecondsNanos | undefined {
  const match =
    /^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})$/.exec(
      text,
    );
  if (match === null || match[1] === '0000') return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59) return undefined;
  // Like Envoy's reader, this takes 30 February for 2 March. Date.UTC takes years below 100 for 19xx.
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  const local = date.getTime();
  const zone = match[8] ?? 'Z';
  let offset = 0;
  if (zone !== 'Z') {
    const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4, 6));
    offset = zone.startsWith('-') ? -minutes : minutes;
  }
  const seconds = BigInt(local / 1000 - offset * 60);
  if (seconds < -62_135_596_800n || seconds > 253_402_300_799n) return undefined;
  return { seconds, nanos: Number((match[7] ?? '').padEnd(9, '0')) };
}

/** `a.bC,d` to `['a.b_c', 'd']`. */
export function readFieldMask(text: string): string[] | undefined {
  if (text === '') return [];
  if (text.includes('_')) return undefined;
  return text.split(',').map((path) => path.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}
