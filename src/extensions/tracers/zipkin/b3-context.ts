import type { RequestHeaders } from '../../../http/header-map.ts';
import { formatTraceparent, parseTraceparent, replaceHeader } from '../../../pipeline/trace/w3c-context.ts';

/** Which span a request belongs to. Ids are 16 hexadecimal digits, lower case. */
export interface B3Context {
  /** Upper half of a trace id of 128 bits; empty: it has 64. */
  readonly traceIdHigh: string;
  readonly traceIdLow: string;
  readonly spanId: string;
  /** Empty: none. */
  readonly parentId: string;
  readonly sampled: boolean;
}

/** Headers that are there and cannot be read: such a request is not traced. */
export const UNREADABLE = 'unreadable';

const ZERO_ID = '0000000000000000';

/** `b3` in one header: ids, whether it is sampled, the parent. */
const SINGLE = /^([^-]{16}|[^-]{32})-(.{16})(?:-([01d])(?:-(.{16}))?)?$/s;

/**
 * What the caller has decided; null: nothing. Source: Envoy, SpanContextExtractor::extractSampled.
 * @param w3c `traceparent` counts where there is no B3
 */
export function sampledIn(headers: RequestHeaders, w3c: boolean): boolean | null {
  const single = headers.get('b3');
  if (single !== null) {
    const flag = single[FLAG_AT[single.length] ?? -1];
    if (flag === '1' || flag === 'd') return true;
    return flag === '0' ? false : null;
  }
  const sampled = headers.get('x-b3-sampled');
  if (sampled !== null) return sampled === '1' || sampled === 'true';
  if (!w3c) return null;
  const parent = headers.get('traceparent');
  return parent === null ? null : (parseTraceparent(parent)?.sampled ?? null);
}

/** Where the flag stands in `b3`, by the header's length. */
const FLAG_AT: Readonly<Record<number, number>> = { 1: 0, 35: 34, 51: 50, 52: 34, 68: 50 };

/**
 * The caller's span; null: there is none. Source: Envoy, SpanContextExtractor::extractSpanContext.
 * @param sampled what holds for it
 */
export function contextIn(
  headers: RequestHeaders,
  sampled: boolean,
  w3c: boolean,
): B3Context | null | typeof UNREADABLE {
  const single = headers.get('b3');
  if (single !== null) return singleContext(single, sampled);
  const traceId = headers.get('x-b3-traceid');
  const spanId = headers.get('x-b3-spanid');
  if (traceId !== null && spanId !== null) {
    const parent = headers.get('x-b3-parentspanid') ?? '';
    if (traceId.length === 32) {
      return contextOf(traceId.slice(0, 16), traceId.slice(16), spanId, parent, sampled);
    }
    return contextOf('', traceId, spanId, parent, sampled);
  }
  if (!w3c) return null;
  const traceparent = headers.get('traceparent');
  const found = traceparent === null ? null : parseTraceparent(traceparent);
  if (found === null) return null;
  return contextOf(found.traceId.slice(0, 16), found.traceId.slice(16), found.parentId, '', sampled);
}

function singleContext(text: string, sampled: boolean): B3Context | null | typeof UNREADABLE {
  if (text.length === 1) return /^[01d]$/.test(text) ? null : UNREADABLE;
  const found = SINGLE.exec(text);
  if (found === null) return UNREADABLE;
  const [, traceId, spanId, , parentId] = found;
  const high = traceId!.length === 32 ? traceId!.slice(0, 16) : '';
  return contextOf(high, traceId!.slice(-16), spanId!, parentId ?? '', sampled);
}

/** @param parent empty: none */
function contextOf(
  high: string,
  low: string,
  spanId: string,
  parent: string,
  sampled: boolean,
): B3Context | typeof UNREADABLE {
  const traceIdHigh = high === '' ? ZERO_ID : parseId(high);
  const traceIdLow = parseId(low);
  const span = parseId(spanId);
  const parentId = parent === '' ? ZERO_ID : parseId(parent);
  if (traceIdHigh === null || traceIdLow === null || span === null || parentId === null) return UNREADABLE;
  return {
    traceIdHigh: traceIdHigh === ZERO_ID ? '' : traceIdHigh,
    traceIdLow,
    spanId: span,
    parentId: parentId === ZERO_ID ? '' : parentId,
    sampled,
  };
}

/** A number of 64 bits, as strtoull reads it. @returns 16 digits; null: it is none */
function parseId(text: string): string | null {
  const found = /^\s*(?:0[xX])?0*([0-9a-fA-F]{0,16})$/.exec(text);
  if (found === null || !/[0-9a-fA-F]$/.test(text)) return null;
  return found[1]!.toLowerCase().padStart(16, '0');
}

/** Tells the next hop: in one header where the request came with one, else in several; and by W3C where that is asked for. */
export function injectContext(headers: RequestHeaders, context: B3Context, w3c: boolean): void {
  const { traceIdHigh, traceIdLow, spanId, parentId } = context;
  const traceId = traceIdHigh + traceIdLow;
  const flag = context.sampled ? '1' : '0';
  if (headers.has('b3')) {
    replaceHeader(headers, 'b3', `${traceId}-${spanId}-${flag}${parentId === '' ? '' : `-${parentId}`}`);
  } else {
    replaceHeader(headers, 'x-b3-traceid', traceId);
    replaceHeader(headers, 'x-b3-spanid', spanId);
    if (parentId !== '') replaceHeader(headers, 'x-b3-parentspanid', parentId);
    replaceHeader(headers, 'x-b3-sampled', flag);
  }
  if (w3c) {
    const full = (traceIdHigh === '' ? ZERO_ID : traceIdHigh) + traceIdLow;
    replaceHeader(headers, 'traceparent', formatTraceparent(full, spanId, context.sampled));
  }
}
