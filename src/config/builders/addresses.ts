import type {
  Address as AddressMessage,
  Pipe,
  SocketAddress,
} from '../../api/gen/envoy/config/core/v3/address_pb.d.ts';
import { type Address, internalAddress, ipAddress, pipeAddress } from '../../net/address.ts';
import { ipVersion } from '../../net/ip-version.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';

export const ADDRESS_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.core.v3.Address', fields: 'socket_address pipe envoy_internal_address' },
  {
    message: 'envoy.config.core.v3.SocketAddress',
    fields: 'protocol address port_value ipv4_compat',
  },
  { message: 'envoy.config.core.v3.Pipe', fields: '*' },
  { message: 'envoy.config.core.v3.EnvoyInternalAddress', fields: '*' },
  { message: 'envoy.config.core.v3.CidrRange', fields: '*' },
];

/** An IP address and port. Names are refused: they are for DNS clusters. Null: refused. */
export function buildSocketAddress(context: BuildContext, field: string, message: SocketAddress): Address | null {
  const at = context.at(field);
  if (ipVersion(message.address) === 0) {
    at.refuse(
      'address',
      `malformed IP address: ${message.address}`,
      'an IP address is due; endpoints with names want a cluster of type STRICT_DNS or LOGICAL_DNS',
    );
    return null;
  }
  if (message.portSpecifier.case === 'namedPort') {
    at.refuse('named_port', 'named ports are not supported here', 'use port_value');
    return null;
  }
  if (message.protocol !== 0) {
    at.refuse('protocol', 'UDP is not supported yet');
    return null;
  }
  return ipAddress(canonicalIp(message.address), message.portSpecifier.value ?? 0);
}

export function buildAddress(
  context: BuildContext,
  field: string,
  message: AddressMessage | undefined,
): Address | null {
  const at = context.at(field);
  switch (message?.address.case) {
    case 'socketAddress':
      return buildSocketAddress(at, 'socket_address', message.address.value);
    case 'pipe':
      return buildPipe(at.at('pipe'), message.address.value);
    case 'envoyInternalAddress': {
      const { addressNameSpecifier, endpointId } = message.address.value;
      return internalAddress(addressNameSpecifier.value ?? '', endpointId);
    }
    default:
      context.refuse(field, 'an address is missing');
      return null;
  }
}

/** Bytes of sockaddr_un's path, its closing zero included. */
const MAX_PIPE_PATH_BYTES = 108;

function buildPipe(context: BuildContext, message: Pipe): Address | null {
  const { path, mode } = message;
  const abstract = path.startsWith('@');
  if (abstract && mode !== 0) {
    context.refuse('mode', 'Cannot set mode for Abstract AF_UNIX sockets', 'a name that begins with @ has no file');
    return null;
  }
  if (Buffer.byteLength(path, 'utf8') >= MAX_PIPE_PATH_BYTES) {
    context.refuse('path', `Path "${path}" exceeds maximum UNIX domain socket path size of ${MAX_PIPE_PATH_BYTES}.`);
    return null;
  }
  return pipeAddress(path, mode);
}

/** The text form that sockets report: IPv6 compressed and in lower case. */
function canonicalIp(text: string): string {
  if (!text.includes(':')) return text;
  const url = URL.parse(`http://[${text}]/`);
  return url === null ? text : url.hostname.slice(1, -1);
}
