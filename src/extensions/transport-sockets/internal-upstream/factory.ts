import type { Message } from '@bufbuild/protobuf';
import type { InternalUpstreamTransport } from '../../../api/gen/envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { buildUpstreamSocket, NO_TLS_HINT, NO_TLS_INSIDE } from '../../../config/builders/transport-sockets.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { RAW_UPSTREAM_SOCKET } from '../../../net/transport-socket.ts';
import type { UpstreamSocketMaker } from '../../../upstream/cluster-spec.ts';
import { InternalUpstreamSocket, type PassedMetadata } from './socket.ts';

const NAME = 'envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport';
const KINDS = 'envoy.type.metadata.v3.MetadataKind';

function build(message: InternalUpstreamTransport, context: BuildContext): UpstreamSocketMaker | null {
  const before = context.errorCount;
  const sources: PassedMetadata[] = [];
  message.passthroughMetadata.forEach(({ kind, name }, index) => {
    const from = kind?.kind.case;
    if (name === '') context.refuse(`passthrough_metadata[${index}].name`, 'Metadata name must not be empty');
    if (from === 'host' || from === 'cluster') sources.push({ from, name });
    else context.refuse(`passthrough_metadata[${index}].kind`, `metadata type is not supported: ${from ?? 'none'}`);
  });
  const inner = buildUpstreamSocket(context, 'transport_socket', message.transportSocket);
  if (inner?.encrypts === true) context.refuse('transport_socket', NO_TLS_INSIDE, NO_TLS_HINT);
  if (context.errorCount > before) return null;
  return (environment) => {
    const noMetadata = environment.scope.counter('internal_upstream.no_metadata');
    return new InternalUpstreamSocket(sources, inner?.(environment) ?? RAW_UPSTREAM_SOCKET, noMetadata);
  };
}

/** Source: envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport. */
export const internalUpstream: ExtensionFactory<'upstream-transport-socket'> = {
  kind: 'upstream-transport-socket',
  name: 'envoy.transport_sockets.internal_upstream',
  configType: NAME,
  support: [
    { message: NAME, fields: '*' },
    { message: `${NAME}.MetadataValueSource`, fields: '*' },
    { message: KINDS, fields: 'host cluster' },
    { message: `${KINDS}.Host`, fields: '*' },
    { message: `${KINDS}.Cluster`, fields: '*' },
  ],
  build: (config: Message, context) => build(config as InternalUpstreamTransport, context),
};
