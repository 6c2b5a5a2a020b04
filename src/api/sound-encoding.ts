import { type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { FieldScanner, WireType } from './field-scanner.ts';

/** Added to the numbers of fields that came with a wire type that is not theirs. No field of the API has one as large. */
const MISTYPED = 2 ** 28;

/** The number that an unknown field came with. */
export function numberOfUnknown(no: number): number {
  return no < MISTYPED ? no : no - MISTYPED;
}

/**
 * What peers send is judged as by protobuf's C++ implementation, before protobuf-es reads it: that takes lengths that go beyond their
 * message, and reads any field as what it should be. (UTF-8 it judges by itself.)
 *
 * @returns an encoding of which any reader makes the same: mostly the bytes themselves. A field that came with another wire type than its
 *   own is an unknown field, as in C++: protobuf-es sees it by another number, {@link numberOfUnknown} tells which it was
 * @throws Error: it is no message
 */
export function soundEncoding(desc: DescMessage, bytes: Uint8Array): Uint8Array {
  const shape = shapeOf(desc);
  return isSound(shape, new FieldScanner(bytes)) ? bytes : renumbered(shape, new FieldScanner(bytes));
}

/** A message type, by the numbers of its fields. */
type Shape = ReadonlyMap<number, FieldShape>;

class FieldShape {
  readonly wireType: WireType;
  /** Numbers that may come one behind the other, in one field. */
  readonly isPackable: boolean;
  /** Null: it holds no message. */
  readonly #makeInner: (() => Shape) | null;
  #inner: Shape | null = null;

  constructor(wireType: WireType, isPackable: boolean, makeInner: (() => Shape) | null) {
    this.wireType = wireType;
    this.isPackable = isPackable;
    this.#makeInner = makeInner;
  }

  /** Of the message that it holds, made when the first one is seen: its descriptor costs. Null: it holds none. */
  get inner(): Shape | null {
    if (this.#inner === null && this.#makeInner !== null) this.#inner = this.#makeInner();
    return this.#inner;
  }
}

const shapes = new WeakMap<DescMessage, Shape>();

function shapeOf(desc: DescMessage): Shape {
  let shape = shapes.get(desc);
  if (shape === undefined) {
    shape = new Map(desc.fields.map((field) => [field.number, fieldShape(field)]));
    shapes.set(desc, shape);
  }
  return shape;
}

function fieldShape(field: DescField): FieldShape {
  switch (field.fieldKind) {
    case 'map':
      return new FieldShape(WireType.LengthDelimited, false, () => entryShape(field));
    case 'message':
      return messageShape(field);
    case 'list':
      return field.listKind === 'message' ? messageShape(field) : scalarShape(field.scalar, true);
    default:
      return scalarShape(field.scalar, false);
  }
}

function entryShape(field: DescField & { readonly fieldKind: 'map' }): Shape {
  const value = field.mapKind === 'message' ? messageShape(field) : scalarShape(field.scalar, false);
  return new Map([
    [1, scalarShape(field.mapKey, false)],
    [2, value],
  ]);
}

/** Envoy's API has no groups. */
function messageShape(field: DescField): FieldShape {
  return new FieldShape(WireType.LengthDelimited, false, () => shapeOf(field.message!));
}

/** @param type undefined: an enum */
function scalarShape(type: ScalarType | undefined, isList: boolean): FieldShape {
  const wireType = type === undefined ? WireType.Varint : wireTypeOf(type);
  return new FieldShape(wireType, isList && wireType !== WireType.LengthDelimited, null);
}

function wireTypeOf(type: ScalarType): WireType {
  switch (type) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return WireType.LengthDelimited;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return WireType.Bit64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return WireType.Bit32;
    default:
      return WireType.Varint;
  }
}

/** @returns whether each field has the wire type that it should have. @throws Error: it is no message */
function isSound(shape: Shape, scan: FieldScanner): boolean {
  let sound = true;
  while (scan.advance()) {
    const field = shape.get(scan.field);
    if (field === undefined) continue;
    if (scan.wireType === field.wireType) {
      const { inner } = field;
      if (inner === null) continue;
      const outside = scan.enter();
      if (!isSound(inner, scan)) sound = false;
      scan.leave(outside);
    } else if (field.isPackable && scan.wireType === WireType.LengthDelimited) scan.checkPacked(field.wireType);
    else sound = false;
  }
  return sound;
}

/** An encoding that was gone over, with other numbers for fields that have another wire type than they should. */
function renumbered(shape: Shape, scan: FieldScanner): Uint8Array {
  const writer = new BinaryWriter();
  while (scan.advance()) {
    const field = shape.get(scan.field);
    const record = scan.bytes.subarray(scan.start, scan.next);
    const isPacked = field?.isPackable === true && scan.wireType === WireType.LengthDelimited;
    if (field === undefined || isPacked) writer.raw(record);
    else if (scan.wireType !== field.wireType)
      writer.tag(scan.field + MISTYPED, WireType.LengthDelimited).bytes(record);
    else if (field.inner === null) writer.raw(record);
    else {
      writer.tag(scan.field, WireType.LengthDelimited);
      const outside = scan.enter();
      writer.bytes(renumbered(field.inner, scan));
      scan.leave(outside);
    }
  }
  return writer.finish();
}
