import { EMPTY_SNAPSHOT, type Snapshot } from './snapshot.ts';

/** Hears that the snapshot of its group is another. */
export interface SnapshotWatcher {
  onSnapshot(snapshot: Snapshot): void;
}

/** The current snapshot of every node group. Groups come into being when a snapshot is set or somebody watches. */
export class SnapshotCache {
  readonly #snapshots = new Map<string, Snapshot>();
  readonly #watchers = new Map<string, Set<SnapshotWatcher>>();

  get(group: string): Snapshot {
    return this.#snapshots.get(group) ?? EMPTY_SNAPSHOT;
  }

  has(group: string): boolean {
    return this.#snapshots.has(group);
  }

  get groups(): readonly string[] {
    return [...this.#snapshots.keys()];
  }

  set(group: string, snapshot: Snapshot): void {
    this.#snapshots.set(group, snapshot);
    for (const watcher of [...(this.#watchers.get(group) ?? [])]) watcher.onSnapshot(snapshot);
  }

  /** The group is no more: its proxies keep what they have, as they would without a control plane. */
  remove(group: string): void {
    this.#snapshots.delete(group);
  }

  /** @returns how to stop watching */
  watch(group: string, watcher: SnapshotWatcher): () => void {
    const watchers = this.#watchers.get(group) ?? new Set();
    this.#watchers.set(group, watchers);
    watchers.add(watcher);
    return () => {
      watchers.delete(watcher);
      if (watchers.size === 0) this.#watchers.delete(group);
    };
  }
}
