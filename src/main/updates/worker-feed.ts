import type { HostUpdate } from '../../upstream/host-update.ts';
import type { WorkerHandle } from '../worker-handle.ts';

type RuntimeValues = Readonly<Record<string, unknown>>;

/**
 * State of which only the last word counts (members of clusters, secrets, the runtime), on its way to one worker. One message is
 * under way at a time: while the worker is busy the next one is gathered, in which a newer word takes the place of an older one. So
 * what waits is at most as much as there is state, however long the worker is busy and however fast the state changes.
 */
export class WorkerFeed {
  readonly #worker: WorkerHandle;
  readonly #onFault: (error: unknown) => void;
  /** By cluster and priority. */
  readonly #hosts = new Map<string, HostUpdate>();
  /** By key; null: it is needed no more. */
  readonly #secrets = new Map<string, Uint8Array | null>();
  #runtime: RuntimeValues | null = null;
  #underWay = 0;
  #stopped = false;

  /** @param onFault told what the worker could not take: a bug */
  constructor(worker: WorkerHandle, onFault: (error: unknown) => void) {
    this.#worker = worker;
    this.#onFault = onFault;
  }

  hosts(updates: readonly HostUpdate[]): void {
    for (const update of updates) {
      const key = `${update.priority}|${update.cluster}`;
      const older = this.#hosts.get(key);
      const drop = update.dropOverload === undefined ? older?.dropOverload : undefined;
      const merged =
        drop === undefined ? update : { ...update, dropOverload: drop, dropCategory: older?.dropCategory ?? '' };
      this.#hosts.set(key, merged);
    }
    this.#sendIfIdle();
  }

  secret(key: string, secret: Uint8Array | null): void {
    this.#secrets.set(key, secret);
    this.#sendIfIdle();
  }

  runtime(values: RuntimeValues): void {
    this.#runtime = values;
    this.#sendIfIdle();
  }

  /** How many words wait, for tests. */
  get waiting(): number {
    return this.#hosts.size + this.#secrets.size + (this.#runtime === null ? 0 : 1);
  }

  /** An order follows that may need what waits: it goes out first. Orders are answered one by one, so these are few. */
  flush(): void {
    if (this.waiting > 0) this.#send();
  }

  #sendIfIdle(): void {
    if (this.#underWay === 0) this.#send();
  }

  #send(): void {
    if (this.#stopped) return;
    const hosts = [...this.#hosts.values()];
    const secrets = [...this.#secrets];
    const runtime = this.#runtime;
    this.#hosts.clear();
    this.#secrets.clear();
    this.#runtime = null;
    this.#underWay++;
    this.#worker
      .request({ kind: 'feed', hosts, secrets, runtime })
      .catch((error: unknown) => {
        if (!this.#stopped) this.#onFault(error);
      })
      .finally(() => {
        this.#underWay--;
        if (this.#underWay === 0 && this.waiting > 0) this.#send();
      });
  }

  /** Nothing is sent any more. */
  stop(): void {
    this.#stopped = true;
  }
}
