import type { ByteBuffer } from '../../base/byte-buffer.ts';

const RECORD_HEADER_BYTES = 5;
const MESSAGE_HEADER_BYTES = 4;
const MAX_PLAINTEXT_BYTES = 16 * 1024;
/** A record that may be encrypted is longer by up to so much (BoringSSL, SSL3_RT_MAX_ENCRYPTED_OVERHEAD). */
const MAX_OVERHEAD_BYTES = 320;
const MAX_MESSAGE_BYTES = 16 * 1024;
const MAX_EMPTY_RECORDS = 32;
const MAX_WARNINGS = 4;

/** Of a hello in the form of SSL 2 (RFC 5246 E.2), without its two bytes of length. */
const V2_MAX_BYTES = 4096;
const V2_MIN_BYTES = 3;
const V2_FIXED_BYTES = 11;
const RANDOM_BYTES = 32;

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
  /** Size of the message with its header; 0: not known yet. */
  #needed = 0;
  #emptyRecords = 0;
  #warnings = 0;

  /** @param limit how much of `data` may be looked at */
  read(data: ByteBuffer, limit: number): HelloState {
    for (;;) {
      const at = this.consumed;
      if (limit < at + RECORD_HEADER_BYTES) return HelloState.More;
      if (at === 0 && beginsV2(data)) return this.#readV2(data, limit);
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
    // Joined for the header, and once more when all is there: never record by record, which may be of one byte each.
    if (this.#needed === 0) {
      const length = this.#joined().readUIntBE(1, 3);
      if (length > MAX_MESSAGE_BYTES) return HelloState.NotTls;
      this.#needed = MESSAGE_HEADER_BYTES + length;
    }
    if (this.#size < this.#needed) return HelloState.More;
    const message = this.#joined();
    return message[0] === CLIENT_HELLO ? HelloState.Complete : HelloState.NotTls;
  }

  #alert(data: ByteBuffer, start: number, size: number): HelloState {
    if (size !== 2 || data.byteAt(start) !== ALERT_WARNING) return HelloState.NotTls;
    if (data.byteAt(start + 1) === CLOSE_NOTIFY) return HelloState.Closed;
    this.#warnings++;
    return this.#warnings > MAX_WARNINGS ? HelloState.NotTls : HelloState.More;
  }

  /** Turns a hello in the form of SSL 2 into one of TLS, as BoringSSL does. */
  #readV2(data: ByteBuffer, limit: number): HelloState {
    const size = ((data.byteAt(0) & 0x7f) << 8) | data.byteAt(1);
    if (size > V2_MAX_BYTES || size < V2_MIN_BYTES) {
      this.consumed = RECORD_HEADER_BYTES;
      return HelloState.NotTls;
    }
    if (limit < 2 + size) return HelloState.More;
    this.consumed = 2 + size;
    if (2 + size < V2_FIXED_BYTES) return HelloState.NotTls;
    const bytes = Buffer.allocUnsafe(2 + size);
    data.copyTo(bytes, 0, 0, 2 + size);
    const ciphersEnd = V2_FIXED_BYTES + bytes.readUInt16BE(5);
    const challengeStart = ciphersEnd + bytes.readUInt16BE(7);
    if (challengeStart + bytes.readUInt16BE(9) !== bytes.length) return HelloState.NotTls;
    const ciphers: number[] = [];
    for (let at = V2_FIXED_BYTES; at + 3 <= ciphersEnd; at += 3) {
      // Those with a first byte are of SSL 2 itself.
      if (bytes[at] === 0) ciphers.push(bytes[at + 1]!, bytes[at + 2]!);
    }
    if ((ciphersEnd - V2_FIXED_BYTES) % 3 !== 0) return HelloState.NotTls;
    const random = Buffer.alloc(RANDOM_BYTES);
    const challenge = bytes.subarray(Math.max(challengeStart, bytes.length - RANDOM_BYTES));
    challenge.copy(random, RANDOM_BYTES - challenge.length);
    const body = Buffer.concat([
      bytes.subarray(3, 5),
      random,
      Buffer.of(0, ciphers.length >> 8, ciphers.length & 0xff, ...ciphers, 1, 0),
    ]);
    this.#parts = [Buffer.concat([Buffer.of(CLIENT_HELLO, 0, body.length >> 8, body.length & 0xff), body])];
    return HelloState.Complete;
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

function beginsV2(data: ByteBuffer): boolean {
  return (data.byteAt(0) & 0x80) !== 0 && data.byteAt(2) === CLIENT_HELLO && data.byteAt(3) === 3;
}
