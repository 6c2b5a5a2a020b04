import type { Message } from '@bufbuild/protobuf';
import type { ProxyProtocolUpstreamTransport } from '../../../api/gen/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { buildUpstreamSocket } from '../../../config/builders/transport-sockets.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { WrappingTransportSocket } from '../../../net/transport-socket.ts';
import type { UpstreamSocketMaker } from '../../../upstream/cluster-spec.ts';
import { type ProxyProtocolSettings, UpstreamProxyProtocolSocket } from './socket.ts';

const NAME = 'envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport';
/** Of ProxyProtocolConfig.Version and PassTLVsMatchType. */
const V2 = 1;
const INCLUDE = 1;

function build(message: ProxyProtocolUpstreamTransport, context: BuildContext): UpstreamSocketMaker | null {
  const before = context.errorCount;
  const { config } = message;
  const passed = config?.passThroughTlvs;
  (config?.addedTlvs ?? []).forEach((tlv, index) => {
    if (tlv.formatString !== undefined)
      context.refuse(`config.added_tlvs[${index}].format_string`, 'is not supported yet', 'set value');
  });
  const settings: ProxyProtocolSettings = {
    version: config?.version === V2 ? 2 : 1,
    tlvs: {
      added: (config?.addedTlvs ?? []).map(({ type, value }) => ({ type: type & 0xff, value })),
      passed:
        passed !== undefined && passed.matchType !== INCLUDE
          ? null
          : new Set((passed?.tlvType ?? []).map((type) => type & 0xff)),
    },
  };
  const inner = buildUpstreamSocket(context, 'transport_socket', message.transportSocket);
  // Of all sockets only TLS can begin over a connection that there is; plain bytes need nothing.
  if (inner !== null && inner.encrypts !== true) {
    context.refuse('transport_socket', 'only TLS or plain bytes can follow a PROXY protocol header');
  }
  if (context.errorCount > before) return null;
  return Object.assign(
    ((environment) => {
      const socket = inner?.(environment) ?? null;
      const tooLong = environment.scope.counter('upstream.proxyprotocol.v2_tlvs_exceed_max_length');
      return new UpstreamProxyProtocolSocket(settings, socket as WrappingTransportSocket | null, tooLong);
    }) satisfies UpstreamSocketMaker,
    { sendsProxyHeader: true, encrypts: inner !== null },
  );
}

/** Source: envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport. */
export const upstreamProxyProtocol: ExtensionFactory<'upstream-transport-socket'> = {
  kind: 'upstream-transport-socket',
  name: 'envoy.transport_sockets.upstream_proxy_protocol',
  configType: NAME,
  support: [
    // Envoy itself does not carry the other two out yet.
    { message: NAME, fields: 'config transport_socket', inert: 'allow_unspecified_address tlv_as_pool_key' },
    { message: 'envoy.config.core.v3.ProxyProtocolConfig', fields: 'version pass_through_tlvs added_tlvs' },
    { message: 'envoy.config.core.v3.ProxyProtocolPassThroughTLVs', fields: '*' },
    { message: 'envoy.config.core.v3.TlvEntry', fields: 'type value' },
  ],
  build: (config: Message, context) => build(config as ProxyProtocolUpstreamTransport, context),
};
