import { expect, test } from 'bun:test';
import { FakeUpstream, hostAddress } from '../../test/support/fake-upstream.ts';
import { internalAddress } from '../net/address.ts';
import type { InternalTransport } from '../net/internal-transport.ts';
import type { TransportHandler } from '../net/transport.ts';
import { NO_SOCKET_OPTIONS, RAW_UPSTREAM_SOCKET, type UpstreamTransportSocket } from '../net/transport-socket.ts';
import { hostSpec, type Metadata } from './host.ts';

const named = (name: string): UpstreamTransportSocket & { name: string } => ({ ...RAW_UPSTREAM_SOCKET, name });

function chosen(metadata: Metadata, localityMetadata: Metadata = {}): string {
  const up = new FakeUpstream();
  const cluster = up.cluster(
    {
      transportSocket: () => named('default'),
      transportSocketMatches: [
        { name: 'one', criteria: { kind: 'tls', level: 1 }, socket: () => named('one') },
        { name: 'two', criteria: { kind: 'tls' }, socket: () => named('two') },
      ],
    },
    [hostSpec(hostAddress(1), { metadata, localityMetadata })],
  );
  return (cluster.sockets.socketOf(cluster.chooseHost(null)!) as ReturnType<typeof named>).name;
}

const match = (values: Readonly<Record<string, unknown>>): Metadata => ({ 'envoy.transport_socket_match': values });

test('the first match of the host counts, else of its locality, else the default', () => {
  expect(chosen(match({ kind: 'tls', level: 1, more: true }))).toBe('one');
  expect(chosen(match({ kind: 'tls', level: 2 }))).toBe('two');
  expect(chosen(match({ kind: 'raw' }))).toBe('default');
  expect(chosen({})).toBe('default');
  expect(chosen({}, match({ kind: 'tls' }))).toBe('two');
  expect(chosen(match({ kind: 'tls' }), match({ kind: 'tls', level: 1 }))).toBe('two');
});

test('sockets let go with their cluster', () => {
  const up = new FakeUpstream();
  let released = 0;
  const cluster = up.cluster({
    transportSocket: (environment) => {
      environment.onRelease(() => released++);
      return RAW_UPSTREAM_SOCKET;
    },
  });
  up.loop.turn(() => cluster.drain());
  expect(released).toBe(1);
});

test('a connection to an internal listener that would need TLS fails as any other: nothing is thrown', () => {
  const up = new FakeUpstream();
  const secure: UpstreamTransportSocket = {
    ...RAW_UPSTREAM_SOCKET,
    isSecure: true,
    connect: () => {
      throw new Error('TLS over a transport that is no socket');
    },
  };
  const cluster = up.cluster({ transportSocket: () => secure }, [hostSpec(internalAddress('in'))]);
  const heard: string[] = [];
  const handler: TransportHandler = {
    onOpen: () => heard.push('open'),
    onBytes() {},
    onDrain() {},
    onPeerEnd() {},
    onClosed: (error) => heard.push(error?.message ?? 'closed'),
  };
  const host = cluster.chooseHost(null)!;
  const transport = cluster.sockets.connect(cluster.connectSpec(host), host, NO_SOCKET_OPTIONS, handler);
  expect(heard).toEqual([]);
  (transport as InternalTransport).onTurnEnd();
  expect(heard).toEqual(['TLS is not supported on connections to internal listeners']);
});
