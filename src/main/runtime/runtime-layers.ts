import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Logger } from '../../base/log.ts';
import type { RuntimeLayerSpec, RuntimeValue } from '../../config/builders/runtime.ts';
import { RuntimeSnapshot } from '../../pipeline/runtime-snapshot.ts';
import { defineStats } from '../../stats/stat-group.ts';
import type { Scope } from '../../stats/store.ts';
import { parseRuntimeText, readDiskLayer } from './disk-layer.ts';

const RUNTIME_STATS = defineStats({
  counters: ['deprecated_feature_use', 'load_error', 'load_success', 'override_dir_exists', 'override_dir_not_exists'],
  neverImportGauges: [
    'admin_overrides_active',
    'deprecated_feature_seen_since_process_start',
    'num_keys',
    'num_layers',
  ],
} as const);

const NOTHING: ReadonlyMap<string, RuntimeValue> = new Map();

interface Layer {
  readonly name: string;
  readonly values: ReadonlyMap<string, RuntimeValue>;
}

/** One key as `/runtime` shows it: its value in each layer, empty where it has none. */
export interface RuntimeEntry {
  readonly layerValues: readonly string[];
  readonly finalValue: string;
}

/** The layered runtime of the process, on main. Workers get copies of the merged values. Source: Envoy, Runtime::LoaderImpl. */
export class RuntimeLayers {
  readonly snapshot = new RuntimeSnapshot({});
  /** Called with the merged values whenever they change after `start`. */
  onChange: (values: Readonly<Record<string, RuntimeValue>>) => void = () => {};
  readonly #specs: readonly RuntimeLayerSpec[];
  readonly #serviceCluster: string;
  readonly #logger: Logger;
  readonly #stats;
  readonly #overrides = new Map<string, RuntimeValue>();
  /** By layer name. */
  readonly #discovered = new Map<string, ReadonlyMap<string, RuntimeValue>>();
  #layers: Layer[] = [];
  #values: Readonly<Record<string, RuntimeValue>> = {};
  #watchers: FSWatcher[] = [];

  constructor(specs: readonly RuntimeLayerSpec[], serviceCluster: string, scope: Scope, logger: Logger) {
    this.#specs = specs;
    this.#serviceCluster = serviceCluster;
    this.#logger = logger;
    this.#stats = RUNTIME_STATS.create(scope, 'runtime');
    for (const gauge of ['admin_overrides_active', 'deprecated_feature_seen_since_process_start'] as const) {
      this.#stats[gauge].set(0);
    }
    this.#load();
  }

  get values(): Readonly<Record<string, RuntimeValue>> {
    return this.#values;
  }

  get layerNames(): readonly string[] {
    return this.#layers.map((layer) => layer.name);
  }

  get hasAdminLayer(): boolean {
    return this.#specs.some((spec) => spec.kind === 'admin');
  }

  entries(): Map<string, RuntimeEntry> {
    const keys = new Set(this.#layers.flatMap((layer) => [...layer.values.keys()]));
    const entries = new Map<string, RuntimeEntry>();
    for (const key of [...keys].sort()) {
      const layerValues = this.#layers.map((layer) => runtimeText(layer.values.get(key)));
      entries.set(key, { layerValues, finalValue: runtimeText(this.#values[key]) });
    }
    return entries;
  }

  /** Watches the links of disk layers: a swap is one move into their directory. */
  start(): void {
    for (const spec of this.#specs) {
      if (spec.kind !== 'disk') continue;
      const name = basename(spec.symlinkRoot);
      try {
        const watcher = watch(dirname(spec.symlinkRoot), (_event, changed) => {
          if (changed === name) this.reload();
        });
        watcher.unref();
        this.#watchers.push(watcher);
      } catch (error) {
        this.#logger.warning(`unable to watch ${dirname(spec.symlinkRoot)}: ${(error as Error).message}`);
      }
    }
    // Envoy loads once more when its subscriptions are initialised; `load_success` shows it.
    this.#load();
  }

  reload(): void {
    this.#load();
    this.onChange(this.#values);
  }

  /** RTDS has brought a layer. */
  setDiscovered(name: string, values: ReadonlyMap<string, RuntimeValue>): void {
    this.#discovered.set(name, values);
    this.reload();
  }

  /** `/runtime_modify`: an empty text removes the override. */
  modify(changes: ReadonlyMap<string, string>): void {
    for (const [key, text] of changes) {
      if (text === '') this.#overrides.delete(key);
      else this.#overrides.set(key, parseRuntimeText(text) ?? text);
    }
    this.reload();
  }

  stop(): void {
    for (const watcher of this.#watchers) watcher.close();
    this.#watchers = [];
  }

  #load(): void {
    const layers: Layer[] = [];
    let diskLayers = 0;
    let errors = 0;
    for (const spec of this.#specs) {
      if (spec.kind === 'static') layers.push(spec);
      else if (spec.kind === 'rtds')
        layers.push({ name: spec.name, values: this.#discovered.get(spec.name) ?? NOTHING });
      else if (spec.kind === 'admin') layers.push({ name: spec.name, values: new Map(this.#overrides) });
      else {
        const path = join(
          spec.symlinkRoot,
          spec.subdirectory,
          ...(spec.appendServiceCluster ? [this.#serviceCluster] : []),
        );
        try {
          const values = readDiskLayer(path);
          if (values === null) continue;
          layers.push({ name: spec.name, values });
          diskLayers++;
        } catch (error) {
          errors++;
          this.#logger.error(
            `error loading runtime values for layer ${spec.name} from disk: ${(error as Error).message}`,
          );
        }
      }
    }
    const merged: Record<string, RuntimeValue> = {};
    for (const layer of layers) for (const [key, value] of layer.values) merged[key] = value;
    this.#layers = layers;
    this.#values = merged;
    this.snapshot.replace(merged);
    const stats = this.#stats;
    stats.admin_overrides_active.set(this.#overrides.size > 0 ? 1 : 0);
    stats.num_layers.set(layers.length);
    stats.num_keys.set(Object.keys(merged).length);
    if (diskLayers > 1) stats.override_dir_exists.inc();
    else stats.override_dir_not_exists.inc();
    if (errors === 0) stats.load_success.inc();
    else stats.load_error.inc();
  }
}

/** A value as admin shows it; empty for none. */
function runtimeText(value: RuntimeValue | undefined): string {
  if (value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
