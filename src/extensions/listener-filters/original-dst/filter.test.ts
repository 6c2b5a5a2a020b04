import { expect, test } from 'bun:test';
import { stubSocket } from '../../../../test/support/accepted-socket.ts';
import { TextState } from '../../../base/connection-state.ts';
import { type Address, internalAddress, ipAddress, pipeAddress } from '../../../net/address.ts';
import { type AcceptedSocket, PeekStatus } from '../../../net/filter.ts';
import { OriginalDstFilter } from './filter.ts';

function accept(localAddress: Address, original: Address | null): AcceptedSocket {
  const socket = {
    localAddress,
    localAddressRestored: false,
    originalDestination: () => original,
  } as unknown as AcceptedSocket;
  expect(new OriginalDstFilter().onAccept(socket)).toBe(PeekStatus.Continue);
  return socket;
}

test('the address that iptables took the connection from', () => {
  const socket = accept(ipAddress('127.0.0.1', 15001), ipAddress('10.1.2.3', 80));
  expect([socket.localAddress.text, socket.localAddressRestored]).toEqual(['10.1.2.3:80', true]);
});

test.each([
  ['none', ipAddress('127.0.0.1', 15001), null],
  ['a pipe', pipeAddress('/tmp/x'), ipAddress('10.1.2.3', 80)],
])('%s changes nothing', (_name, local, original) => {
  const socket = accept(local, original);
  expect([socket.localAddress, socket.localAddressRestored]).toEqual([local, false]);
});

test('its own address counts as restored', () => {
  const local = ipAddress('127.0.0.1', 15001);
  expect(accept(local, ipAddress('127.0.0.1', 15001)).localAddressRestored).toBe(true);
});

test('a connection from inside brings its addresses along', () => {
  const socket = stubSocket({ localAddress: internalAddress('l'), remoteAddress: internalAddress('c') });
  const filter = new OriginalDstFilter();
  expect(filter.onAccept(socket)).toBe(PeekStatus.Continue);
  expect([socket.localAddress.kind, socket.localAddressRestored]).toEqual(['internal', false]);
  socket.ownState().setMetadata('envoy.filters.listener.original_dst', { local: '10.1.2.3:80' });
  socket.ownState().objects.set('envoy.filters.listener.original_dst.remote_ip', new TextState('[::1]:9'));
  filter.onAccept(socket);
  expect([socket.localAddress.text, socket.remoteAddress.text, socket.localAddressRestored]).toEqual([
    '10.1.2.3:80',
    '[::1]:9',
    true,
  ]);
});
