import { fromBinary, type JsonObject, type Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { ApiRegistry } from '../../api/api-registry.ts';
import { soundEncoding } from '../../api/sound-encoding.ts';
import { SourceFile } from '../diagnostics/source-file.ts';
import { type BuiltMessage, treeToMessage } from './message-builder.ts';
import { treeFromJson } from './tree.ts';
import { TYPED_STRUCTS } from './well-known-types.ts';

export type Unpacked =
  | {
      readonly ok: true;
      readonly message: Message;
      /** Whether a TypedStruct was taken off: its message then is what the TypedStruct stood for. */
      readonly typedStruct: boolean;
    }
  | { readonly ok: false; readonly reason: string };

/**
 * The messages inside the Anys of a configuration. Those that the loader has read from text are remembered; others (from
 * a binary file or a control plane) are decoded on first use, from bytes that are made sound by it. An Any must not be changed once it
 * was asked for.
 */
export class AnyMessages {
  readonly #api: ApiRegistry;
  readonly #known = new WeakMap<Any, Unpacked>();

  constructor(api: ApiRegistry) {
    this.#api = api;
  }

  remember(any: Any, message: Message, typedStruct: boolean): void {
    this.#known.set(any, { ok: true, message, typedStruct });
  }

  /** The message inside; a TypedStruct is taken off when the API knows the type that it names. */
  unpack(any: Any): Unpacked {
    let unpacked = this.#known.get(any);
    if (unpacked === undefined) {
      unpacked = this.#decode(any);
      this.#known.set(any, unpacked);
    }
    return unpacked;
  }

  #decode(any: Any): Unpacked {
    const desc = this.#api.byTypeUrl(any.typeUrl);
    if (desc === undefined) return { ok: false, reason: `unknown type ${any.typeUrl}` };
    let message: Message;
    try {
      any.value = soundEncoding(desc, any.value) as typeof any.value;
      message = fromBinary(desc, any.value);
    } catch (thrown) {
      return { ok: false, reason: `cannot decode ${desc.typeName}: ${(thrown as Error).message}` };
    }
    if (!TYPED_STRUCTS.has(desc.typeName)) return { ok: true, message, typedStruct: false };
    const struct = message as Message & { readonly typeUrl: string; readonly value?: JsonObject };
    const inner = this.#api.byTypeUrl(struct.typeUrl);
    if (inner === undefined) return { ok: true, message, typedStruct: false };
    const tree = treeFromJson(struct.value ?? {}, new SourceFile(struct.typeUrl, ''));
    const built: BuiltMessage = treeToMessage(tree, inner, { api: this.#api, anys: this });
    const first = built.errors[0];
    if (first !== undefined) {
      const where = first.path === '' ? '' : ` at ${first.path}`;
      return { ok: false, reason: `TypedStruct of ${inner.typeName}${where}: ${first.reason}` };
    }
    return { ok: true, message: built.message, typedStruct: true };
  }
}
