import { assert } from '../base/assert.ts';
import type { ByteBuffer } from '../base/byte-buffer.ts';
import type { ResponseHeaders } from '../http/header-map.ts';
import type { Route } from '../routing/route.ts';
import { ActionKind } from '../routing/route-action.ts';
import type { ActiveStream } from './active-stream.ts';
import type { ConnectionManagerConfig, FilterEntry } from './connection-manager-config.ts';
import { FilterSlot, hooksOf } from './filter-slot.ts';
import { RequestWalk, ResponseWalk } from './message-walks.ts';

/** The filters of one stream and their two walks. Walks never nest: a resume asked for inside a hook waits for its end. */
export class StreamFilters {
  readonly #stream: ActiveStream;
  readonly #slots: FilterSlot[] = [];
  readonly #requestWalk: RequestWalk;
  readonly #responseWalk: ResponseWalk;
  /** Hooks under way, of any filter and direction. */
  #depth = 0;
  /** Filters that asked inside a hook to go on. */
  #queue: FilterSlot[] | null = null;
  #destroyed = false;

  constructor(stream: ActiveStream) {
    this.#stream = stream;
    this.#requestWalk = new RequestWalk(stream);
    this.#responseWalk = new ResponseWalk(stream);
  }

  /** Makes the filters that `route` leaves on. */
  create(entries: readonly FilterEntry[], route: Route | null): void {
    const { manager } = this.#stream;
    const ofRoute = route === null || route.filterConfigs.isEmpty ? null : route.filterConfigs;
    const slots = this.#slots;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!;
      const disabled = ofRoute === null ? null : ofRoute.disabled(entry.name);
      if (disabled === null ? entry.disabled : disabled) continue;
      const filter = entry.builder.createFilter(manager.context);
      if (filter === null) continue;
      const slot = new FilterSlot(this.#stream, filter, entry.name, manager.hooks(filter, hooksOf));
      slots.push(slot);
      this.#requestWalk.add(slot, entry.builder.isTerminal);
    }
    for (let i = slots.length - 1; i >= 0; i--) this.#responseWalk.add(slots[i]!);
  }

  #enter(): void {
    this.#depth++;
  }

  #leave(): void {
    if (--this.#depth > 0) return;
    const queue = this.#queue;
    if (queue === null) return;
    while (queue.length > 0 && !this.#destroyed) {
      const slot = queue.shift()!;
      this.#depth++;
      // Not set any more: the hook that asked, or a later one, went on by itself.
      if (slot.requestResumed) {
        slot.requestResumed = false;
        this.#requestWalk.release(slot.requestIndex);
      }
      if (slot.responseResumed) {
        slot.responseResumed = false;
        this.#responseWalk.release(slot.responseIndex);
      }
      this.#depth--;
    }
  }

  get requestHalted(): boolean {
    return this.#requestWalk.halted;
  }

  get responseHalted(): boolean {
    return this.#responseWalk.halted;
  }

  haltResponse(): void {
    this.#responseWalk.halted = true;
  }

  requestHeaders(end: boolean): void {
    this.#enter();
    this.#requestWalk.headersFrom(0, end);
    this.#leave();
  }

  requestData(data: ByteBuffer, end: boolean): void {
    this.#enter();
    this.#requestWalk.dataFrom(0, data, end);
    this.#leave();
  }

  requestTrailers(): void {
    this.#enter();
    this.#requestWalk.trailersFrom(0);
    this.#leave();
  }

  informational(headers: ResponseHeaders): void {
    this.#enter();
    this.#responseWalk.informational(headers);
    this.#leave();
  }

  responseHeaders(end: boolean): void {
    this.#enter();
    this.#responseWalk.headersFrom(0, end);
    this.#leave();
  }

  responseData(data: ByteBuffer, end: boolean): void {
    this.#enter();
    this.#responseWalk.dataFrom(0, data, end);
    this.#leave();
  }

  responseTrailers(): void {
    this.#enter();
    this.#responseWalk.trailersFrom(0);
    this.#leave();
  }

  /** No filter sees more of the request, and none is to bring an answer. */
  haltForLocalReply(): void {
    this.#requestWalk.halted = true;
    for (let i = 0; i < this.#slots.length; i++) this.#slots[i]!.filter.onLocalReply();
  }

  /** A message made here: headers, and a body unless it is null. */
  localResponse(body: ByteBuffer | null): void {
    this.#enter();
    this.#responseWalk.headersFrom(0, body === null);
    if (body !== null && !this.#destroyed && !this.#responseWalk.halted) this.#responseWalk.dataFrom(0, body, true);
    this.#leave();
  }

  continueRequest(slot: FilterSlot): void {
    if (this.#destroyed || slot.requestIndex < 0) return;
    if (this.#depth > 0) {
      slot.requestResumed = true;
      this.#queue ??= [];
      this.#queue.push(slot);
      return;
    }
    this.#enter();
    this.#requestWalk.release(slot.requestIndex);
    this.#leave();
  }

  continueResponse(slot: FilterSlot): void {
    if (this.#destroyed || slot.responseIndex < 0) return;
    if (this.#depth > 0) {
      slot.responseResumed = true;
      this.#queue ??= [];
      this.#queue.push(slot);
      return;
    }
    this.#enter();
    this.#responseWalk.release(slot.responseIndex);
    this.#leave();
  }

  injectResponse(slot: FilterSlot, data: ByteBuffer): void {
    assert(this.#depth === 0, 'data injected inside a hook');
    this.#enter();
    this.#responseWalk.inject(slot.responseIndex, data);
    this.#leave();
  }

  markRequestTrailersAdded(): void {
    this.#requestWalk.markTrailersAdded();
  }

  markResponseTrailersAdded(): void {
    this.#responseWalk.markTrailersAdded();
  }

  addDataBeforeResponseTrailers(data: ByteBuffer): void {
    this.#responseWalk.addBeforeTrailers(data);
  }

  /** The stream is over: no hook but the last two is called from here on. */
  end(): void {
    this.#destroyed = true;
    this.#requestWalk.halted = true;
    this.#responseWalk.halted = true;
    for (let i = 0; i < this.#slots.length; i++) this.#slots[i]!.filter.onStreamComplete();
  }

  destroy(): void {
    for (let i = 0; i < this.#slots.length; i++) this.#slots[i]!.filter.onDestroy();
    this.#requestWalk.dropHeld();
    this.#responseWalk.dropHeld();
  }
}

/** The filters of an upgrade: of the connection manager's entry for it or the usual ones. Null: it is not allowed here. */
export function upgradeFilters(
  config: ConnectionManagerConfig,
  route: Route | null,
  type: string,
): readonly FilterEntry[] | null {
  const ofRoute = route !== null && route.action.kind === ActionKind.Forward ? route.action.upgrade(type) : null;
  if (ofRoute !== null && !ofRoute.enabled) return null;
  for (const entry of config.upgrades) {
    if (entry.type !== type) continue;
    if (!entry.enabled && ofRoute === null) return null;
    return entry.filters ?? config.filters;
  }
  return ofRoute === null ? null : config.filters;
}
