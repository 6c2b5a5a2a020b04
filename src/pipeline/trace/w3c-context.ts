import type { RequestHeaders } from '../../http/header-map.ts';

/** Who called, as `traceparent` says it. Source: W3C Trace Context. */
export interface W3cContext {
  /** 32 hexadecimal digits, lower case. */
  readonly traceId: string;
  /** 16 hexadecimal digits, lower case. */
  readonly parentId: string;
  readonly sampled: boolean;
}

const TRACEPARENT = /^[0-9a-fA-F]{2}-([0-9a-fA-F]{32})-([0-9a-fA-F]{16})-([0-9a-fA-F]{2})$/;
const ZEROS = /^0+$/;

/** @returns null: it cannot be read. As in Envoy, any version of the same length will do */
export function parseTraceparent(text: string): W3cContext | null {
  const found = TRACEPARENT.exec(text);
  if (found === null) return null;
  const [, traceId, parentId, flags] = found;
  if (ZEROS.test(traceId!) || ZEROS.test(parentId!)) return null;
  return {
    traceId: traceId!.toLowerCase(),
    parentId: parentId!.toLowerCase(),
    sampled: (Number.parseInt(flags!, 16) & 1) === 1,
  };
}

/** @param traceId 32 hexadecimal digits @param spanId 16 */
export function formatTraceparent(traceId: string, spanId: string, sampled: boolean): string {
  return `00-${traceId}-${spanId}-0${sampled ? 1 : 0}`;
}

/** Sets a header behind the others, as Envoy does with those of traces. */
export function replaceHeader(headers: RequestHeaders, name: string, value: string): void {
  headers.remove(name);
  headers.add(name, value);
}
