import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { RAW_UPSTREAM_SOCKET } from '../../../net/transport-socket.ts';

/** Plain bytes, where one transport socket stands within another. Source: envoy.extensions.transport_sockets.raw_buffer.v3. */
export const upstreamRawBuffer: ExtensionFactory<'upstream-transport-socket'> = {
  kind: 'upstream-transport-socket',
  name: 'envoy.transport_sockets.raw_buffer',
  configType: 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer',
  support: [{ message: 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer', fields: '*' }],
  build: () => () => RAW_UPSTREAM_SOCKET,
};
