import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The program under test, or its oracle: a command that takes Envoy's flags. */
export interface ProxyProgram {
  readonly name: string;
  readonly command: readonly string[];
}

/** An answer of the admin server. */
export interface AdminAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

/** How long a proxy may take to be ready or to exit, in milliseconds. */
const PATIENCE_MS = 15_000;

/** A proxy that was started on one configuration, with admin on a free loopback port. */
export class ProxyProcess {
  readonly directory: string;
  adminPort: number;
  readonly #child: Bun.Subprocess<'ignore', 'ignore' | number | Bun.BunFile, Bun.BunFile>;
  readonly #errorPath: string;

  private constructor(directory: string, child: Bun.Subprocess<'ignore', Bun.BunFile, Bun.BunFile>, errors: string) {
    this.directory = directory;
    this.adminPort = 0;
    this.#child = child as never;
    this.#errorPath = errors;
  }

  /**
   * Starts `program` on `config` (YAML or JSON text, `{{tmp}}` already replaced by `directory`) and waits until it is
   * ready. Throws with its standard error where it exits instead.
   */
  static async start(
    program: ProxyProgram,
    directory: string,
    config: string,
    flags: readonly string[] = [],
    env: Record<string, string> = {},
  ): Promise<ProxyProcess> {
    const own = await mkdtemp(join(tmpdir(), `${program.name}-run-`));
    const configPath = join(own, 'envoy.yaml');
    const addressPath = join(own, 'admin');
    const errors = join(own, 'stderr');
    await Bun.write(configPath, config);
    const command = [
      ...program.command,
      ...['-c', configPath, '--admin-address-path', addressPath, '--use-dynamic-base-id'],
      ...(flags.includes('--concurrency') ? [] : ['--concurrency', '1']),
      ...(flags.includes('--file-flush-interval-msec') ? [] : ['--file-flush-interval-msec', '10']),
      ...['-l', 'warning', ...flags],
    ];
    const child = Bun.spawn(command, {
      stdio: ['ignore', Bun.file(join(own, 'stdout')), Bun.file(errors)],
      env: { ...process.env, ...env },
    });
    const proxy = new ProxyProcess(directory, child, errors);
    const deadline = performance.now() + PATIENCE_MS;
    while (!(await proxy.#isReady(addressPath))) {
      const late = performance.now() > deadline;
      if (proxy.exitCode !== null || late) {
        if (late) child.kill('SIGKILL');
        throw new Error(
          `${program.name} ${late ? 'was not ready in time' : `exited with ${proxy.exitCode}`}:\n${proxy.standardError()}\nconfig:\n${config}`,
        );
      }
      await Bun.sleep(5);
    }
    return proxy;
  }

  async #isReady(addressPath: string): Promise<boolean> {
    if (this.adminPort === 0) {
      if (!existsSync(addressPath)) return false;
      const address = readFileSync(addressPath, 'utf8').trim();
      this.adminPort = Number(/:(\d+)$/.exec(address)?.[1] ?? '0');
      if (this.adminPort === 0) return false;
    }
    try {
      return (await this.admin('/ready')).status === 200;
    } catch {
      return false;
    }
  }

  /** Memory that stands in RAM. Linux only. */
  residentBytes(): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 'NaN') * 1024;
  }

  /** Asks the admin server. */
  async admin(path: string, method = 'GET', body?: string): Promise<AdminAnswer> {
    const answer = await fetch(`http://127.0.0.1:${this.adminPort}${path}`, {
      method,
      keepalive: false,
      ...(body === undefined ? {} : { body }),
    });
    return { status: answer.status, headers: answer.headers, body: await answer.text() };
  }

  /** The bound port of every listener, by name. A listener on a Unix socket has port 0. */
  async listenerPorts(): Promise<Map<string, number>> {
    const ports = new Map<string, number>();
    const { body } = await this.admin('/listeners');
    for (const line of body.split('\n')) {
      const found = /^(.*?)::(.*)$/.exec(line);
      if (found === null) continue;
      ports.set(found[1] ?? '', Number(/:(\d+)$/.exec(found[2] ?? '')?.[1] ?? '0'));
    }
    return ports;
  }

  /** The exit code, 128 + the signal's effect where a signal ended it, or null while it runs. */
  get exitCode(): number | null {
    if (this.#child.signalCode !== null) return 128;
    return this.#child.exitCode;
  }

  get pid(): number {
    return this.#child.pid;
  }

  standardError(): string {
    return existsSync(this.#errorPath) ? readFileSync(this.#errorPath, 'utf8') : '';
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Waits for the exit; null where it does not come in time. */
  async exited(timeoutMs = PATIENCE_MS): Promise<number | null> {
    const timer = Promise.withResolvers<void>();
    const handle = setTimeout(timer.resolve, timeoutMs);
    await Promise.race([this.#child.exited, timer.promise]);
    clearTimeout(handle);
    return this.exitCode;
  }

  /** Ends it by SIGTERM, by SIGKILL where that is not heard, and forgets its own files. */
  async stop(): Promise<number | null> {
    if (this.exitCode === null) {
      this.signal('SIGTERM');
      if ((await this.exited()) === null) {
        this.signal('SIGKILL');
        await this.#child.exited;
      }
    }
    const code = this.exitCode;
    await rm(this.#errorPath.replace(/\/stderr$/, ''), { recursive: true, force: true });
    return code;
  }
}
