import type { FilterStateObject } from '../../../base/connection-state.ts';
import type { IpAddress } from '../../../net/address.ts';
import { parseIpAndPort } from '../../../net/address-text.ts';
import { type AcceptedSocket, ListenerFilter, PeekStatus } from '../../../net/filter.ts';

/** Where a connection from inside may bring its addresses: filter state, or, for where it was to go, `local` of this metadata. */
const NAMESPACE = 'envoy.filters.listener.original_dst';
const LOCAL_STATE = `${NAMESPACE}.local_ip`;
const REMOTE_STATE = `${NAMESPACE}.remote_ip`;

/** Takes the local address from where iptables redirected the connection. Stateless: one for all connections. */
export class OriginalDstFilter extends ListenerFilter {
  readonly maxPeekBytes = 0;

  override onAccept(socket: AcceptedSocket): PeekStatus {
    if (socket.localAddress.kind === 'internal') fromInside(socket);
    if (socket.localAddress.kind !== 'ip') return PeekStatus.Continue;
    const original = socket.originalDestination();
    // One that was not redirected may have its own address as the original one: that counts as restored, too (Envoy).
    if (original !== null) {
      socket.localAddress = original;
      socket.localAddressRestored = true;
    }
    return PeekStatus.Continue;
  }
}

/** Source: Envoy, OriginalDstFilter::onAccept for internal addresses. */
function fromInside(socket: AcceptedSocket): void {
  const { state } = socket;
  if (state === null) return;
  const metadata = state.metadata.get(NAMESPACE);
  const local = addressOf(state.objects.get(LOCAL_STATE), metadata?.local);
  const remote = addressOf(state.objects.get(REMOTE_STATE), null);
  if (local !== null) {
    socket.localAddress = local;
    socket.localAddressRestored = true;
  }
  if (remote !== null) socket.remoteAddress = remote;
}

function addressOf(object: FilterStateObject | undefined, metadata: unknown): IpAddress | null {
  const text = object?.serialize() ?? (typeof metadata === 'string' ? metadata : null);
  return text === null ? null : parseIpAndPort(text);
}
