import { ByteBuffer, type WatermarkObserver } from '../base/byte-buffer.ts';
import { Flow } from './http-filter.ts';

/** Which hooks a filter's class overrides, one bit each. */
export const Hook = {
  RequestHeaders: 1,
  RequestData: 2,
  RequestTrailers: 4,
  Response1xx: 8,
  ResponseHeaders: 16,
  ResponseData: 32,
  ResponseTrailers: 64,
} as const;

/** What one filter holds back in one direction. Made only when a filter first stops. */
export class HeldMessage implements WatermarkObserver {
  readonly walk: FilterWalk;
  stop: Flow = Flow.Continue;
  /** The filter stopped at the headers, so they go first when it continues. */
  headers = false;
  readonly data = new ByteBuffer();
  trailers = false;
  /** The message ended with what is held here. */
  end = false;
  /** On its way to the next filters: the source resumes behind it, so that nothing new overtakes it. */
  releasing = false;
  owesResume = false;

  constructor(walk: FilterWalk) {
    this.walk = walk;
  }

  onAboveHighWatermark(): void {
    this.walk.pauseSource();
  }

  onBelowLowWatermark(): void {
    if (this.releasing) this.owesResume = true;
    else this.walk.resumeSource();
  }
}

/** One filter's place in a walk. Implemented by FilterSlot. */
export interface WalkStop {
  readonly hooks: number;
  heldRequest: HeldMessage | null;
  heldResponse: HeldMessage | null;
}

/** Most streams have no filter but the last one: they share a list of none. */
const NO_STOPS: readonly WalkStop[] = [];

/**
 * One direction of one stream's way through its filters: each filter is a stage that may hold what reaches it and let it go
 * later. Walks never nest: a resume asked for inside a hook is carried out when the outermost walk has returned.
 */
export abstract class FilterWalk {
  protected stops: readonly WalkStop[] = NO_STOPS;
  /** No hook is called any more: the stream was answered locally (request) or is gone. */
  halted = false;
  /** Trailers that a filter added in a hook that saw the end. */
  protected trailersAdded = false;
  /** Body that a filter put in front of the trailers in a hook that saw them. */
  protected dataAdded: ByteBuffer | null = null;

  abstract pauseSource(): void;
  abstract resumeSource(): void;
  /** Bytes a filter may hold back; 0: no limit. */
  protected abstract bufferLimit(): number;
  /** The message comes by a protocol that marks its last piece (HTTP/2). */
  protected abstract get endComesWithData(): boolean;
  /** More was collected than the limit allows. */
  protected abstract onOverflow(): void;
  protected abstract held(stop: WalkStop): HeldMessage | null;
  protected abstract setHeld(stop: WalkStop, held: HeldMessage): void;
  /** Whether the filter asked, inside a hook, to go on in this direction. Asked once: the wish is then fulfilled. */
  protected abstract takeResumed(stop: WalkStop): boolean;
  protected abstract get headersHook(): number;
  protected abstract get dataHook(): number;
  protected abstract get trailersHook(): number;
  protected abstract callHeaders(stop: WalkStop, end: boolean): Flow;
  protected abstract callData(stop: WalkStop, data: ByteBuffer, end: boolean): Flow;
  protected abstract callTrailers(stop: WalkStop): Flow;
  protected abstract headersOut(end: boolean): void;
  protected abstract dataOut(data: ByteBuffer, end: boolean): void;
  protected abstract trailersOut(): void;

  /** @returns the stop's index */
  protected addStop(stop: WalkStop): number {
    if (this.stops === NO_STOPS) this.stops = [stop];
    else (this.stops as WalkStop[]).push(stop);
    return this.stops.length - 1;
  }

  /** Runs the headers through the filters from `from` on. */
  headersFrom(from: number, end: boolean): void {
    const stops = this.stops;
    for (let i = from; i < stops.length; i++) {
      const stop = stops[i]!;
      if ((stop.hooks & this.headersHook) === 0) continue;
      const flow = this.callHeaders(stop, end);
      if (this.halted) return;
      const added = this.trailersAdded;
      this.trailersAdded = false;
      const resumed = this.takeResumed(stop);
      if (flow !== Flow.Continue && !resumed) {
        const held = this.#hold(stop, flow);
        held.headers = true;
        held.end = end;
        if (added) held.trailers = true;
        return;
      }
      if (added) {
        this.headersFrom(i + 1, false);
        if (!this.halted) this.trailersFrom(i + 1);
        return;
      }
    }
    this.headersOut(end);
  }

  dataFrom(from: number, data: ByteBuffer, end: boolean): void {
    const stops = this.stops;
    for (let i = from; i < stops.length; i++) {
      const stop = stops[i]!;
      const held = this.held(stop);
      if (held !== null && held.stop === Flow.Pause) {
        this.#keep(held, data, end);
        return;
      }
      const collecting = held !== null && held.stop === Flow.PauseAndBuffer;
      if ((stop.hooks & this.dataHook) === 0) {
        if (!collecting) continue;
        this.#keep(held, data, end);
        return;
      }
      const flow = this.callData(stop, data, end);
      if (this.halted) {
        data.clear();
        return;
      }
      const added = this.trailersAdded;
      this.trailersAdded = false;
      const resumed = this.takeResumed(stop);
      const goOn = flow === Flow.Continue || resumed;
      if (collecting || !goOn) {
        const target = collecting ? held : this.#hold(stop, flow);
        if (added) target.trailers = true;
        if (goOn) {
          const limit = this.bufferLimit();
          // A last piece that says so passes whatever its size; Envoy's HTTP/1 codec tells of the end behind it.
          const checked = limit > 0 && !(end && this.endComesWithData);
          if (checked && target.data.length + data.length > limit) {
            data.clear();
            this.onOverflow();
            return;
          }
          // Watermarks would pause a source whose data leaves in the same breath.
          target.data.moveFrom(data);
          if (end) target.end = true;
          this.#release(i, target);
        } else {
          target.stop = flow;
          this.#keep(target, data, end);
        }
        return;
      }
      if (added) {
        this.dataFrom(i + 1, data, false);
        if (!this.halted) this.trailersFrom(i + 1);
        return;
      }
    }
    this.dataOut(data, end);
  }

  trailersFrom(from: number): void {
    const stops = this.stops;
    for (let i = from; i < stops.length; i++) {
      const stop = stops[i]!;
      const held = this.held(stop);
      if (held !== null && held.stop === Flow.Pause) {
        held.trailers = true;
        held.end = true;
        return;
      }
      const collecting = held !== null && held.stop === Flow.PauseAndBuffer;
      let flow: Flow = collecting ? Flow.PauseAndBuffer : Flow.Continue;
      if ((stop.hooks & this.trailersHook) !== 0) {
        flow = this.callTrailers(stop);
        if (this.halted) return;
        if (this.takeResumed(stop)) flow = Flow.Continue;
        if (this.dataAdded !== null) {
          this.#passAdded(i, collecting || flow !== Flow.Continue ? (held ?? this.#hold(stop, flow)) : null);
          if (this.halted) return;
        }
      }
      if (collecting) {
        held.trailers = true;
        held.end = true;
        if (flow === Flow.Continue) this.#release(i, held);
        else held.stop = flow;
        return;
      }
      if (flow !== Flow.Continue) {
        const fresh = this.#hold(stop, flow);
        fresh.trailers = true;
        fresh.end = true;
        return;
      }
    }
    this.trailersOut();
  }

  /** What a filter put in front of the trailers goes where its data would: to what it holds, or on. */
  #passAdded(index: number, held: HeldMessage | null): void {
    const added = this.dataAdded!;
    this.dataAdded = null;
    if (held === null) this.dataFrom(index + 1, added, false);
    else held.data.moveFrom(added);
  }

  /** Lets go what the filter at `index` holds. Does nothing when it holds nothing back. */
  release(index: number): void {
    const held = this.held(this.stops[index]!);
    if (held !== null && held.stop !== Flow.Continue && !this.halted) this.#release(index, held);
  }

  /** Shows `data` to the stops behind `index`, past what that one still holds. */
  inject(index: number, data: ByteBuffer): void {
    if (this.halted) data.clear();
    else this.dataFrom(index + 1, data, false);
  }

  #release(index: number, held: HeldMessage): void {
    held.releasing = true;
    this.#pass(index, held);
    held.releasing = false;
    if (held.owesResume) {
      held.owesResume = false;
      this.resumeSource();
    }
  }

  #pass(index: number, held: HeldMessage): void {
    held.stop = Flow.Continue;
    const { end, trailers } = held;
    const headersEnd = end && !trailers && held.data.length === 0;
    if (held.headers) {
      held.headers = false;
      this.headersFrom(index + 1, headersEnd);
      if (this.halted || headersEnd) return;
    }
    if (held.data.length > 0 || (end && !trailers)) {
      const data = new ByteBuffer();
      data.moveFrom(held.data);
      this.dataFrom(index + 1, data, end && !trailers);
      if (this.halted) return;
    }
    if (trailers) {
      held.trailers = false;
      this.trailersFrom(index + 1);
    }
  }

  #hold(stop: WalkStop, flow: Flow): HeldMessage {
    let held = this.held(stop);
    if (held === null) {
      held = new HeldMessage(this);
      this.setHeld(stop, held);
    }
    held.stop = flow;
    return held;
  }

  #keep(held: HeldMessage, data: ByteBuffer, end: boolean): void {
    const limit = this.bufferLimit();
    if (held.stop === Flow.PauseAndBuffer) {
      if (limit > 0 && held.data.length + data.length > limit) {
        data.clear();
        this.onOverflow();
        return;
      }
    } else if (held.data.highWatermark !== limit) {
      held.data.setWatermarks(limit, held);
    }
    held.data.moveFrom(data);
    if (end) held.end = true;
  }

  /** Drops everything held; balances the pauses that it caused. */
  dropHeld(): void {
    for (const stop of this.stops) this.held(stop)?.data.clear();
  }
}
