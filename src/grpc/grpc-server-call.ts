import { ByteBuffer } from '../base/byte-buffer.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import { type RequestDecoder, ResetReason, type ResponseEncoder, type StreamEvents } from '../http/codec.ts';
import { encodeGrpcMessage, GrpcStatus, isGrpcContentType } from '../http/grpc-headers.ts';
import { HeaderMap, type RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { TransportSecurity } from '../net/transport.ts';
import { framePrefix, MessageReader } from './framing.ts';

/** One call that a client has begun, as its service sees it. */
export interface GrpcServerCall {
  readonly headers: RequestHeaders;
  /** `address:port` of the client. */
  readonly peer: string;
  /** Null without TLS. */
  readonly security: TransportSecurity | null;
  /**
   * Sends one message; takes ownership of the bytes.
   * @returns false: what waits to be sent is above the high watermark; it is sent all the same, `onReady` tells of room
   */
  send(message: Uint8Array): boolean;
  /** Ends the call. Afterwards nothing more is told. */
  finish(status: GrpcStatus, message: string): void;
  readonly isFull: boolean;
  readonly isOver: boolean;
  /** The client is kept from sending more once its window is used up; counted, so every pause needs its resume. */
  pauseReads(): void;
  resumeReads(): void;
  /**
   * Counts memory that is kept for the call to what its connection may cost. It is given back with `release`, and with the call's end.
   * @returns false: the connection costs too much already, and nothing was counted
   */
  hold(bytes: number): boolean;
  release(bytes: number): void;
}

/** Hears of one call. */
export interface GrpcServerCallHandler {
  /** One whole message; the bytes are the handler's. */
  onMessage(message: Uint8Array): void;
  /** No further message comes; the call goes on until it is finished. */
  onHalfClose(): void;
  /** Room again, after the call was full. */
  onReady(): void;
  /** The client has given up, or is gone. Last call. */
  onCancelled(): void;
}

/** By full method name. @returns null: UNIMPLEMENTED */
export interface GrpcServices {
  open(method: string, call: GrpcServerCall): GrpcServerCallHandler | null;
}

/** What one connection may cost. */
export interface GrpcServerLimits {
  /** Streams at once; SETTINGS tell the client. */
  readonly maxStreams: number;
  /**
   * Bytes that are kept for one connection: half-sent messages, headers, responses that wait for a client that does not read, and what
   * services count by `hold`. The stream that goes beyond ends; a single response may be larger.
   */
  readonly maxConnectionBytes: number;
  /** How long a message may take to come, from its first byte, the first one from the beginning of its stream, ms. */
  readonly messageTimeoutMs: number;
  /** A client that takes no byte of what waits for it for so long loses its stream, ms. */
  readonly sendTimeoutMs: number;
  /** A connection that has no stream for so long is closed, ms. */
  readonly idleTimeoutMs: number;
}

export const DEFAULT_SERVER_LIMITS: GrpcServerLimits = {
  maxStreams: 1024,
  maxConnectionBytes: 128 * 1024 * 1024,
  messageTimeoutMs: 30_000,
  sendTimeoutMs: 60_000,
  idleTimeoutMs: 300_000,
};

/** Which limit ended a stream. */
export type StreamLimit = 'connection_bytes' | 'message_time' | 'send_time';

/** What a call needs of its connection. */
export interface CallHost {
  readonly dispatcher: Dispatcher;
  readonly services: GrpcServices;
  readonly limits: GrpcServerLimits;
  readonly maxMessageBytes: number;
  readonly peer: string;
  readonly security: TransportSecurity | null;
  /** Bytes that are kept for the connection: more, or with a minus less. */
  count(bytes: number): void;
  readonly isOverBudget: boolean;
  onLimit(limit: StreamLimit): void;
  onBadMessage(status: GrpcStatus): void;
}

/** One call of a {@link CallHost}. */
export class ServerCall implements GrpcServerCall, RequestDecoder, StreamEvents, TimerTarget {
  readonly #host: CallHost;
  readonly #encoder: ResponseEncoder;
  readonly #reader: MessageReader;
  headers!: RequestHeaders;
  #handler: GrpcServerCallHandler | null = null;
  #answered = false;
  #over = false;
  #remoteEnded = false;
  #fullness = 0;
  #pauses = 0;
  /** Bytes that the connection counts for it: of all, of half a message, of responses that wait. */
  #held = 0;
  #arrived = 0;
  #waiting = 0;
  /** Runs until the message under way has come. */
  readonly #arrival: Timer;
  /** Runs while the client takes nothing. */
  #departure: Timer | null = null;
  /** What had gone out when it began. */
  #departed = 0;

  constructor(host: CallHost, encoder: ResponseEncoder) {
    this.#host = host;
    this.#encoder = encoder;
    this.#reader = new MessageReader(host.maxMessageBytes);
    this.#arrival = host.dispatcher.createTimer(this);
    this.#arrival.enable(host.limits.messageTimeoutMs);
    encoder.stream.setEvents(this);
  }

  get peer(): string {
    return this.#host.peer;
  }

  get security(): TransportSecurity | null {
    return this.#host.security;
  }

  get isFull(): boolean {
    return this.#fullness > 0;
  }

  get isOver(): boolean {
    return this.#over;
  }

  // --- RequestDecoder ---

  onHeaders(headers: RequestHeaders, end: boolean): void {
    if (this.#over) return;
    this.headers = headers;
    let size = 0;
    for (const text of headers.list) size += text.length;
    if (headers.method !== 'POST' || !isGrpcContentType(headers.get('content-type'))) {
      this.#close();
      const refusal = new ResponseHeaders();
      refusal.status = 415;
      this.#encoder.encodeHeaders(refusal, true);
      // What it is about to send is not wanted.
      if (!end) this.#encoder.stream.reset(ResetReason.LocalReset);
      return;
    }
    this.#remoteEnded = end;
    if (!this.hold(size)) {
      this.#exceed('connection_bytes');
      return;
    }
    this.#handler = this.#host.services.open(headers.path ?? '', this);
    if (this.#handler === null) this.finish(GrpcStatus.Unimplemented, `unknown method ${headers.path}`);
    else if (end) this.#onEnd();
  }

  onData(data: ByteBuffer, end: boolean): void {
    // A client that goes on after its call was finished is not listened to, and fills no memory.
    if (this.#over) {
      data.clear();
      return;
    }
    this.#remoteEnded = end;
    this.#reader.feed(data);
    for (;;) {
      const message = this.#over ? null : this.#reader.next();
      if (message === null) break;
      this.#arrival.disable();
      this.#handler?.onMessage(message);
    }
    const { problem } = this.#reader;
    if (problem !== null) {
      this.#host.onBadMessage(problem.status);
      this.#cancel();
      this.#end(problem.status, problem.message);
    } else if (end) {
      this.#onEnd();
    } else if (!this.#over) this.#countArrived();
  }

  /** Half a message is kept, and waited for, for so long. */
  #countArrived(): void {
    const reader = this.#reader;
    const more = reader.size - this.#arrived;
    this.#arrived = reader.size;
    if (more <= 0) this.release(-more);
    else if (!this.hold(more)) {
      this.#exceed('connection_bytes');
      return;
    }
    this.#awaitRest();
  }

  #awaitRest(): void {
    if (this.#reader.isAtBoundary || this.#pauses > 0) this.#arrival.disable();
    else if (!this.#arrival.enabled) this.#arrival.enable(this.#host.limits.messageTimeoutMs);
  }

  onTrailers(_trailers: HeaderMap): void {
    this.#onEnd();
  }

  #onEnd(): void {
    this.#remoteEnded = true;
    this.#arrival.disable();
    if (!this.#over) this.#handler?.onHalfClose();
  }

  // --- GrpcServerCall ---

  send(message: Uint8Array): boolean {
    if (this.#over) return true;
    if (this.#host.isOverBudget) {
      this.#exceed('connection_bytes');
      return true;
    }
    if (!this.#answered) {
      this.#answered = true;
      this.#encoder.encodeHeaders(grpcHeaders(), false);
    }
    const data = new ByteBuffer();
    data.append(framePrefix(message.length));
    data.append(Buffer.from(message.buffer, message.byteOffset, message.byteLength));
    this.#encoder.encodeData(data, false);
    if (this.#fullness === 0) return true;
    // Whatever it is: of responses one may be larger than all that is permitted.
    this.#count(message.length);
    this.#waiting += message.length;
    return false;
  }

  finish(status: GrpcStatus, message: string): void {
    this.#handler = null;
    this.#end(status, message);
  }

  #end(status: GrpcStatus, message: string): void {
    if (this.#over) return;
    this.#close();
    const text = encodeGrpcMessage(Buffer.from(message, 'utf8').toString('latin1'));
    if (this.#answered) {
      const trailers = new HeaderMap();
      trailers.add('grpc-status', String(status));
      if (text !== '') trailers.add('grpc-message', text);
      this.#encoder.encodeTrailers(trailers);
    } else {
      const headers = grpcHeaders();
      headers.add('grpc-status', String(status));
      if (text !== '') headers.add('grpc-message', text);
      this.#encoder.encodeHeaders(headers, true);
    }
    // Half a stream would stay open until the client ends it. While data waits for its window, the rest has to wait as well.
    if (!this.#remoteEnded && this.#fullness === 0) this.#encoder.stream.reset(ResetReason.LocalReset);
  }

  pauseReads(): void {
    if (this.#over) return;
    this.#pauses++;
    this.#arrival.disable();
    this.#encoder.stream.pauseReads();
  }

  resumeReads(): void {
    if (this.#over) return;
    this.#pauses--;
    this.#awaitRest();
    this.#encoder.stream.resumeReads();
  }

  hold(bytes: number): boolean {
    this.#count(bytes);
    if (!this.#host.isOverBudget) return true;
    this.release(bytes);
    return false;
  }

  release(bytes: number): void {
    this.#count(-bytes);
  }

  #count(bytes: number): void {
    if (this.#over) return;
    this.#held += bytes;
    this.#host.count(bytes);
  }

  /** Its memory and its timers are given back. */
  #close(): void {
    this.release(this.#held);
    this.#over = true;
    this.#reader.clear();
    this.#arrival.destroy();
    this.#departure?.destroy();
  }

  #exceed(limit: StreamLimit): void {
    this.#host.onLimit(limit);
    this.#cancel();
    if (limit === 'message_time') this.#end(GrpcStatus.DeadlineExceeded, 'the request does not come');
    else if (limit === 'connection_bytes')
      this.#end(GrpcStatus.ResourceExhausted, 'the connection holds too much memory');
    else {
      // What waits is not wanted: nor would a status be read behind it.
      this.#close();
      this.#encoder.stream.reset(ResetReason.LocalReset);
    }
  }

  onTimer(timer: Timer): void {
    if (timer === this.#arrival) {
      this.#exceed('message_time');
      return;
    }
    const { wireBytesSent } = this.#encoder.stream.meter;
    if (wireBytesSent === this.#departed) {
      this.#exceed('send_time');
      return;
    }
    this.#departed = wireBytesSent;
    timer.enable(this.#host.limits.sendTimeoutMs);
  }

  #cancel(): void {
    const handler = this.#handler;
    this.#handler = null;
    handler?.onCancelled();
  }

  // --- StreamEvents ---

  onStreamReset(): void {
    if (this.#over) return;
    this.#close();
    this.#cancel();
  }

  onAboveWriteHighWatermark(): void {
    this.#fullness++;
    if (this.#fullness > 1 || this.#over) return;
    const { dispatcher, limits } = this.#host;
    this.#departed = this.#encoder.stream.meter.wireBytesSent;
    this.#departure ??= dispatcher.createTimer(this);
    this.#departure.enable(limits.sendTimeoutMs);
  }

  onBelowWriteLowWatermark(): void {
    this.#fullness--;
    if (this.#fullness > 0 || this.#over) return;
    this.#departure?.disable();
    this.release(this.#waiting);
    this.#waiting = 0;
    this.#handler?.onReady();
  }
}

function grpcHeaders(): ResponseHeaders {
  const headers = new ResponseHeaders();
  headers.status = 200;
  headers.add('content-type', 'application/grpc');
  return headers;
}
