import { type FSWatcher, readFileSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Logger } from '../../base/log.ts';
import type { Result } from '../../base/result.ts';
import type { ConfigError } from '../../config/diagnostics/config-error.ts';
import { renderErrors } from '../../config/diagnostics/render.ts';
import type { DiscoveredResource, ResourceRefusal } from '../../xds/resource-source.ts';
import type { LoadedBootstrap } from '../load-bootstrap.ts';
import type { DynamicConfig } from '../updates/dynamic-config.ts';
import { planReload, planText, type ReloadPlan } from './reload-plan.ts';

/** A burst of writes is one edit: the file is read when it has been left alone for this long, ms. */
const SETTLE_MS = 20;

/** Reads and checks the configuration again, as it is now. */
export type LoadAgain = () => Result<LoadedBootstrap, readonly ConfigError[]>;

/** How a reload went, for people. */
export interface ReloadOutcome {
  readonly ok: boolean;
  /** The plan, or the diagnostics. */
  readonly text: string;
  /** Wall-clock ms. */
  readonly atMs: number;
}

/**
 * The configuration file as a source: another version is checked as a whole, compared, and applied as an answer of discovery
 * services would be. A bad one changes nothing.
 */
export class StaticReload {
  /** The last one; null: there was none. */
  last: ReloadOutcome | null = null;
  readonly #api: ApiRegistry;
  readonly #load: LoadAgain;
  readonly #dynamic: DynamicConfig;
  readonly #logger: Logger;
  readonly #onApplied: (bootstrap: LoadedBootstrap) => void;
  readonly #started: LoadedBootstrap;
  #current: LoadedBootstrap;
  #watchers: FSWatcher[] = [];
  #timer: ReturnType<typeof setTimeout> | null = null;
  #content = '';
  #queue: Promise<unknown> = Promise.resolve();

  constructor(
    api: ApiRegistry,
    current: LoadedBootstrap,
    load: LoadAgain,
    dynamic: DynamicConfig,
    logger: Logger,
    onApplied: (bootstrap: LoadedBootstrap) => void,
  ) {
    this.#api = api;
    this.#started = current;
    this.#current = current;
    this.#load = load;
    this.#dynamic = dynamic;
    this.#logger = logger;
    this.#onApplied = onApplied;
  }

  /** Edits in place count as well as files, links or linked directories moved into place. */
  watch(path: string): void {
    this.#content = contentOf(path);
    const name = basename(path);
    const onEvent = (_event: string, changed: string | null): void => {
      // `..data` and the like: a mounted directory whose link was swapped.
      if (changed === null || changed === name || changed.startsWith('..')) this.#wait(path);
    };
    const watcher = watch(dirname(path), onEvent);
    watcher.on('error', (error) => {
      this.#logger.warning(`${path} is not watched any more: ${error.message}`);
      watcher.close();
    });
    watcher.unref();
    this.#watchers.push(watcher);
    this.#logger.info(`watching ${path}`);
  }

  #wait(path: string): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      const content = contentOf(path);
      if (content === this.#content || content === '') return;
      this.#content = content;
      void this.reload(false);
    }, SETTLE_MS);
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const watcher of this.#watchers) watcher.close();
    this.#watchers = [];
  }

  /** @param dryRun only says what would be done */
  reload(dryRun: boolean): Promise<ReloadOutcome> {
    const turn = this.#queue.then(() => this.#reload(dryRun));
    this.#queue = turn.catch(() => {});
    return turn;
  }

  async #reload(dryRun: boolean): Promise<ReloadOutcome> {
    let loaded: ReturnType<LoadAgain>;
    try {
      loaded = this.#load();
    } catch (error) {
      return this.#note(dryRun, false, `${(error as Error).message}\n`);
    }
    if (!loaded.ok) return this.#note(dryRun, false, renderErrors(loaded.error, { colours: false }));
    const next = loaded.value;
    const type = this.#api.message('envoy.config.bootstrap.v3.Bootstrap')!;
    const plan = planReload(type, this.#started, this.#current, next);
    const text = planText(plan);
    if (dryRun) return this.#note(true, true, text);
    let refusals: readonly ResourceRefusal[];
    try {
      refusals = await this.#apply(plan, next);
    } catch (error) {
      refusals = [{ name: 'configuration', details: (error as Error).message }];
    }
    if (refusals.length === 0) {
      this.#current = next;
      this.#onApplied(next);
      return this.#note(false, true, text);
    }
    const refused = refusals.map(({ name, details }) => `${name}: ${details}\n`).join('');
    return this.#note(false, false, `${text}refused, and not in force:\n${refused}`);
  }

  #note(dryRun: boolean, ok: boolean, text: string): ReloadOutcome {
    const outcome = { ok, text, atMs: Date.now() };
    if (dryRun) return outcome;
    this.last = outcome;
    if (ok) this.#logger.info(`configuration reloaded:\n${text}`);
    else this.#logger.error(`the edit of the configuration is refused:\n${text}`);
    return outcome;
  }

  /** What is new first, what others may still need last. */
  async #apply(plan: ReloadPlan, next: LoadedBootstrap): Promise<readonly ResourceRefusal[]> {
    const { clusters, listeners } = this.#dynamic;
    const changedClusters = resources(next, 'clusters', [...plan.clusters.added, ...plan.clusters.changed]);
    const changedListeners = resources(next, 'listeners', [...plan.listeners.added, ...plan.listeners.changed]);
    const update = (changed: readonly DiscoveredResource[], removed: readonly string[]) => ({
      changed,
      removed,
      version: '',
    });
    const refusals: ResourceRefusal[] = [];
    if (changedClusters.length > 0) {
      refusals.push(...(await clusters.apply(update(changedClusters, []), 'file', false)));
    }
    if (changedListeners.length + plan.listeners.removed.length > 0) {
      refusals.push(...(await listeners.apply(update(changedListeners, plan.listeners.removed), 'file', false)));
    }
    // A listener whose new version was refused still serves with what the old one names.
    if (refusals.length > 0) return refusals;
    if (plan.clusters.removed.length > 0) await clusters.apply(update([], plan.clusters.removed), 'file', false);
    return refusals;
  }
}

function resources(
  bootstrap: LoadedBootstrap,
  kind: 'clusters' | 'listeners',
  names: readonly string[],
): DiscoveredResource[] {
  const { plan, loaded } = bootstrap;
  const messages = plan.message.staticResources?.[kind] ?? [];
  const wanted = new Set(names);
  return plan[kind].flatMap(({ name, bytes }, index) =>
    wanted.has(name)
      ? [
          {
            name,
            version: '',
            message: messages[index]!,
            bytes,
            origin: {
              positions: loaded.positions,
              path: `static_resources.${kind}[${index}]`,
              anys: loaded.anys,
            },
          },
        ]
      : [],
  );
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
