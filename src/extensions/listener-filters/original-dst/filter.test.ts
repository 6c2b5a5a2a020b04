import { expect, test } from 'bun:test';
import { type Address, ipAddress, pipeAddress } from '../../../net/address.ts';
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
  ['its own', ipAddress('127.0.0.1', 15001), ipAddress('127.0.0.1', 15001)],
  ['none', ipAddress('127.0.0.1', 15001), null],
  ['a pipe', pipeAddress('/tmp/x'), ipAddress('10.1.2.3', 80)],
])('%s changes nothing', (_name, local, original) => {
  const socket = accept(local, original);
  expect([socket.localAddress, socket.localAddressRestored]).toEqual([local, false]);
});
