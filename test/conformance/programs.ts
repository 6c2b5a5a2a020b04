import { freePort } from '../support/free-port.ts';
import { connectRaw } from '../support/raw-client.ts';

/** A server that another program is. */
export class ServerProgram {
  readonly port: number;
  readonly #child: Bun.Subprocess;

  private constructor(port: number, child: Bun.Subprocess) {
    this.port = port;
    this.#child = child;
  }

  /** @param command gets the port; starts once the server accepts connections there */
  static async start(
    command: (port: number) => readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<ServerProgram> {
    const port = freePort();
    const child = Bun.spawn([...command(port)], {
      stdio: ['ignore', 'ignore', 'ignore'],
      env: { ...process.env, ...env },
    });
    for (const deadline = performance.now() + 15_000; ; await Bun.sleep(10)) {
      try {
        (await connectRaw({ port })).reset();
        return new ServerProgram(port, child);
      } catch (failure) {
        if (performance.now() < deadline && child.exitCode === null) continue;
        child.kill('SIGKILL');
        throw failure;
      }
    }
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
    await this.#child.exited;
    clearTimeout(killer);
  }
}

/** What a program said, and how it ended. */
export interface Outcome {
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
}

/** Runs a program to its end. */
export async function runProgram(
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
  timeoutMs = 30_000,
): Promise<Outcome> {
  const child = Bun.spawn([...command], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  await child.exited;
  return { code: child.exitCode, output, errors };
}
