import { type FSWatcher, lstatSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';

/**
 * Tells of files (or symbolic links) moved into place. As in Envoy a write into the file itself is no news: whoever writes
 * would be read half way.
 */
export class MovedFileWatch {
  readonly #onMoved: () => void;
  #watcher: FSWatcher | null;
  /** What stood under the name when last looked at. */
  #seen: string;
  readonly #path: string;

  /**
   * @param path of the file; its directory is watched
   * @param directory instead: any move into it is news; empty: the file's own moves
   * @throws Error when there is no such directory
   */
  constructor(path: string, directory: string, onMoved: () => void) {
    this.#path = path;
    this.#onMoved = onMoved;
    this.#seen = directory === '' ? identity(path) : '';
    const name = basename(path);
    this.#watcher = watch(directory === '' ? dirname(path) : directory, (event, changed) => {
      if (directory !== '') {
        if (event === 'rename') this.#onMoved();
      } else if (event === 'rename' && (changed === null || changed === name)) {
        this.#look();
      }
    });
    this.#watcher.on('error', () => this.close());
    this.#watcher.unref();
  }

  /** A removal alone is no news, nor is a file that stays the same. */
  #look(): void {
    const now = identity(this.#path);
    if (now === '' || now === this.#seen) return;
    this.#seen = now;
    this.#onMoved();
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = null;
  }
}

/** Changes with every file or link that takes the place; empty: there is none. */
function identity(path: string): string {
  const stat = lstatSync(path, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? '' : `${stat.dev}:${stat.ino}:${stat.ctimeNs}`;
}
