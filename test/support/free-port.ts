import { readFileSync } from 'node:fs';

/** How many ports below those that the kernel hands out are ours to choose from. */
const SPAN = 18_000;
/** The kernel's own range where it does not say. */
const FIRST_EPHEMERAL = 32_768;

/** Held as long as this process lives, so that no other test run chooses the same port. */
const claims: { stop(): void }[] = [];
let next = 0;

/** The first port that the kernel chooses by itself: for `port: 0`, and for connections that go out. */
function firstEphemeral(): number {
  try {
    return Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10);
  } catch {
    return FIRST_EPHEMERAL;
  }
}

function isClaimed(port: number): boolean {
  if (process.platform !== 'linux') return false;
  try {
    // A socket without a file: its name is free again when this process ends, however it ends.
    const claim = Bun.listen({ unix: `\0nuncio-test-port-${port}`, socket: { data() {} } });
    claim.unref();
    claims.push(claim);
    return false;
  } catch {
    return true;
  }
}

function isTaken(port: number): boolean {
  try {
    Bun.listen({ hostname: '0.0.0.0', port, socket: { data() {} } }).stop(true);
    return false;
  } catch {
    return true;
  }
}

/**
 * A port for a server that cannot choose one by itself, or whose address must be known before it starts. No other call gives it, in
 * whatever process, and nothing that listens on port 0 or connects is given it by the kernel: one that was merely free a moment ago
 * (bound, closed, told) was now and then that of somebody else by the time that it was used.
 */
export function freePort(): number {
  const end = firstEphemeral();
  const begin = Math.max(1024, end - SPAN);
  const size = end - begin;
  if (size < 1000) throw new Error(`no ports are left below those that the kernel hands out (${end})`);
  if (next === 0) next = Math.floor(Math.random() * size);
  for (let tries = 0; tries < size; tries++) {
    const port = begin + (next++ % size);
    if (!isTaken(port) && !isClaimed(port)) return port;
  }
  throw new Error(`every port from ${begin} to ${end} is taken`);
}
