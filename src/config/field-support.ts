import type { DescField, DescMessage, Message } from '@bufbuild/protobuf';
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { BuildContext } from './build-context.ts';
import type { FieldSupport } from './extension-registry.ts';

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

  /** Refuses every field set in `message` (and below) that is not supported, by `context.refuse`. */
  check(context: BuildContext, desc: DescMessage, message: Message): void {
    this.#checkMessage(context, '', reflect(desc, message));
  }

  #checkMessage(context: BuildContext, path: string, message: ReflectMessage): void {
    const { desc } = message;
    if (desc.typeName.startsWith('google.protobuf.')) {
      if (desc.typeName === 'google.protobuf.Any') this.#checkAny(context, path, message.message as Any);
      return;
    }
    const entry = this.#entries.get(desc.typeName);
    if (entry === undefined) {
      if (path !== '') context.refuse(path, `${desc.typeName} is not supported yet`);
      return;
    }
    for (const field of desc.fields) {
      if (!message.isSet(field)) continue;
      const at = path === '' ? field.name : `${path}.${field.name}`;
      // Of those the builder says more than that they are not supported.
      if (entry.inert.has(field.name) || entry.refused.has(field.name)) continue;
      if (!entry.all && !entry.fields.has(field.name)) {
        context.refuse(at, `${field.name} is not supported yet`);
        continue;
      }
      this.#checkField(context, at, message, field);
    }
  }

  #checkField(context: BuildContext, at: string, message: ReflectMessage, field: DescField): void {
    switch (field.fieldKind) {
      case 'message':
        this.#checkMessage(context, at, message.get(field));
        break;
      case 'list':
        if (field.listKind !== 'message') break;
        {
          let index = 0;
          for (const item of message.get(field))
            this.#checkMessage(context, `${at}[${index++}]`, item as ReflectMessage);
        }
        break;
      case 'map':
        if (field.mapKind !== 'message') break;
        for (const [key, item] of message.get(field)) {
          this.#checkMessage(context, `${at}[${JSON.stringify(String(key))}]`, item as ReflectMessage);
        }
        break;
      default:
        break;
    }
  }

  /** A type that no factory knows is refused where the extension is looked up; here only what is known is checked. */
  #checkAny(context: BuildContext, path: string, any: Any): void {
    if (any.typeUrl === '') return;
    const unpacked = context.shared.anys.unpack(any);
    if (!unpacked.ok || !this.#entries.has(unpacked.message.$typeName)) return;
    const desc = context.shared.api.message(unpacked.message.$typeName);
    if (desc !== undefined) this.#checkMessage(context, path, reflect(desc, unpacked.message));
  }
}
