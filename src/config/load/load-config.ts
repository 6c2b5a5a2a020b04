/** Configuration files and texts to messages: YAML, JSON, protobuf binary and text, by Envoy's rules for each. */
import { readFileSync } from 'node:fs';
import { create, type DescMessage, type Message, mergeFromBinary } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import { soundEncoding } from '../../api/sound-encoding.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { type ConfigError, configError } from '../diagnostics/config-error.ts';
import { SourceFile } from '../diagnostics/source-file.ts';
import { AnyMessages } from './any-messages.ts';
import { parseJson } from './json-tree.ts';
import { treeToMessage } from './message-builder.ts';
import { PositionMap } from './position-map.ts';
import { parseTextProto } from './text-proto-tree.ts';
import { checkTreeSize, type TreeNode } from './tree.ts';
import { checkUnknownFields } from './unknown-fields.ts';
import { type ParsedTree, parseYaml } from './yaml-tree.ts';

export type ConfigFormat = 'yaml' | 'json' | 'pb' | 'pb_text';

/** One piece of configuration; pieces are merged in order, as `--config-yaml` is over the file. */
export interface ConfigInput {
  /** What errors call it: the path, or `--config-yaml`. */
  readonly name: string;
  readonly format: ConfigFormat;
  readonly content: string | Uint8Array;
}

/** Replaces trees that do not read as the message wanted; those that do are never touched, nor slowed. */
export interface TreeRewrite {
  /** Whether a text may need it although it reads without complaint. */
  suspects(text: string): boolean;
  /** Faults go to `errors` and `warnings`. @returns the tree given when there is nothing to rewrite */
  rewrite(tree: TreeNode, errors: ConfigError[], warnings: ConfigError[]): TreeNode;
}

export interface LoadOptions {
  readonly api: ApiRegistry;
  readonly desc: DescMessage;
  /** Default `reject`, as Envoy's for static configuration. */
  readonly unknownFields?: 'reject' | 'warn' | 'ignore';
  /** The upgrade from v2. */
  readonly rewrite?: TreeRewrite;
  /** Shared with other loads when given. */
  readonly anys?: AnyMessages;
}

export interface LoadedConfig<M extends Message = Message> {
  readonly message: M;
  /** The messages inside Anys, decoded once. */
  readonly anys: AnyMessages;
  readonly positions: PositionMap;
  readonly warnings: readonly ConfigError[];
}

/** The format that Envoy takes a file to have: by its ending, in any case; JSON when it is none of those known. */
export function formatOfPath(path: string): ConfigFormat {
  const lower = path.toLowerCase();
  if (lower.endsWith('.yaml') || lower.endsWith('.yml')) return 'yaml';
  if (lower.endsWith('.pb')) return 'pb';
  return lower.endsWith('.pb_text') ? 'pb_text' : 'json';
}

/** Reads one file. @returns an error when it cannot be read */
export function readConfigFile(path: string): Result<ConfigInput, ConfigError[]> {
  try {
    const format = formatOfPath(path);
    const bytes = readFileSync(path);
    return ok({ name: path, format, content: format === 'pb' ? new Uint8Array(bytes) : bytes.toString('utf8') });
  } catch (thrown) {
    return err([configError('error', '', `unable to read file: ${path}: ${(thrown as Error).message}`)]);
  }
}

/** Parses a text to a tree, without knowing what message it stands for. Not for `pb`. */
export function parseTree(input: ConfigInput): ParsedTree & { readonly source: SourceFile } {
  const content = typeof input.content === 'string' ? input.content : Buffer.from(input.content).toString('utf8');
  const source = new SourceFile(input.name, content);
  const parsed =
    input.format === 'yaml' ? parseYaml(source) : input.format === 'json' ? parseJson(source) : parseTextProto(source);
  const start = { source, start: 0, end: 0 };
  if (parsed.tree === undefined) {
    if (parsed.errors.length > 0) return { ...parsed, source };
    return {
      ...parsed,
      source,
      errors: [configError('error', '', 'the configuration is empty', 'an empty one is {}', start)],
    };
  }
  if (parsed.tree.kind !== 'mapping') {
    return {
      ...parsed,
      tree: undefined,
      source,
      errors: [configError('error', '', 'a configuration is a mapping of fields', undefined, parsed.tree)],
    };
  }
  const tooLarge = checkTreeSize(parsed.tree);
  if (tooLarge !== undefined) {
    return {
      ...parsed,
      tree: undefined,
      source,
      errors: [configError('error', '', tooLarge.reason, undefined, tooLarge.node)],
    };
  }
  return { ...parsed, source };
}

/** Loads and merges. Never throws; all errors of all inputs come at once. */
export function loadConfig<M extends Message = Message>(
  inputs: readonly ConfigInput[],
  options: LoadOptions,
): Result<LoadedConfig<M>, ConfigError[]> {
  const { loaded, errors } = loadPartially<M>(inputs, options);
  return errors.length > 0 ? err(errors) : ok(loaded);
}

/**
 * As `loadConfig`, but what could be read comes beside the errors, so that later checks can report on it too. With errors, fields
 * that could not be read are absent: a complaint about their absence is no news (see `withoutEchoes`).
 */
export function loadPartially<M extends Message = Message>(
  inputs: readonly ConfigInput[],
  options: LoadOptions,
): { readonly loaded: LoadedConfig<M>; readonly errors: ConfigError[] } {
  const { api, desc } = options;
  const anys = options.anys ?? new AnyMessages(api);
  const errors: ConfigError[] = [];
  const warnings: ConfigError[] = [];
  const trees: TreeNode[] = [];
  let message = create(desc);
  for (const input of inputs) {
    if (input.format === 'pb') {
      loadBinary(input, message, options, anys, errors, warnings);
      continue;
    }
    const parsed = parseTree(input);
    errors.push(...parsed.errors);
    warnings.push(...parsed.warnings);
    if (parsed.tree === undefined) continue;
    const buildOptions = {
      api,
      anys,
      unknownFields: options.unknownFields ?? 'reject',
      textFormat: input.format === 'pb_text',
    };
    let tree = parsed.tree;
    let into = create(desc);
    let built = treeToMessage(tree, desc, buildOptions, into);
    const { rewrite } = options;
    const doubtful = built.errors.length + built.warnings.length > 0 || rewrite?.suspects(parsed.source.text);
    if (rewrite !== undefined && doubtful) {
      const rewritten = rewrite.rewrite(tree, errors, warnings);
      if (rewritten !== tree) {
        tree = rewritten;
        into = create(desc);
        built = treeToMessage(tree, desc, buildOptions, into);
      }
    }
    trees.push(tree);
    errors.push(...built.errors);
    warnings.push(...built.warnings);
    if (inputs.length === 1) message = into;
    else mergeMessage(desc, message, into);
  }
  const loaded = { message: message as M, anys, positions: new PositionMap(trees), warnings };
  return { loaded, errors };
}

/**
 * Those of `later` that are news after `earlier`: not about the same field or a part of it, not about the message around it as a
 * whole, and not about a field beside it that the text does not have (it was misspelt).
 */
export function withoutEchoes(
  later: readonly ConfigError[],
  earlier: readonly ConfigError[],
  positions: PositionMap,
): ConfigError[] {
  const parents = new Set(earlier.map((error) => parentPath(error.path)));
  return later.filter((error) => {
    if (parents.has(error.path)) return false;
    if (earlier.some((first) => first.path === error.path || within(first.path, error.path))) return false;
    const parent = parentPath(error.path);
    return !parents.has(parent) || positions.place(error.path)?.start !== positions.place(parent)?.start;
  });
}

function parentPath(path: string): string {
  return path.replace(/(?:\.[^.[]+|\[[^\]]*\])$/, '');
}

/** Whether `inner` lies below `outer`. */
function within(inner: string, outer: string): boolean {
  return outer === '' || (inner.startsWith(outer) && (inner[outer.length] === '.' || inner[outer.length] === '['));
}

function loadBinary(
  input: ConfigInput,
  message: Message,
  options: LoadOptions,
  anys: AnyMessages,
  errors: ConfigError[],
  warnings: ConfigError[],
): void {
  const bytes = typeof input.content === 'string' ? Buffer.from(input.content, 'latin1') : input.content;
  try {
    mergeFromBinary(options.desc, message, soundEncoding(options.desc, bytes));
  } catch (thrown) {
    const reason = `unable to parse ${input.name} as ${options.desc.typeName} in protobuf binary: ${(thrown as Error).message}`;
    errors.push(configError('error', '', reason));
    return;
  }
  const mode = options.unknownFields ?? 'reject';
  if (mode !== 'ignore') {
    checkUnknownFields(message, options.desc, anys, options.api, mode === 'warn' ? warnings : errors, mode);
  }
}

/** Protobuf's MergeFrom. Anys that come whole from `from` keep what is known of their insides. */
function mergeMessage(desc: DescMessage, into: Message, from: Message): void {
  for (const field of desc.fields) {
    const source = from as unknown as Record<string, unknown>;
    const target = into as unknown as Record<string, unknown>;
    if (field.oneof !== undefined) {
      const chosen = source[field.oneof.localName] as { case: string | undefined; value: unknown };
      if (chosen.case !== field.localName) continue;
      const present = target[field.oneof.localName] as { case: string | undefined; value: unknown };
      if (
        present.case === chosen.case &&
        field.message !== undefined &&
        field.message.typeName !== 'google.protobuf.Struct'
      ) {
        mergeMessage(field.message, present.value as Message, chosen.value as Message);
      } else target[field.oneof.localName] = chosen;
      continue;
    }
    const value = source[field.localName];
    if (value === undefined || !Object.hasOwn(source, field.localName)) continue;
    switch (field.fieldKind) {
      case 'list':
        (target[field.localName] as unknown[]).push(...(value as unknown[]));
        break;
      case 'map':
        Object.assign(target[field.localName] as object, value);
        break;
      case 'message': {
        const present = target[field.localName];
        const name = field.message.typeName;
        if (present === undefined || typeof value !== 'object') target[field.localName] = value;
        else if (name === 'google.protobuf.Struct')
          target[field.localName] = { ...(present as object), ...(value as object) };
        else if (name === 'google.protobuf.Any' || value instanceof Uint8Array) target[field.localName] = value;
        else mergeMessage(field.message, present as Message, value as Message);
        break;
      }
      default:
        // Zero values of fields without presence say nothing.
        if (field.presence !== 2 || !isZero(value)) target[field.localName] = value;
    }
  }
}

function isZero(value: unknown): boolean {
  return (
    value === 0 ||
    value === 0n ||
    value === '' ||
    value === false ||
    (value instanceof Uint8Array && value.length === 0)
  );
}
