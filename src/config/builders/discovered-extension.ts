import type { ExtensionConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.d.ts';
import type { TypedExtensionConfig } from '../../api/gen/envoy/config/core/v3/extension_pb.d.ts';
import type { Scope } from '../../stats/store.ts';
import { BuildContext } from '../build-context.ts';
import type { ExtensionProducts, FieldSupport } from '../extension-registry.ts';
import { buildConfigSource, CONFIG_SOURCE_SUPPORT, digestOf, type SourceSpec } from './config-source.ts';

export const EXTENSION_SOURCE_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.core.v3.ExtensionConfigSource', fields: '*' },
  { message: 'envoy.config.core.v3.TypedExtensionConfig', fields: 'name typed_config' },
  ...CONFIG_SOURCE_SUPPORT,
];

/** Kinds of extensions that may be discovered (ECDS). */
export type DiscoveredKind = 'http-filter' | 'network-filter' | 'listener-filter';

/** What Envoy calls the subscriptions of each kind in its stats. */
export const DISCOVERED_STAT_NAMES: Readonly<Record<DiscoveredKind, string>> = {
  'http-filter': 'http_filter',
  'network-filter': 'network_filter',
  'listener-filter': 'tcp_listener_filter',
};

/** What one place of a listener asks of an extension that is discovered. */
export interface ExtensionDependency {
  /** What the configurations of a worker are kept under: equal for equal sources, names and kinds. */
  readonly key: string;
  readonly kind: DiscoveredKind;
  readonly name: string;
  readonly source: SourceSpec;
  /** Whether the listener waits for it. */
  readonly warms: boolean;
  /** Full names of messages that it may be configured by. */
  readonly typeNames: readonly string[];
  /** For terminal filters, and for no others. Listener filters know no such place. */
  readonly isLast: boolean;
}

/** Told of a discovered extension's configuration. */
export interface ExtensionWatcher {
  /** Nothing uses it any more: it need not be told. */
  readonly isGone: boolean;
  /** @param config null: it was removed */
  onConfig(config: TypedExtensionConfig | null): void;
}

/** The discovered configurations of one worker. */
export interface ExtensionFeed {
  /** Tells at once what there is, if there is anything. @param key of an {@link ExtensionDependency} */
  watch(key: string, watcher: ExtensionWatcher): void;
}

/** @returns null when it was refused */
export function buildExtension<K extends DiscoveredKind>(
  context: BuildContext,
  kind: K,
  { name, typeNames, isLast }: Pick<ExtensionDependency, 'name' | 'typeNames' | 'isLast'>,
  field: string,
  any: TypedExtensionConfig['typedConfig'],
): ExtensionProducts[K] | null {
  const { extensions } = context.shared;
  const message = context.unpack(field, any);
  if (message === null) return null;
  const type = message.$typeName;
  if (!typeNames.includes(type)) {
    context.refuse(field, `Error: filter config has type URL ${type} but expect ${typeNames.join(', ')}.`);
    return null;
  }
  const built = extensions.build(kind, context, field, name, any);
  if (built === null || kind === 'listener-filter') return built;
  const { isTerminal } = built as { readonly isTerminal: boolean };
  if (isTerminal === isLast) return built;
  const chain = kind === 'http-filter' ? 'http' : 'network';
  context.refuse(
    field,
    isTerminal
      ? `Error: terminal filter named ${name} of type ${type} must be the last filter in a ${chain} filter chain.`
      : `Error: non-terminal filter named ${name} of type ${type} is the last filter in a ${chain} filter chain.`,
  );
  return null;
}

/**
 * One place of a listener that a discovered extension fills: with what was last discovered, if it is fit for the place, else with
 * the default. Source: Envoy, DynamicFilterConfigProviderImpl.
 */
export class DiscoveredExtension<K extends DiscoveredKind> implements ExtensionWatcher {
  /** What new streams and connections use; null: there is neither a configuration nor a default. */
  current: ExtensionProducts[K] | null;
  readonly #kind: K;
  readonly #dependency: ExtensionDependency;
  readonly #default: ExtensionProducts[K] | null;
  readonly #context: BuildContext;
  #stats: Scope | null = null;
  /** Streams that began with it may still count in it. */
  #previousStats: Scope | null = null;

  constructor(
    kind: K,
    dependency: ExtensionDependency,
    fallback: ExtensionProducts[K] | null,
    /** Of the place. */
    context: BuildContext,
  ) {
    this.#kind = kind;
    this.#dependency = dependency;
    this.#default = fallback;
    this.current = fallback;
    this.#context = context;
    context.shared.extensionFeed?.watch(dependency.key, this);
  }

  get isGone(): boolean {
    return this.#context.shared.stats.isClosed;
  }

  onConfig(config: TypedExtensionConfig | null): void {
    const { shared, path, stats } = this.#context;
    const own = shared.stats.createScope('');
    const scope = { ...shared, errors: [], warnings: [], stats: own };
    const context = new BuildContext(scope, path, own.createScope(stats.prefix));
    const built =
      config === null
        ? null
        : buildExtension(context, this.#kind, this.#dependency, 'typed_config', config.typedConfig);
    this.current = built ?? this.#default;
    this.#previousStats?.close();
    this.#previousStats = this.#stats;
    this.#stats = own;
  }
}

/**
 * A filter whose configuration is discovered; who follows it is told to `context.shared.extensionDependencies`.
 * @param context of the filter
 * @returns null when it was refused
 */
export function buildDiscovered<K extends DiscoveredKind>(
  context: BuildContext,
  kind: K,
  name: string,
  message: ExtensionConfigSource,
  isLast: boolean,
): DiscoveredExtension<K> | null {
  const at = context.at('config_discovery');
  const before = context.errorCount;
  const { defaultConfig } = message;
  if (message.applyDefaultConfigWithoutWarming && defaultConfig === undefined) {
    at.refuse('default_config', `Error: filter config ${name} applied without warming but has no default config.`);
  }
  const typeNames = message.typeUrls.map((url) => url.slice(url.lastIndexOf('/') + 1));
  typeNames.forEach((type, index) => {
    if (context.shared.extensions.findByType(kind, type) !== null) return;
    at.refuse(
      `type_urls[${index}]`,
      `Error: no factory found for a required type URL ${type}.`,
      `no ${kind} of that type is supported`,
    );
  });
  const source = buildConfigSource(at, 'config_source', message.configSource);
  if (source === null || context.errorCount > before) return null;
  const dependency: ExtensionDependency = {
    key: `${kind}|${name}|${digestOf(context, message.configSource!)}`,
    kind,
    name,
    source,
    warms: !message.applyDefaultConfigWithoutWarming,
    typeNames,
    isLast,
  };
  const fallback =
    defaultConfig === undefined ? null : buildExtension(at, kind, dependency, 'default_config', defaultConfig);
  if (context.errorCount > before) return null;
  context.shared.extensionDependencies?.push(dependency);
  return new DiscoveredExtension(kind, dependency, fallback, context);
}
