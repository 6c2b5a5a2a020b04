import { LOWER } from './known-names.ts';

/** No Content-Length. */
export const NO_LENGTH = -1;
/** A Content-Length that is no number, or too great a one. */
export const BAD_LENGTH = -2;
/** 2^64 - 1: what Envoy's counter holds. */
const MAX_LENGTH = '18446744073709551615';

const CR = 13;
const LF = 10;

/** Value of a hexadecimal digit; -1 for other bytes. */
export function hexDigit(c: number): number {
  if (c >= 48 && c <= 57) return c - 48;
  const lower = c | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** Two values of a header of which there is one entry. */
export function joined(first: string, second: string): string {
  return first === '' ? second : `${first},${second}`;
}

/** Digits only. @returns -2 when it is anything else, or 2^64 and more */
export function parseLength(text: string): number {
  const size = text.length;
  if (size === 0) return BAD_LENGTH;
  let value = 0;
  for (let i = 0; i < size; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return BAD_LENGTH;
    value = value * 10 + digit;
  }
  if (size >= 20 && exceedsMaxLength(text)) return BAD_LENGTH;
  return value;
}

/** ASCII only; `lower` is lower case. */
export function equalsIgnoreCase(text: string, lower: string): boolean {
  if (text.length !== lower.length) return false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if ((c < 256 ? LOWER[c] : c) !== lower.charCodeAt(i)) return false;
  }
  return true;
}

/** The name in `bytes[start..end)`, whose text stands in `text` (which begins at `base`), in lower case. */
export function lowerName(text: string, bytes: Buffer, start: number, end: number, base: number): string {
  const name = text.substring(start - base, end - base);
  for (let i = start; i < end; i++) {
    const c = bytes[i]!;
    if (c >= 65 && c <= 90) return name.toLowerCase();
  }
  return name;
}

/** Whitespace around is cut (as well as other controls, which are refused elsewhere). */
export function trimmed(text: string, start: number, end: number): string {
  while (start < end && text.charCodeAt(start) <= 32) start++;
  while (end > start && text.charCodeAt(end - 1) <= 32) end--;
  return text.substring(start, end);
}

/** Whitespace around is cut, line ends inside are removed (obs-fold: Envoy keeps the other whitespace). */
export function cleanValue(text: string, start: number, end: number): string {
  const value = trimmed(text, start, end);
  if (!value.includes('\r') && !value.includes('\n')) return value;
  let out = '';
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c !== CR && c !== LF) out += value[i]!;
  }
  return out;
}

function exceedsMaxLength(digits: string): boolean {
  let start = 0;
  while (start < digits.length && digits.charCodeAt(start) === 48) start++;
  const significant = digits.length - start;
  return significant > 20 || (significant === 20 && digits.substring(start) > MAX_LENGTH);
}
