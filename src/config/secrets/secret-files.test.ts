import { afterEach, expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SecretFiles } from './secret-files.ts';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'nuncio-secret-files-'));
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Watches; `next` waits for the next news. */
function watched(paths: readonly string[], directory = '') {
  let count = 0;
  let wake = (): void => {};
  const files = new SecretFiles(paths, directory, () => {
    count++;
    wake();
  });
  cleanups.push(() => files.close());
  return {
    get count() {
      return count;
    },
    next: () =>
      new Promise<void>((resolve) => {
        wake = resolve;
      }),
  };
}

test('written in place, and moved into place', async () => {
  const path = join(folder(), 'cert.pem');
  writeFileSync(path, 'one');
  const news = watched([path]);
  let next = news.next();
  writeFileSync(path, 'two');
  await next;
  next = news.next();
  writeFileSync(`${path}.new`, 'three');
  renameSync(`${path}.new`, path);
  await next;
});

test('what else is written in the directory is no news, and does not keep the news waiting', async () => {
  const directory = folder();
  const path = join(directory, 'cert.pem');
  writeFileSync(path, 'one');
  const news = watched([path]);
  let writes = 0;
  const log = setInterval(() => writeFileSync(join(directory, 'access.log'), `${++writes}`), 5);
  cleanups.push(() => clearInterval(log));
  while (writes < 30) await Bun.sleep(5);
  expect(news.count).toBe(0);
  const next = news.next();
  writeFileSync(path, 'two');
  await next;
});

test('a link that is exchanged, as where Kubernetes mounts secrets', async () => {
  const directory = folder();
  for (const version of ['..1', '..2']) {
    mkdirSync(join(directory, version));
    writeFileSync(join(directory, version, 'cert.pem'), version);
  }
  symlinkSync('..1', join(directory, '..data'));
  symlinkSync('..data/cert.pem', join(directory, 'cert.pem'));
  const news = watched([join(directory, 'cert.pem')]);
  const next = news.next();
  symlinkSync('..2', join(directory, '..data_tmp'));
  renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  await next;
});

test('a directory that is moved within the one that is to be watched', async () => {
  const directory = folder();
  for (const version of ['live', 'next']) {
    mkdirSync(join(directory, version));
    writeFileSync(join(directory, version, 'cert.pem'), version);
  }
  const news = watched([join(directory, 'live/cert.pem')], directory);
  const next = news.next();
  renameSync(join(directory, 'live'), join(directory, 'last'));
  renameSync(join(directory, 'next'), join(directory, 'live'));
  await next;
});
