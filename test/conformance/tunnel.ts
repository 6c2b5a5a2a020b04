import {
  ACK,
  data,
  END_STREAM,
  type Frame,
  FrameType,
  headers,
  PREFACE,
  readFrames,
  request,
  settings,
  settingsAck,
  windowUpdate,
} from '../support/h2-frames.ts';
import { connectRaw, type RawClient } from '../support/raw-client.ts';

/** A WebSocket's bytes, whatever carries them. */
export interface Tunnel {
  send(bytes: Buffer): void;
  /** Waits for the server's end, or for `timeoutMs`. @returns all that came, and whether the end did */
  finish(timeoutMs: number): Promise<{ bytes: Buffer; ended: boolean }>;
}

const HANDSHAKE = ['sec-websocket-version: 13', 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='];

class Http1Tunnel implements Tunnel {
  readonly #client: RawClient;
  readonly #start: number;

  constructor(client: RawClient, start: number) {
    this.#client = client;
    this.#start = start;
  }

  send(bytes: Buffer): void {
    if (this.#client.fate === 'open') this.#client.send(bytes);
  }

  async finish(timeoutMs: number): Promise<{ bytes: Buffer; ended: boolean }> {
    const fate = await this.#client.closed(timeoutMs);
    const bytes = Buffer.from(this.#client.received.slice(this.#start), 'latin1');
    if (fate === 'open') this.#client.reset();
    else this.#client.end();
    return { bytes, ended: fate !== 'open' };
  }
}

/** RFC 6455, 4.1. */
export async function openOverHttp1(port: number): Promise<Tunnel> {
  const client = await connectRaw({ port });
  const head = ['GET /chat HTTP/1.1', 'host: h', 'connection: Upgrade', 'upgrade: websocket', ...HANDSHAKE, '', ''];
  client.send(head.join('\r\n'));
  const end = (): number => client.received.indexOf('\r\n\r\n');
  await client.until(() => end() >= 0);
  if (!client.received.startsWith('HTTP/1.1 101')) throw new Error(`the handshake failed: ${client.received}`);
  return new Http1Tunnel(client, end() + 4);
}

const STREAM = 1;
const MOST_DATA = 16_384;

/** RFC 8441: a CONNECT with `:protocol`. */
class Http2Tunnel implements Tunnel {
  readonly #client: RawClient;
  #framesSeen = 0;
  #acknowledged = false;
  #connectionRoom = 65_535;
  #streamRoom = 65_535;
  #waiting: Buffer[] = [];
  #received: Buffer[] = [];
  answered = false;
  ended = false;

  constructor(client: RawClient) {
    this.#client = client;
  }

  /** Takes what has come. @returns whether the answer to the request was among it */
  look(): boolean {
    const frames = readFrames(this.#client.received);
    for (; this.#framesSeen < frames.length; this.#framesSeen++) this.#take(frames[this.#framesSeen]!);
    this.#flush();
    return this.answered;
  }

  #take(frame: Frame): void {
    const { type, flags, stream, payload } = frame;
    if (type === FrameType.Settings && (flags & ACK) === 0) {
      for (let at = 0; at + 6 <= payload.length; at += 6) {
        if (payload.readUInt16BE(at) === 4) this.#streamRoom += payload.readUInt32BE(at + 2) - 65_535;
      }
      if (!this.#acknowledged) this.#client.send(settingsAck());
      this.#acknowledged = true;
    } else if (type === FrameType.WindowUpdate) {
      if (stream === 0) this.#connectionRoom += payload.readUInt32BE();
      else this.#streamRoom += payload.readUInt32BE();
    } else if (stream !== STREAM) {
      if (type === FrameType.GoAway) this.ended = true;
    } else if (type === FrameType.Headers) {
      this.answered = true;
    } else if (type === FrameType.Data) {
      this.#received.push(payload);
    }
    if (stream === STREAM) {
      const last = (type === FrameType.Data || type === FrameType.Headers) && (flags & END_STREAM) !== 0;
      if (last || type === FrameType.RstStream) this.ended = true;
    }
  }

  send(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.look();
  }

  #flush(): void {
    while (this.#waiting.length > 0 && !this.ended && this.#client.fate === 'open') {
      const room = Math.min(this.#connectionRoom, this.#streamRoom, MOST_DATA);
      const first = this.#waiting[0]!;
      if (room <= 0 || first.length === 0) {
        if (first.length > 0) return;
        this.#waiting.shift();
        continue;
      }
      const piece = first.subarray(0, room);
      this.#client.send(data(STREAM, piece, false));
      this.#connectionRoom -= piece.length;
      this.#streamRoom -= piece.length;
      this.#waiting[0] = first.subarray(piece.length);
    }
  }

  async finish(timeoutMs: number): Promise<{ bytes: Buffer; ended: boolean }> {
    await this.#client.until(() => {
      this.look();
      return this.ended;
    }, timeoutMs);
    this.#client.reset();
    return { bytes: Buffer.concat(this.#received), ended: this.ended };
  }
}

export async function openOverHttp2(port: number): Promise<Tunnel> {
  const client = await connectRaw({ port });
  const tunnel = new Http2Tunnel(client);
  // RFC 8441 needs no key, but the HTTP/1 server at the end does, and proxies pass it on (Envoy makes none up).
  const handshake = HANDSHAKE.map((line) => line.split(': ') as [string, string]);
  client.send(
    Buffer.concat([
      PREFACE,
      settings({ 4: 0x7fff_ffff }),
      windowUpdate(0, 0x7fff_0000),
      headers(STREAM, request('CONNECT', '/chat', [[':protocol', 'websocket'], ...handshake]), false),
    ]),
  );
  await client.until(() => tunnel.look() || tunnel.ended);
  if (tunnel.ended) throw new Error('the handshake failed');
  return tunnel;
}
