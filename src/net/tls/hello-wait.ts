import type { ByteBuffer } from '../../base/byte-buffer.ts';
import type { TransportError, TransportHandler } from '../transport.ts';
import { ClientHello } from './client-hello.ts';
import { HelloReader, HelloState } from './hello-reader.ts';

/** Hears when the hello is there. */
export interface HelloTarget {
  /** @param hello null: what came is none, which the runtime may say to the peer */
  onHello(hello: ClientHello | null, bytes: Buffer): void;
  /** The peer went before that. */
  onGone(error: TransportError | null): void;
}

/**
 * Collects a connection's first bytes until they hold a whole ClientHello, or cannot become one. The records' own limits
 * bound what is kept (a message of 16 KiB, in records of one byte at worst).
 */
export class HelloWait implements TransportHandler {
  readonly #target: HelloTarget;
  readonly #data: ByteBuffer;
  readonly #reader = new HelloReader();
  #done = false;

  constructor(target: HelloTarget, data: ByteBuffer) {
    this.#target = target;
    this.#data = data;
  }

  /** Looks at what there is. */
  check(): void {
    if (this.#done || this.#data.length === 0) return;
    const state = this.#reader.read(this.#data, this.#data.length);
    if (state === HelloState.More) return;
    this.#done = true;
    const bytes = this.#data.toBytes();
    this.#data.clear();
    this.#target.onHello(state === HelloState.Complete ? ClientHello.parse(this.#reader.body) : null, bytes);
  }

  onOpen(): void {}

  onDrain(): void {}

  onBytes(bytes: Buffer): void {
    if (this.#done) return;
    this.#data.append(bytes);
    this.check();
  }

  onPeerEnd(): void {
    if (this.#done) return;
    this.#done = true;
    this.#target.onGone(null);
  }

  onClosed(error: TransportError | null): void {
    if (this.#done) return;
    this.#done = true;
    this.#target.onGone(error);
  }
}
