import { afterEach, describe, expect, test } from 'bun:test';
import { closeSync, constants, mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock } from '../base/clock.ts';
import { Logger, type LogLevel } from '../base/log.ts';
import { SystemRandom } from '../base/random.ts';
import { Dispatcher } from '../net/dispatcher.ts';
import { StatsStore } from '../stats/store.ts';
import { BufferedLogFiles, DEFAULT_LOG_FILE_SETTINGS, type LogFileSettings } from './log-files.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function setUp(settings: Partial<LogFileSettings> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'nuncio-log-'));
  folders.push(folder);
  const clock = new ManualClock();
  const dispatcher = new Dispatcher(clock, new SystemRandom(), true);
  const store = new StatsStore();
  const records: string[] = [];
  const logger = new Logger('file', 'info', {
    write: (_level: LogLevel, _name: string, message: string) => void records.push(message),
  });
  const files = new BufferedLogFiles(dispatcher, { ...DEFAULT_LOG_FILE_SETTINGS, ...settings }, store.root, logger);
  const stat = (name: string): number => store.root.counter(`filesystem.${name}`).value;
  const advance = (ms: number): void => {
    clock.advance(ms);
    dispatcher.timers.advance();
  };
  const buffered = (): number => store.root.gauge('filesystem.write_total_buffered').value;
  return { folder, files, records, stat, buffered, advance };
}

describe('BufferedLogFiles', () => {
  test('lines wait for the flush interval', async () => {
    const { folder, files, stat, advance } = setUp();
    const path = join(folder, 'a.log');
    files.open(path).write('first\n');
    await files.flush();
    files.open(path).write('one\n');
    files.open(path).write('caf\u00c3\u00a9\n');
    advance(9_999);
    expect(stat('write_completed')).toBe(1);
    advance(2);
    expect(stat('flushed_by_timer')).toBe(1);
    await files.flush();
    expect(stat('write_completed')).toBe(2);
    expect(readFileSync(path, 'utf8')).toBe('first\none\ncafé\n');
  });
  test('the first line of a file does not wait', async () => {
    const { folder, files, stat } = setUp();
    const path = join(folder, 'a.log');
    files.open(path).write('one\n');
    for (let turn = 0; turn < 1000 && stat('write_completed') === 0; turn++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    expect(readFileSync(path, 'utf8')).toBe('one\n');
  });

  test('more than the flush size is written at once', async () => {
    const { folder, files, stat, buffered } = setUp({ flushBytes: 8 });
    const path = join(folder, 'a.log');
    const file = files.open(path);
    file.write('');
    await files.flush();
    file.write('12345678');
    expect(stat('write_completed')).toBe(0);
    expect(buffered()).toBe(8);
    file.write('9\n');
    file.write('next\n');
    await files.flush();
    expect(readFileSync(path, 'utf8')).toBe('123456789\nnext\n');
    expect([stat('write_buffered'), stat('write_completed'), stat('flushed_by_timer'), buffered()]).toEqual([
      4, 2, 0, 0,
    ]);
  });

  test('one descriptor per path, appending to what is there', async () => {
    const { folder, files } = setUp();
    const path = join(folder, 'a.log');
    expect(files.open(path)).toBe(files.open(path));
    const other = setUp();
    files.open(path).write('a\n');
    await files.flush();
    other.files.open(path).write('b\n');
    await other.files.flush();
    files.open(path).write('c\n');
    await files.close();
    expect(readFileSync(path, 'utf8')).toBe('a\nb\nc\n');
  });

  test('reopen: buffered lines go to the old file, later ones to the new', async () => {
    const { folder, files } = setUp();
    const path = join(folder, 'a.log');
    const file = files.open(path);
    file.write('old\n');
    renameSync(path, `${path}.1`);
    files.reopen();
    await files.flush();
    file.write('new\n');
    await files.flush();
    expect(readFileSync(`${path}.1`, 'utf8')).toBe('old\n');
    expect(readFileSync(path, 'utf8')).toBe('new\n');
  });

  test('a failed reopen keeps the old file, counts, and is tried again', async () => {
    const { folder, files, stat, advance, records } = setUp();
    const inner = join(folder, 'inner');
    mkdirSync(inner);
    const path = join(inner, 'a.log');
    const file = files.open(path);
    renameSync(inner, `${inner}.1`);
    files.reopen();
    expect(stat('reopen_failed')).toBe(1);
    expect(records[0]).toContain(`unable to open file '${path}'`);
    file.write('kept\n');
    mkdirSync(inner);
    advance(10_001);
    await files.flush();
    file.write('back\n');
    await files.flush();
    expect(readFileSync(join(`${inner}.1`, 'a.log'), 'utf8')).toBe('kept\n');
    expect(readFileSync(path, 'utf8')).toBe('back\n');
  });

  test('a full disk: lines are lost and counted, the buffer is empty again', async () => {
    const { files, stat, buffered, records } = setUp();
    const file = files.open('/dev/full');
    file.write('lost\n');
    await files.flush();
    file.write('lost too\n');
    await files.flush();
    expect([stat('write_buffered'), stat('write_completed'), stat('write_failed'), buffered()]).toEqual([2, 0, 2, 0]);
    expect(records[0]).toContain('ENOSPC');
  });

  test('memory is bounded: what does not fit is dropped, counted and reported once', async () => {
    const { folder, files, stat, buffered, records } = setUp({ maxBufferedBytes: 10 });
    const path = join(folder, 'a.log');
    const file = files.open(path);
    file.write('12345678\n');
    file.write('too much\n');
    file.write('again\n');
    expect([stat('write_failed'), buffered(), records.length]).toEqual([2, 9, 1]);
    await files.flush();
    file.write('fits\n');
    await files.flush();
    expect(readFileSync(path, 'utf8')).toBe('12345678\nfits\n');
  });

  test('a path that cannot be opened is reported and tried again at each flush', async () => {
    const { folder, files, stat, records } = setUp();
    const path = join(folder, 'missing', 'a.log');
    const file = files.open(path);
    expect(records).toHaveLength(1);
    file.write('lost\n');
    await files.flush();
    expect(stat('write_failed')).toBe(1);
    mkdirSync(join(folder, 'missing'));
    file.write('kept\n');
    await files.flush();
    expect(readFileSync(path, 'utf8')).toBe('kept\n');
  });

  test('a reader that has stopped does not hold up the end', async () => {
    const { folder, files } = setUp({ flushWaitMs: 50 });
    const path = join(folder, 'pipe');
    expect(Bun.spawnSync(['mkfifo', path]).exitCode).toBe(0);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    files.open(path).write(`${'x'.repeat(1024 * 1024)}\n`);
    await files.close();
    closeSync(reader);
  });

  test('closeNow writes what is left', async () => {
    const { folder, files } = setUp();
    const path = join(folder, 'a.log');
    files.open(path).write('first\n');
    await files.flush();
    files.open(path).write('last\n');
    files.closeNow();
    expect(readFileSync(path, 'utf8')).toBe('first\nlast\n');
  });
});
