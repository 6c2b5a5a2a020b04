import { type FSWatcher, lstatSync, readlinkSync, watch } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';

/** How long files must have been quiet: a certificate and its key are often written one after the other. */
const QUIET_MS = 50;
/** More links than the kernel follows. */
const MAX_LINKS = 40;

/**
 * Tells that one of some files may have changed: written, moved into place, or reached by another symbolic link. Every
 * directory on the way that could change what a path means is watched.
 */
export class SecretFiles {
  readonly #paths: readonly string[];
  readonly #onChange: () => void;
  #watchers: FSWatcher[] = [];
  #timer: ReturnType<typeof setTimeout> | null = null;
  #closed = false;

  /** @param directory watched as well; empty: none */
  constructor(paths: readonly string[], directory: string, onChange: () => void) {
    this.#paths = directory === '' ? paths : [...paths, join(directory, '.')];
    this.#onChange = onChange;
    this.#open();
  }

  #open(): void {
    const directories = new Set<string>();
    for (const path of this.#paths) for (const directory of directoriesOf(path)) directories.add(directory);
    for (const directory of directories) {
      try {
        const watcher = watch(directory, () => this.#note());
        watcher.on('error', () => watcher.close());
        watcher.unref();
        this.#watchers.push(watcher);
      } catch {
        // What is not there cannot change; its parent is watched too.
      }
    }
  }

  #note(): void {
    if (this.#closed) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#shut();
      // Before the files are read: what changes from now on is news again.
      this.#open();
      this.#onChange();
    }, QUIET_MS);
    this.#timer.unref();
  }

  #shut(): void {
    for (const watcher of this.#watchers) watcher.close();
    this.#watchers = [];
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#shut();
  }
}

/** The file's own directory, and those that hold a symbolic link of its path. */
export function directoriesOf(path: string): string[] {
  const out = new Set<string>([dirname(resolve(path))]);
  let rest = resolve(path).split(sep).slice(1);
  let at: string = sep;
  for (let links = 0; rest.length > 0; ) {
    const next = join(at, rest[0]!);
    rest = rest.slice(1);
    const stat = lstatSync(next, { throwIfNoEntry: false });
    if (stat?.isSymbolicLink() !== true) {
      if (rest.length === 0) out.add(dirname(next));
      at = next;
      continue;
    }
    out.add(at);
    if (++links > MAX_LINKS) break;
    const target = resolve(at, readlinkSync(next));
    rest = [...target.split(sep).slice(1), ...rest];
    at = sep;
  }
  return [...out];
}
