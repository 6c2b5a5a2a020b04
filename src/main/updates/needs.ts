import type { RouteDependency } from '../../config/builders/config-source.ts';
import type { ExtensionDependency } from '../../config/builders/discovered-extension.ts';
import type { ScopeDependency } from '../../config/builders/scoped-routes.ts';
import type { SecretDependency } from '../../config/secrets/secret-dependency.ts';
import type { ExtensionUpdates } from './extension-updates.ts';
import type { InitTarget, InitTargets } from './init-targets.ts';
import type { RouteUpdates } from './route-updates.ts';
import type { ScopeUpdates } from './scope-updates.ts';
import type { SecretUpdates } from './secret-updates.ts';

/** What a resource needs before it can serve: others, each from a source of its own. */
export interface Needs {
  readonly routes: readonly RouteDependency[];
  readonly scopes: readonly ScopeDependency[];
  readonly extensions: readonly ExtensionDependency[];
  readonly secrets: readonly SecretDependency[];
}

export interface NeedsKeeperParts {
  readonly routes: RouteUpdates;
  readonly scopes: ScopeUpdates;
  readonly extensions: ExtensionUpdates;
  readonly secrets: SecretUpdates;
  readonly drainMs: number;
}

/** Follows what resources need, from the time when they are taken until they are gone. */
export class NeedsKeeper {
  readonly #parts: NeedsKeeperParts;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();

  constructor(parts: NeedsKeeperParts) {
    this.#parts = parts;
  }

  /** Asks for everything. @param targets is ready when all has been answered */
  acquire(needs: Needs, targets: InitTargets): void {
    const { routes, scopes, extensions, secrets } = this.#parts;
    const begin: (() => void)[] = [];
    // All of them first: one may answer at once.
    for (const route of needs.routes) {
      routes.acquire(route);
      const target = targets.add(`RDS ${route.name}`);
      begin.push(() => routes.start(route.key, target));
    }
    for (const scope of needs.scopes) {
      scopes.acquire(scope);
      const target = targets.add(`SRDS ${scope.name}`);
      begin.push(() => scopes.start(scope.key, target));
    }
    for (const extension of needs.extensions) {
      extensions.acquire(extension);
      const target: InitTarget | null = extension.warms ? targets.add(`ECDS ${extension.name}`) : null;
      begin.push(() => extensions.start(extension, target));
    }
    for (const secret of needs.secrets) {
      const target = targets.add(`SdsApi ${secret.name}`);
      begin.push(() => secrets.acquire(secret, target));
    }
    for (const step of begin) step();
  }

  release(needs: Needs): void {
    const { routes, scopes, extensions, secrets } = this.#parts;
    for (const route of needs.routes) routes.release(route.key);
    for (const scope of needs.scopes) scopes.release(scope.key);
    for (const extension of needs.extensions) extensions.release(extension);
    for (const secret of needs.secrets) secrets.release(secret.key);
  }

  /** When the drain time is over. */
  releaseLater(needs: Needs): void {
    const { routes, scopes, extensions, secrets } = needs;
    if ([routes, scopes, extensions, secrets].every((list) => list.length === 0)) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.release(needs);
    }, this.#parts.drainMs);
    timer.unref();
    this.#timers.add(timer);
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
