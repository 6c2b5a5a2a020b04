import { type DescField, type DescMessage, type Message, ScalarType } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import { messageFields } from '../api/message-fields.ts';
import type { BuildContext } from './build-context.ts';
import type { FieldSupport } from './extension-registry.ts';
import { FieldPath } from './field-path.ts';
import { type KnownMessages, NO_MESSAGES } from './load/message-walk.ts';

/** protobuf-es's number for fields whose zero value says nothing. */
const IMPLICIT = 2;

/** Fields of one message type that are obeyed, or may be set without effect as in Envoy. */
interface Entry {
  readonly all: boolean;
  readonly fields: ReadonlySet<string>;
  readonly inert: ReadonlySet<string>;
  readonly refused: ReadonlySet<string>;
}

function words(text: string): Set<string> {
  return new Set(text.split(/\s+/).filter((word) => word !== ''));
}

/**
 * Which fields of which messages Nuncio obeys: gathered from what the builders and factories declare beside their code.
 * The checker refuses every field that is set and not listed, so a field is never accepted in silence (design law 2);
 * `docs/support.md` is printed from the same tables.
 */
export class FieldSupportTable {
  readonly #entries = new Map<string, Entry>();
  readonly #checked = new Map<string, readonly CheckedField[] | null>();

  constructor(lists: readonly (readonly FieldSupport[])[]) {
    for (const list of lists) {
      for (const item of list) {
        const known = this.#entries.get(item.message);
        const fields = words(item.fields);
        const inert = words(item.inert ?? '');
        const refused = words(item.refused ?? '');
        this.#entries.set(item.message, {
          all: fields.has('*') || (known?.all ?? false),
          fields: known === undefined ? fields : new Set([...known.fields, ...fields]),
          inert: known === undefined ? inert : new Set([...known.inert, ...inert]),
          refused: known === undefined ? refused : new Set([...known.refused, ...refused]),
        });
      }
    }
  }

  has(typeName: string): boolean {
    return this.#entries.has(typeName);
  }

  typeNames(): string[] {
    return [...this.#entries.keys()].sort();
  }

  supports(desc: DescMessage, field: DescField): boolean {
    const entry = this.#entries.get(desc.typeName);
    if (entry === undefined || entry.refused.has(field.name)) return false;
    return entry.all || entry.fields.has(field.name) || entry.inert.has(field.name);
  }

  isInert(desc: DescMessage, field: DescField): boolean {
    return this.#entries.get(desc.typeName)?.inert.has(field.name) ?? false;
  }

  /**
   * Refuses every field set in `message` (and below) that is not supported, by `context.refuse`.
   * @param known messages in which all is supported
   */
  check(context: BuildContext, desc: DescMessage, message: Message, known: KnownMessages = NO_MESSAGES): void {
    this.#checkMessage({ context, known }, new FieldPath(''), desc, message);
  }

  #checkMessage(run: SupportRun, path: FieldPath, desc: DescMessage, message: Message): void {
    const { context } = run;
    if (run.known.has(message)) return;
    if (desc.typeName.startsWith('google.protobuf.')) {
      if (desc.typeName === 'google.protobuf.Any') this.#checkAny(run, path, message as Any);
      return;
    }
    const fields = this.#fieldsOf(desc);
    if (fields === null) {
      const at = path.text;
      if (at !== '') context.refuse(at, `${desc.typeName} is not supported yet`);
      return;
    }
    const values = message as unknown as Record<string, unknown>;
    for (let i = 0; i < fields.length; i++) {
      const { field, isSupported } = fields[i]!;
      const value = setValue(field, values);
      if (value === undefined) continue;
      const at = path.at(field.name);
      if (isSupported) this.#checkField(run, at, field, value);
      else context.refuse(at.text, `${field.name} is not supported yet`);
    }
  }

  /** The fields that there is something to do about; null: the type is not supported. */
  #fieldsOf(desc: DescMessage): readonly CheckedField[] | null {
    let fields = this.#checked.get(desc.typeName);
    if (fields === undefined) {
      const entry = this.#entries.get(desc.typeName);
      const messages = new Set(messageFields(desc));
      fields = entry === undefined ? null : desc.fields.flatMap((field) => checkedField(field, entry, messages));
      this.#checked.set(desc.typeName, fields);
    }
    return fields;
  }

  #checkField(run: SupportRun, at: FieldPath, field: DescField, value: unknown): void {
    if (field.fieldKind === 'list') {
      const list = value as readonly unknown[];
      for (let i = 0; i < list.length; i++) this.#checkValue(run, at.at(i), field, list[i]);
    } else if (field.fieldKind === 'map') {
      for (const [key, item] of Object.entries(value as object)) this.#checkValue(run, at.key(key), field, item);
    } else this.#checkValue(run, at, field, value);
  }

  #checkValue(run: SupportRun, at: FieldPath, field: DescField, value: unknown): void {
    // Wrappers and Structs in fields are bare values.
    if (typeof value !== 'object' || value === null || !('$typeName' in value)) return;
    this.#checkMessage(run, at, field.message!, value as Message);
  }

  /** A type that no factory knows is refused where the extension is looked up; here only what is known is checked. */
  #checkAny(run: SupportRun, path: FieldPath, any: Any): void {
    if (any.typeUrl === '') return;
    const { context } = run;
    const unpacked = context.shared.anys.unpack(any);
    if (!unpacked.ok || !this.#entries.has(unpacked.message.$typeName)) return;
    const desc = context.shared.api.message(unpacked.message.$typeName);
    if (desc !== undefined) this.#checkMessage(run, path, desc, unpacked.message);
  }
}

interface SupportRun {
  readonly context: BuildContext;
  readonly known: KnownMessages;
}

/** A field that is refused when it is set, or whose messages are looked into. */
interface CheckedField {
  readonly field: DescField;
  readonly isSupported: boolean;
}

function checkedField(field: DescField, entry: Entry, messages: ReadonlySet<DescField>): CheckedField[] {
  // Of those the builder says more than that they are not supported.
  if (entry.inert.has(field.name) || entry.refused.has(field.name)) return [];
  const isSupported = entry.all || entry.fields.has(field.name);
  return isSupported && !messages.has(field) ? [] : [{ field, isSupported }];
}

/** The value of a field that is set (without presence: that is not zero); undefined: it is not. */
function setValue(field: DescField, values: Readonly<Record<string, unknown>>): unknown {
  if (field.oneof !== undefined) {
    const oneof = values[field.oneof.localName] as { readonly case: string | undefined; readonly value?: unknown };
    return oneof.case === field.localName ? oneof.value : undefined;
  }
  const value = values[field.localName];
  if (field.fieldKind === 'list') return (value as readonly unknown[]).length > 0 ? value : undefined;
  if (field.fieldKind === 'map') return Object.keys(value as object).length > 0 ? value : undefined;
  if (field.presence !== IMPLICIT) return value;
  if (value instanceof Uint8Array) return value.length > 0 ? value : undefined;
  // Numbers of 64 bits may be texts.
  if (value === '0' && field.scalar !== ScalarType.STRING) return undefined;
  return value === 0 || value === 0n || value === '' || value === false ? undefined : value;
}
