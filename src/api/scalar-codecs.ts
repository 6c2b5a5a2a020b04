import { ScalarType } from '@bufbuild/protobuf';
import { type WireReader, WireType } from './wire-reader.ts';
import type { WireWriter } from './wire-writer.ts';

/** How values of one scalar type are read and written. Numbers of 64 bits are bigints. */
export interface ScalarCodec {
  readonly wireType: number;
  /** What a field without presence has when nobody set it. */
  readonly zero: unknown;
  read(reader: WireReader): unknown;
  write(writer: WireWriter, value: never): void;
  /** Whether a field without presence is left out. */
  isZero(value: unknown): boolean;
}

const isZeroNumber = (value: unknown): boolean => value === 0;
const isZeroBigInt = (value: unknown): boolean => value === 0n;
/** -0 is no zero: protobuf compares the bits. */
const isZeroFloat = (value: unknown): boolean => Object.is(value, 0);

const VARINT = { wireType: WireType.Varint, zero: 0, isZero: isZeroNumber };
const VARINT_64 = { wireType: WireType.Varint, zero: 0n, isZero: isZeroBigInt };
const BITS_32 = { wireType: WireType.Bit32, zero: 0, isZero: isZeroNumber };
const BITS_64 = { wireType: WireType.Bit64, zero: 0n, isZero: isZeroBigInt };

/** By protobuf's number of the type. Source: protobuf.dev, "Encoding". */
const SCALARS: Readonly<Record<ScalarType, ScalarCodec>> = {
  [ScalarType.DOUBLE]: {
    wireType: WireType.Bit64,
    zero: 0,
    isZero: isZeroFloat,
    read: (reader) => reader.double(),
    write: (writer, value: number) => writer.double(value),
  },
  [ScalarType.FLOAT]: {
    wireType: WireType.Bit32,
    zero: 0,
    isZero: isZeroFloat,
    read: (reader) => reader.float(),
    write: (writer, value: number) => writer.float(value),
  },
  [ScalarType.INT64]: {
    ...VARINT_64,
    read: (reader) => reader.int64(),
    write: (writer, value: bigint) => writer.uint64(value),
  },
  [ScalarType.UINT64]: {
    ...VARINT_64,
    read: (reader) => reader.uint64(),
    write: (writer, value: bigint) => writer.uint64(value),
  },
  [ScalarType.SINT64]: {
    ...VARINT_64,
    read: (reader) => reader.sint64(),
    write: (writer, value: bigint) => writer.sint64(value),
  },
  [ScalarType.INT32]: {
    ...VARINT,
    read: (reader) => reader.int32(),
    write: (writer, value: number) => writer.int32(value),
  },
  [ScalarType.UINT32]: {
    ...VARINT,
    read: (reader) => reader.uint32(),
    write: (writer, value: number) => writer.uint32(value),
  },
  [ScalarType.SINT32]: {
    ...VARINT,
    read: (reader) => reader.sint32(),
    write: (writer, value: number) => writer.sint32(value),
  },
  [ScalarType.FIXED32]: {
    ...BITS_32,
    read: (reader) => reader.fixed32(),
    write: (writer, value: number) => writer.fixed32(value),
  },
  [ScalarType.SFIXED32]: {
    ...BITS_32,
    read: (reader) => reader.sfixed32(),
    write: (writer, value: number) => writer.fixed32(value),
  },
  [ScalarType.FIXED64]: {
    ...BITS_64,
    read: (reader) => reader.fixed64(),
    write: (writer, value: bigint) => writer.fixed64(value),
  },
  [ScalarType.SFIXED64]: {
    ...BITS_64,
    read: (reader) => reader.sfixed64(),
    write: (writer, value: bigint) => writer.fixed64(value),
  },
  [ScalarType.BOOL]: {
    wireType: WireType.Varint,
    zero: false,
    isZero: (value) => value === false,
    read: (reader) => reader.bool(),
    write: (writer, value: boolean) => writer.uint32(value ? 1 : 0),
  },
  [ScalarType.STRING]: {
    wireType: WireType.LengthDelimited,
    zero: '',
    isZero: (value) => value === '',
    read: (reader) => reader.string(),
    write: (writer, value: string) => writer.string(value),
  },
  [ScalarType.BYTES]: {
    wireType: WireType.LengthDelimited,
    zero: new Uint8Array(0),
    isZero: (value) => (value as Uint8Array).length === 0,
    read: (reader) => reader.view(),
    write: (writer, value: Uint8Array) => writer.bytes(value),
  },
};

/** Numbers of 64 bits that the API wants as texts (`jstype = JS_STRING`). */
class TextOfNumber implements ScalarCodec {
  readonly wireType: number;
  readonly zero = '0';
  readonly #number: ScalarCodec;

  constructor(number: ScalarCodec) {
    this.wireType = number.wireType;
    this.#number = number;
  }

  read(reader: WireReader): unknown {
    return String(this.#number.read(reader));
  }

  write(writer: WireWriter, value: string): void {
    this.#number.write(writer, BigInt(value) as never);
  }

  isZero(value: unknown): boolean {
    return BigInt(value as string) === 0n;
  }
}

export function scalarCodec(type: ScalarType, longAsString: boolean): ScalarCodec {
  const codec = SCALARS[type];
  return longAsString && typeof codec.zero === 'bigint' ? new TextOfNumber(codec) : codec;
}

/** Enums of proto3 are open: any number of 32 bits is a value, and the first value is 0. */
export const ENUM_CODEC: ScalarCodec = SCALARS[ScalarType.INT32];
