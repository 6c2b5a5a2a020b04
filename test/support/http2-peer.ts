import { HpackDecoder } from '../../src/http/h2/hpack/hpack-decoder.ts';
import type { BytePipe } from './byte-pipe.ts';
import {
  ACK,
  data as dataFrame,
  END_HEADERS,
  END_STREAM,
  FrameType,
  fields,
  frame,
  goAway,
  PREFACE,
  reset as rstStream,
  settingsInOrder,
  windowUpdate,
} from './h2-frames.ts';
import type { UpstreamConnection, UpstreamScript } from './scripted-upstream.ts';
import { showBytes } from './wire-text.ts';

export { dataFrame, FrameType, frame, goAway, rstStream, windowUpdate };

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
}

/** A SETTINGS frame of identifier and value pairs. */
export function settings(...pairs: readonly (readonly [identifier: number, value: number])[]): Buffer {
  return settingsInOrder(pairs);
}

/** A header block of literals without indexing. Fields are `name: value`. */
function headerBlock(lines: readonly string[]): Buffer {
  return fields(
    lines.map((line) => {
      const colon = line.indexOf(':', 1);
      return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
    }),
  );
}

export function headersFrame(id: number, lines: readonly string[], end: boolean): Buffer {
  return frame(FrameType.Headers, END_HEADERS | (end ? END_STREAM : 0), id, headerBlock(lines));
}

/** Envoy's METADATA frames: their type is none of the RFC's. */
export const METADATA_FRAME = 0x4d;

export function metadataFrame(id: number, fields: readonly string[], end = true): Buffer {
  return frame(METADATA_FRAME, end ? END_HEADERS : 0, id, headerBlock(fields));
}

/** One stream as the other side has shown it so far. */
export interface SeenStream {
  readonly id: number;
  /** Header lists in order: informational ones, the final one, trailers. */
  readonly heads: string[][];
  body: string;
  /** What METADATA said, a list of fields each. */
  readonly metadata: string[][];
  ended: boolean;
  /** RST_STREAM's code. */
  reset: number | null;
}

/** One end of an HTTP/2 connection whose frames a test writes by hand. What the other side sends is kept by stream. */
export class Http2Peer {
  readonly pipe: BytePipe;
  readonly frames: Frame[] = [];
  readonly streams = new Map<number, SeenStream>();
  /** SETTINGS, PING and GOAWAY as text, in order. */
  readonly connectionFrames: string[] = [];
  readonly #decoder = new HpackDecoder(4096);
  #at: number;
  /** A header block under way. */
  #block: Buffer[] = [];
  #blockFlags = 0;
  /** METADATA under way. */
  #metadata: Buffer[] = [];
  /** Answers SETTINGS and PING, and gives windows back. */
  polite = true;

  /** @param server the other side begins with the preface */
  constructor(pipe: BytePipe, server: boolean) {
    this.pipe = pipe;
    this.#at = server ? PREFACE.length : 0;
    pipe.describe = () => this.describe();
  }

  send(...bytes: readonly (Uint8Array | string)[]): void {
    for (const each of bytes) this.pipe.send(each);
  }

  /** Reads what has come. */
  update(): void {
    const { received } = this.pipe;
    for (;;) {
      if (received.length - this.#at < 9) return;
      const head = Buffer.from(received.slice(this.#at, this.#at + 9), 'latin1');
      const length = head.readUIntBE(0, 3);
      if (received.length - this.#at < 9 + length) return;
      const payload = Buffer.from(received.slice(this.#at + 9, this.#at + 9 + length), 'latin1');
      this.#at += 9 + length;
      this.#onFrame({ type: head[3]!, flags: head[4]!, id: head.readUInt32BE(5) & 0x7fff_ffff, payload });
    }
  }

  /** Resolves as soon as `condition` holds over what has come. */
  async until(condition: () => boolean, timeoutMs?: number): Promise<boolean> {
    return this.pipe.until(() => {
      this.update();
      return condition();
    }, timeoutMs);
  }

  stream(id: number): SeenStream {
    let stream = this.streams.get(id);
    if (stream === undefined) {
      stream = { id, heads: [], body: '', metadata: [], ended: false, reset: null };
      this.streams.set(id, stream);
    }
    return stream;
  }

  /** Resolves when a stream has ended or been reset. */
  async over(id: number, timeoutMs?: number): Promise<boolean> {
    return this.until(() => this.streams.get(id)?.ended === true || this.streams.get(id)?.reset != null, timeoutMs);
  }

  #onFrame(seen: Frame): void {
    this.frames.push(seen);
    const { type, flags, id, payload } = seen;
    switch (type) {
      case FrameType.Data: {
        const stream = this.stream(id);
        stream.body += payload.latin1Slice();
        if ((flags & END_STREAM) !== 0) stream.ended = true;
        if (this.polite && payload.length > 0) {
          this.send(windowUpdate(0, payload.length));
          if (!stream.ended) this.send(windowUpdate(id, payload.length));
        }
        break;
      }
      case FrameType.Headers:
        this.#block = [payload];
        this.#blockFlags = flags;
        if ((flags & END_HEADERS) !== 0) this.#onHeaders(id);
        break;
      case FrameType.Continuation:
        this.#block.push(payload);
        if ((flags & END_HEADERS) !== 0) this.#onHeaders(id);
        break;
      case METADATA_FRAME:
        this.#metadata.push(payload);
        if ((flags & END_HEADERS) === 0) break;
        this.stream(id).metadata.push(fieldsOf(new HpackDecoder(4096), Buffer.concat(this.#metadata)));
        this.#metadata = [];
        break;
      case FrameType.RstStream:
        this.stream(id).reset = payload.readUInt32BE(0);
        break;
      case FrameType.Settings:
        if ((flags & ACK) !== 0) break;
        this.connectionFrames.push(`SETTINGS ${settingsText(payload)}`);
        if (this.polite) this.send(frame(FrameType.Settings, ACK, 0));
        break;
      case FrameType.Ping:
        if ((flags & ACK) !== 0) {
          this.connectionFrames.push(`PING ACK ${payload.toString('hex')}`);
        } else {
          this.connectionFrames.push('PING');
          if (this.polite) this.send(frame(FrameType.Ping, ACK, 0, payload));
        }
        break;
      case FrameType.GoAway:
        this.connectionFrames.push(`GOAWAY last=${payload.readUInt32BE(0)} code=${payload.readUInt32BE(4)}`);
        break;
    }
  }

  #onHeaders(id: number): void {
    const stream = this.stream(id);
    stream.heads.push(fieldsOf(this.#decoder, Buffer.concat(this.#block)));
    if ((this.#blockFlags & END_STREAM) !== 0) stream.ended = true;
  }

  /** Everything of it that does not depend on how bytes were cut: for transcripts. */
  describe(): string {
    this.update();
    const out = [...this.connectionFrames];
    for (const stream of this.streams.values()) {
      const end = stream.ended ? ' END_STREAM' : '';
      const reset = stream.reset === null ? '' : ` RST_STREAM ${stream.reset}`;
      out.push(`stream ${stream.id}:${end}${reset}`);
      stream.heads.forEach((head, index) => {
        const pseudo = head.filter((field) => field.startsWith(':')).sort();
        if (index > 0) out.push(' --');
        for (const field of [...pseudo, ...head.filter((each) => !each.startsWith(':'))]) out.push(field);
      });
      for (const fields of stream.metadata) out.push(` METADATA ${fields.sort().join(', ')}`);
      if (stream.body !== '') out.push(` [${showBytes(stream.body)}]`);
    }
    return out.join('\n');
  }
}

function fieldsOf(decoder: HpackDecoder, block: Buffer): string[] {
  const fields: string[] = [];
  decoder.decode(block, 0, block.length, {
    onField: (name, value) => {
      fields.push(`${name}: ${value}`);
    },
  });
  return fields;
}

function settingsText(payload: Buffer): string {
  const out: string[] = [];
  for (let at = 0; at + 6 <= payload.length; at += 6) {
    out.push(`${payload.readUInt16BE(at)}=${payload.readUInt32BE(at + 2)}`);
  }
  return out.join(' ');
}

/** A client's end: prefaces, requests on odd streams. */
export class Http2Client extends Http2Peer {
  #nextId = 1;

  /** @param pairs of its SETTINGS */
  constructor(pipe: BytePipe, pairs: readonly (readonly [number, number])[] = []) {
    super(pipe, false);
    this.send(PREFACE, settings(...pairs));
  }

  /** Waits for the server's SETTINGS: what then comes is dispatched by itself. */
  async settled(): Promise<void> {
    await this.until(() => this.frames.some((each) => each.type === FrameType.Settings && (each.flags & ACK) !== 0));
  }

  /** Sends a request's head (and body). @returns the stream's id */
  request(start: string, fields: readonly string[] = [], body: string | null = null, end = true): number {
    const id = this.#nextId;
    this.#nextId += 2;
    const [method, path] = start.split(' ') as [string, string | undefined];
    const given = (name: string): boolean => fields.some((field) => field.startsWith(`${name}:`));
    const head = [`:method: ${method}`];
    if (path !== undefined) {
      if (!given(':scheme')) head.push(':scheme: http');
      head.push(`:path: ${path}`);
    }
    if (!given(':authority')) head.push(':authority: h');
    const pseudo = fields.filter((field) => field.startsWith(':'));
    const plain = fields.filter((field) => !field.startsWith(':'));
    const first = headersFrame(id, [...head, ...pseudo, ...plain], body === null && end);
    // In one piece: whether they come in one read would else be left to chance.
    if (body === null) this.send(first);
    else this.send(Buffer.concat([first, dataFrame(id, body, end)]));
    return id;
  }
}

/** A request as an HTTP/2 upstream sees it once it is complete (or, for `onHead`, begun). */
export interface SeenHttp2Request {
  readonly id: number;
  readonly stream: SeenStream;
  readonly path: string;
  readonly method: string;
  /** 1 for the first of this connection. */
  readonly number: number;
}

export interface Http2Script {
  /** Pairs of its SETTINGS. */
  readonly settings?: readonly (readonly [number, number])[];
  /** Called when a request's head has come; with true, `respond` is not called for it. */
  readonly onHead?: (request: SeenHttp2Request, peer: Http2Peer, connection: UpstreamConnection) => boolean | undefined;
  /** Called when a request is complete. */
  readonly respond?: (request: SeenHttp2Request, peer: Http2Peer, connection: UpstreamConnection) => void;
  readonly polite?: boolean;
}

/** An HTTP/2 upstream with prior knowledge. */
export function http2Upstream(script: Http2Script): UpstreamScript {
  return {
    kind: 'raw',
    run: async (connection) => {
      const peer = new Http2Peer(connection, true);
      peer.polite = script.polite ?? true;
      peer.send(settings(...(script.settings ?? [])));
      /** Numbers of the streams that have begun. */
      const begun = new Map<number, number>();
      const done = new Set<number>();
      for (;;) {
        const due = (): boolean =>
          [...peer.streams.values()].some((s) => !begun.has(s.id) || (s.ended && !done.has(s.id)));
        if (!(await peer.until(due, 60_000))) return;
        for (const stream of [...peer.streams.values()]) {
          const field = (name: string): string =>
            stream.heads[0]?.find((each) => each.startsWith(`${name}: `))?.slice(name.length + 2) ?? '';
          const isNew = !begun.has(stream.id);
          if (isNew) begun.set(stream.id, begun.size + 1);
          const number = begun.get(stream.id)!;
          const request = { id: stream.id, stream, path: field(':path'), method: field(':method'), number };
          if (isNew && script.onHead?.(request, peer, connection) === true) done.add(stream.id);
          if (stream.ended && !done.has(stream.id)) {
            done.add(stream.id);
            script.respond?.(request, peer, connection);
          }
        }
      }
    },
  };
}

/** Answers on a stream. */
export function respond2(peer: Http2Peer, id: number, status: number, body = '', fields: readonly string[] = []): void {
  peer.send(headersFrame(id, [`:status: ${status}`, ...fields], body === ''));
  if (body !== '') peer.send(dataFrame(id, body, true));
}
