import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import { type IpAddress, ipAddress } from '../../../net/address.ts';
import { ipBytes } from '../../../net/cidr.ts';
import { ipv4Text, ipv6Text } from '../../../net/ip-text.ts';
import { ipVersion } from '../../../net/ip-version.ts';

/** Signature of version 2, and the whole fixed header of it. */
const V2_SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const V2_HEADER_BYTES = 16;
const V1_SIGNATURE = Buffer.from('PROXY ', 'latin1');
/** The standard's longest line, 107 bytes with its line end, and one more. Source: Envoy, MAX_PROXY_PROTO_LEN_V1. */
const V1_MAX_BYTES = 108;
/** How far Envoy looks at once: a fixed header of version 2 with the longest addresses. */
const PEEK_BYTES = V2_HEADER_BYTES + 216;
/** A fixed header, and all that its length field can announce. */
export const MAX_HEADER_BYTES = V2_HEADER_BYTES + 0xffff;

const COMMAND_LOCAL = 0;
const COMMAND_PROXY = 1;
const FAMILY_INET = 1;
const FAMILY_INET6 = 2;
const TRANSPORT_STREAM = 1;
const TRANSPORT_DGRAM = 2;

const LINE_SPACE = /[\t\n\v\f\r ]+$/;
/** As absl::SimpleAtoi has it. */
const PORT = /^[\t\n\v\f\r ]*\+?\d+[\t\n\v\f\r ]*$/;

export const HeaderState = {
  /** Not decided yet. */
  More: 0,
  /** A header is there: see the parser's fields. */
  Found: 1,
  /** There is none, and none is needed. */
  Absent: 2,
  /** What is there is no valid header. */
  Malformed: 3,
  /** A header of a version that is not allowed. */
  Denied: 4,
} as const;
export type HeaderState = (typeof HeaderState)[keyof typeof HeaderState];

export interface HeaderRules {
  readonly optional: boolean;
  readonly allowV1: boolean;
  readonly allowV2: boolean;
}

/** One type-length-value of version 2. */
export interface Tlv {
  readonly type: number;
  readonly value: Buffer;
}

/**
 * Reads a PROXY protocol header. Source: HAProxy, proxy-protocol.txt; what is taken for an error, and when, is Envoy's
 * (extensions/filters/listener/proxy_protocol). May be asked again as bytes come.
 */
export class ProxyHeaderParser {
  readonly #rules: HeaderRules;
  /** 0: none found yet. */
  version: 0 | 1 | 2 = 0;
  /** Bytes of the whole header. */
  length = 0;
  /** Null: keep the connection's own (LOCAL, UNKNOWN). */
  source: IpAddress | null = null;
  destination: IpAddress | null = null;
  readonly tlvs: Tlv[] = [];

  constructor(rules: HeaderRules) {
    this.#rules = rules;
  }

  parse(data: ByteBuffer): HeaderState {
    const rules = this.#rules;
    if (this.version === 0) {
      if (
        rules.optional &&
        !(rules.allowV2 && beginsLike(data, V2_SIGNATURE)) &&
        !(rules.allowV1 && beginsLike(data, V1_SIGNATURE))
      ) {
        return HeaderState.Absent;
      }
      if (data.length >= V2_HEADER_BYTES) {
        if (beginsLike(data, V2_SIGNATURE)) this.version = 2;
        else if (!beginsLike(data, V1_SIGNATURE)) return HeaderState.Malformed;
      }
    }
    if (this.version !== 2) return this.#parseV1(data);
    return rules.allowV2 ? this.#parseV2(data) : HeaderState.Denied;
  }

  #parseV1(data: ByteBuffer): HeaderState {
    const end = lineEnd(data);
    if (end < 0) return Math.min(data.length, PEEK_BYTES) > V1_MAX_BYTES ? HeaderState.Malformed : HeaderState.More;
    // It may yet become version 2.
    if (end === 2) return HeaderState.More;
    this.version = 1;
    if (end > V1_MAX_BYTES) return HeaderState.Malformed;
    if (!this.#rules.allowV1) return HeaderState.Denied;
    const first = data.linearize(end);
    const line = first.bytes.latin1Slice(first.start, first.start + end).replace(LINE_SPACE, '');
    const parts = line.split(' ');
    if (parts.length < 2 || parts[0] !== 'PROXY') return HeaderState.Malformed;
    this.length = end;
    if (parts[1] === 'UNKNOWN') return HeaderState.Found;
    if (parts.length !== 6) return HeaderState.Malformed;
    const family = parts[1] === 'TCP4' ? 4 : parts[1] === 'TCP6' ? 6 : 0;
    if (family === 0) return HeaderState.Malformed;
    this.source = textAddress(family, parts[2]!, parts[4]!);
    this.destination = textAddress(family, parts[3]!, parts[5]!);
    return this.source === null || this.destination === null ? HeaderState.Malformed : HeaderState.Found;
  }

  #parseV2(data: ByteBuffer): HeaderState {
    const versionAndCommand = data.byteAt(12);
    if (versionAndCommand >> 4 !== 2) return HeaderState.Malformed;
    const command = versionAndCommand & 15;
    const announced = (data.byteAt(14) << 8) | data.byteAt(15);
    const family = data.byteAt(13) >> 4;
    const transport = data.byteAt(13) & 15;
    let addressBytes = 0;
    if (command !== COMMAND_LOCAL) {
      if (command !== COMMAND_PROXY) return HeaderState.Malformed;
      if (transport !== TRANSPORT_STREAM && transport !== TRANSPORT_DGRAM) return HeaderState.Malformed;
      if (family === FAMILY_INET) addressBytes = 12;
      else if (family === FAMILY_INET6) addressBytes = 36;
      else return HeaderState.Malformed;
      if (announced < addressBytes) return HeaderState.Malformed;
    }
    this.length = V2_HEADER_BYTES + announced;
    if (data.length < this.length) return HeaderState.More;
    // What LOCAL brings along is skipped.
    if (command === COMMAND_LOCAL) return HeaderState.Found;
    const { bytes, start } = data.linearize(this.length);
    const at = start + V2_HEADER_BYTES;
    if (!this.#parseTlvs(bytes, at + addressBytes, start + this.length)) return HeaderState.Malformed;
    this.source = binaryAddress(family, bytes, at, at + addressBytes - 4);
    this.destination = binaryAddress(family, bytes, at + (addressBytes - 4) / 2, at + addressBytes - 2);
    return this.source === null || this.destination === null ? HeaderState.Malformed : HeaderState.Found;
  }

  #parseTlvs(bytes: Buffer, from: number, end: number): boolean {
    let at = from;
    while (at < end) {
      if (at + 3 > end) return false;
      const size = (bytes[at + 1]! << 8) | bytes[at + 2]!;
      if (at + 3 + size > end) return false;
      this.tlvs.push({ type: bytes[at]!, value: bytes.subarray(at + 3, at + 3 + size) });
      at += 3 + size;
    }
    return true;
  }
}

/** Whether what is there of `data` is the beginning of `signature`, or the other way round. */
function beginsLike(data: ByteBuffer, signature: Buffer): boolean {
  const size = Math.min(signature.length, data.length);
  for (let i = 0; i < size; i++) if (data.byteAt(i) !== signature[i]) return false;
  return true;
}

/** Behind the first CR LF of what Envoy would look at; -1: none. */
function lineEnd(data: ByteBuffer): number {
  for (let from = 1; ; ) {
    const at = data.indexOf(10, from);
    if (at < 0 || at >= PEEK_BYTES) return -1;
    if (data.byteAt(at - 1) === 13) return at + 1;
    from = at + 1;
  }
}

function textAddress(version: 4 | 6, ip: string, portText: string): IpAddress | null {
  if (ipVersion(ip) !== version || !PORT.test(portText)) return null;
  const port = Number(portText);
  const bytes = ipBytes(ip)!;
  if (port > 0xffff || !isUnicast(bytes, 0, version)) return null;
  return ipAddress(version === 4 ? ip : ipv6Text(bytes, 0), port);
}

function binaryAddress(family: number, bytes: Buffer, at: number, portAt: number): IpAddress | null {
  const version = family === FAMILY_INET ? 4 : 6;
  if (!isUnicast(bytes, at, version)) return null;
  return ipAddress(version === 4 ? ipv4Text(bytes, at) : ipv6Text(bytes, at), bytes.readUInt16BE(portAt));
}

/** Neither unspecified nor multicast nor broadcast. */
function isUnicast(bytes: Uint8Array, at: number, version: 4 | 6): boolean {
  const size = version === 4 ? 4 : 16;
  let zero = true;
  let ones = true;
  for (let i = at; i < at + size; i++) {
    if (bytes[i] !== 0) zero = false;
    if (bytes[i] !== 0xff) ones = false;
  }
  if (zero) return false;
  return version === 4 ? !ones && bytes[at]! >> 4 !== 14 : bytes[at] !== 0xff;
}
