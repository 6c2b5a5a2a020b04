import { create, type DescMessage, fromBinary, type Message, mergeFromBinary, toBinary } from '@bufbuild/protobuf';

/** The one place where messages of Envoy's API are made, read and written in binary: by protobuf-es. */

/** A message with nothing set. */
export function createMessage(desc: DescMessage): Message {
  return create(desc);
}

/** Throws an Error when `bytes` are no such message. What they hold as `bytes` are views of them. */
export function decodeMessage(desc: DescMessage, bytes: Uint8Array): Message {
  return fromBinary(desc, bytes);
}

/** Protobuf's MergeFrom with an encoded message. Throws as `decodeMessage`. */
export function mergeEncoded(desc: DescMessage, into: Message, bytes: Uint8Array): void {
  mergeFromBinary(desc, into, bytes);
}

/** Fields are written in the order of their numbers. */
export function encodeMessage(desc: DescMessage, message: Message): Uint8Array {
  return toBinary(desc, message);
}
