import type { Address, IpAddress } from './address.ts';
import { ipBytes } from './cidr.ts';
import type { ProxyProtocolData } from './transport-socket.ts';

const V2_SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
/** Version 2; commands LOCAL and PROXY. */
const LOCAL = 0x20;
const PROXY = 0x21;
/** Streams of IPv4 and of IPv6. */
const TCP4 = 0x11;
const TCP6 = 0x21;

type Tlv = ProxyProtocolData['tlvs'][number];

/** What of a downstream's TLVs is passed on, and what is added. */
export interface TlvChoice {
  readonly added: readonly Tlv[];
  /** Null: all types. */
  readonly passed: ReadonlySet<number> | null;
}

/** @returns what version 1 says of these addresses; of those that are none of IP, that they are unknown */
export function headerV1(source: Address, destination: Address): Buffer {
  if (source.kind !== 'ip' || destination.kind !== 'ip') return Buffer.from('PROXY UNKNOWN\r\n', 'latin1');
  const line = `PROXY TCP${source.version} ${source.ip} ${destination.ip} ${source.port} ${destination.port}\r\n`;
  return Buffer.from(line, 'latin1');
}

/** Version 2's header of a connection that is the proxy's own. */
export function localHeaderV2(): Buffer {
  return Buffer.concat([V2_SIGNATURE, Buffer.from([LOCAL, 0, 0, 0])]);
}

/**
 * Version 2's header of a connection on somebody's behalf. Added TLVs go first and take the place of passed ones of their type.
 * @returns null when the TLVs are longer than a header can be. Source: Envoy, Common::ProxyProtocol::generateV2Header
 */
export function headerV2({ source, destination, tlvs }: ProxyProtocolData, choice: TlvChoice): Buffer | null {
  if (source.kind !== 'ip' || destination.kind !== 'ip') return localHeaderV2();
  const own = new Set(choice.added.map((tlv) => tlv.type));
  const passed = tlvs.filter(({ type }) => !own.has(type) && (choice.passed === null || choice.passed.has(type)));
  const parts: Uint8Array[] = [];
  let extensions = 0;
  for (const { type, value } of [...choice.added, ...passed]) {
    parts.push(Uint8Array.of(type, value.length >> 8, value.length & 0xff), value);
    extensions += 3 + value.length;
  }
  const size = source.version === 4 && destination.version === 4 ? 4 : 16;
  const addresses = 2 * size + 4;
  if (addresses + extensions > 0xffff) return null;
  const head = Buffer.alloc(16 + addresses);
  V2_SIGNATURE.copy(head);
  head[12] = PROXY;
  head[13] = size === 4 ? TCP4 : TCP6;
  head.writeUInt16BE(addresses + extensions, 14);
  head.set(bytesOf(source, size), 16);
  head.set(bytesOf(destination, size), 16 + size);
  head.writeUInt16BE(source.port, 16 + 2 * size);
  head.writeUInt16BE(destination.port, 18 + 2 * size);
  return Buffer.concat([head, ...parts]);
}

/** An IPv4 address beside one of IPv6 is written as mapped. */
function bytesOf(address: IpAddress, size: number): Uint8Array {
  const bytes = ipBytes(address.ip)!;
  if (bytes.length === size) return bytes;
  const mapped = new Uint8Array(16);
  mapped.fill(0xff, 10, 12);
  mapped.set(bytes, 12);
  return mapped;
}
