import { type FSWatcher, readFileSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { type DescMessage, fromBinary, type Message } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import type { Logger } from '../../base/log.ts';
import type { Result } from '../../base/result.ts';
import type { StaticResource } from '../../config/builders/bootstrap.ts';
import type { ConfigError } from '../../config/diagnostics/config-error.ts';
import { renderErrors } from '../../config/diagnostics/render.ts';
import type { AnyMessages } from '../../config/load/any-messages.ts';
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
 * services would be. A bad one changes nothing: it is rehearsed first, by workers too, and taken back should that not have been enough.
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
    const { builds } = this.#dynamic;
    builds.useStaticSecrets(next.staticSecrets);
    try {
      refusals = await this.#refusalsOf(plan, next);
      if (refusals.length === 0) refusals = await this.#applyOrGoBack(type, plan, next);
    } catch (error) {
      refusals = [{ name: 'configuration', details: (error as Error).message }];
    }
    if (refusals.length === 0) {
      this.#current = next;
      next.origin = null;
      this.#onApplied(next);
      return this.#note(false, true, text);
    }
    builds.useStaticSecrets(this.#current.staticSecrets);
    const refused = refusals.map(({ name, details }) => `${name}: ${details}\n`).join('');
    return this.#note(false, false, `${text}refused, nothing of it is in force:\n${refused}`);
  }

  /** What can be known before anything is changed, down to whether addresses can be opened. */
  async #refusalsOf(plan: ReloadPlan, next: LoadedBootstrap): Promise<readonly ResourceRefusal[]> {
    const { clusters, listeners, orders } = this.#dynamic;
    const changes = changesOf(next, plan, this.#api);
    const names = new Set([...clusters.names(), ...plan.clusters.added]);
    const refusals = [
      ...clusters.refusalsOf(changes.clusters),
      ...listeners.refusalsOf(changes.listeners, plan.listeners.removed, names),
    ];
    if (refusals.length > 0) return refusals;
    return orders.rehearse(
      changes.clusters.map(({ bytes }) => bytes),
      changes.listeners.map(({ bytes }) => bytes),
    );
  }

  /** Should something be refused in spite of the rehearsal, what was applied by then is taken back. */
  async #applyOrGoBack(
    type: DescMessage,
    plan: ReloadPlan,
    next: LoadedBootstrap,
  ): Promise<readonly ResourceRefusal[]> {
    const refusals = await this.#apply(plan, next).catch((error: unknown) => [
      { name: 'configuration', details: String(error) },
    ]);
    if (refusals.length === 0) return refusals;
    this.#dynamic.builds.useStaticSecrets(this.#current.staticSecrets);
    const back = planReload(type, this.#started, next, this.#current);
    const more = await this.#apply(back, this.#current);
    return [...refusals, ...more.map(({ name, details }) => ({ name, details: `taking it back: ${details}` }))];
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
    const { clusters, listeners, secrets } = this.#dynamic;
    const changes = changesOf(next, plan, this.#api);
    if (plan.secrets.changed.length > 0) secrets.replaceStatic(next.staticSecrets);
    const update = (changed: readonly DiscoveredResource[], removed: readonly string[]) => ({
      changed,
      removed,
      version: '',
    });
    const refusals: ResourceRefusal[] = [];
    if (changes.clusters.length > 0) {
      refusals.push(...(await clusters.apply(update(changes.clusters, []), 'file', false)));
    }
    if (changes.listeners.length + plan.listeners.removed.length > 0) {
      refusals.push(...(await listeners.apply(update(changes.listeners, plan.listeners.removed), 'file', false)));
    }
    // A listener whose new version was refused still serves with what the old one names.
    if (refusals.length > 0) return refusals;
    if (plan.clusters.removed.length > 0) await clusters.apply(update([], plan.clusters.removed), 'file', false);
    return refusals;
  }
}

/** What a plan adds or changes, as it is in `bootstrap`. */
function changesOf(
  { plan, origin }: LoadedBootstrap,
  changes: ReloadPlan,
  api: ApiRegistry,
): Readonly<Record<'clusters' | 'listeners', readonly DiscoveredResource[]>> {
  const clusterType = api.message('envoy.config.cluster.v3.Cluster')!;
  const messages = plan.message.staticResources?.listeners ?? [];
  const resourcesOf = (
    kind: 'clusters' | 'listeners',
    anys: AnyMessages | null,
    messageOf: (resource: StaticResource<unknown>, index: number) => Message,
  ): readonly DiscoveredResource[] => {
    const { added, changed } = changes[kind];
    const wanted = new Set([...added, ...changed]);
    return plan[kind].flatMap((resource, index) => {
      const { name, bytes } = resource;
      if (!wanted.has(name)) return [];
      const place = { positions: origin?.positions ?? null, path: `static_resources.${kind}[${index}]`, anys };
      return [{ name, version: '', message: messageOf(resource, index), bytes, origin: place }];
    });
  };
  return {
    clusters: resourcesOf('clusters', null, ({ bytes }) => fromBinary(clusterType, bytes)),
    // One without a name has an id there alone.
    listeners: resourcesOf('listeners', origin?.anys ?? null, ({ name }, index) => {
      return Object.assign({}, messages[index] as Message, { name });
    }),
  };
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
