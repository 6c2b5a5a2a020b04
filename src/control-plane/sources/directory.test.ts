import { afterEach, test } from 'bun:test';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectoryWatch, readDirectory } from './directory.ts';

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end();
});

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'watch-'));
  ends.push(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** Waits until what a watch has told of last says `text`. */
function watched(root: string): (text: string) => Promise<void> {
  let last = '';
  let wake = (): void => {};
  const watch = new DirectoryWatch(
    root,
    () => {
      try {
        last = readDirectory(root)
          .map((file) => file.text)
          .join();
      } catch {
        last = 'gone';
      }
      wake();
    },
    () => {},
  );
  ends.push(() => watch.close());
  return async (text) => {
    while (last !== text) await new Promise<void>((resolve) => (wake = resolve));
  };
}

test('a link that is exchanged leads to other files, which are followed', async () => {
  const root = folder();
  for (const name of ['a', 'b']) {
    mkdirSync(join(root, name));
    writeFileSync(join(root, name, 'x.yaml'), name);
  }
  symlinkSync('a', join(root, 'current'));
  const told = watched(join(root, 'current'));
  symlinkSync('b', join(root, 'next'));
  renameSync(join(root, 'next'), join(root, 'current'));
  await told('b');
  writeFileSync(join(root, 'b', 'x.yaml'), 'c');
  await told('c');
});

test('a directory that is removed, and comes again, is followed again', async () => {
  const root = join(folder(), 'config');
  mkdirSync(root);
  const told = watched(root);
  rmSync(root, { recursive: true });
  await told('gone');
  mkdirSync(join(root, 'sub'), { recursive: true });
  writeFileSync(join(root, 'sub', 'x.yaml'), 'a');
  await told('a');
  writeFileSync(join(root, 'sub', 'x.yaml'), 'b');
  await told('b');
});

test('files in new directories are followed', async () => {
  const root = folder();
  const told = watched(root);
  mkdirSync(join(root, 'one', 'two'), { recursive: true });
  writeFileSync(join(root, 'one', 'two', 'x.yaml'), 'a');
  await told('a');
  writeFileSync(join(root, 'one', 'two', 'x.yaml'), 'b');
  await told('b');
});
