import type { ByteBuffer } from '../../../base/byte-buffer.ts';

const RECORD_HEADER_BYTES = 5;
const MESSAGE_HEADER_BYTES = 4;
const MAX_PLAINTEXT_BYTES = 16 * 1024;
/** A record that claims to be encrypted may be longer by so much (RFC 5246 6.2.3, as BoringSSL has it). */
const MAX_OVERHEAD_BYTES = 256;
const MAX_MESSAGE_BYTES = 16 * 1024;
const MAX_EMPTY_RECORDS = 32;
const MAX_WARNINGS = 4;

const ContentType = { Alert: 21, Handshake: 22 } as const;
const CLIENT_HELLO = 1;
const ALERT_WARNING = 1;
const CLOSE_NOTIFY = 0;

export const HelloState = {
  More: 0,
  /** `HelloReader.body` holds it. */
  Complete: 1,
  /** This is not TLS, or not the beginning of it. */
  NotTls: 2,
  /** The peer has closed in the words of TLS. */
  Closed: 3,
} as const;
export type HelloState = (typeof HelloState)[keyof typeof HelloState];

/**
 * Puts the first handshake message together from its records (RFC 8446 5.1). A record is judged when it is whole, as BoringSSL
 * does it: the verdict decides what Envoy takes for plain text.
 */
export class HelloReader {
  /** Of complete records; then how far it got. */
  consumed = 0;
  #parts: Buffer[] = [];
  #size = 0;
  #emptyRecords = 0;
  #warnings = 0;

  /** @param limit how much of `data` may be looked at */
  read(data: ByteBuffer, limit: number): HelloState {
    for (;;) {
      const at = this.consumed;
      if (limit < at + RECORD_HEADER_BYTES) return HelloState.More;
      const size = (data.byteAt(at + 3) << 8) | data.byteAt(at + 4);
      if (data.byteAt(at + 1) !== 3 || size > MAX_PLAINTEXT_BYTES + MAX_OVERHEAD_BYTES) {
        this.consumed = at + RECORD_HEADER_BYTES;
        return HelloState.NotTls;
      }
      if (limit < at + RECORD_HEADER_BYTES + size) return HelloState.More;
      this.consumed = at + RECORD_HEADER_BYTES + size;
      const state = this.#record(data, data.byteAt(at), at + RECORD_HEADER_BYTES, size);
      if (state !== HelloState.More) return state;
    }
  }

  #record(data: ByteBuffer, type: number, start: number, size: number): HelloState {
    if (size > MAX_PLAINTEXT_BYTES) return HelloState.NotTls;
    if (size === 0) {
      this.#emptyRecords++;
      if (this.#emptyRecords > MAX_EMPTY_RECORDS) return HelloState.NotTls;
    } else {
      this.#emptyRecords = 0;
    }
    if (type === ContentType.Alert) return this.#alert(data, start, size);
    if (type !== ContentType.Handshake) return HelloState.NotTls;
    const part = Buffer.allocUnsafe(size);
    data.copyTo(part, 0, start, size);
    this.#parts.push(part);
    this.#size += size;
    if (this.#size < MESSAGE_HEADER_BYTES) return HelloState.More;
    const message = this.#joined();
    const length = message.readUIntBE(1, 3);
    if (length > MAX_MESSAGE_BYTES) return HelloState.NotTls;
    if (message.length < MESSAGE_HEADER_BYTES + length) return HelloState.More;
    return message[0] === CLIENT_HELLO ? HelloState.Complete : HelloState.NotTls;
  }

  #alert(data: ByteBuffer, start: number, size: number): HelloState {
    if (size !== 2 || data.byteAt(start) !== ALERT_WARNING) return HelloState.NotTls;
    if (data.byteAt(start + 1) === CLOSE_NOTIFY) return HelloState.Closed;
    this.#warnings++;
    return this.#warnings > MAX_WARNINGS ? HelloState.NotTls : HelloState.More;
  }

  #joined(): Buffer {
    if (this.#parts.length > 1) this.#parts = [Buffer.concat(this.#parts, this.#size)];
    return this.#parts[0]!;
  }

  /** The message without its header. Only when complete. */
  get body(): Buffer {
    const message = this.#joined();
    return message.subarray(MESSAGE_HEADER_BYTES, MESSAGE_HEADER_BYTES + message.readUIntBE(1, 3));
  }
}
