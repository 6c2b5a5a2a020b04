import type { ByteBuffer } from '../base/byte-buffer.ts';
import { Protocol } from '../http/codec.ts';
import type { ResponseHeaders } from '../http/header-map.ts';
import type { ActiveStream } from './active-stream.ts';
import type { FilterSlot } from './filter-slot.ts';
import { FilterWalk, type HeldMessage, Hook } from './filter-walk.ts';
import type { Flow } from './http-filter.ts';

const RESPONSE_HOOKS = Hook.Response1xx | Hook.ResponseHeaders | Hook.ResponseData | Hook.ResponseTrailers;
const REQUEST_HOOKS = Hook.RequestHeaders | Hook.RequestData | Hook.RequestTrailers;

/** The request's way: the last stop is the terminal filter, which takes everything. */
export class RequestWalk extends FilterWalk {
  readonly #stream: ActiveStream;
  protected override get headersHook(): number {
    return Hook.RequestHeaders;
  }

  protected override get dataHook(): number {
    return Hook.RequestData;
  }

  protected override get trailersHook(): number {
    return Hook.RequestTrailers;
  }

  #terminal: FilterSlot | null = null;

  constructor(stream: ActiveStream) {
    super();
    this.#stream = stream;
  }

  add(slot: FilterSlot, terminal: boolean): void {
    if (terminal) {
      this.#terminal = slot;
    } else if ((slot.hooks & REQUEST_HOOKS) !== 0) {
      slot.requestIndex = this.addStop(slot);
    }
  }

  markTrailersAdded(): void {
    this.trailersAdded = true;
  }

  override pauseSource(): void {
    this.#stream.pauseRequest();
  }

  override resumeSource(): void {
    this.#stream.resumeRequest();
  }

  protected override bufferLimit(): number {
    return this.#stream.requestBufferLimit;
  }

  protected override get endComesWithData(): boolean {
    return this.#stream.codecStream.protocol >= Protocol.Http2;
  }

  protected override onOverflow(): void {
    this.#stream.onRequestTooLarge();
  }

  protected override held(slot: FilterSlot): HeldMessage | null {
    return slot.heldRequest;
  }

  protected override setHeld(slot: FilterSlot, held: HeldMessage): void {
    slot.heldRequest = held;
  }

  protected override takeResumed(slot: FilterSlot): boolean {
    const resumed = slot.requestResumed;
    slot.requestResumed = false;
    return resumed;
  }

  protected override callHeaders(slot: FilterSlot, end: boolean): Flow {
    return slot.filter.onRequestHeaders(this.#stream.requestHeaders!, end);
  }

  protected override callData(slot: FilterSlot, data: ByteBuffer, end: boolean): Flow {
    return slot.filter.onRequestData(data, end);
  }

  protected override callTrailers(slot: FilterSlot): Flow {
    return slot.filter.onRequestTrailers(this.#stream.requestTrailers!);
  }

  protected override headersOut(end: boolean): void {
    if (end) this.#stream.onRequestForwarded();
    this.#terminal?.filter.onRequestHeaders(this.#stream.requestHeaders!, end);
  }

  protected override dataOut(data: ByteBuffer, end: boolean): void {
    if (end) this.#stream.onRequestForwarded();
    this.#terminal?.filter.onRequestData(data, end);
  }

  protected override trailersOut(): void {
    this.#stream.onRequestForwarded();
    this.#terminal?.filter.onRequestTrailers(this.#stream.requestTrailers!);
  }
}

/** The response's way, through the filters in reverse order, to the codec. */
export class ResponseWalk extends FilterWalk {
  readonly #stream: ActiveStream;
  protected override get headersHook(): number {
    return Hook.ResponseHeaders;
  }

  protected override get dataHook(): number {
    return Hook.ResponseData;
  }

  protected override get trailersHook(): number {
    return Hook.ResponseTrailers;
  }

  constructor(stream: ActiveStream) {
    super();
    this.#stream = stream;
  }

  add(slot: FilterSlot): void {
    if ((slot.hooks & RESPONSE_HOOKS) === 0) return;
    slot.responseIndex = this.addStop(slot);
  }

  markTrailersAdded(): void {
    this.trailersAdded = true;
  }

  addBeforeTrailers(data: ByteBuffer): void {
    if (this.dataAdded === null) this.dataAdded = data;
    else this.dataAdded.moveFrom(data);
  }

  override pauseSource(): void {
    this.#stream.onResponseBufferFull();
  }

  override resumeSource(): void {
    this.#stream.onResponseBufferReady();
  }

  protected override bufferLimit(): number {
    return this.#stream.responseBufferLimit;
  }

  protected override get endComesWithData(): boolean {
    const protocol = this.#stream.info.upstream?.protocol ?? null;
    return protocol !== null && protocol >= Protocol.Http2;
  }

  protected override onOverflow(): void {
    this.#stream.onResponseTooLarge();
  }

  protected override held(slot: FilterSlot): HeldMessage | null {
    return slot.heldResponse;
  }

  protected override setHeld(slot: FilterSlot, held: HeldMessage): void {
    slot.heldResponse = held;
  }

  protected override takeResumed(slot: FilterSlot): boolean {
    const resumed = slot.responseResumed;
    slot.responseResumed = false;
    return resumed;
  }

  protected override callHeaders(slot: FilterSlot, end: boolean): Flow {
    return slot.filter.onResponseHeaders(this.#stream.responseHeaders!, end);
  }

  protected override callData(slot: FilterSlot, data: ByteBuffer, end: boolean): Flow {
    return slot.filter.onResponseData(data, end);
  }

  protected override callTrailers(slot: FilterSlot): Flow {
    return slot.filter.onResponseTrailers(this.#stream.responseTrailers!);
  }

  /** 1xx headers pass by every filter that looks at them; none can hold them. */
  informational(headers: ResponseHeaders): void {
    for (const stop of this.stops) {
      if ((stop.hooks & Hook.Response1xx) !== 0) (stop as FilterSlot).filter.onResponse1xxHeaders(headers);
      if (this.halted) return;
    }
  }

  protected override headersOut(end: boolean): void {
    this.#stream.encodeHeadersToCodec(end);
  }

  protected override dataOut(data: ByteBuffer, end: boolean): void {
    this.#stream.encodeDataToCodec(data, end);
  }

  protected override trailersOut(): void {
    this.#stream.encodeTrailersToCodec();
  }
}
