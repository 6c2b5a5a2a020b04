import { TextState } from '../../../base/connection-state.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { FilterStatus, NetworkFilter } from '../../../net/filter.ts';
import { PER_CONNECTION_CLUSTER } from '../../../pipeline/tcp/tcp-proxy.ts';

const NAME = 'envoy.extensions.filters.network.sni_cluster.v3.SniCluster';

/** Names the connection's cluster for `tcp_proxy`: the SNI that the client sent. */
class SniClusterFilter extends NetworkFilter {
  override onNewConnection(): FilterStatus {
    const { connection } = this.callbacks;
    const name = connection.requestedServerName;
    if (name !== '') connection.ownState().objects.set(PER_CONNECTION_CLUSTER, new TextState(name));
    return FilterStatus.Continue;
  }
}

/** Source: envoy.extensions.filters.network.sni_cluster.v3.SniCluster. */
export const sniClusterFilter: ExtensionFactory<'network-filter'> = {
  kind: 'network-filter',
  name: 'envoy.filters.network.sni_cluster',
  aliases: ['envoy.network.sni_cluster'],
  configType: NAME,
  support: [{ message: NAME, fields: '*' }],
  build: () => ({ isTerminal: false, createFilter: () => new SniClusterFilter() }),
};
