import { type FSWatcher, readdirSync, readFileSync, statSync, watch } from 'node:fs';
import { join, relative } from 'node:path';
import { directoriesOf } from '../../config/secrets/secret-files.ts';

/** A text file of a directory. */
export interface DirectoryFile {
  /** Path below the directory. */
  readonly name: string;
  readonly text: string;
}

const ENDINGS = /\.(ya?ml|json)$/;
/** Files of one directory that are read at most. */
const MAX_FILES = 10_000;

/**
 * The YAML and JSON files of a directory and of those below it, by name; what begins with a dot is left out.
 * @throws Error when there is no such directory (one that is gone is not one without files), or it cannot be read as a whole
 */
export function readDirectory(root: string): DirectoryFile[] {
  const files: DirectoryFile[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.name.startsWith('.')) continue;
      const path = join(folder, entry.name);
      // A link may lead to either (Kubernetes mounts are links): what it leads to tells by its name.
      if (entry.isDirectory()) visit(path);
      else if (ENDINGS.test(entry.name)) {
        // To leave some out would be to remove what they hold.
        if (files.length >= MAX_FILES) throw new Error(`more than ${MAX_FILES} files in ${root}`);
        // A pipe would be read without end.
        if (!statSync(path).isFile()) throw new Error(`${path} is no file`);
        files.push({ name: relative(root, path), text: readFileSync(path, 'utf8') });
      } else if (entry.isSymbolicLink() && statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) {
        // Changes behind it would not be noticed; to leave it out in silence would be worse.
        throw new Error(`${path} is a link to a directory, which is not followed: link its files, or name it itself`);
      }
    }
  };
  visit(root);
  return files;
}

/** What happens within this time is one change, ms: editors and copies write in several steps. */
const SETTLE_MS = 15;

/** Changes that never end are told of all the same after this, ms. */
const MAX_SETTLE_MS = 500;

/**
 * Tells that something under a directory has changed, or that its path leads to another directory than before: releases are put in
 * place by a link that is exchanged, or by a directory that is moved there.
 */
export class DirectoryWatch {
  readonly #root: string;
  readonly #onChange: () => void;
  readonly #onError: (error: Error) => void;
  #watcher: FSWatcher | null = null;
  /** Of the directories that say what the path means. */
  #ways: FSWatcher[] = [];
  /** The directory that is watched; empty: there is none now. */
  #identity = '';
  #timer: ReturnType<typeof setTimeout> | null = null;
  #firstMs = 0;

  /** @throws Error when there is no such directory */
  constructor(root: string, onChange: () => void, onError: (error: Error) => void) {
    this.#root = root;
    this.#onChange = onChange;
    this.#onError = onError;
    this.#open();
  }

  #open(): void {
    this.#shut();
    for (const directory of directoriesOf(this.#root)) {
      const way = watch(directory, () => {
        if (identityOf(this.#root) !== this.#identity) this.#note();
      });
      way.on('error', this.#onError);
      this.#ways.push(way);
    }
    this.#identity = identityOf(this.#root);
    this.#watcher = watch(this.#root, { recursive: true }, () => this.#note());
    // Unheard, it would end the process.
    this.#watcher.on('error', this.#onError);
  }

  #shut(): void {
    this.#watcher?.close();
    this.#watcher = null;
    for (const way of this.#ways) way.close();
    this.#ways = [];
  }

  #note(): void {
    const now = performance.now();
    if (this.#timer === null) this.#firstMs = now;
    else clearTimeout(this.#timer);
    const wait = Math.max(0, Math.min(SETTLE_MS, this.#firstMs + MAX_SETTLE_MS - now));
    this.#timer = setTimeout(() => {
      this.#timer = null;
      // Before the files are read: what changes from now on is news again.
      if (identityOf(this.#root) !== this.#identity) this.#follow();
      this.#onChange();
    }, wait);
  }

  #follow(): void {
    try {
      this.#open();
    } catch {
      // It is gone, as whoever reads it tells; what is on its way there is watched, and it may come again.
    }
  }

  close(): void {
    this.#shut();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }
}

function identityOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.dev} ${stat.ino}`;
}
