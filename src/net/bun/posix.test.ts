import { describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { SystemClock } from '../../base/clock.ts';
import { SystemRandom } from '../../base/random.ts';
import { type Address, ipAddress } from '../address.ts';
import { Dispatcher } from '../dispatcher.ts';
import { keepAliveOptions, type ListenSpec, type SocketOption, type Transport } from '../transport.ts';
import { BunRuntime } from './bun-runtime.ts';
import { IPPROTO_TCP, Posix, SOL_SOCKET } from './posix.ts';

const SO_RCVBUF = 8;
const SO_KEEPALIVE = 9;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_NODELAY = 1;

const posix = process.platform === 'linux' ? Posix.open() : null;

function spec(address: Address, socketOptions: readonly SocketOption[] = []): ListenSpec {
  return { address, reusePort: false, backlog: 0, ipv6Only: true, transparent: false, freebind: false, socketOptions };
}

const silent = { onOpen() {}, onBytes() {}, onDrain() {}, onPeerEnd() {}, onClosed() {} };

describe.skipIf(posix === null)('Posix', () => {
  test('addresses survive the way through the kernel', () => {
    for (const ip of ['127.0.0.1', '127.1.2.3', '0.0.0.0', '::', '::1']) {
      const fd = posix!.listen(spec(ipAddress(ip, 0)));
      const bound = posix!.localIp(fd)!;
      expect(bound.ip).toBe(ip);
      expect(bound.port).toBeGreaterThan(0);
      posix!.closeFd(fd);
    }
  });

  test('any IPv6 address is written as meant (freebind: it need not be ours)', () => {
    for (const [given, shown] of [
      ['2001:db8::8:800:200c:417a', '2001:db8::8:800:200c:417a'],
      ['2001:DB8:0:0:8:800:200C:417A', '2001:db8::8:800:200c:417a'],
      ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
      ['1::', '1::'],
      ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
      ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
      ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ] as const) {
      const fd = posix!.listen({ ...spec(ipAddress(given, 0)), freebind: true });
      expect(posix!.localIp(fd)!.ip).toBe(shown);
      posix!.closeFd(fd);
    }
    for (const bad of ['1:2:3', '1::2::3', ':::', '::1.2.3']) {
      expect(() => posix!.listen(spec(ipAddress(bad, 0)))).toThrow();
    }
  });

  test('scoped addresses name their interface', () => {
    expect(() => posix!.listen(spec(ipAddress('fe80::1%nosuchif', 0)))).toThrow('no network interface');
  });

  test('a failing listen leaves no descriptor behind', () => {
    const probe = () => {
      const fd = posix!.listen(spec(ipAddress('127.0.0.1', 0)));
      posix!.closeFd(fd);
      return fd;
    };
    const before = probe();
    for (let i = 0; i < 20; i++) {
      expect(() => posix!.listen(spec(ipAddress('203.0.113.77', 0)))).toThrow('Cannot assign requested address');
    }
    expect(probe()).toBe(before);
  });

  test('socket options of listeners and connections are set, by state', async () => {
    const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
    const runtime = new BunRuntime(dispatcher);
    const { promise, resolve } = Promise.withResolvers<Transport>();
    const options: SocketOption[] = [
      ...keepAliveOptions(7, 61, 13),
      { level: SOL_SOCKET, name: SO_RCVBUF, value: 65_536, state: 'bound' },
    ];
    const listener = runtime.listen(spec(ipAddress('127.0.0.1', 0), options), {
      onAccept(transport) {
        transport.setHandler(silent);
        resolve(transport);
      },
    });
    const client = runtime.connect(
      {
        address: listener.address,
        bindAddress: null,
        socketOptions: [
          ...keepAliveOptions(3, 0, 0),
          { level: SOL_SOCKET, name: SO_RCVBUF, value: Buffer.from([0, 0, 1, 0]), state: 'prebind' },
        ],
      },
      silent,
    );
    const server = await promise;
    const read = (transport: Transport, level: number, name: number) => posix!.getNumber(transport.fd, level, name);
    expect(read(server, SOL_SOCKET, SO_KEEPALIVE)).toBe(1);
    expect(read(server, IPPROTO_TCP, TCP_KEEPCNT)).toBe(7);
    expect(read(server, IPPROTO_TCP, TCP_KEEPIDLE)).toBe(61);
    expect(read(server, IPPROTO_TCP, TCP_KEEPINTVL)).toBe(13);
    // The kernel doubles it for its own use.
    expect(read(server, SOL_SOCKET, SO_RCVBUF)).toBe(131_072);
    expect(read(client, SOL_SOCKET, SO_RCVBUF)).toBe(131_072);
    expect(read(client, IPPROTO_TCP, TCP_KEEPCNT)).toBe(3);
    for (const transport of [server, client]) expect(read(transport, IPPROTO_TCP, TCP_NODELAY)).toBe(1);
    expect(runtime.originalDestination(server)).toBeNull();
    for (const transport of [server, client]) transport.reset();
    listener.close();
  });

  test.skipIf(Bun.which('ss') === null)('the backlog is the one asked for', () => {
    const runtime = new BunRuntime(new Dispatcher(new SystemClock(), new SystemRandom()));
    const largest = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'));
    for (const [asked, expected] of [
      [7, 7],
      [0, largest],
    ] as const) {
      const listener = runtime.listen({ ...spec(ipAddress('127.0.0.1', 0)), backlog: asked }, { onAccept() {} });
      const port = listener.address.kind === 'ip' ? listener.address.port : 0;
      const shown = Bun.spawnSync(['ss', '-Htln', 'sport', '=', `:${port}`]).stdout.toString();
      expect(Number(shown.trim().split(/\s+/)[2])).toBe(expected);
      listener.close();
    }
  });

  test('a peer that leaves while we are paused is noticed', async () => {
    const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
    const runtime = new BunRuntime(dispatcher);
    const heard: string[] = [];
    const early = Promise.withResolvers<void>();
    const last = Promise.withResolvers<void>();
    const accepted = Promise.withResolvers<Transport>();
    const listener = runtime.listen(spec(ipAddress('127.0.0.1', 0)), {
      onAccept(transport) {
        transport.pause();
        transport.setHandler({
          ...silent,
          onBytes: () => heard.push('bytes'),
          onEarlyClose() {
            heard.push('early');
            early.resolve();
          },
          onPeerEnd() {
            heard.push('end');
            last.resolve();
          },
        });
        accepted.resolve(transport);
      },
    });
    const client = runtime.connect({ address: listener.address, bindAddress: null, socketOptions: [] }, silent);
    const server = await accepted.promise;
    client.write(Buffer.from('x'), 0, 1);
    client.close();
    await early.promise;
    server.resume();
    await last.promise;
    expect(heard.filter((each) => each !== 'bytes')).toEqual(['early', 'end']);
    server.close();
    listener.close();
  });

  test('what cannot be reached at once fails with its own errno', async () => {
    const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
    const runtime = new BunRuntime(dispatcher);
    const { promise, resolve } = Promise.withResolvers<{ code: string; message: string } | null>();
    const address = ipAddress('255.255.255.255', 9);
    runtime.connect({ address, bindAddress: null, socketOptions: [] }, { ...silent, onClosed: resolve });
    expect(await promise).toEqual({
      code: 'ENETUNREACH',
      message: 'immediate connect error: Network is unreachable|remote address:255.255.255.255:9',
      local: false,
    } as never);
  });
});
