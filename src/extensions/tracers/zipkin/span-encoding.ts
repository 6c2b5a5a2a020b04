import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { ipBytes } from '../../../net/cidr.ts';
import { spanText } from '../../../pipeline/trace/span-text.ts';
import type { ZipkinSpan } from './zipkin-span.ts';

/** Who reports. */
export interface LocalEndpoint {
  /** Empty: unnamed. */
  readonly serviceName: string;
  /** IP address. */
  readonly address: string;
}

/** Turns spans into one report. */
export type SpanEncoder = (spans: readonly ZipkinSpan[], local: LocalEndpoint, shared: boolean) => Uint8Array;

function microseconds(ms: number): number {
  return Math.round(ms * 1000);
}

/** Source: Zipkin API v2, `POST /api/v2/spans`. @param shared spans of servers are their clients' too */
export const encodeJson: SpanEncoder = (spans, local, shared) => {
  const localEndpoint: Record<string, unknown> = {};
  if (local.address !== '') {
    localEndpoint[local.address.includes(':') ? 'ipv6' : 'ipv4'] = local.address;
    localEndpoint.port = 0;
  }
  if (local.serviceName !== '') localEndpoint.serviceName = local.serviceName;
  const list = spans.map((span) => {
    const json: Record<string, unknown> = { traceId: span.traceId };
    if (span.parentId !== '') json.parentId = span.parentId;
    json.id = span.id;
    json.kind = span.isServer ? 'SERVER' : 'CLIENT';
    if (span.name !== '') json.name = spanText(span.name);
    json.timestamp = microseconds(span.startWallMs);
    json.duration = microseconds(span.durationMs);
    if (span.isServer && shared) json.shared = true;
    json.localEndpoint = localEndpoint;
    const times = span.eventTimes ?? [];
    json.annotations = (span.events ?? []).map((value, i) => ({ timestamp: microseconds(times[i]!), value }));
    const tags: Record<string, string> = {};
    for (const [name, value] of span.tagMap()) tags[spanText(name)] = spanText(value);
    json.tags = tags;
    return json;
  });
  return Buffer.from(JSON.stringify(list), 'utf8');
};

/** Source: zipkin.proto3.ListOfSpans. */
export const encodeProto: SpanEncoder = (spans, local, shared) => {
  const writer = new BinaryWriter();
  const endpoint = protoEndpoint(local);
  for (const span of spans) writer.tag(1, WireType.LengthDelimited).bytes(protoSpan(span, endpoint, shared));
  return writer.finish();
};

function protoEndpoint(local: LocalEndpoint): Uint8Array {
  const writer = new BinaryWriter();
  if (local.serviceName !== '') writer.tag(1, WireType.LengthDelimited).string(local.serviceName);
  const address = ipBytes(local.address);
  if (address !== null)
    writer.tag(address.length === 4 ? 2 : 3, WireType.LengthDelimited).bytes(Uint8Array.from(address));
  return writer.finish();
}

function protoSpan(span: ZipkinSpan, endpoint: Uint8Array, shared: boolean): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).bytes(Buffer.from(span.traceId, 'hex'));
  if (span.parentId !== '') writer.tag(2, WireType.LengthDelimited).bytes(Buffer.from(span.parentId, 'hex'));
  writer.tag(3, WireType.LengthDelimited).bytes(Buffer.from(span.id, 'hex'));
  writer.tag(4, WireType.Varint).int32(span.isServer ? 2 : 1);
  writer.tag(5, WireType.LengthDelimited).string(spanText(span.name));
  writer.tag(6, WireType.Bit64).fixed64(BigInt(microseconds(span.startWallMs)));
  writer.tag(7, WireType.Varint).uint64(BigInt(microseconds(span.durationMs)));
  writer.tag(8, WireType.LengthDelimited).bytes(endpoint);
  const times = span.eventTimes ?? [];
  (span.events ?? []).forEach((value, i) => {
    const event = new BinaryWriter();
    event.tag(1, WireType.Bit64).fixed64(BigInt(microseconds(times[i]!)));
    event.tag(2, WireType.LengthDelimited).string(value);
    writer.tag(10, WireType.LengthDelimited).bytes(event.finish());
  });
  for (const [name, value] of span.tagMap()) {
    const entry = new BinaryWriter();
    entry.tag(1, WireType.LengthDelimited).string(spanText(name));
    entry.tag(2, WireType.LengthDelimited).string(spanText(value));
    writer.tag(11, WireType.LengthDelimited).bytes(entry.finish());
  }
  if (span.isServer && shared) writer.tag(13, WireType.Varint).bool(true);
  return writer.finish();
}
