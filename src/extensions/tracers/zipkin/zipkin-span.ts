import type { RequestHeaders } from '../../../http/header-map.ts';
import type { Span, SpanSettings } from '../../../pipeline/trace/span.ts';
import type { TagType } from '../../../routing/span-tag.ts';

import type { ZipkinTracer } from './zipkin-tracer.ts';

const NOTHING: readonly never[] = [];

/** One span, as Zipkin has them: a side of a call. */
export class ZipkinSpan implements Span {
  readonly #tracer: ZipkinTracer;
  readonly traceIdHigh: string;
  readonly traceIdLow: string;
  /** The span's own id. */
  readonly id: string;
  readonly parentId: string;
  /** The receiving side; else the calling one. */
  readonly isServer: boolean;
  name: string;
  sampled: boolean;
  readonly usesLocalDecision: boolean;
  /** Milliseconds since the epoch. */
  readonly startWallMs: number;
  readonly #startMs: number;
  durationMs = 0;
  endWallMs = 0;
  /** `[name, value, ...]`; a name that comes again replaces what was before. */
  tags: string[] | null = null;
  /** Times, in milliseconds since the epoch, with what happened then at the same place of the other list. */
  eventTimes: number[] | null = null;
  events: string[] | null = null;

  constructor(
    tracer: ZipkinTracer,
    ids: { traceIdHigh: string; traceIdLow: string; id: string; parentId: string },
    isServer: boolean,
    name: string,
    sampled: boolean,
    usesLocalDecision: boolean,
    startWallMs: number,
  ) {
    this.#tracer = tracer;
    this.traceIdHigh = ids.traceIdHigh;
    this.traceIdLow = ids.traceIdLow;
    this.id = ids.id;
    this.parentId = ids.parentId;
    this.isServer = isServer;
    this.name = name;
    this.sampled = sampled;
    this.usesLocalDecision = usesLocalDecision;
    this.startWallMs = startWallMs;
    this.#startMs = tracer.nowMs;
  }

  get traceId(): string {
    return this.traceIdHigh + this.traceIdLow;
  }

  /** Envoy's tracer does not tell it to logs. */
  get spanId(): string {
    return '';
  }

  setSampled(sampled: boolean): void {
    this.sampled = sampled;
  }

  setOperation(name: string): void {
    this.name = name;
  }

  setTag(name: string, value: string): void {
    if (!this.sampled || name === '' || value === '') return;
    this.tags ??= [];
    this.tags.push(name, value);
  }

  /** All tags are text. */
  setTypedTag(name: string, value: string, _type: TagType): void {
    this.setTag(name, value);
  }

  log(wallMs: number, event: string): void {
    if (!this.sampled) return;
    this.eventTimes ??= [];
    this.events ??= [];
    this.eventTimes.push(wallMs);
    this.events.push(event);
  }

  inject(headers: RequestHeaders): void {
    this.#tracer.inject(headers, this);
  }

  spawnChild(settings: SpanSettings, operation: string, startWallMs: number): Span {
    return this.#tracer.childOf(this, settings, operation, startWallMs);
  }

  finish(): void {
    if (!this.sampled) return;
    this.durationMs = this.#tracer.nowMs - this.#startMs;
    this.endWallMs = this.#tracer.wallMs;
    this.log(this.endWallMs, this.isServer ? 'ss' : 'cr');
    this.#tracer.report(this);
  }

  /** Each name once, with its last value. */
  tagMap(): ReadonlyMap<string, string> {
    const tags = this.tags ?? NOTHING;
    const map = new Map<string, string>();
    for (let i = 0; i < tags.length; i += 2) map.set(tags[i]!, tags[i + 1]!);
    return map;
  }
}
