/** `name` with `config` (a Struct) or nothing, to `name` with `typed_config`. */
import type { TreeEntry, TreeNode } from '../load/tree.ts';
import { type NameTable, REMOVED_EXTENSIONS } from './extension-names.ts';
import { anyNode, isTrue, type MessageEdit, mapNode, textNode } from './message-edit.ts';

const GZIP_NAMES = new Set(['envoy.gzip', 'envoy.filters.http.gzip']);

/**
 * @param what what the extension is called in messages
 * @param bare whether a name alone chose the extension: it gets an empty configuration
 */
export function nameRule(edit: MessageEdit, table: NameTable, what: string, bare = false): void {
  const nameEntry = edit.entry('name');
  const name = edit.text('name') ?? '';
  if (GZIP_NAMES.has(name) && what === 'HTTP filter') {
    gzip(edit, nameEntry!);
    return;
  }
  const known = table.get(name);
  const config = edit.entry('config');
  // An empty Any says nothing.
  const empty = edit.entry('typed_config')?.value;
  if (bare && known !== undefined && empty?.kind === 'mapping' && empty.entries.length === 0) edit.take('typed_config');
  const others = ['typed_config', 'config_discovery', 'hidden_envoy_deprecated_config'];
  const typed = others.some((field) => edit.entry(field) !== undefined);
  const removed = REMOVED_EXTENSIONS.get(name);
  if (removed !== undefined && known === undefined) {
    edit.refuse(nameEntry!, `the ${what} ${name} is gone from Envoy`, removed);
    edit.entries = [];
    return;
  }
  if (known === undefined) {
    if (config === undefined || typed) return;
    const hint = 'write typed_config with its "@type"';
    edit.refuse(config, `the ${what} ${JSON.stringify(name)} is not known, so the type of its config is not`, hint);
    return;
  }
  if (nameEntry !== undefined && name !== known.name) {
    edit.put('name', textNode(known.name, nameEntry.value), nameEntry);
    edit.changed(nameEntry, `${name} became ${known.name}`);
  }
  if (config !== undefined && !typed) {
    if (config.value.kind === 'mapping' && isTrue(config.value.get('deprecated_v1'))) {
      edit.refuse(config, 'a configuration of version 1 (deprecated_v1)', 'write its value in the form of version 3');
      return;
    }
    edit.replace(
      config,
      'typed_config',
      anyNode(known.type, config.value, config),
      `became typed_config of ${known.type}`,
    );
    return;
  }
  // A null stands for nothing: v2 took the defaults.
  edit.take('config');
  if (!typed && bare && nameEntry !== undefined) {
    edit.put('typed_config', anyNode(known.type, undefined, nameEntry), undefined);
    edit.state.changed(
      nameEntry,
      edit.pathOf('typed_config'),
      `${known.name} has a typed_config of ${known.type}`,
      false,
    );
  }
}

const COMPRESSOR = 'envoy.extensions.filters.http.compressor.v3.Compressor';
const GZIP_LIBRARY = 'envoy.extensions.compression.gzip.compressor.v3.Gzip';
const LEVELS: Readonly<Record<string, string>> = {
  DEFAULT: 'DEFAULT_COMPRESSION',
  BEST: 'BEST_COMPRESSION',
  SPEED: 'BEST_SPEED',
};

const STRATEGIES: Readonly<Record<string, string>> = { DEFAULT: 'DEFAULT_STRATEGY', HUFFMAN: 'HUFFMAN_ONLY' };

/** The gzip filter became the compressor with a library. */
function gzip(edit: MessageEdit, nameEntry: TreeEntry): void {
  const old = edit.entry('config') ?? edit.entry('typed_config');
  const config = old?.value.kind === 'mapping' ? old.value : undefined;
  const at = old ?? nameEntry;
  const library: Record<string, TreeNode> = {};
  const response: Record<string, TreeNode> = {};
  const common: Record<string, TreeNode> = {};
  for (const entry of config?.entries ?? []) {
    switch (entry.key) {
      case 'memory_level':
      case 'window_bits':
        library[entry.key] = entry.value;
        break;
      case 'compression_level': {
        const text = entry.value.kind === 'scalar' ? entry.value.text.toUpperCase() : '';
        library[entry.key] = textNode(LEVELS[text] ?? text, entry.value);
        break;
      }
      case 'compression_strategy': {
        const text = entry.value.kind === 'scalar' ? entry.value.text.toUpperCase() : '';
        library[entry.key] = textNode(STRATEGIES[text] ?? text, entry.value);
        break;
      }
      case 'content_length':
        common.min_content_length = entry.value;
        break;
      case 'content_type':
        common.content_type = entry.value;
        break;
      case 'disable_on_etag_header':
      case 'remove_accept_encoding_header':
        response[entry.key] = entry.value;
        break;
      case 'compressor':
        for (const inner of entry.value.kind === 'mapping' ? entry.value.entries : []) {
          if (inner.key === 'content_length') common.min_content_length = inner.value;
          else if (inner.key === 'content_type') common.content_type = inner.value;
          else if (inner.key === 'runtime_enabled') common.enabled = inner.value;
          else response[inner.key] = inner.value;
        }
        break;
      default:
        if (entry.key !== '@type') edit.refuse(entry, `gzip.${entry.key} has no equivalent in version 3`, 'remove it');
    }
  }
  const direction =
    Object.keys(response).length + Object.keys(common).length === 0
      ? undefined
      : mapNode({ common_config: Object.keys(common).length === 0 ? undefined : mapNode(common, at), ...response }, at);
  const compressor = mapNode(
    {
      response_direction_config: direction,
      compressor_library: mapNode(
        { name: textNode('gzip', at), typed_config: anyNode(GZIP_LIBRARY, mapNode(library, at), at) },
        at,
      ),
    },
    at,
  );
  edit.take('config');
  edit.take('typed_config');
  edit.put('name', textNode('envoy.filters.http.compressor', nameEntry.value), nameEntry);
  edit.put('typed_config', anyNode(COMPRESSOR, compressor, at), old ?? undefined);
  edit.state.changed(at, edit.pathOf(at.key), 'the gzip filter became the compressor filter with a gzip library', true);
}
