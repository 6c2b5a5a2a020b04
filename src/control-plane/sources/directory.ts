import { type FSWatcher, readdirSync, readFileSync, statSync, watch } from 'node:fs';
import { join, relative } from 'node:path';

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

/** Tells that something under a directory has changed. */
export class DirectoryWatch {
  readonly #watcher: FSWatcher;
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** @throws Error when there is no such directory */
  constructor(root: string, onChange: () => void, onError: (error: Error) => void) {
    this.#watcher = watch(root, { recursive: true }, () => {
      if (this.#timer !== null) clearTimeout(this.#timer);
      this.#timer = setTimeout(() => {
        this.#timer = null;
        onChange();
      }, SETTLE_MS);
    });
    // Unheard, it would end the process.
    this.#watcher.on('error', onError);
  }

  close(): void {
    this.#watcher.close();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }
}
