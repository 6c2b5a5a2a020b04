import { beforeEach, describe, expect, test } from 'bun:test';
import { FakeUpstream } from '../../test/support/fake-upstream.ts';
import { ByteBuffer } from '../base/byte-buffer.ts';
import {
  BytesMeter,
  type CodecStream,
  Protocol,
  type RequestEncoder,
  ResetReason,
  type ResponseDecoder,
  type StreamEvents,
} from '../http/codec.ts';
import { GrpcStatus } from '../http/grpc-headers.ts';
import { HeaderMap, type RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { Cluster } from '../upstream/cluster.ts';
import type { Host } from '../upstream/host.ts';
import {
  type HttpPool,
  type PendingStream,
  PoolFailure,
  type PoolWaiter,
  type UpstreamConnectionInfo,
} from '../upstream/pool.ts';
import { ClusterGrpcClient, type GrpcClientSettings, grpcClientSettings } from './cluster-grpc-client.ts';
import { framePrefix } from './framing.ts';
import type { GrpcCall, GrpcCallHandler } from './grpc-client.ts';

/** A pool that answers when the test says so, and a stream that writes down what it is told. */
class ScriptedPool implements HttpPool, RequestEncoder, CodecStream, PendingStream {
  readonly host: Host;
  readonly log: string[] = [];
  decoder: ResponseDecoder | null = null;
  waiter: PoolWaiter | null = null;
  events: StreamEvents | null = null;
  headers: RequestHeaders | null = null;
  readonly sent = new ByteBuffer();
  sentEnd = false;
  pauses = 0;
  /** What `newStream` does before it returns. */
  mood: 'later' | 'ready' | 'overflow' = 'later';
  secure = false;
  readonly id = 1;
  readonly protocol = Protocol.Http2;
  readonly meter = new BytesMeter();
  readonly isIdle = false;
  /** Called within `encodeData`. */
  onWrite: (() => void) | null = null;

  constructor(host: Host) {
    this.host = host;
  }

  newStream(decoder: ResponseDecoder, waiter: PoolWaiter): PendingStream | null {
    this.decoder = decoder;
    this.waiter = waiter;
    if (this.mood === 'later') return this;
    if (this.mood === 'ready') this.ready();
    else waiter.onPoolFailure(PoolFailure.Overflow, '', this.host);
    return null;
  }

  ready(): void {
    const security = this.secure ? {} : null;
    const info = { connection: { security }, protocol: Protocol.Http2, priorStreams: 0 };
    this.waiter!.onPoolReady(this, this.host, info as unknown as UpstreamConnectionInfo);
  }

  drain(): void {}
  close(): void {}

  cancel(): void {
    this.log.push('cancelled');
  }

  get stream(): CodecStream {
    return this;
  }

  setEvents(events: StreamEvents): void {
    this.events = events;
  }

  reset(reason: ResetReason): void {
    this.log.push(`reset ${reason}`);
  }

  pauseReads(): void {
    this.pauses++;
  }

  resumeReads(): void {
    this.pauses--;
  }

  encodeHeaders(headers: RequestHeaders, end: boolean): string | null {
    this.headers = headers;
    expect(end).toBe(false);
    return null;
  }

  encodeData(data: ByteBuffer, end: boolean): void {
    expect(this.sentEnd).toBe(false);
    this.sent.moveFrom(data);
    this.sentEnd = end;
    this.onWrite?.();
  }

  encodeMetadata(): void {}

  encodeTrailers(): void {
    throw new Error('gRPC clients send no trailers');
  }

  enableTcpTunneling(): void {}
}

class Listener implements GrpcCallHandler {
  readonly log: string[] = [];
  readonly messages: Uint8Array[] = [];
  onEach: ((call: GrpcCall) => void) | null = null;

  onInitialMetadata(_call: GrpcCall, metadata: ResponseHeaders): void {
    this.log.push(`metadata ${metadata.get('x-m') ?? ''}`.trim());
  }

  onMessage(call: GrpcCall, message: Uint8Array): void {
    this.log.push(`message ${Buffer.from(message)}`);
    this.onEach?.(call);
  }

  onReady(): void {
    this.log.push('ready');
  }

  onStatus(call: GrpcCall, status: number, message: string, trailers: HeaderMap | null): void {
    expect(call.isOver).toBe(true);
    this.log.push(`status ${status} ${message}${trailers === null ? '' : ' *'}`);
  }
}

function framed(text: string): Buffer {
  return Buffer.concat([framePrefix(text.length), Buffer.from(text)]);
}

let up: FakeUpstream;
let cluster: Cluster;
let pool: ScriptedPool;
let heard: Listener;
beforeEach(() => {
  up = new FakeUpstream();
  cluster = up.cluster({ bufferLimitBytes: 100 });
  pool = new ScriptedPool(cluster.chooseHost(null)!);
  cluster.httpPool = () => pool;
  heard = new Listener();
});

function client(fields: Partial<GrpcClientSettings> = {}): ClusterGrpcClient {
  return new ClusterGrpcClient(
    { get: (name) => (name === 'up' ? cluster : null) },
    up.loop.dispatcher,
    grpcClientSettings('up', fields),
  );
}

/** Opens a call inside a turn, as all callers do. */
function open(on = client(), options: Parameters<ClusterGrpcClient['open']>[2] = undefined): GrpcCall {
  let call!: GrpcCall;
  up.loop.turn(() => {
    call = on.open('/p.S/M', heard, options);
    expect(heard.log).toEqual([]);
  });
  return call;
}

function turn(action: () => void): void {
  up.loop.turn(action);
}

function answer(fields: Readonly<Record<string, string>> = {}, end = false, status = 200): void {
  const headers = ResponseHeaders.of(status);
  for (const [name, value] of Object.entries(fields)) headers.add(name, value);
  turn(() => pool.decoder!.onHeaders(headers, end));
}

function data(bytes: Buffer, end = false): void {
  turn(() => pool.decoder!.onData(ByteBuffer.from(bytes), end));
}

function trailers(fields: Readonly<Record<string, string>>): void {
  const map = new HeaderMap();
  for (const [name, value] of Object.entries(fields)) map.add(name, value);
  turn(() => pool.decoder!.onTrailers(map));
}

describe('a call', () => {
  test('unary: what was sent before there was a stream goes with its headers', () => {
    const call = open(client({ metadata: [['x-a', '1']], localAddress: '192.0.2.1' }), {
      metadata: [['x-b', '2']],
      timeoutMs: 250,
    });
    expect(call.send(Buffer.from('ask'))).toBe(true);
    call.endSend();
    turn(() => pool.ready());
    const headers = pool.headers!;
    expect([headers.method, headers.scheme, headers.authority, headers.path]).toEqual(['POST', 'http', 'up', '/p.S/M']);
    expect(headers.list).toEqual(
      ['te', 'trailers', 'grpc-timeout', '250m', 'content-type', 'application/grpc', 'x-a', '1', 'x-b', '2'].concat([
        'x-envoy-internal',
        'true',
        'x-forwarded-for',
        '192.0.2.1',
      ]),
    );
    expect(pool.sent.latin1()).toBe('\0\0\0\0\x03ask');
    expect(pool.sentEnd).toBe(true);
    answer({ 'x-m': 'v' });
    data(framed('answer'));
    trailers({ 'grpc-status': '0' });
    expect(heard.log).toEqual(['metadata v', 'message answer', 'status 0  *']);
    expect(pool.log).toEqual([]);
    up.loop.advance(1000);
    expect(heard.log.length).toBe(3);
    expect(up.store.valueOf('cluster.up.internal.upstream_rq_200')).toBe(1);
  });

  test('to a host over TLS, with an authority of its own', () => {
    pool.secure = true;
    pool.mood = 'ready';
    open(client({ authority: 'xds.example' }));
    expect([pool.headers!.scheme, pool.headers!.authority]).toEqual(['https', 'xds.example']);
  });

  test('two-way streaming, and an end by the server that cuts the sending short', () => {
    pool.mood = 'ready';
    const call = open();
    call.send(Buffer.from('1'));
    answer();
    data(framed('a'));
    call.send(Buffer.from('2'));
    data(Buffer.concat([framed('b'), framed('c')]));
    expect(heard.log).toEqual(['metadata', 'message a', 'message b', 'message c']);
    expect(pool.sent.length).toBe(12);
    trailers({ 'grpc-status': '8', 'grpc-message': 'too%20much %F0%9F%98%80 100%' });
    expect(heard.log.at(-1)).toBe('status 8 too much 😀 100% *');
    expect(pool.log).toEqual([`reset ${ResetReason.LocalReset}`]);
    call.send(Buffer.from('3'));
    call.endSend();
    call.cancel();
    expect(pool.sent.length).toBe(12);
  });

  test('messages in single bytes', () => {
    pool.mood = 'ready';
    open();
    answer();
    const wire = Buffer.concat([framed('one'), framed(''), framed('three')]);
    for (const byte of wire) data(Buffer.from([byte]));
    trailers({ 'grpc-status': '0' });
    expect(heard.log).toEqual(['metadata', 'message one', 'message', 'message three', 'status 0  *'].map(exact));
  });

  test('a status alone', () => {
    pool.mood = 'ready';
    open();
    answer({ 'grpc-status': '12', 'grpc-message': 'nobody' }, true);
    expect(heard.log).toEqual(['status 12 nobody *']);
  });

  test.each([
    [400, 13],
    [401, 16],
    [403, 7],
    [404, 12],
    [429, 14],
    [503, 14],
    [418, 2],
  ])('HTTP %p is gRPC status %p', (http, grpc) => {
    pool.mood = 'ready';
    open();
    answer({}, false, http);
    expect(heard.log).toEqual([`status ${grpc} the server answered with HTTP status ${http}`]);
  });

  test('HTTP 503 with a gRPC status and no body is that status', () => {
    pool.mood = 'ready';
    open();
    answer({ 'grpc-status': '7' }, true, 503);
    expect(heard.log).toEqual(['status 7  *']);
  });

  test.each(['headers', 'data', 'trailers'])('an end without a status: by %p', (by) => {
    pool.mood = 'ready';
    open();
    answer({}, by === 'headers');
    if (by === 'data') data(framed('x'), true);
    if (by === 'trailers') trailers({ 'grpc-status': 'rubbish' });
    expect(heard.log.at(-1)).toStartWith('status 2 the server ended the call without a status');
  });

  test('an end within a message is no success', () => {
    pool.mood = 'ready';
    open();
    answer();
    data(framed('abc').subarray(0, 7));
    trailers({ 'grpc-status': '0' });
    expect(heard.log.at(-1)).toBe('status 13 the server ended the call within a message *');
  });

  test('a message beyond the bound ends the call and its stream', () => {
    pool.mood = 'ready';
    open(client({ maxMessageBytes: 3 }));
    answer();
    data(Buffer.concat([framed('abc'), framed('abcd')]));
    expect(heard.log).toEqual([
      'metadata',
      'message abc',
      `status ${GrpcStatus.ResourceExhausted} the message has 4 bytes, 3 are permitted`,
    ]);
    expect(pool.log).toEqual([`reset ${ResetReason.LocalReset}`]);
  });
});

/** An empty message shows as `message ` with a space behind it. */
function exact(line: string): string {
  return line === 'message' ? 'message ' : line;
}

describe('a call that fails', () => {
  test('for want of a cluster or a host: told behind open', () => {
    const lost = new ClusterGrpcClient({ get: () => null }, up.loop.dispatcher, grpcClientSettings('gone'));
    expect(open(lost).isOver).toBe(true);
    expect(heard.log).toEqual(['status 14 there is no cluster gone']);
    heard = new Listener();
    cluster.chooseHost = () => null;
    open();
    expect(heard.log).toEqual(['status 14 no healthy upstream']);
  });

  test('outside of a turn too, it is told later', async () => {
    const lost = new ClusterGrpcClient({ get: () => null }, up.loop.dispatcher, grpcClientSettings('gone'));
    lost.open('/a/b', heard);
    expect(heard.log).toEqual([]);
    await Promise.resolve();
    expect(heard.log.length).toBe(1);
  });

  test('at once by a circuit breaker, or later by the connection', () => {
    pool.mood = 'overflow';
    open();
    const words = 'upstream connect error or disconnect/reset before headers. reset reason:';
    expect(heard.log).toEqual([`status 14 ${words} overflow`]);
    heard = new Listener();
    pool.mood = 'later';
    open();
    turn(() => pool.waiter!.onPoolFailure(PoolFailure.RemoteConnectionFailure, 'refused', pool.host));
    expect(heard.log).toEqual([`status 14 ${words} remote connection failure, transport failure reason: refused`]);
  });

  test('by a reset before and behind the headers', () => {
    pool.mood = 'ready';
    open();
    turn(() => pool.events!.onStreamReset(ResetReason.RemoteRefusedStreamReset, ''));
    expect(heard.log[0]).toStartWith('status 14 upstream connect error');
    heard = new Listener();
    open();
    answer();
    data(framed('a'));
    turn(() => pool.events!.onStreamReset(ResetReason.ConnectionTermination, ''));
    expect(heard.log).toEqual(['metadata', 'message a', 'status 13 connection termination']);
  });

  test('by a reset within send: told behind it', () => {
    pool.mood = 'ready';
    const call = open();
    pool.onWrite = () => pool.events!.onStreamReset(ResetReason.ConnectionTermination, '');
    turn(() => {
      call.send(Buffer.from('x'));
      expect(heard.log).toEqual([]);
    });
    expect(heard.log.length).toBe(1);
  });

  test('by its deadline, with a stream and without, paused or not', () => {
    open(client({ timeoutMs: 50 }));
    up.loop.advance(49);
    expect(heard.log).toEqual([]);
    up.loop.advance(2);
    expect(heard.log).toEqual(['status 4 the deadline has passed']);
    expect(pool.log).toEqual(['cancelled']);
    heard = new Listener();
    pool.mood = 'ready';
    const call = open(client({ timeoutMs: 50 }));
    call.pauseReads();
    answer();
    up.loop.advance(51);
    expect(heard.log).toEqual(['metadata', 'status 4 the deadline has passed']);
    expect(pool.log).toEqual(['cancelled', `reset ${ResetReason.LocalReset}`]);
    expect(pool.pauses).toBe(0);
    expect(cluster.stats.upstream_rq_timeout.value).toBe(2);
  });

  test('by a reset that the server sends because of the deadline', () => {
    pool.mood = 'ready';
    open(client({ timeoutMs: 50 }));
    answer();
    up.loop.clock.advance(50);
    turn(() => pool.events!.onStreamReset(ResetReason.RemoteReset, ''));
    expect(heard.log).toEqual(['metadata', 'status 4 the deadline has passed']);
  });

  test('cancel: pending or running, nothing more is heard', () => {
    open().cancel();
    expect(pool.log).toEqual(['cancelled']);
    pool.mood = 'ready';
    const call = open();
    answer();
    heard.onEach = () => call.cancel();
    data(Buffer.concat([framed('a'), framed('b')]));
    trailers({ 'grpc-status': '0' });
    expect(heard.log).toEqual(['metadata', 'message a']);
    expect(pool.log).toEqual(['cancelled', `reset ${ResetReason.LocalReset}`]);
    expect(call.isOver).toBe(true);
  });

  test('a stream that comes too late is given back', () => {
    const call = open();
    call.cancel();
    turn(() => pool.ready());
    expect(pool.log).toEqual(['cancelled', `reset ${ResetReason.LocalReset}`]);
  });
});

describe('backpressure', () => {
  test('of sending: while there is no stream, and by the stream', () => {
    const call = open();
    expect(call.send(Buffer.alloc(60))).toBe(true);
    expect(call.send(Buffer.alloc(60))).toBe(false);
    expect(call.isFull).toBe(true);
    turn(() => pool.ready());
    expect(pool.sent.length).toBe(130);
    expect(heard.log).toEqual(['ready']);
    pool.onWrite = () => pool.events!.onAboveWriteHighWatermark();
    expect(call.send(Buffer.alloc(1))).toBe(false);
    turn(() => pool.events!.onBelowWriteLowWatermark());
    expect(heard.log).toEqual(['ready', 'ready']);
    turn(() => pool.events!.onAboveWriteHighWatermark());
    turn(() => pool.events!.onBelowWriteLowWatermark());
    expect(heard.log.length).toBe(2);
  });

  test('of receiving: what is here waits, the end behind it', () => {
    pool.mood = 'ready';
    const call = open();
    call.endSend();
    answer();
    heard.onEach = () => call.pauseReads();
    data(Buffer.concat([framed('a'), framed('b')]));
    trailers({ 'grpc-status': '0' });
    expect(heard.log).toEqual(['metadata', 'message a']);
    turn(() => {
      call.resumeReads();
      expect(heard.log.length).toBe(2);
    });
    expect(heard.log).toEqual(['metadata', 'message a', 'message b']);
    expect(call.isOver).toBe(false);
    turn(() => call.resumeReads());
    expect(heard.log.at(-1)).toBe('status 0  *');
  });

  test('pauses asked for before there is a stream reach it, and balance', () => {
    const call = open();
    call.pauseReads();
    call.pauseReads();
    turn(() => pool.ready());
    expect(pool.pauses).toBe(2);
    turn(() => call.resumeReads());
    expect(pool.pauses).toBe(1);
    call.cancel();
    expect(pool.pauses).toBe(0);
  });
});
