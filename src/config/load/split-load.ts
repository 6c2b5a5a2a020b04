/** Large texts of which one list is nearly all: its items are read one by one, and the tree of the whole never stands in memory. */
import { create, type DescMessage, type Message } from '@bufbuild/protobuf';
import { SourceFile } from '../diagnostics/source-file.ts';
import { AnyMessages } from './any-messages.ts';
import { splitJson } from './json-tree.ts';
import { type ConfigInput, type LoadOptions, parseTree } from './load-config.ts';
import { type BuildOptions, type MessageShapes, treeToMessage } from './message-builder.ts';
import { PositionMap } from './position-map.ts';
import { type SplitTree, splitYaml } from './split-yaml.ts';

/** Texts of fewer characters are read as a whole: there is nothing to be gained. */
const LEAST_CHARS = 128 * 1024;

/**
 * A text that was read without any complaint so far. As soon as there is one, be it a warning, the text is to be read as a whole,
 * by `loadConfig`: that tells all that there is to tell, with its places.
 */
export interface SplitConfig<M extends Message> {
  /** Its list is empty. */
  readonly message: M;
  readonly anys: AnyMessages;
  /** Reads the whole text when a place is asked for. */
  readonly positions: PositionMap;
  /** The items of the list; null, and nothing after it: there is something to complain about. */
  items(): Iterable<Message | null>;
}

/**
 * @param path names of the fields that lead to the list of messages
 * @returns null: the text is small, not of a form that can be split, or there is something to complain about
 */
export function loadSplit<M extends Message>(
  input: ConfigInput,
  options: LoadOptions,
  path: readonly string[],
  leastChars = LEAST_CHARS,
): SplitConfig<M> | null {
  if ((input.format !== 'yaml' && input.format !== 'json') || typeof input.content !== 'string') return null;
  if (input.content.length < leastChars || options.rewrite?.suspects(input.content) === true) return null;
  const source = new SourceFile(input.name, input.content);
  const split = input.format === 'yaml' ? splitYaml(source, path) : splitJson(source, path);
  if (split === null) return null;
  const anys = options.anys ?? new AnyMessages(options.api);
  const shapes: MessageShapes = new Map();
  const { api } = options;
  const build = { api, anys, unknownFields: options.unknownFields ?? 'reject', shapes };
  const rest = treeToMessage(split.rest, options.desc, build);
  const item = itemType(options.desc, path);
  if (item === null || rest.errors.length + rest.warnings.length > 0) return null;
  if (listAt(rest.message, options.desc, path).length > 0) return null;
  return {
    message: rest.message as M,
    anys,
    positions: new PositionMap(() => {
      const { tree } = parseTree(input);
      return tree === undefined ? [] : [tree];
    }),
    items: () => messagesOf(split, item, build),
  };
}

function* messagesOf(split: SplitTree, desc: DescMessage, options: BuildOptions): Generator<Message | null> {
  for (const tree of split.items()) {
    const built = tree?.kind === 'mapping' ? treeToMessage(tree, desc, options, create(desc)) : null;
    if (built === null || built.errors.length + built.warnings.length > 0) {
      yield null;
      return;
    }
    yield built.message;
  }
}

function itemType(desc: DescMessage, path: readonly string[]): DescMessage | null {
  let at: DescMessage | undefined = desc;
  for (const name of path) at = at?.fields.find((field) => field.name === name)?.message;
  return at ?? null;
}

/** The list as the message holds it; empty where the way to it is not set. */
function listAt(message: Message, desc: DescMessage, path: readonly string[]): readonly unknown[] {
  let at: unknown = message;
  let type: DescMessage | undefined = desc;
  for (const name of path) {
    const field: DescMessage['fields'][number] | undefined = type?.fields.find((each) => each.name === name);
    at = (at as Record<string, unknown> | undefined)?.[field?.localName ?? ''];
    type = field?.message;
  }
  return (at as readonly unknown[] | undefined) ?? [];
}
