/** Which routes a request has been redirected to, by the route that redirected it: lives as long as the request. */
export class RedirectHistory {
  /** Redirects so far. */
  count = 0;
  readonly #targets = new Map<string, Set<string>>();

  /** @returns false: the route had sent the request there before */
  visit(from: string, to: string): boolean {
    let targets = this.#targets.get(from);
    if (targets === undefined) {
      targets = new Set();
      this.#targets.set(from, targets);
    }
    if (targets.has(to)) return false;
    targets.add(to);
    return true;
  }
}

/** One internal redirect that is about to be followed. */
export interface RedirectStep {
  readonly history: RedirectHistory;
  /** Names of the routes; may be empty. */
  readonly from: string;
  readonly to: string;
  /** Whether the client spoke https, and whether the target is. */
  readonly fromSecure: boolean;
  readonly toSecure: boolean;
}

/** What an extension of kind `internal-redirect-predicate` builds: it may veto a redirect. Without state of its own. */
export interface RedirectPredicate {
  accepts(step: RedirectStep): boolean;
}
