import type { ByteBuffer } from '../base/byte-buffer.ts';
import type { ResetReason } from '../http/codec.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { MetadataSink, StreamMetadata } from '../http/stream-metadata.ts';
import type { Connection } from '../net/connection.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { Route } from '../routing/route.ts';
import type { ActiveStream } from './active-stream.ts';
import { type HeldMessage, Hook, type WalkStop } from './filter-walk.ts';
import { type FilterStream, HttpFilter, type LocalReply, type ResponseWatermarks } from './http-filter.ts';
import type { DemandWaiter } from './on-demand.ts';
import type { StreamInfo } from './stream-info.ts';
import type { StreamTrace } from './trace/stream-trace.ts';

/** One filter in one stream: its place in both walks, and what the filter sees of the stream. */
export class FilterSlot implements WalkStop, FilterStream {
  readonly #owner: ActiveStream;
  readonly filter: HttpFilter;
  readonly name: string;
  readonly hooks: number;
  /** Index among the request walk's stops, and among the response walk's; -1: not part of it. */
  requestIndex = -1;
  responseIndex = -1;
  /** A resume asked for inside a hook, not carried out yet. */
  requestResumed = false;
  responseResumed = false;
  heldRequest: HeldMessage | null = null;
  heldResponse: HeldMessage | null = null;

  constructor(owner: ActiveStream, filter: HttpFilter, name: string, hooks: number) {
    this.#owner = owner;
    this.filter = filter;
    this.name = name;
    this.hooks = hooks;
    filter.stream = this;
  }

  get dispatcher(): Dispatcher {
    return this.#owner.dispatcher;
  }

  get info(): StreamInfo {
    return this.#owner.info;
  }

  get connection(): Connection {
    return this.#owner.connection;
  }

  get trace(): StreamTrace | null {
    return this.#owner.trace;
  }

  get route(): Route | null {
    return this.#owner.route();
  }

  clearRouteCache(): void {
    this.#owner.clearRouteCache();
  }

  get requestHeaders(): RequestHeaders | null {
    return this.#owner.requestHeaders;
  }

  get requestTrailers(): HeaderMap | null {
    return this.#owner.requestTrailers;
  }

  get responseHeaders(): ResponseHeaders | null {
    return this.#owner.responseHeaders;
  }

  get responseTrailers(): HeaderMap | null {
    return this.#owner.responseTrailers;
  }

  routeConfig(): unknown {
    const route = this.#owner.route();
    return route === null || route.filterConfigs.isEmpty ? undefined : route.filterConfigs.get(this.name);
  }

  routeConfigs(): readonly unknown[] {
    const route = this.#owner.route();
    return route === null ? [] : route.filterConfigs.all(this.name);
  }

  continueRequest(): void {
    this.#owner.continueRequest(this);
  }

  continueResponse(): void {
    this.#owner.continueResponse(this);
  }

  injectResponseData(data: ByteBuffer): void {
    this.#owner.injectResponseData(this, data);
  }

  get bufferedRequest(): ByteBuffer | null {
    return this.heldRequest === null ? null : this.heldRequest.data;
  }

  get bufferedResponse(): ByteBuffer | null {
    return this.heldResponse === null ? null : this.heldResponse.data;
  }

  get requestBufferLimit(): number {
    return this.#owner.requestBufferLimit;
  }

  set requestBufferLimit(bytes: number) {
    this.#owner.requestBufferLimit = bytes;
  }

  addRequestTrailers(): HeaderMap {
    return this.#owner.addRequestTrailers();
  }

  addResponseTrailers(): HeaderMap {
    return this.#owner.addResponseTrailers();
  }

  addDataBeforeResponseTrailers(data: ByteBuffer): void {
    this.#owner.addDataBeforeResponseTrailers(data);
  }

  sendLocalReply(reply: LocalReply): void {
    this.#owner.sendLocalReply(reply);
  }

  resetStream(reason: ResetReason, details: string): void {
    this.#owner.resetByFilter(reason, details);
  }

  encode1xxHeaders(headers: ResponseHeaders): void {
    this.#owner.on1xxHeaders(headers);
  }

  encodeHeaders(headers: ResponseHeaders, end: boolean): void {
    this.#owner.onResponseHeaders(headers, end);
  }

  encodeData(data: ByteBuffer, end: boolean): void {
    this.#owner.onResponseData(data, end);
  }

  encodeTrailers(trailers: HeaderMap): void {
    this.#owner.onResponseTrailers(trailers);
  }

  encodeMetadata(metadata: StreamMetadata): void {
    this.#owner.encodeMetadata(metadata);
  }

  setMetadataSink(sink: MetadataSink | null): void {
    this.#owner.setMetadataSink(sink);
  }

  demandRoutes(waiter: DemandWaiter): boolean {
    return this.#owner.demandRoutes(waiter);
  }

  recreateStream(response: ResponseHeaders, body: ByteBuffer | null): boolean {
    return this.#owner.recreate(response, body);
  }

  pauseRequest(): void {
    this.#owner.pauseRequest();
  }

  resumeRequest(): void {
    this.#owner.resumeRequest();
  }

  setResponseWatermarks(observer: ResponseWatermarks | null): void {
    this.#owner.setResponseWatermarks(observer);
  }
}

const BASE = HttpFilter.prototype;

/** Which hooks the filter's class overrides: the others are never called. */
export function hooksOf(filter: HttpFilter): number {
  let hooks = 0;
  if (filter.onRequestHeaders !== BASE.onRequestHeaders) hooks |= Hook.RequestHeaders;
  if (filter.onRequestData !== BASE.onRequestData) hooks |= Hook.RequestData;
  if (filter.onRequestTrailers !== BASE.onRequestTrailers) hooks |= Hook.RequestTrailers;
  if (filter.onResponse1xxHeaders !== BASE.onResponse1xxHeaders) hooks |= Hook.Response1xx;
  if (filter.onResponseHeaders !== BASE.onResponseHeaders) hooks |= Hook.ResponseHeaders;
  if (filter.onResponseData !== BASE.onResponseData) hooks |= Hook.ResponseData;
  if (filter.onResponseTrailers !== BASE.onResponseTrailers) hooks |= Hook.ResponseTrailers;
  return hooks;
}
