import { close, closeSync, openSync, write, writeSync } from 'node:fs';
import { deferred } from '../base/deferred.ts';
import type { Logger } from '../base/log.ts';
import type { Timer, TimerTarget } from '../base/timer-wheel.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { LogFile, LogFiles } from '../pipeline/access-logger.ts';
import type { Counter } from '../stats/counter.ts';
import type { Gauge } from '../stats/gauge.ts';
import type { Scope } from '../stats/store.ts';

/** Envoy's `filesystem.*`. */
interface FileStats {
  readonly buffered: Counter;
  readonly completed: Counter;
  readonly failed: Counter;
  readonly flushedByTimer: Counter;
  readonly reopenFailed: Counter;
  /** Bytes. */
  readonly totalBuffered: Gauge;
}

/** How log files are written; the command line sets these. */
export interface LogFileSettings {
  /** `--file-flush-interval-msec`: lines wait no longer than this. */
  readonly flushIntervalMs: number;
  /** `--file-flush-min-size-kb` in bytes: more than this is written at once. */
  readonly flushBytes: number;
  /** Lines wait for a slow disk up to this many bytes per file; further ones are dropped and counted. */
  readonly maxBufferedBytes: number;
  /** `flush` and `close` wait no longer than this for a reader or a disk that has stopped: a process must be able to end. */
  readonly flushWaitMs: number;
}

export const DEFAULT_LOG_FILE_SETTINGS: LogFileSettings = {
  flushIntervalMs: 10_000,
  flushBytes: 64 * 1024,
  maxBufferedBytes: 16 * 1024 * 1024,
  flushWaitMs: 5000,
};

/** Standard streams keep their descriptor: reopening `/dev/stdout` fails where it is a socket, and rotation has no meaning. */
const STANDARD: Readonly<Record<string, number>> = { '/dev/stdout': 1, '/dev/stderr': 2 };

/**
 * The log files of one thread, one per path. Every thread appends by its own descriptor: O_APPEND keeps their lines whole
 * as long as each write holds whole lines, which it does.
 *
 * Stats are Envoy's `filesystem.*`. Where Envoy drops lines after a failed reopen, the old file goes on being written and
 * the reopening is tried again at the next flush.
 */
export class BufferedLogFiles implements LogFiles {
  readonly #dispatcher: Dispatcher;
  readonly #settings: LogFileSettings;
  readonly #stats: FileStats;
  readonly #logger: Logger;
  readonly #files = new Map<string, BufferedLogFile>();
  #closed = false;

  /** @param scope the thread's root scope: stats are made below `filesystem.` */
  constructor(dispatcher: Dispatcher, settings: LogFileSettings, scope: Scope, logger: Logger) {
    this.#dispatcher = dispatcher;
    this.#settings = settings;
    this.#stats = {
      buffered: scope.counter('filesystem.write_buffered'),
      completed: scope.counter('filesystem.write_completed'),
      failed: scope.counter('filesystem.write_failed'),
      flushedByTimer: scope.counter('filesystem.flushed_by_timer'),
      reopenFailed: scope.counter('filesystem.reopen_failed'),
      totalBuffered: scope.gauge('filesystem.write_total_buffered'),
    };
    this.#logger = logger;
  }

  /** Never fails: a file that cannot be opened is reported, and tried again at every flush. */
  open(path: string): LogFile {
    let file = this.#files.get(path);
    if (file === undefined) {
      file = new BufferedLogFile(path, this.#dispatcher, this.#settings, this.#stats, this.#logger);
      this.#files.set(path, file);
    }
    return file;
  }

  /** SIGUSR1, or `/reopen_logs`: what is buffered goes to the present files, then each path is opened anew. */
  reopen(): void {
    for (const file of this.#files.values()) file.reopen();
  }

  /** Hands all buffered lines to the kernel. @returns when that is done (or has failed, or takes too long) */
  async flush(): Promise<void> {
    const all = Promise.all([...this.#files.values()].map((file) => file.flushed()));
    const { promise: enough, resolve } = deferred<void>();
    const timer = setTimeout(resolve, this.#settings.flushWaitMs);
    await Promise.race([all, enough]);
    clearTimeout(timer);
  }

  /** Flushes and closes. Nothing may be written afterwards. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.flush();
    for (const file of this.#files.values()) file.close();
  }

  /** As `close`, at once: for a process that is about to end. */
  closeNow(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const file of this.#files.values()) {
      file.flushNow();
      file.close();
    }
  }
}

class BufferedLogFile implements LogFile, TimerTarget {
  readonly #path: string;
  readonly #dispatcher: Dispatcher;
  readonly #settings: LogFileSettings;
  readonly #stats: FileStats;
  readonly #logger: Logger;
  readonly #timer: Timer;
  /** -1: not open. */
  #fd: number;
  /** Lines that wait, latin1. */
  #pending = '';
  /** Being written by the runtime's thread pool; null: none. */
  #writing: Buffer | null = null;
  #written = 0;
  #reopenWanted = false;
  /** The last write ended inside a line: the next one begins with a newline. */
  #cutLine = false;
  #dropping = false;
  #closed = false;
  /** The very first line goes out at once, as Envoy's does. */
  #untouched = true;
  #waiters: (() => void)[] = [];

  constructor(path: string, dispatcher: Dispatcher, settings: LogFileSettings, stats: FileStats, logger: Logger) {
    this.#path = path;
    this.#dispatcher = dispatcher;
    this.#settings = settings;
    this.#stats = stats;
    this.#logger = logger;
    this.#timer = dispatcher.createTimer(this);
    this.#fd = STANDARD[path] ?? -1;
    if (this.#fd < 0) this.#openFile();
  }

  write(line: string): void {
    const waiting = this.#pending.length + (this.#writing === null ? 0 : this.#writing.length - this.#written);
    if (this.#closed || waiting + line.length > this.#settings.maxBufferedBytes) {
      this.#drop();
      return;
    }
    this.#dropping = false;
    this.#stats.buffered.inc();
    this.#stats.totalBuffered.add(line.length);
    this.#pending += line;
    if (this.#untouched || this.#pending.length > this.#settings.flushBytes) {
      this.#untouched = false;
      this.#flush();
    } else if (!this.#timer.enabled) this.#timer.enable(this.#settings.flushIntervalMs);
  }

  onTimer(_timer: Timer): void {
    this.#stats.flushedByTimer.inc();
    this.#flush();
  }

  reopen(): void {
    if (this.#path in STANDARD) return;
    this.#reopenWanted = true;
    this.#flush();
  }

  flushed(): Promise<void> {
    this.#flush();
    if (this.#writing === null) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiters.push(resolve);
    });
  }

  /** Blocks. The part that the thread pool has in hand is left to it. */
  flushNow(): void {
    if (this.#pending === '' || this.#fd < 0) return;
    const bytes = this.#takePending();
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
      this.#stats.completed.inc();
    } catch (error) {
      this.#failed(error as NodeJS.ErrnoException);
    }
    this.#stats.totalBuffered.sub(bytes.length);
  }

  close(): void {
    this.#closed = true;
    this.#timer.destroy();
    // A write under way keeps its descriptor: the number could be another file's before the thread pool comes to it.
    if (this.#writing === null) this.#closeFd();
  }

  #closeFd(): void {
    if (this.#fd > 2) close(this.#fd, () => {});
    this.#fd = -1;
  }

  /** The file was closed during a write, which is not gone on with. */
  #onLastWritten(): void {
    const bytes = this.#writing!;
    this.#writing = null;
    (this.#written === bytes.length ? this.#stats.completed : this.#stats.failed).inc();
    this.#stats.totalBuffered.sub(bytes.length);
    this.#closeFd();
    this.#wake();
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }

  #drop(): void {
    this.#stats.failed.inc();
    if (this.#dropping) return;
    this.#dropping = true;
    this.#logger.warning(`access log ${this.#path}: the disk does not keep up, lines are dropped`);
  }

  #openFile(): boolean {
    try {
      this.#fd = openSync(this.#path, 'a', 0o644);
      return true;
    } catch (error) {
      this.#logger.error(`unable to open file '${this.#path}': ${(error as Error).message}`);
      return false;
    }
  }

  #takePending(): Buffer {
    const bytes = Buffer.from(this.#cutLine ? `\n${this.#pending}` : this.#pending, 'latin1');
    // The newline that mends a cut line was never counted as buffered.
    if (this.#cutLine) this.#stats.totalBuffered.add(1);
    this.#cutLine = false;
    this.#pending = '';
    return bytes;
  }

  #flush(): void {
    if (this.#writing !== null || this.#closed) return;
    this.#timer.disable();
    if (this.#pending === '') {
      this.#replaceFile();
      return;
    }
    if (this.#fd < 0 && !this.#openFile()) {
      this.#stats.failed.inc();
      this.#stats.totalBuffered.sub(this.#pending.length);
      this.#pending = '';
      return;
    }
    this.#writing = this.#takePending();
    this.#written = 0;
    this.#writeOn();
  }

  #writeOn(): void {
    const bytes = this.#writing!;
    write(this.#fd, bytes, this.#written, bytes.length - this.#written, null, (error, count) => {
      this.#dispatcher.enter();
      try {
        this.#onWritten(error, count);
      } finally {
        this.#dispatcher.leave();
      }
    });
  }

  #onWritten(error: NodeJS.ErrnoException | null, count: number): void {
    const bytes = this.#writing!;
    if (error !== null && (error.code === 'EAGAIN' || error.code === 'EINTR')) {
      // A non-blocking pipe whose reader is slow: the rest is tried again soon.
      setTimeout(() => {
        if (this.#closed) this.#onLastWritten();
        else this.#writeOn();
      }, 10);
      return;
    }
    if (error === null) this.#written += count;
    if (this.#closed) {
      this.#onLastWritten();
      return;
    }
    if (error === null && this.#written < bytes.length && count > 0) {
      this.#writeOn();
      return;
    }
    if (this.#written === bytes.length) {
      this.#stats.completed.inc();
    } else {
      this.#cutLine = this.#written > 0 && bytes[this.#written - 1] !== 0x0a;
      this.#failed(error);
    }
    this.#stats.totalBuffered.sub(bytes.length);
    this.#writing = null;
    this.#replaceFile();
    if (this.#waiters.length > 0 && this.#pending !== '') {
      this.#flush();
    } else if (this.#pending.length > this.#settings.flushBytes) {
      this.#flush();
    } else if (this.#pending !== '' && !this.#timer.enabled) {
      this.#timer.enable(this.#settings.flushIntervalMs);
    }
    if (this.#writing === null) this.#wake();
  }

  #failed(error: NodeJS.ErrnoException | null): void {
    this.#stats.failed.inc();
    this.#logger.warning(`access log ${this.#path}: ${error === null ? 'short write' : error.message}; lines are lost`);
  }

  #replaceFile(): void {
    if (!this.#reopenWanted) return;
    const old = this.#fd;
    if (this.#openFile()) {
      this.#reopenWanted = false;
      if (old > 2) closeSync(old);
    } else {
      this.#stats.reopenFailed.inc();
      if (!this.#timer.enabled) this.#timer.enable(this.#settings.flushIntervalMs);
    }
  }
}
