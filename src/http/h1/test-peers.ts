import { ByteBuffer } from '../../base/byte-buffer.ts';
import type { CodecTransport, ProtocolError, RequestDecoder, ResponseEncoder } from '../codec.ts';
import { type HeaderMap, type RequestHeaders, ResponseHeaders } from '../header-map.ts';
import { hasToken } from '../token-list.ts';
import { Http1ClientCodec } from './client-codec.ts';
import { type Http1Options, NO_HTTP1_STATS } from './http1-options.ts';
import { Http1ServerCodec } from './server-codec.ts';

/** A connection's write side in memory, which counts pauses. For tests. */
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

export function bytesOf(text: string): ByteBuffer {
  const buffer = new ByteBuffer();
  buffer.append(Buffer.from(text, 'latin1'));
  return buffer;
}

export class RecordedRequest implements RequestDecoder {
  readonly encoder: ResponseEncoder;
  headers!: RequestHeaders;
  headersSeen = 0;
  endsWithHeaders = false;
  body = '';
  trailers: HeaderMap | null = null;
  ends = 0;
  readonly #onEnd: (request: RecordedRequest) => void;

  constructor(encoder: ResponseEncoder, onEnd: (request: RecordedRequest) => void) {
    this.encoder = encoder;
    this.#onEnd = onEnd;
  }

  get ended(): boolean {
    return this.ends > 0;
  }

  onHeaders(headers: RequestHeaders, end: boolean): void {
    this.headersSeen++;
    this.headers = headers.clone();
    this.endsWithHeaders = end;
    if (end) this.#end();
  }

  onData(data: ByteBuffer, end: boolean): void {
    if (this.ends > 0) throw new Error('data behind the end');
    this.body += data.latin1();
    if (end) this.#end();
  }

  onTrailers(trailers: HeaderMap): void {
    this.trailers = trailers.clone();
    this.#end();
  }

  #end(): void {
    this.ends++;
    this.#onEnd(this);
  }
}

/** Owner of a server codec as a connection manager would be: answers each whole request at once. For tests. */
export class ServerPeer {
  readonly transport = new TestTransport();
  readonly requests: RecordedRequest[] = [];
  readonly codec: Http1ServerCodec;
  readonly input = new ByteBuffer();
  error: ProtocolError | null = null;
  answer = true;

  constructor(options: Http1Options) {
    this.codec = new Http1ServerCodec(
      this.transport,
      {
        onLastStreamGone() {},
        onNewStream: (encoder) => {
          const request = new RecordedRequest(encoder, (ended) => {
            if (this.answer) this.respond(ended);
          });
          this.requests.push(request);
          return request;
        },
        onGoAway() {},
        onCodecFailure() {},
      },
      options,
      NO_HTTP1_STATS,
    );
  }

  respond(request: RecordedRequest): void {
    const headers = ResponseHeaders.of(200);
    headers.add('content-length', '2');
    const connection = request.headers.getJoined('connection');
    const proxy = request.headers.getJoined('proxy-connection');
    if (
      (connection !== null && hasToken(connection, 'close')) ||
      (proxy !== null && hasToken(proxy, 'close')) ||
      (request.encoder.stream.protocol === 0 && !(connection !== null && hasToken(connection, 'keep-alive')))
    ) {
      headers.add('connection', 'close');
    }
    request.encoder.encodeHeaders(headers, false);
    request.encoder.encodeData(bytesOf('ok'), true);
  }

  feed(text: string): void {
    if (this.error !== null) return;
    this.input.append(Buffer.from(text, 'latin1'));
    this.error = this.codec.dispatch(this.input);
  }

  feedBytewise(text: string): void {
    for (let i = 0; i < text.length; i++) this.feed(text[i]!);
  }
}

/** What a client codec told about one response, as text. For tests. */
export class ClientPeer {
  readonly transport = new TestTransport();
  readonly codec: Http1ClientCodec;
  readonly input = new ByteBuffer();
  heads = '';
  body = '';
  end = 0;
  error: ProtocolError | null = null;

  constructor(options: Http1Options, request: RequestHeaders) {
    this.codec = new Http1ClientCodec(
      this.transport,
      { onGoAway() {}, onMaxStreamsChanged() {}, onCodecFailure() {}, onStreamsChanged() {} },
      options,
      NO_HTTP1_STATS,
    );
    const encoder = this.codec.newStream({
      on1xxHeaders: (headers) => {
        this.heads += `1xx ${headers.status} ${JSON.stringify(headers.list)}\n`;
      },
      onHeaders: (headers, end) => {
        this.heads += `${headers.status} ${JSON.stringify(headers.list)} ${end}\n`;
        this.#end(end);
      },
      onData: (data, end) => {
        this.body += data.latin1();
        this.#end(end);
      },
      onTrailers: (trailers) => {
        this.heads += `trailers ${JSON.stringify(trailers.list)}\n`;
        this.#end(true);
      },
    });
    encoder.encodeHeaders(request, true);
  }

  #end(end: boolean): void {
    if (this.end > 0) throw new Error('events behind the end');
    if (end) this.end++;
  }

  feed(text: string): void {
    if (this.error !== null) return;
    this.input.append(Buffer.from(text, 'latin1'));
    this.error = this.codec.dispatch(this.input);
  }

  feedBytewise(text: string): void {
    for (let i = 0; i < text.length; i++) this.feed(text[i]!);
  }
}
