/** HTTP/2 by hand: frames as bytes, well-formed or not, and a reader that says what came. Knows nothing of Nuncio's own codec. */

export const FrameType = {
  Data: 0,
  Headers: 1,
  Priority: 2,
  RstStream: 3,
  Settings: 4,
  PushPromise: 5,
  Ping: 6,
  GoAway: 7,
  WindowUpdate: 8,
  Continuation: 9,
} as const;

const TYPE_NAMES = [
  'DATA',
  'HEADERS',
  'PRIORITY',
  'RST_STREAM',
  'SETTINGS',
  'PUSH_PROMISE',
  'PING',
  'GOAWAY',
  'WINDOW_UPDATE',
  'CONTINUATION',
];

const CODE_NAMES = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
];

export const END_STREAM = 0x1;
export const ACK = 0x1;
export const END_HEADERS = 0x4;
export const PADDED = 0x8;

export const PREFACE: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** RFC 9113 section 4.1. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array | string = ''): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload;
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** @param values identifier → value */
export function settings(values: Readonly<Record<number, number>> = {}): Buffer {
  return settingsInOrder(Object.entries(values).map(([identifier, value]) => [Number(identifier), value]));
}

export function settingsInOrder(pairs: readonly (readonly [identifier: number, value: number])[]): Buffer {
  const entries = pairs.map(([identifier, value]) => {
    const entry = Buffer.alloc(6);
    entry.writeUInt16BE(identifier);
    entry.writeUInt32BE(value, 2);
    return entry;
  });
  return frame(FrameType.Settings, 0, 0, Buffer.concat(entries));
}

export const settingsAck = (): Buffer => frame(FrameType.Settings, ACK, 0);
export const ping = (): Buffer => frame(FrameType.Ping, 0, 0, Buffer.alloc(8));
export const reset = (stream: number, code: number): Buffer => frame(FrameType.RstStream, 0, stream, uint32(code));
export const goAway = (last: number, code: number): Buffer =>
  frame(FrameType.GoAway, 0, 0, Buffer.concat([uint32(last), uint32(code)]));
export const windowUpdate = (stream: number, increment: number): Buffer =>
  frame(FrameType.WindowUpdate, 0, stream, uint32(increment));
export const priority = (stream: number, on = 0): Buffer =>
  frame(FrameType.Priority, 0, stream, Buffer.concat([uint32(on), Buffer.from([15])]));
export const data = (stream: number, payload: string | Uint8Array, end: boolean): Buffer =>
  frame(FrameType.Data, end ? END_STREAM : 0, stream, payload);

/** RFC 7541 section 5.1. @param first the bits above the prefix */
export function hpackInteger(value: number, prefixBits: number, first: number): Buffer {
  const most = (1 << prefixBits) - 1;
  if (value < most) return Buffer.from([first | value]);
  const bytes = [first | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

function hpackString(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([hpackInteger(bytes.length, 7, 0), bytes]);
}

export type Field = readonly [name: string, value: string];

/** Literal fields without Huffman; `indexed`: they go into the dynamic table (RFC 7541 section 6.2). */
export function fields(list: readonly Field[], indexed = false): Buffer {
  return Buffer.concat(
    list.map(([name, value]) =>
      Buffer.concat([Buffer.from([indexed ? 0x40 : 0]), hpackString(name), hpackString(value)]),
    ),
  );
}

/** A whole header block in one HEADERS frame. */
export function headers(stream: number, list: readonly Field[], end: boolean): Buffer {
  return frame(FrameType.Headers, END_HEADERS | (end ? END_STREAM : 0), stream, fields(list));
}

/** The fields of a request, pseudo-headers first. */
export function request(method: string, path: string, more: readonly Field[] = []): Field[] {
  return [[':method', method], [':scheme', 'http'], [':authority', 'h'], [':path', path], ...more];
}

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** The whole frames in `received` (latin1). */
export function readFrames(received: string): Frame[] {
  const bytes = Buffer.from(received, 'latin1');
  const frames: Frame[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    if (end > bytes.length) break;
    frames.push({
      type: bytes[at + 3]!,
      flags: bytes[at + 4]!,
      stream: bytes.readUInt32BE(at + 5) & 0x7fffffff,
      payload: bytes.subarray(at + 9, end),
    });
    at = end;
  }
  return frames;
}

function codeName(code: number): string {
  return CODE_NAMES[code] ?? String(code);
}

/** One line for people. Header blocks are not decoded. */
export function describeFrame({ type, flags, stream, payload }: Frame): string {
  const name = TYPE_NAMES[type] ?? `type ${type}`;
  const end = (type === FrameType.Data || type === FrameType.Headers) && (flags & END_STREAM) !== 0 ? ' end' : '';
  switch (type) {
    case FrameType.RstStream:
      return `${name} ${stream} ${codeName(payload.readUInt32BE())}`;
    case FrameType.GoAway:
      return `${name} last ${payload.readUInt32BE() & 0x7fffffff} ${codeName(payload.readUInt32BE(4))}`;
    case FrameType.Settings:
    case FrameType.Ping:
      return `${name}${(flags & ACK) === 0 ? '' : ' ack'}`;
    case FrameType.Data:
      return `${name} ${stream} ${payload.length}${end}`;
    default:
      return `${name} ${stream}${end}`;
  }
}
