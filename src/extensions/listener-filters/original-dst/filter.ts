import { type AcceptedSocket, ListenerFilter, PeekStatus } from '../../../net/filter.ts';

/** Takes the local address from where iptables redirected the connection. Stateless: one for all connections. */
export class OriginalDstFilter extends ListenerFilter {
  readonly maxPeekBytes = 0;

  override onAccept(socket: AcceptedSocket): PeekStatus {
    if (socket.localAddress.kind !== 'ip') return PeekStatus.Continue;
    const original = socket.originalDestination();
    // A connection that was not redirected has its own address as the original one.
    if (original !== null && original.text !== socket.localAddress.text) {
      socket.localAddress = original;
      socket.localAddressRestored = true;
    }
    return PeekStatus.Continue;
  }
}
