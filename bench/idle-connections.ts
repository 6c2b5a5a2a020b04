import type { Socket } from 'node:net';

/**
 * Opens connections, sends one request on each and waits for its answer; they stay open.
 * @param atOnce how many are on their way at the same time
 * @param open begins to connect, by TLS or not
 */
export async function holdConnections(count: number, atOnce: number, open: () => Socket): Promise<Socket[]> {
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    const batch = await Promise.all(
      Array.from({ length: Math.min(atOnce, count - sockets.length) }, () => {
        const { promise, resolve, reject } = Promise.withResolvers<Socket>();
        const socket = open();
        // What is written before the connection is up waits for it.
        socket.write('GET / HTTP/1.1\r\nhost: bench\r\n\r\n');
        socket.once('data', () => resolve(socket));
        socket.on('error', reject);
        return promise;
      }),
    );
    sockets.push(...batch);
  }
  return sockets;
}
