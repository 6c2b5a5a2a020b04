import { type FSWatcher, lstatSync, readlinkSync, watch } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';

/** How long files must have been quiet: a certificate and its key are often written one after the other. */
const QUIET_MS = 50;
/** More links than the kernel follows. */
const MAX_LINKS = 40;

/**
 * Tells that one of some files may have changed: written, moved into place, or reached by another symbolic link. Every
 * directory on the way that could change what a path means is watched, for the names in it that matter: what else is
 * written there, a log for instance, neither counts as a change nor keeps one waiting.
 */
export class SecretFiles {
  readonly #paths: readonly string[];
  readonly #directory: string;
  readonly #onChange: () => void;
  #watchers: FSWatcher[] = [];
  #timer: ReturnType<typeof setTimeout> | null = null;
  #closed = false;

  /** @param directory watched as well, whatever changes in it; empty: none */
  constructor(paths: readonly string[], directory: string, onChange: () => void) {
    this.#paths = directory === '' ? paths : [...paths, directory];
    this.#directory = directory === '' ? '' : resolve(directory);
    this.#onChange = onChange;
    this.#open();
  }

  #open(): void {
    const places = new Map<string, Set<string>>();
    for (const path of this.#paths) addPlaces(path, places);
    if (this.#directory !== '') places.set(this.#directory, EVERYTHING);
    for (const [directory, names] of places) {
      try {
        const watcher = watch(directory, (_event, name) => {
          // Events that are told together may come without a name.
          if (names === EVERYTHING || name === null || names.has(name)) this.#note();
        });
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

/** A directory in which every name matters. */
const EVERYTHING: Set<string> = new Set();

/** The file's own directory, and those that hold a symbolic link of its path. */
export function directoriesOf(path: string): string[] {
  const places = new Map<string, Set<string>>();
  addPlaces(path, places);
  return [...places.keys()];
}

/** Adds the directories that could change what a path means, each with the names in it that do. */
function addPlaces(path: string, places: Map<string, Set<string>>): void {
  const add = (directory: string, name: string): void => {
    const names = places.get(directory);
    if (names === undefined) places.set(directory, new Set([name]));
    else names.add(name);
  };
  const whole = resolve(path);
  add(dirname(whole), basename(whole));
  let rest = whole.split(sep).slice(1);
  let at: string = sep;
  for (let links = 0; rest.length > 0; ) {
    const name = rest[0]!;
    const next = join(at, name);
    rest = rest.slice(1);
    const stat = lstatSync(next, { throwIfNoEntry: false });
    if (stat?.isSymbolicLink() !== true) {
      if (rest.length === 0) add(at, name);
      at = next;
      continue;
    }
    add(at, name);
    if (++links > MAX_LINKS) break;
    const target = resolve(at, readlinkSync(next));
    rest = [...target.split(sep).slice(1), ...rest];
    at = sep;
  }
}
