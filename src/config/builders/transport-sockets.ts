import type { TransportSocket } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { DownstreamTransportSocket, TransportSocketEnvironment } from '../../net/transport-socket.ts';
import type { UpstreamSocketMaker } from '../../upstream/cluster-spec.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';

export const TRANSPORT_SOCKET_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.core.v3.TransportSocket', fields: 'name typed_config' },
  { message: 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer', fields: '*' },
];

/** The engine of TLS works on sockets of the operating system, which connections within the process are not. */
export const NO_TLS_INSIDE = 'TLS is not supported on connections to internal listeners';
export const NO_TLS_HINT = 'bytes do not leave the process there: leave the transport socket out';

export type DownstreamSocketMaker = (environment: TransportSocketEnvironment) => DownstreamTransportSocket;

const RAW_BUFFER = 'envoy.transport_sockets.raw_buffer';

function isRaw(message: TransportSocket): boolean {
  const type = message.configType.value?.typeUrl ?? '';
  return type === '' ? message.name === RAW_BUFFER : type.endsWith('.RawBuffer');
}

/** @returns null: plain bytes, or errors were reported at `field` */
export function buildDownstreamSocket(
  context: BuildContext,
  field: string,
  message: TransportSocket | undefined,
): DownstreamSocketMaker | null {
  if (message === undefined || isRaw(message)) return null;
  const at = context.at(field);
  return context.shared.extensions.build(
    'downstream-transport-socket',
    at,
    'typed_config',
    message.name,
    message.configType.value,
  );
}

/** @returns null: plain bytes, or errors were reported at `field` */
export function buildUpstreamSocket(
  context: BuildContext,
  field: string,
  message: TransportSocket | undefined,
): UpstreamSocketMaker | null {
  if (message === undefined || isRaw(message)) return null;
  const at = context.at(field);
  return context.shared.extensions.build(
    'upstream-transport-socket',
    at,
    'typed_config',
    message.name,
    message.configType.value,
  );
}
