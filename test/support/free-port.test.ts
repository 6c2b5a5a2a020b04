import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from './free-port.ts';

test('no port is given twice, nor one that the kernel might choose', async () => {
  const own = Array.from({ length: 50 }, freePort);
  // Another process that begins where this one did.
  const script = `
    Math.random = () => 0;
    const { freePort } = await import(${JSON.stringify(join(import.meta.dir, 'free-port.ts'))});
    console.log(Array.from({ length: 50 }, freePort).join(' '));
    await Bun.stdin.text();
  `;
  const start = (): Bun.Subprocess<'pipe', 'pipe', 'inherit'> =>
    Bun.spawn([process.execPath, '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const others = [start(), start()];
  const given = [...own];
  for (const { stdout } of others) {
    const { value } = await stdout.getReader().read();
    given.push(...Buffer.from(value!).toString().trim().split(' ').map(Number));
  }
  for (const other of others) {
    other.kill();
    await other.exited;
  }
  expect(new Set(given).size).toBe(150);
  const first = Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10);
  expect(Math.max(...given)).toBeLessThan(first);
});
