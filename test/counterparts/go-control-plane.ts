import type { Subprocess } from 'bun';
import { counterparts } from '../../tools/counterparts.ts';
import { type JsonResource, packResource } from '../support/scripted-control-plane.ts';

/** What the program says: one line of its standard output (`go/control-plane/main.go`). */
export interface PlaneEvent {
  readonly event: 'listening' | 'open' | 'closed' | 'request' | 'response' | 'done' | 'failed';
  readonly stream?: number;
  readonly node?: string;
  readonly type?: string;
  readonly version?: string;
  readonly nonce?: string;
  readonly names?: readonly string[];
  readonly gone?: readonly string[];
  readonly initial?: Readonly<Record<string, string>>;
  readonly error?: string;
  readonly count?: number;
  readonly port?: number;
}

/** Resources of one type with the version of the whole. */
export interface ResourceGroup {
  readonly version: string;
  readonly resources: readonly JsonResource[];
}

/** What a client said of one answer. */
export interface Verdict {
  readonly type: string;
  readonly version: string;
  /** Empty: it was taken. */
  readonly error: string;
}

/** How long the program may take for anything, in milliseconds. */
const PATIENCE_MS = 15_000;

/** A control plane that is go-control-plane, on its SnapshotCache, in a process of its own. */
export class GoControlPlane {
  readonly #child: Subprocess<'pipe', 'pipe', 'inherit'>;
  /** Answers that no verdict is known of yet, by stream and nonce. */
  readonly #open = new Map<string, PlaneEvent>();
  readonly #waiting: PromiseWithResolvers<void>[] = [];
  #changed = Promise.withResolvers<void>();
  /** Every request, in order. */
  readonly requests: PlaneEvent[] = [];
  readonly verdicts: Verdict[] = [];
  responses = 0;
  openStreams = 0;
  /** Streams that were ever opened. */
  streams = 0;
  port = 0;

  private constructor(child: Subprocess<'pipe', 'pipe', 'inherit'>) {
    this.#child = child;
    void this.#read();
  }

  /** @param flags such as `-ads` */
  static async start(...flags: string[]): Promise<GoControlPlane> {
    const command = [counterparts().goControlPlane, ...flags];
    const plane = new GoControlPlane(Bun.spawn(command, { stdio: ['pipe', 'pipe', 'inherit'] }));
    await plane.until('the control plane to listen', () => plane.port !== 0);
    return plane;
  }

  async #read(): Promise<void> {
    let rest = '';
    const decoder = new TextDecoder();
    for await (const bytes of this.#child.stdout) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#onEvent(JSON.parse(line) as PlaneEvent);
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    }
    for (const each of this.#waiting.splice(0)) each.reject(new Error('the control plane has ended'));
  }

  #onEvent(event: PlaneEvent): void {
    const key = `${event.stream} ${event.type} ${event.nonce}`;
    switch (event.event) {
      case 'listening':
        this.port = event.port ?? 0;
        break;
      case 'done':
        this.#waiting.shift()?.resolve();
        break;
      case 'failed':
        this.#waiting.shift()?.reject(new Error(event.error));
        break;
      case 'open':
        this.openStreams++;
        this.streams++;
        break;
      case 'closed':
        this.openStreams--;
        break;
      case 'response':
        this.responses++;
        this.#open.set(key, event);
        break;
      case 'request': {
        this.requests.push(event);
        const response = this.#open.get(key);
        if (response === undefined) break;
        this.#open.delete(key);
        this.verdicts.push({
          type: event.type ?? '',
          version: response.version ?? '',
          error: event.error ?? '',
        });
      }
    }
  }

  #order(command: object): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#waiting.push(done);
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    this.#child.stdin.flush();
    return done.promise;
  }

  /** The whole snapshot of a node. @param groups by type URL */
  set(node: string, groups: Readonly<Record<string, ResourceGroup>>): Promise<void> {
    const resources: Record<string, object> = {};
    for (const [type, { version, resources: list }] of Object.entries(groups)) {
      resources[type] = {
        version,
        items: list.map((each) => Buffer.from(packResource(each).value).toString('base64')),
      };
    }
    return this.#order({ op: 'set', node, resources });
  }

  /** The request after so many ends its stream, so many times. */
  failAfter(after: number, times: number): Promise<void> {
    return this.#order({ op: 'fail', after, times });
  }

  /** Closes every connection. */
  cut(): Promise<void> {
    return this.#order({ op: 'cut' });
  }

  /** Ends listening and every stream. */
  silence(): Promise<void> {
    return this.#order({ op: 'stop' });
  }

  /** Listens again on the same port. */
  resume(): Promise<void> {
    return this.#order({ op: 'start' });
  }

  /** Whether an answer of this type and version was judged, by its last verdict. */
  verdict(type: string, version: string): Verdict | undefined {
    return this.verdicts.findLast((each) => each.type === type && each.version === version);
  }

  /** Waits for a condition on what was heard. Throws where it does not come in time. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!condition()) {
      const left = deadline - performance.now();
      if (left <= 0 || this.#child.exitCode !== null)
        throw new Error(
          `waited in vain for ${what}; last heard: ${JSON.stringify(this.requests.slice(-5)).slice(0, 2000)}`,
        );
      const timer = Promise.withResolvers<void>();
      const handle = setTimeout(timer.resolve, left);
      await Promise.race([this.#changed.promise, timer.promise]);
      clearTimeout(handle);
    }
  }

  get pid(): number {
    return this.#child.pid;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#child.exited;
  }
}
