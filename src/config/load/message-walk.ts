import type { DescField, DescMessage, Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { ApiRegistry } from '../../api/api-registry.ts';
import { messageFields } from '../../api/message-fields.ts';
import type { FieldPath } from '../field-path.ts';
import type { AnyMessages } from './any-messages.ts';

/** Messages of which all is known: they, and what is inside them, need not be looked at. */
export interface KnownMessages {
  has(message: Message): boolean;
}

export const NO_MESSAGES: KnownMessages = { has: () => false };

export interface MessageVisitor {
  /** @returns false to leave out what is inside. */
  message(message: Message, desc: DescMessage, path: FieldPath): boolean;
  /** An Any whose content is unknown or broken. */
  broken?(any: Any, reason: string, path: FieldPath): void;
  /** Whether to look into an Any that stands in this field. */
  entersAny?(field: DescField): boolean;
}

/** Visits a message and all messages inside it, those in Anys too, parents first. */
export function walkMessage(
  message: Message,
  desc: DescMessage,
  path: FieldPath,
  api: ApiRegistry,
  anys: AnyMessages,
  visitor: MessageVisitor,
): void {
  if (!visitor.message(message, desc, path)) return;
  const fields = message as unknown as Record<string, unknown>;
  for (const field of messageFields(desc)) {
    let value: unknown;
    if (field.oneof === undefined) value = fields[field.localName];
    else {
      const oneof = fields[field.oneof.localName] as { case: string | undefined; value?: unknown };
      value = oneof.case === field.localName ? oneof.value : undefined;
    }
    if (value === undefined) continue;
    if (field.fieldKind === 'list') {
      const list = value as unknown[];
      if (list.length === 0) continue;
      const at = path.at(field.name);
      for (let i = 0; i < list.length; i++) enter(list[i], field, at.at(i), api, anys, visitor);
    } else if (field.fieldKind === 'map') {
      for (const [key, item] of Object.entries(value as object)) {
        enter(item, field, path.at(field.name).key(key), api, anys, visitor);
      }
    } else enter(value, field, path.at(field.name), api, anys, visitor);
  }
}

function enter(
  value: unknown,
  field: DescField,
  path: FieldPath,
  api: ApiRegistry,
  anys: AnyMessages,
  visitor: MessageVisitor,
): void {
  // Wrappers and Structs in fields are bare values.
  if (typeof value !== 'object' || value === null || !('$typeName' in value)) return;
  const desc = field.message!;
  if (desc.typeName !== 'google.protobuf.Any') {
    walkMessage(value as Message, desc, path, api, anys, visitor);
    return;
  }
  const any = value as Any;
  if (any.typeUrl === '' || visitor.entersAny?.(field) === false) return;
  const unpacked = anys.unpack(any);
  if (!unpacked.ok) {
    visitor.broken?.(any, unpacked.reason, path);
    return;
  }
  const inner = api.message(unpacked.message.$typeName);
  if (inner !== undefined) walkMessage(unpacked.message, inner, path, api, anys, visitor);
}
