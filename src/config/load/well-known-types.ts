/** Which types the proto3 JSON mapping gives a form of their own. */
export const WRAPPERS: ReadonlySet<string> = new Set(
  ['Double', 'Float', 'Int64', 'UInt64', 'Int32', 'UInt32', 'Bool', 'String', 'Bytes'].map(
    (name) => `google.protobuf.${name}Value`,
  ),
);

const OWN_FORMS: ReadonlySet<string> = new Set(
  ['Any', 'Duration', 'Timestamp', 'FieldMask', 'Struct', 'Value', 'ListValue'].map(
    (name) => `google.protobuf.${name}`,
  ),
);

export function hasOwnForm(typeName: string): boolean {
  return OWN_FORMS.has(typeName) || WRAPPERS.has(typeName);
}

/** Types whose `value` is a Struct that stands for a message of the type that `type_url` names. */
export const TYPED_STRUCTS: ReadonlySet<string> = new Set(['udpa.type.v1.TypedStruct', 'xds.type.v3.TypedStruct']);
