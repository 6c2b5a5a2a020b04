import type {
  DownstreamTlsContext,
  UpstreamTlsContext,
} from '../../../api/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.d.ts';
import { buildDownstreamTls, buildUpstreamTls, TLS_SUPPORT } from '../../../config/builders/tls-context.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';

const NAME = 'envoy.transport_sockets.tls';
const TLS = 'envoy.extensions.transport_sockets.tls.v3';

/** TLS towards clients. Source: envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext. */
export const downstreamTls: ExtensionFactory<'downstream-transport-socket'> = {
  kind: 'downstream-transport-socket',
  name: NAME,
  configType: `${TLS}.DownstreamTlsContext`,
  support: TLS_SUPPORT,
  build: (config, context) => buildDownstreamTls(context, config as DownstreamTlsContext),
};

/** TLS towards hosts. Source: envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext. */
export const upstreamTls: ExtensionFactory<'upstream-transport-socket'> = {
  kind: 'upstream-transport-socket',
  name: NAME,
  configType: `${TLS}.UpstreamTlsContext`,
  support: TLS_SUPPORT,
  build: (config, context) => buildUpstreamTls(context, config as UpstreamTlsContext),
};
