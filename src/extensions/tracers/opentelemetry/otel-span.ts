import type { RequestHeaders } from '../../../http/header-map.ts';
import type { Span, SpanSettings } from '../../../pipeline/trace/span.ts';
import { formatTraceparent, replaceHeader } from '../../../pipeline/trace/w3c-context.ts';
import type { TagType } from '../../../routing/span-tag.ts';
import type { OtelTracer } from './otel-tracer.ts';
import { type AttributeValue, typedValue } from './typed-value.ts';

/** opentelemetry.proto.trace.v1.Span.SpanKind */
export const SpanKind = { Server: 2, Client: 3 } as const;
export type SpanKind = (typeof SpanKind)[keyof typeof SpanKind];

/** Whose child a span is. */
export interface ParentContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits. */
  readonly spanId: string;
  readonly sampled: boolean;
  readonly traceState: string;
  /** It is another process's. */
  readonly isRemote: boolean;
}

/** Of servers; of clients, all but 0. Source: OpenTelemetry's conventions for RPC spans, "Status". */
const SERVER_ERRORS: ReadonlySet<string> = new Set(['2', '4', '12', '13', '14', '15']);

function isGrpcError(status: string, kind: SpanKind): boolean {
  if (kind === SpanKind.Server) return SERVER_ERRORS.has(status);
  return status !== '0' && /^\d+$/.test(status);
}

/** Source: opentelemetry.proto.trace.v1.Span. What a client did wrong is no error of a server. */
export class OtelSpan implements Span {
  readonly #tracer: OtelTracer;
  readonly kind: SpanKind;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: none. */
  readonly parentId: string;
  readonly hasRemoteParent: boolean;
  readonly traceState: string;
  name: string;
  sampled: boolean;
  readonly usesLocalDecision: boolean;
  /** Milliseconds since the epoch. */
  readonly startWallMs: number;
  endWallMs = 0;
  isError = false;
  /** Each name once, in the order in which they came. */
  attributeNames: string[] | null = null;
  attributeValues: AttributeValue[] | null = null;
  /** Milliseconds since the epoch, with what happened then at the same place of the other list. */
  eventTimes: number[] | null = null;
  events: string[] | null = null;

  /** @param parent null: it begins a trace */
  constructor(
    tracer: OtelTracer,
    kind: SpanKind,
    traceId: string,
    spanId: string,
    parent: ParentContext | null,
    name: string,
    sampled: boolean,
    usesLocalDecision: boolean,
    startWallMs: number,
  ) {
    this.#tracer = tracer;
    this.kind = kind;
    this.traceId = traceId;
    this.spanId = spanId;
    this.parentId = parent === null ? '' : parent.spanId;
    this.hasRemoteParent = parent?.isRemote ?? false;
    this.traceState = parent === null ? '' : parent.traceState;
    this.name = name;
    this.sampled = sampled;
    this.usesLocalDecision = usesLocalDecision;
    this.startWallMs = startWallMs;
  }

  setSampled(sampled: boolean): void {
    this.sampled = sampled;
  }

  setOperation(name: string): void {
    this.name = name;
  }

  setTag(name: string, value: string): void {
    this.#set(name, value);
  }

  setTypedTag(name: string, value: string, type: TagType): void {
    this.#set(name, typedValue(value, type));
  }

  #set(name: string, value: AttributeValue): void {
    if (!this.sampled || name === '') return;
    if (name === 'http.status_code') this.isError ||= Number(value) >= (this.kind === SpanKind.Client ? 400 : 500);
    else if (name === 'grpc.status_code') this.isError ||= isGrpcError(String(value), this.kind);
    this.attributeNames ??= [];
    this.attributeValues ??= [];
    const at = this.attributeNames.indexOf(name);
    if (at >= 0) {
      this.attributeValues[at] = value;
      return;
    }
    this.attributeNames.push(name);
    this.attributeValues.push(value);
  }

  log(wallMs: number, event: string): void {
    if (!this.sampled) return;
    this.eventTimes ??= [];
    this.events ??= [];
    this.eventTimes.push(wallMs);
    this.events.push(event);
  }

  inject(headers: RequestHeaders): void {
    replaceHeader(headers, 'traceparent', formatTraceparent(this.traceId, this.spanId, this.sampled));
    replaceHeader(headers, 'tracestate', this.traceState);
  }

  spawnChild(_settings: SpanSettings, operation: string, startWallMs: number): Span {
    return this.#tracer.childOf(this, operation, startWallMs);
  }

  finish(): void {
    if (!this.sampled) return;
    this.endWallMs = this.#tracer.wallMs;
    this.#tracer.report(this);
  }
}
