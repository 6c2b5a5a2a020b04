import { LOAD_CORE, type LoadResult } from './peers.ts';

export interface H2Load {
  readonly connections: number;
  readonly streams: number;
  readonly seconds: number;
  readonly tls: boolean;
  /** Further arguments, such as `-d file` or `-H header`. */
  readonly extra?: readonly string[];
  readonly path?: string;
}

/** h2load (nghttp2) on the load core. */
export async function h2load(port: number, load: H2Load): Promise<LoadResult> {
  const url = `${load.tls ? 'https' : 'http'}://127.0.0.1:${port}${load.path ?? '/'}`;
  const child = Bun.spawn(
    [
      ...['taskset', '-c', LOAD_CORE, 'h2load', '-t1', `-c${load.connections}`, `-m${load.streams}`],
      ...[`-D${load.seconds}`, ...(load.extra ?? []), url],
    ],
    { stdout: 'pipe', stderr: 'inherit' },
  );
  const text = await new Response(child.stdout).text();
  await child.exited;
  const counts = /(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(text);
  if (counts === null) throw new Error(`h2load said nothing of requests:\n${text}`);
  const codes = /status codes: (\d+) 2xx/.exec(text);
  const done = Number(counts[2]);
  // Those that the end of the time cut off are no errors; what was answered by anything but 2xx is.
  return {
    requests: done,
    errors: Number(counts[4]) + Number(counts[5]) + Math.max(0, done - Number(codes?.[1] ?? 0)),
  };
}
