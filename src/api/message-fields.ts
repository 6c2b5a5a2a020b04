import type { DescField, DescMessage } from '@bufbuild/protobuf';

/** Descriptors that keep the list. */
interface WithMessageFields {
  readonly messageFields?: readonly DescField[];
}

/**
 * The fields of a message type whose values are messages (alone, in a list or as values of a map). None of those types is looked up
 * for it: `field.message` of a field that nobody has set costs the descriptor of its type.
 */
export function messageFields(desc: DescMessage): readonly DescField[] {
  return (
    (desc as DescMessage & WithMessageFields).messageFields ??
    desc.fields.filter((field) => field.message !== undefined)
  );
}
