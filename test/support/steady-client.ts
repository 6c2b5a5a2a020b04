import { connectRaw, type RawClient } from './raw-client.ts';

/** Sends HTTP/1 requests on kept connections as a well-behaved client does: it goes away when it is told to. */
export class SteadyClient {
  answered = 0;
  readonly failures: string[] = [];
  readonly #port: number;
  #stopped = false;

  constructor(port: number) {
    this.#port = port;
  }

  /** Until `stop`: the next request goes out a millisecond after the last answer. */
  async run(): Promise<void> {
    let connection: RawClient | null = null;
    while (!this.#stopped) {
      try {
        connection ??= await connectRaw({ port: this.#port });
        connection.send('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
        const text = await connection.finalResponse({ timeoutMs: 5000 });
        if (!text.startsWith('HTTP/1.1 200 ')) {
          this.failures.push(`${JSON.stringify(text.slice(0, 200))} [${connection.fate}]`);
          connection.reset();
          connection = null;
        } else {
          this.answered++;
          if (/^connection: close\r?$/im.test(text)) {
            connection.end();
            connection = null;
          }
        }
      } catch (error) {
        this.failures.push(String(error));
        connection = null;
      }
      await Bun.sleep(1);
    }
    connection?.reset();
  }

  stop(): void {
    this.#stopped = true;
  }
}
