import { connect, type Socket } from 'node:net';

/** Latencies of an open-loop run, in ms, from the moment at which a request was due. */
export interface OpenLoopResult {
  readonly sent: number;
  readonly errors: number;
  readonly p50: number;
  readonly p99: number;
}

/**
 * Sends GETs at a fixed rate over `connections` keep-alive connections, whether or not earlier ones were answered (a busy
 * connection's request waits for it, and its wait counts).
 */
export async function openLoop(
  port: number,
  ratePerSecond: number,
  seconds: number,
  connections = 64,
): Promise<OpenLoopResult> {
  const request = Buffer.from('GET / HTTP/1.1\r\nhost: bench\r\n\r\n');
  const latencies: number[] = [];
  let errors = 0;
  const idle: Lane[] = [];
  const queue: number[] = [];

  interface Lane {
    socket: Socket;
    dueMs: number;
    received: string;
  }

  function send(lane: Lane, dueMs: number): void {
    lane.dueMs = dueMs;
    lane.received = '';
    lane.socket.write(request);
  }

  function answered(lane: Lane): void {
    latencies.push(performance.now() - lane.dueMs);
    const next = queue.shift();
    if (next === undefined) idle.push(lane);
    else send(lane, next);
  }

  const lanes = await Promise.all(
    Array.from({ length: connections }, async () => {
      const { promise, resolve, reject } = Promise.withResolvers<Lane>();
      const socket = connect(port, '127.0.0.1', () => resolve(lane));
      const lane: Lane = { socket, dueMs: 0, received: '' };
      socket.setNoDelay(true);
      socket.on('error', (error) => {
        errors++;
        reject(error);
      });
      socket.on('data', (bytes) => {
        lane.received += bytes.toString('latin1');
        const head = lane.received.indexOf('\r\n\r\n');
        if (head < 0) return;
        const length = Number(/content-length: (\d+)/i.exec(lane.received)?.[1] ?? 0);
        if (lane.received.length < head + 4 + length) return;
        if (!lane.received.startsWith('HTTP/1.1 200')) errors++;
        answered(lane);
      });
      return promise;
    }),
  );
  idle.push(...lanes);

  const start = performance.now();
  const total = Math.floor(ratePerSecond * seconds);
  let sent = 0;
  while (sent < total) {
    const due = Math.min(total, Math.floor(((performance.now() - start) * ratePerSecond) / 1000));
    while (sent < due) {
      const dueMs = start + (sent * 1000) / ratePerSecond;
      const lane = idle.pop();
      if (lane === undefined) queue.push(dueMs);
      else send(lane, dueMs);
      sent++;
    }
    await Bun.sleep(0);
  }
  const deadline = performance.now() + 5_000;
  while (latencies.length < total && performance.now() < deadline) await Bun.sleep(1);
  for (const lane of lanes) lane.socket.destroy();
  errors += total - latencies.length;
  latencies.sort((a, b) => a - b);
  const at = (share: number): number =>
    latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? Number.NaN;
  return { sent, errors, p50: at(0.5), p99: at(0.99) };
}
