import { ByteBuffer } from '../../base/byte-buffer.ts';
import { ManualClock } from '../../base/clock.ts';
import { SeededRandom } from '../../base/random.ts';
import { TimerWheel } from '../../base/timer-wheel.ts';
import type {
  CodecTransport,
  ProtocolError,
  RequestDecoder,
  RequestEncoder,
  ResetReason,
  ResponseDecoder,
  ResponseEncoder,
  StreamEvents,
} from '../codec.ts';
import { type HeaderMap, RequestHeaders, ResponseHeaders } from '../header-map.ts';
import { Http2ClientCodec } from './client-codec.ts';
import { type Http2Options, http2Options } from './http2-options.ts';
import { type Http2CodecStats, NO_HTTP2_STATS } from './http2-stats.ts';
import { Http2ServerCodec } from './server-codec.ts';

/** A connection's write side in memory. For tests. */
export class TestTransport implements CodecTransport {
  readonly output = new ByteBuffer();
  pauses = 0;
  written(): void {}
  pauseReads(): void {
    this.pauses++;
  }
  resumeReads(): void {
    this.pauses--;
  }
}

/** Time that moves only when told to. */
export class TestTimers {
  readonly clock = new ManualClock();
  readonly wheel = new TimerWheel(
    this.clock,
    () => {},
    () => {},
    true,
  );

  advance(ms: number): void {
    this.clock.advance(ms);
    this.wheel.advance();
  }
}

/** What one side of a stream was told, as text; and that it ends once. */
export class RecordedStream implements StreamEvents, RequestDecoder, ResponseDecoder {
  heads: (RequestHeaders | ResponseHeaders)[] = [];
  body = '';
  trailers: HeaderMap | null = null;
  ended = false;
  resetReason: ResetReason | null = null;
  resetDetails = '';
  above = 0;
  onEnd: () => void = () => {};

  get request(): RequestHeaders {
    return this.heads[0] as RequestHeaders;
  }

  get response(): ResponseHeaders {
    return this.heads.at(-1) as ResponseHeaders;
  }

  #live(): void {
    if (this.ended) throw new Error('an event behind the end');
    if (this.resetReason !== null) throw new Error('an event behind a reset');
  }

  on1xxHeaders(headers: ResponseHeaders): void {
    this.#live();
    this.heads.push(headers);
  }

  onHeaders(headers: RequestHeaders | ResponseHeaders, end: boolean): void {
    this.#live();
    this.heads.push(headers);
    if (end) this.#end();
  }

  onData(data: ByteBuffer, end: boolean): void {
    this.#live();
    this.body += data.latin1();
    if (end) this.#end();
  }

  onTrailers(trailers: HeaderMap): void {
    this.#live();
    this.trailers = trailers;
    this.#end();
  }

  #end(): void {
    this.ended = true;
    this.onEnd();
  }

  onStreamReset(reason: ResetReason, details: string): void {
    if (this.resetReason !== null) throw new Error('reset twice');
    this.resetReason = reason;
    this.resetDetails = details;
  }

  onAboveWriteHighWatermark(): void {
    this.above++;
  }

  onBelowWriteLowWatermark(): void {
    this.above--;
    if (this.above < 0) throw new Error('watermarks out of balance');
  }
}

export class ServerSide {
  readonly transport = new TestTransport();
  readonly streams: (RecordedStream & { encoder?: ResponseEncoder })[] = [];
  readonly encoders: ResponseEncoder[] = [];
  readonly codec: Http2ServerCodec;
  readonly input = new ByteBuffer();
  error: ProtocolError | null = null;
  goAways = 0;
  /** Called when a request has come to its end. */
  answer: (encoder: ResponseEncoder, request: RecordedStream) => void = () => {};

  constructor(timers: TestTimers, options: Http2Options = http2Options(), stats: Http2CodecStats = NO_HTTP2_STATS) {
    this.codec = new Http2ServerCodec(
      this.transport,
      {
        onLastStreamGone() {},
        onNewStream: (encoder) => {
          const stream = new RecordedStream();
          this.streams.push(stream);
          this.encoders.push(encoder);
          encoder.stream.setEvents(stream);
          stream.onEnd = () => this.answer(encoder, stream);
          return stream;
        },
        onGoAway: () => {
          this.goAways++;
        },
        onCodecFailure: (error) => {
          this.error = error;
        },
      },
      options,
      stats,
      timers.wheel,
      new SeededRandom(1),
    );
  }

  feed(bytes: Uint8Array): void {
    if (this.error !== null) return;
    this.input.append(Buffer.from(bytes));
    this.error = this.codec.dispatch(this.input);
  }
}

export class ClientSide {
  readonly transport = new TestTransport();
  readonly codec: Http2ClientCodec;
  readonly input = new ByteBuffer();
  error: ProtocolError | null = null;
  goAways = 0;
  maxStreamsChanges = 0;
  streamsChanges = 0;

  constructor(timers: TestTimers, options: Http2Options = http2Options(), stats: Http2CodecStats = NO_HTTP2_STATS) {
    this.codec = new Http2ClientCodec(
      this.transport,
      {
        onGoAway: () => {
          this.goAways++;
        },
        onMaxStreamsChanged: () => {
          this.maxStreamsChanges++;
        },
        onCodecFailure: (error) => {
          this.error = error;
        },
        onStreamsChanged: () => {
          this.streamsChanges++;
        },
      },
      options,
      stats,
      timers.wheel,
      new SeededRandom(2),
    );
  }

  request(headers: RequestHeaders, end: boolean): { stream: RecordedStream; encoder: RequestEncoder } {
    const stream = new RecordedStream();
    const encoder = this.codec.newStream(stream);
    encoder.stream.setEvents(stream);
    encoder.encodeHeaders(headers, end);
    return { stream, encoder };
  }

  feed(bytes: Uint8Array): void {
    if (this.error !== null) return;
    this.input.append(Buffer.from(bytes));
    this.error = this.codec.dispatch(this.input);
  }
}

/** Both sides, and the wire between them. */
export class Pair {
  readonly timers = new TestTimers();
  readonly server: ServerSide;
  readonly client: ClientSide;
  /** Bytes that one dispatch gets at most. */
  step: number;

  constructor(
    options: {
      server?: Partial<Http2Options>;
      client?: Partial<Http2Options>;
      step?: number;
      stats?: Http2CodecStats;
    } = {},
  ) {
    this.server = new ServerSide(this.timers, http2Options(options.server), options.stats);
    this.client = new ClientSide(this.timers, http2Options({ maxConcurrentStreams: 1024, ...options.client }));
    this.step = options.step ?? Number.POSITIVE_INFINITY;
  }

  /** Carries bytes to and fro until there are none. */
  exchange(): void {
    for (let round = 0; round < 10_000; round++) {
      const up = this.client.transport.output.toBytes();
      this.client.transport.output.clear();
      const down = this.server.transport.output.toBytes();
      this.server.transport.output.clear();
      if (up.length === 0 && down.length === 0) return;
      this.#carry(up, this.server);
      this.#carry(down, this.client);
    }
    throw new Error('they never stop talking');
  }

  #carry(bytes: Buffer, to: ServerSide | ClientSide): void {
    for (let at = 0; at < bytes.length; at += this.step) to.feed(bytes.subarray(at, at + this.step));
  }
}

export function requestHeaders(method = 'GET', path = '/', fields: readonly string[] = []): RequestHeaders {
  const headers = new RequestHeaders();
  headers.method = method;
  headers.scheme = 'http';
  headers.authority = 'example.com';
  headers.path = path;
  headers.list = [...fields];
  return headers;
}

export function responseHeaders(status: number, fields: readonly string[] = []): ResponseHeaders {
  const headers = ResponseHeaders.of(status);
  headers.list = [...fields];
  return headers;
}
