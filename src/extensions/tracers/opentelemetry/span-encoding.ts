import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { VERSION_TEXT } from '../../../base/version.ts';
import { spanText } from '../../../pipeline/trace/span-text.ts';
import type { OtelSpan } from './otel-span.ts';
import type { ResourceAttributes } from './resource.ts';
import type { AttributeValue } from './typed-value.ts';

/** The context of a parent is known to be remote or not. */
const HAS_IS_REMOTE = 0x100;
const IS_REMOTE = 0x200;
const STATUS_ERROR = 2;

const { LengthDelimited, Varint, Bit64, Bit32 } = WireType;

function keyValue(writer: BinaryWriter, field: number, name: string, value: AttributeValue): void {
  const any = new BinaryWriter();
  switch (typeof value) {
    case 'string':
      any.tag(1, LengthDelimited).string(spanText(value));
      break;
    case 'boolean':
      any.tag(2, Varint).bool(value);
      break;
    case 'bigint':
      any.tag(3, Varint).int64(value);
      break;
    default:
      any.tag(4, Bit64).double(value);
  }
  const pair = new BinaryWriter();
  pair.tag(1, LengthDelimited).string(spanText(name));
  pair.tag(2, LengthDelimited).bytes(any.finish());
  writer.tag(field, LengthDelimited).bytes(pair.finish());
}

function nanoseconds(wallMs: number): bigint {
  return BigInt(Math.round(wallMs * 1000)) * 1000n;
}

function encodeSpan(span: OtelSpan): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, LengthDelimited).bytes(Buffer.from(span.traceId, 'hex'));
  writer.tag(2, LengthDelimited).bytes(Buffer.from(span.spanId, 'hex'));
  if (span.traceState !== '') writer.tag(3, LengthDelimited).string(spanText(span.traceState));
  if (span.parentId !== '') writer.tag(4, LengthDelimited).bytes(Buffer.from(span.parentId, 'hex'));
  if (span.name !== '') writer.tag(5, LengthDelimited).string(spanText(span.name));
  writer.tag(6, Varint).int32(span.kind);
  writer.tag(7, Bit64).fixed64(nanoseconds(span.startWallMs));
  writer.tag(8, Bit64).fixed64(nanoseconds(span.endWallMs));
  const names = span.attributeNames ?? [];
  for (let i = 0; i < names.length; i++) keyValue(writer, 9, names[i]!, span.attributeValues![i]!);
  const events = span.events ?? [];
  for (let i = 0; i < events.length; i++) {
    const event = new BinaryWriter();
    event.tag(1, Bit64).fixed64(nanoseconds(span.eventTimes![i]!));
    event.tag(2, LengthDelimited).string(events[i]!);
    writer.tag(11, LengthDelimited).bytes(event.finish());
  }
  if (span.isError)
    writer.tag(15, LengthDelimited).bytes(new BinaryWriter().tag(3, Varint).int32(STATUS_ERROR).finish());
  const flags = HAS_IS_REMOTE | (span.hasRemoteParent ? IS_REMOTE : 0) | (span.sampled ? 1 : 0);
  writer.tag(16, Bit32).fixed32(flags);
  return writer.finish();
}

/**
 * One export: opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest.
 * @param withScope `set_instrumentation_scope`
 */
export function encodeSpans(spans: readonly OtelSpan[], resource: ResourceAttributes, withScope: boolean): Uint8Array {
  const attributes = new BinaryWriter();
  for (const [name, value] of resource) keyValue(attributes, 1, bytesOf(name), bytesOf(value));
  const scoped = new BinaryWriter();
  if (withScope) {
    const scope = new BinaryWriter();
    scope.tag(1, LengthDelimited).string('envoy');
    scope.tag(2, LengthDelimited).string(VERSION_TEXT);
    scoped.tag(1, LengthDelimited).bytes(scope.finish());
  }
  for (const span of spans) scoped.tag(2, LengthDelimited).bytes(encodeSpan(span));
  const resourceSpans = new BinaryWriter();
  resourceSpans.tag(1, LengthDelimited).bytes(attributes.finish());
  resourceSpans.tag(2, LengthDelimited).bytes(scoped.finish());
  return new BinaryWriter().tag(1, LengthDelimited).bytes(resourceSpans.finish()).finish();
}

/** Unicode as the text of spans is. */
function bytesOf(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}
