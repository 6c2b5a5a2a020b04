import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { FilterStatus, NetworkFilter } from '../../../net/filter.ts';

/** Sends back what it receives. */
class Echo extends NetworkFilter {
  override onRead(data: ByteBuffer, end: boolean): FilterStatus {
    this.callbacks.connection.write(data, end);
    return FilterStatus.Stop;
  }
}

/** Source: envoy.extensions.filters.network.echo.v3.Echo. */
export const echoFilter: ExtensionFactory<'network-filter'> = {
  kind: 'network-filter',
  name: 'envoy.filters.network.echo',
  aliases: ['envoy.echo'],
  configType: 'envoy.extensions.filters.network.echo.v3.Echo',
  support: [{ message: 'envoy.extensions.filters.network.echo.v3.Echo', fields: '*' }],
  build: () => ({ isTerminal: true, createFilter: () => new Echo() }),
};
