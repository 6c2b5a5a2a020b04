import type { FormatContext } from './stream-view.ts';

/** What a custom tag's value is to be, where the tracer knows types. Source: envoy.type.tracing.v3.CustomTag.ValueType. */
export const TagType = { Text: 0, Integer: 2, Double: 3, Boolean: 4 } as const;
export type TagType = (typeof TagType)[keyof typeof TagType];

/** A span, as far as tags are set on it. */
export interface TagSink {
  /** The last value of a name holds. */
  setTag(name: string, value: string): void;
  /** As `setTag`, as a value of that type where the text can be read as one. */
  setTypedTag(name: string, value: string, type: TagType): void;
}

/** One of `custom_tags`, of a route or a connection manager. The pipeline implements it. */
export interface SpanTag {
  readonly name: string;
  /** Sets the tag, unless there is nothing to say. */
  apply(span: TagSink, context: FormatContext): void;
}
