import { describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../base/clock.ts';
import { SystemRandom } from '../../base/random.ts';
import { type Address, type IpAddress, ipAddress, pipeAddress } from '../address.ts';
import { Dispatcher } from '../dispatcher.ts';
import { transportContract } from '../transport.contract.ts';
import { BunRuntime } from './bun-runtime.ts';

describe('BunRuntime', () => {
  transportContract(test, (dispatcher) => new BunRuntime(dispatcher));
});

describe('BunRuntime without the system calls', () => {
  transportContract(test, (dispatcher) => new BunRuntime(dispatcher, true), { bindErrorNotLocal: true });
});

describe('connections that were reset before they are accepted', () => {
  for (const portable of [false, true]) {
    test(`are nobody's, ${portable ? 'without' : 'with'} the system calls`, async () => {
      const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
      const bugs: unknown[] = [];
      dispatcher.onBug = (error) => bugs.push(error);
      const { promise, resolve } = Promise.withResolvers<string>();
      const spec = { reusePort: false, backlog: 0, ipv6Only: false, transparent: false, freebind: false };
      const listening = new BunRuntime(dispatcher, portable).listen(
        { ...spec, address: ipAddress('127.0.0.1', 0), socketOptions: [] },
        {
          onAccept(transport) {
            const ignore = () => {};
            const onBytes = (bytes: Buffer) => {
              if (bytes.latin1Slice() === 'last') resolve('last');
            };
            transport.setHandler({ onBytes, onOpen: ignore, onDrain: ignore, onPeerEnd: ignore, onClosed: ignore });
          },
        },
      );
      const { port } = listening.address as IpAddress;
      // While this thread waits for the child, nobody accepts.
      const script = `
        const net = require('node:net');
        for (let i = 0; i < 5; i++) {
          const socket = net.connect(${port}, '127.0.0.1', () => socket.write('x', () => socket.resetAndDestroy()));
        }`;
      Bun.spawnSync([process.execPath, '-e', script]);
      const last = await Bun.connect({
        hostname: '127.0.0.1',
        port,
        socket: { open: (self) => void self.write('last'), data() {} },
      });
      expect(await promise).toBe('last');
      expect(bugs).toEqual([]);
      last.end();
      listening.close();
    });
  }
});

/** Connects; resolves with whether the server keeps the connection: it answers an echo, or closes. */
async function isServed(port: number, open: { end(): unknown }[]): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  await Bun.connect({
    hostname: '127.0.0.1',
    port,
    socket: {
      open: (self) => void self.write('x'),
      data: () => resolve(true),
      close: () => resolve(false),
      end: () => resolve(false),
    },
  }).then(
    (socket) => open.push(socket),
    () => resolve(false),
  );
  return promise;
}

describe.skipIf(process.platform !== 'linux')('out of descriptors', () => {
  test('connections beyond the limit are closed, the loop does not spin, and service goes on', async () => {
    const script = join(import.meta.dir, 'testdata/descriptor-shortage.ts');
    const child = Bun.spawn(['sh', '-c', `ulimit -n 64 && exec "${process.execPath}" "${script}"`], {
      stdin: 'pipe',
      stdout: 'pipe',
    });
    const reader = child.stdout.getReader();
    const line = async () => new TextDecoder().decode((await reader.read()).value);
    const ask = async (): Promise<{ refused: number; cpuMs: number }> => {
      child.stdin.write('?\n');
      child.stdin.flush();
      return JSON.parse(await line());
    };
    try {
      const port = Number((await line()).trim().split(':')[1]);
      const open: { end(): unknown }[] = [];
      const served: boolean[] = [];
      for (let i = 0; i < 80; i++) served.push(await isServed(port, open));
      const kept = served.filter((each) => each).length;
      expect(kept).toBeGreaterThan(20);
      expect(kept).toBeLessThan(64);
      const before = await ask();
      expect(before.refused).toBe(80 - kept);
      await new Promise((resolve) => setTimeout(resolve, 300));
      const after = await ask();
      expect(after.cpuMs - before.cpuMs).toBeLessThan(100);
      for (const socket of open) socket.end();
      // Closing is seen in the server's own time.
      let again = false;
      for (let i = 0; i < 100 && !again; i++) again = await isServed(port, open);
      expect(again).toBe(true);
    } finally {
      child.kill();
      await child.exited;
    }
  }, 15_000);
});

describe('round-trip times', () => {
  const spec = { reusePort: false, backlog: 0, ipv6Only: false, transparent: false, freebind: false };

  /** What one accepted connection says while it is there, and once it is closed. */
  async function told(address: Address, portable: boolean): Promise<[number, number]> {
    const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
    const { promise, resolve } = Promise.withResolvers<[number, number]>();
    const listening = new BunRuntime(dispatcher, portable).listen(
      { ...spec, address, socketOptions: [] },
      {
        onAccept(transport) {
          const open = transport.roundTripMs!();
          transport.close();
          resolve([open, transport.roundTripMs!()]);
        },
      },
    );
    const socket = { data() {}, open() {} };
    const client = await (address.kind === 'pipe'
      ? Bun.connect({ unix: address.path, socket })
      : Bun.connect({ hostname: '127.0.0.1', port: (listening.address as IpAddress).port, socket }));
    const times = await promise;
    client.end();
    listening.close();
    return times;
  }

  test('are those of TCP connections that are there', async () => {
    const [open, closed] = await told(ipAddress('127.0.0.1', 0), false);
    expect(open).toBeWithin(0, 1000);
    expect(closed).toBe(-1);
  });

  test('of others nothing is known', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'nuncio-rtt-'));
    try {
      expect(await told(pipeAddress(join(folder, 's')), false)).toEqual([-1, -1]);
    } finally {
      rmSync(folder, { recursive: true });
    }
    expect(await told(ipAddress('127.0.0.1', 0), true)).toEqual([-1, -1]);
  });
});
