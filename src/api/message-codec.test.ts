import { describe, expect, test } from 'bun:test';
import {
  create,
  type DescField,
  type DescMessage,
  fromBinary,
  type JsonObject,
  type Message,
  ScalarType,
  toBinary,
} from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { type ApiRegistry, openApiRegistry } from './api-registry.ts';
import { createMessage, decodeMessage, encodeMessage, mergeEncoded } from './message-codec.ts';

/** Numbers that are the same in every run. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  next(below: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * below);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.next(list.length)]!;
  }
}

const TEXTS = ['', 'a', 'cluster_1', 'ünïcode ☂ 𝄞', '\ufeffmarked', 'x'.repeat(300), `${'x'.repeat(300)}é`];
const INTEGERS = [0, 1, -1, 127, 128, 16383, 16384, 2 ** 31 - 1, -(2 ** 31)];
const LONGS = [0n, 1n, -1n, 2n ** 28n, 2n ** 35n, 2n ** 56n, 2n ** 63n - 1n, -(2n ** 63n)];
const JSON_VALUES = [
  {},
  { a: null, b: 1.5, c: 'text', d: true, e: { f: [1, [2], { g: false }] } },
  { ['__proto__']: { polluted: 'no' }, '': [] },
];

function scalarOf(type: ScalarType, dice: Dice): unknown {
  switch (type) {
    case ScalarType.STRING:
      return dice.pick(TEXTS);
    case ScalarType.BYTES:
      return new Uint8Array(dice.next(5)).fill(dice.next(256));
    case ScalarType.BOOL:
      return dice.next(2) === 1;
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return dice.pick([0, -0, 0.5, -1, 2 ** 20, Number.POSITIVE_INFINITY, Number.NaN]);
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return dice.pick(INTEGERS) >>> 0;
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return dice.pick(INTEGERS);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return BigInt.asUintN(64, dice.pick(LONGS));
    default:
      return dice.pick(LONGS);
  }
}

function randomValue(field: DescField, dice: Dice, depth: number, bare: boolean): unknown {
  const { message } = field;
  if (message === undefined) {
    if (field.enum !== undefined) return dice.pick(field.enum.values).number;
    const value = scalarOf(field.scalar!, dice);
    return 'longAsString' in field && field.longAsString === true ? String(value) : value;
  }
  if (message.typeName === 'google.protobuf.Struct' && field.parent.typeName !== 'google.protobuf.Value')
    return dice.pick(JSON_VALUES);
  if (bare && /^google\.protobuf\.[A-Z][A-Za-z0-9]*Value$/.test(message.typeName) && message.fields.length === 1)
    return randomValue(message.fields[0]!, dice, depth, false);
  return randomMessage(message, dice, depth + 1);
}

function keyOf(type: ScalarType, dice: Dice): string {
  return type === ScalarType.STRING ? `k${dice.next(4)}` : String(scalarOf(type, dice));
}

/** Half of the fields are set, fewer below. */
function randomMessage(desc: DescMessage, dice: Dice, depth: number): Message {
  const message = create(desc) as Message & Record<string, unknown>;
  for (const member of desc.members) {
    if (dice.next(depth < 2 ? 2 : 2 + depth * 2) > 0 || depth > 6) continue;
    if (member.kind === 'oneof') {
      const field = dice.pick(member.fields);
      message[member.localName] = { case: field.localName, value: randomValue(field, dice, depth, false) };
    } else if ((member.message?.file.edition as number | undefined) === PROTO2) continue;
    else if (member.fieldKind === 'list') {
      message[member.localName] = Array.from({ length: dice.next(3) }, () => randomValue(member, dice, depth, false));
    } else if (member.fieldKind === 'map') {
      const map: Record<string, unknown> = {};
      for (let i = dice.next(3); i > 0; i--) map[keyOf(member.mapKey, dice)] = randomValue(member, dice, depth, false);
      message[member.localName] = map;
    } else message[member.localName] = randomValue(member, dice, depth, true);
  }
  return message;
}

/** The protobuf edition number of proto2: descriptors of descriptors, which protobuf-es itself reads. */
const PROTO2 = 998;

/** Types of proto3, which the codec is for. */
function* types(api: ApiRegistry): Iterable<DescMessage> {
  for (const name of api.allTypeNames()) {
    const desc = api.message(name)!;
    if ((desc.file.edition as number) !== PROTO2) yield desc;
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('every message of the API', () => {
  const api = openApiRegistry();

  test('is made empty as protobuf-es makes it', () => {
    for (const desc of types(api)) expect(createMessage(desc)).toEqual(create(desc));
  });

  test('is written and read as protobuf-es does', () => {
    const dice = new Dice(7);
    let bytes = 0;
    for (const desc of types(api)) {
      for (let i = 0; i < 3; i++) {
        const message = randomMessage(desc, dice, 0);
        const expected = toBinary(desc, message);
        if (hex(encodeMessage(desc, message)) !== hex(expected))
          throw new Error(`${desc.typeName} is written otherwise`);
        expect(decodeMessage(desc, expected)).toEqual(fromBinary(desc, expected));
        bytes += expected.length;
      }
    }
    expect(bytes).toBeGreaterThan(300_000);
  }, 60_000);

  test('merges as protobuf says: the second half onto the first', () => {
    const dice = new Dice(8);
    for (const desc of types(api)) {
      const parts = [0, 1].map(() => toBinary(desc, randomMessage(desc, dice, 0)));
      const expected = fromBinary(desc, Buffer.concat(parts));
      const message = decodeMessage(desc, parts[0]!);
      mergeEncoded(desc, message, parts[1]!);
      expect(message).toEqual(expected);
    }
  }, 60_000);

  test('broken bytes are refused, or read; nothing else happens', () => {
    const dice = new Dice(9);
    const names = ['envoy.config.listener.v3.Listener', 'envoy.config.cluster.v3.Cluster', 'google.protobuf.Struct'];
    let refused = 0;
    for (let i = 0; i < 3000; i++) {
      const desc = api.message(dice.pick(names))!;
      const bytes = toBinary(desc, randomMessage(desc, dice, 0));
      for (let flips = dice.next(3); flips > 0; flips--) bytes[dice.next(bytes.length)] = dice.next(256);
      const input = bytes.subarray(0, dice.next(2) === 0 ? bytes.length : dice.next(bytes.length + 1));
      try {
        const message = decodeMessage(desc, input);
        // What was read can be written, and then says the same.
        expect(decodeMessage(desc, encodeMessage(desc, message))).toEqual(message);
      } catch (thrown) {
        if (!(thrown instanceof Error) || thrown.message.includes('expect(')) throw thrown;
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(200);
  }, 60_000);
});

describe('the wire', () => {
  const api = openApiRegistry();
  const node = api.message('envoy.config.core.v3.Node')!;

  test('unknown fields are kept and written again, groups too', () => {
    const written = new BinaryWriter()
      .tag(900, WireType.StartGroup)
      .tag(1, WireType.Varint)
      .uint32(5)
      .tag(900, WireType.EndGroup)
      .tag(901, WireType.Bit64)
      .fixed64(9)
      .finish();
    const message = decodeMessage(node, written);
    expect(message.$unknown?.map(({ no, wireType }) => [no, wireType])).toEqual([
      [900, 3],
      [901, 1],
    ]);
    expect(hex(encodeMessage(node, message))).toBe(hex(written));
    expect(message).toEqual(fromBinary(node, written));
  });

  test('a field of another wire type is unknown, numbers may be packed or not', () => {
    const odd = new BinaryWriter().tag(1, WireType.Varint).uint32(5).finish();
    expect(decodeMessage(node, odd)).toMatchObject({ id: '', $unknown: [{ no: 1 }] });
    const list = api.message('envoy.config.route.v3.RetryPolicy')!;
    const number = list.field.retriableStatusCodes!.number;
    const loose = new BinaryWriter().tag(number, WireType.Varint).uint32(500).tag(number, WireType.Varint).uint32(501);
    const packed = new BinaryWriter().tag(number, WireType.LengthDelimited).fork().uint32(500).uint32(501).join();
    for (const writer of [loose, packed])
      expect(decodeMessage(list, writer.finish())).toMatchObject({ retriableStatusCodes: [500, 501] });
  });

  test('invalid UTF-8, lengths beyond the end, endless varints and deep nesting are refused', () => {
    const text = new BinaryWriter()
      .tag(1, WireType.LengthDelimited)
      .bytes(new Uint8Array([0xff]))
      .finish();
    expect(() => decodeMessage(node, text)).toThrow();
    expect(() => decodeMessage(node, new Uint8Array([0x0a, 0x05, 0x61]))).toThrow('premature EOF');
    expect(() => decodeMessage(node, new Uint8Array(12).fill(0xff))).toThrow('invalid varint');
    // The inner length is longer than the message around it, though not than the whole.
    const cluster = api.message('envoy.config.cluster.v3.Cluster')!;
    const tag = (cluster.field.connectTimeout!.number << 3) | 2;
    expect(() => decodeMessage(cluster, new Uint8Array([tag, 1, 0x08, 0x01, 0, 0]))).toThrow();
    let json: unknown = 'core';
    for (let i = 0; i < 120; i++) json = { a: json };
    const struct = { ...createMessage(node), metadata: json as JsonObject };
    expect(() => decodeMessage(node, encodeMessage(node, struct as Message))).toThrow('recursion depth');
  });

  test('one byte less of a message at a time never reads as the whole', () => {
    const dice = new Dice(3);
    const desc = api.message('envoy.config.endpoint.v3.ClusterLoadAssignment')!;
    const bytes = toBinary(desc, randomMessage(desc, dice, 0));
    const whole = decodeMessage(desc, bytes);
    for (let end = 0; end < bytes.length; end++) {
      let part: Message | null = null;
      try {
        part = decodeMessage(desc, bytes.subarray(0, end));
      } catch {
        continue;
      }
      expect(part).not.toEqual(whole);
    }
  });
});
