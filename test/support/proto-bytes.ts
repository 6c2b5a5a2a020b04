/** Protobuf by hand, for encodings that no encoder makes. Text is latin1: one character per byte. */
export type ProtoPart = number | string | Uint8Array | readonly number[];

export function bytesOf(...parts: readonly ProtoPart[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'number') return Buffer.from([part]);
      return typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(part);
    }),
  );
}

export function varint(value: number): Buffer {
  const out: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  return Buffer.from([...out, rest]);
}

export function tag(field: number, wireType: number): Buffer {
  return varint(field * 8 + wireType);
}

/** A field with a length. */
export function long(field: number, ...parts: readonly ProtoPart[]): Buffer {
  const content = bytesOf(...parts);
  return bytesOf(tag(field, 2), varint(content.length), content);
}

/** A field that is a number. */
export function number(field: number, value: number): Buffer {
  return bytesOf(tag(field, 0), varint(value));
}

/** Groups in each other. */
export function groups(field: number, depth: number): Buffer {
  return bytesOf(Buffer.concat(Array(depth).fill(tag(field, 3))), Buffer.concat(Array(depth).fill(tag(field, 4))));
}

/** A google.protobuf.Struct that holds Structs, so many levels of them. */
export function structs(depth: number): Buffer {
  let inner = bytesOf();
  for (let i = 0; i < depth; i++) inner = long(1, long(1, 'k'), long(2, long(5, inner)));
  return inner;
}

/** A google.protobuf.Struct that holds lists in each other. */
export function lists(depth: number): Buffer {
  let value = number(4, 1);
  for (let i = 0; i < depth; i++) value = long(6, long(1, value));
  return long(1, long(1, 'k'), long(2, value));
}

const SECOND = number(1, 1);
const CLUSTER = bytesOf(long(1, 'c1'), long(4, SECOND));
const metadata = (struct: Buffer): Buffer => long(25, long(1, long(1, 'f'), long(2, struct)));
const OF_TEN_BYTES = [0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7e];

/** Encodings of an `envoy.config.cluster.v3.Cluster` c1 with a timeout, and what is made of each (compared with Envoy). */
export const ODD_CLUSTERS: readonly (readonly [
  name: string,
  bytes: Buffer,
  verdict: 'read' | 'mistyped' | 'broken',
])[] = [
  ['nothing odd', CLUSTER, 'read'],
  ['a string beyond the message', bytesOf(CLUSTER, tag(28, 2), 5, 'abc'), 'broken'],
  ['a number beyond its message', bytesOf(long(1, 'c1'), tag(4, 2), 1, 8, 1), 'broken'],
  ['a string beyond its message', bytesOf(CLUSTER, tag(33, 2), 3, 0x0a, 5, 'abcde', number(99, 1)), 'broken'],
  ['a string beyond its message, by little', bytesOf(CLUSTER, tag(33, 2), 4, 0x0a, 4, 'abcd'), 'broken'],
  ['a fixed number beyond its message', bytesOf(CLUSTER, tag(33, 2), 3, tag(500, 1), 1, 2, 3, 4, 5, 6, 7, 8), 'broken'],
  ['a number cut off by its message', bytesOf(long(1, 'c1'), tag(4, 2), 2, 8, 0x80, 1), 'broken'],
  ['a number cut off', bytesOf(CLUSTER, tag(2, 0), 0x80), 'broken'],
  ['a key beyond its entry', bytesOf(CLUSTER, tag(36, 2), 3, 0x0a, 2, 'ab'), 'broken'],
  ['a key that is a number', bytesOf(CLUSTER, long(25, long(1, number(1, 3), long(2)))), 'mistyped'],
  ['a value that is a number', bytesOf(CLUSTER, long(25, long(1, long(1, 'k'), number(2, 3)))), 'mistyped'],
  ['an entry with an unknown field', bytesOf(CLUSTER, long(25, long(1, long(1, 'k'), number(5, 3)))), 'read'],
  ['a key twice', bytesOf(CLUSTER, long(25, long(1, long(1, 'k'), long(1, 'z')))), 'read'],
  ['a string that is a number', bytesOf(CLUSTER, number(28, 3)), 'mistyped'],
  ['a string that is a fixed number', bytesOf(CLUSTER, tag(28, 5), 1, 2, 3, 4), 'mistyped'],
  ['a string that is a group', bytesOf(CLUSTER, groups(28, 1)), 'mistyped'],
  ['a message that is a number', bytesOf(CLUSTER, number(33, 1)), 'mistyped'],
  ['a message that is a fixed number', bytesOf(CLUSTER, tag(33, 1), 1, 2, 3, 4, 5, 6, 7, 8), 'mistyped'],
  ['an enum that has a length', bytesOf(CLUSTER, long(6, 'ab')), 'mistyped'],
  ['a list of messages that is a number', bytesOf(CLUSTER, number(43, 1)), 'mistyped'],
  ['two fields that are of other types', bytesOf(CLUSTER, number(28, 3), long(6, 'x')), 'mistyped'],
  ['the end of a group', bytesOf(CLUSTER, tag(60, 4)), 'broken'],
  ['the end of a group that is a known field', bytesOf(CLUSTER, tag(28, 4)), 'broken'],
  ['a group without end', bytesOf(CLUSTER, tag(600, 3)), 'broken'],
  ['a group that ends as another', bytesOf(CLUSTER, tag(600, 3), tag(601, 4)), 'broken'],
  ['a group', bytesOf(CLUSTER, tag(600, 3), long(1, 'x'), number(2, 3), tag(600, 4)), 'read'],
  ['a string beyond its group', bytesOf(CLUSTER, tag(600, 3), tag(1, 2), 9, 'x', tag(600, 4)), 'broken'],
  ['field 0', bytesOf(CLUSTER, 0, 0), 'broken'],
  ['wire type 6', bytesOf(CLUSTER, tag(600, 6), 1), 'broken'],
  ['wire type 7', bytesOf(CLUSTER, tag(1, 7), 1), 'broken'],
  ['a name that is no UTF-8', bytesOf(CLUSTER, long(1, 'c\xff')), 'broken'],
  ['half a pair as UTF-8', bytesOf(CLUSTER, long(1, 'c\xed\xa0\x80')), 'broken'],
  ['a longer form of UTF-8', bytesOf(CLUSTER, long(1, 'c\xc0\x80')), 'broken'],
  ['a key that is no UTF-8', bytesOf(CLUSTER, metadata(long(1, long(1, '\xc3\x28'), long(2, number(4, 1))))), 'broken'],
  ['a mark in front of a name', bytesOf(CLUSTER, long(28, '\xef\xbb\xbfc1')), 'read'],
  ['a number of eleven bytes', bytesOf(CLUSTER, tag(6, 0), Array(10).fill(0xff), 1), 'broken'],
  ['a number of ten bytes', bytesOf(CLUSTER, tag(6, 0), OF_TEN_BYTES), 'read'],
  ['a length of five bytes', bytesOf(CLUSTER, tag(28, 2), 0x82, 0x80, 0x80, 0x80, 0, 'ab'), 'read'],
  ['a length of five bytes, too large', bytesOf(CLUSTER, tag(28, 2), 0x82, 0x80, 0x80, 0x80, 0x10, 'ab'), 'broken'],
  ['a length of six bytes', bytesOf(CLUSTER, tag(28, 2), 0x82, 0x80, 0x80, 0x80, 0x80, 0, 'ab'), 'broken'],
  ['a length of 2 GiB', bytesOf(CLUSTER, tag(28, 2), 0x80, 0x80, 0x80, 0x80, 8, 'ab'), 'broken'],
  ['an unknown length of six bytes', bytesOf(CLUSTER, tag(600, 2), 0x82, 0x80, 0x80, 0x80, 0x80, 0, 'ab'), 'broken'],
  ['a tag of five bytes', bytesOf([0x8a, 0x80, 0x80, 0x80, 0], 2, 'c1', long(4, SECOND)), 'read'],
  ['a tag of six bytes', bytesOf([0x8a, 0x80, 0x80, 0x80, 0x80, 0], 2, 'c1', long(4, SECOND)), 'broken'],
  ['Structs as deep as they may be', bytesOf(CLUSTER, metadata(structs(32))), 'read'],
  ['Structs that are deeper', bytesOf(CLUSTER, metadata(structs(33))), 'broken'],
  ['lists as deep as they may be', bytesOf(CLUSTER, metadata(lists(47))), 'read'],
  ['lists that are deeper', bytesOf(CLUSTER, metadata(lists(48))), 'broken'],
  ['groups that are too deep', bytesOf(CLUSTER, groups(600, 101)), 'broken'],
  ['a message twice', bytesOf(CLUSTER, long(4, number(2, 5))), 'read'],
];
