import { hostname } from 'node:os';
import { PROTOCOL_NAMES } from '../../http/codec.ts';
import type { Address } from '../../net/address.ts';
import type { Connection } from '../../net/connection.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { Host } from '../../upstream/host.ts';
import type { LogContext } from '../access-logger.ts';
import { RESPONSE_FLAGS } from '../response-flag.ts';
import type { StreamInfo, UpstreamInfo } from '../stream-info.ts';
import { AddressPart, addressText, maskedAddress } from './address-text.ts';
import { DURATION_OPERATORS } from './duration-operators.ts';
import { withoutHostPort } from './header-operators.ts';
import { type Operator, type OperatorTable, plain, unsupported, withArgument } from './operator-table.ts';
import {
  ContextSegment,
  FixedSegment,
  type FormatValue,
  NumberSegment,
  Segment,
  TextSegment,
  truncated,
} from './segment.ts';
import { TLS_OPERATORS } from './tls-operators.ts';

type AddressReader = (stream: StreamInfo) => Address | null;

class AddressSegment extends Segment {
  readonly #read: AddressReader;
  readonly #part: AddressPart;

  constructor(read: AddressReader, part: AddressPart) {
    super(null);
    this.#read = read;
    this.#part = part;
  }

  text(context: LogContext): string | null {
    const address = this.#read(context.stream);
    return address === null ? null : addressText(address, this.#part);
  }

  override value(context: LogContext): FormatValue {
    if (this.#part !== AddressPart.Port) return this.text(context);
    const address = this.#read(context.stream);
    return address !== null && address.kind === 'ip' ? address.port : null;
  }

  override json(context: LogContext): string {
    return this.#part === AddressPart.Port ? String(this.value(context)) : super.json(context);
  }
}

function address(read: AddressReader): Operator {
  return plain(() => new AddressSegment(read, AddressPart.Whole));
}

function port(read: AddressReader): Operator {
  return plain(() => new AddressSegment(read, AddressPart.Port));
}

/** `..._WITHOUT_PORT(bits)`: masked where a number is given; another argument changes nothing. */
function withoutPort(read: AddressReader): Operator {
  return withArgument('optional', false, (argument) => {
    if (!/^[+-]?[0-9]{1,9}$/.test(argument)) return new AddressSegment(read, AddressPart.WithoutPort);
    const bits = Number(argument);
    return new TextSegment((stream) => {
      const found = read(stream);
      return found === null ? null : maskedAddress(found, bits);
    });
  });
}

function endpointId(read: AddressReader): Operator {
  return text((stream) => {
    const found = read(stream);
    if (found === null) return null;
    return found.kind === 'internal' ? wireText(found.endpointId) : '';
  });
}

function text(read: (stream: StreamInfo) => string | null): Operator {
  return plain(() => new TextSegment(read));
}

function count(read: (stream: StreamInfo) => number | null): Operator {
  return plain(() => new NumberSegment(read));
}

/** Of a configuration: an empty text says nothing. */
function named(read: (stream: StreamInfo) => string | undefined): Operator {
  return text((stream) => {
    const name = read(stream);
    return name === undefined || name === '' ? null : wireText(name);
  });
}

/** Spaces would split a line of a space-separated log. */
function reason(read: (stream: StreamInfo) => string | undefined): Operator {
  return text((stream) => {
    const found = read(stream);
    return found === undefined || found === '' ? null : spacesReplaced(found);
  });
}

function spacesReplaced(value: string): string {
  return /\s/.test(value) ? value.replace(/\s/g, '_') : value;
}

const localAddress: AddressReader = (stream) => stream.connection?.localAddress ?? null;
const directLocal: AddressReader = (stream) => stream.connection?.directLocalAddress ?? null;
const remoteAddress: AddressReader = (stream) => stream.remoteAddress;
const directRemote: AddressReader = (stream) => stream.connection?.directRemoteAddress ?? null;
const upstreamLocal: AddressReader = (stream) => stream.upstream?.connection?.localAddress ?? null;
const upstreamRemote: AddressReader = (stream) => stream.upstream?.connection?.remoteAddress ?? null;
const upstreamHost: AddressReader = (stream) => stream.upstream?.host?.address ?? null;

/** The names of all flags that are set, in their order. */
export function flagText(stream: StreamInfo, key: 'short' | 'long'): string {
  if (stream.responseFlags === 0) return '-';
  let out = '';
  for (const flags of stream.flagsInOrder()) {
    for (let i = 0; i < RESPONSE_FLAGS.length; i++) {
      if ((flags & (1 << i)) !== 0) out += (out === '' ? '' : ',') + RESPONSE_FLAGS[i]![key];
    }
  }
  return out;
}

function hostName(host: Host): string {
  return host.hostname === '' ? host.address.text : wireText(host.hostname);
}

function attempted(render: (host: Host) => string): Operator {
  return text((stream) => {
    const hosts = stream.upstream?.hostsAttempted;
    return hosts === undefined || hosts.length === 0 ? null : hosts.map(render).join(',');
  });
}

function upstreamName(upstream: UpstreamInfo | null): string | undefined {
  if (upstream === null) return undefined;
  return upstream.clusterStatName === '' ? upstream.clusterName : upstream.clusterStatName;
}

/** Envoy: StreamInfo::DetectedCloseType. */
function closeType(connection: Connection | null): string | null {
  if (connection === null) return null;
  return connection.detectedRemoteReset ? 'RemoteReset' : 'Normal';
}

/**
 * Envoy 1.40 keeps the type for raw connections (tcp_proxy); of HTTP upstreams it says `Normal` even after a reset, and nothing of requests
 * for which no host was found.
 */
function upstreamCloseType({ upstream, protocol }: StreamInfo): string | null {
  if (upstream === null || (protocol !== null && upstream.host === null)) return null;
  return upstream.protocol === null && upstream.connection !== null ? closeType(upstream.connection) : 'Normal';
}

/** Operators that need nothing but the stream. Source: Envoy access log documentation, "Command operators". */
export const STREAM_OPERATORS: OperatorTable = {
  ...DURATION_OPERATORS,
  PROTOCOL: text((stream) => (stream.protocol === null ? null : PROTOCOL_NAMES[stream.protocol])),
  UPSTREAM_PROTOCOL: text((stream) => {
    const protocol = stream.upstream?.protocol ?? null;
    return protocol === null ? null : PROTOCOL_NAMES[protocol];
  }),
  RESPONSE_CODE: count((stream) => stream.responseCode),
  RESPONSE_CODE_DETAILS: withArgument('optional', false, (argument) => {
    const keepSpaces = argument === 'ALLOW_WHITESPACES';
    return new TextSegment((stream) => {
      const details = stream.responseCodeDetails;
      if (details === '') return null;
      return keepSpaces ? details : spacesReplaced(details);
    });
  }),
  CONNECTION_TERMINATION_DETAILS: text((stream) => {
    const details = stream.connectionTerminationDetails || (stream.connection?.terminationDetails ?? '');
    return details === '' ? null : details;
  }),
  RESPONSE_FLAGS: text((stream) => flagText(stream, 'short')),
  RESPONSE_FLAGS_LONG: text((stream) => flagText(stream, 'long')),
  // Set by filters of Envoy's that do not exist here.
  CUSTOM_FLAGS: text(() => ''),

  BYTES_RECEIVED: count((stream) => stream.bytesReceived),
  BYTES_SENT: count((stream) => stream.bytesSent),
  // Of QUIC only, in Envoy too.
  BYTES_RETRANSMITTED: count(() => 0),
  PACKETS_RETRANSMITTED: count(() => 0),
  DOWNSTREAM_WIRE_BYTES_RECEIVED: count((stream) => stream.downstreamMeter?.wireBytesReceived ?? 0),
  DOWNSTREAM_WIRE_BYTES_SENT: count((stream) => stream.downstreamMeter?.wireBytesSent ?? 0),
  DOWNSTREAM_HEADER_BYTES_RECEIVED: count((stream) => stream.downstreamMeter?.headerBytesReceived ?? 0),
  DOWNSTREAM_HEADER_BYTES_SENT: count((stream) => stream.downstreamMeter?.headerBytesSent ?? 0),
  DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED: count(
    (stream) => stream.downstreamMeter?.decompressedHeaderBytesReceived ?? 0,
  ),
  DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT: count(
    (stream) => stream.downstreamMeter?.decompressedHeaderBytesSent ?? 0,
  ),
  UPSTREAM_WIRE_BYTES_RECEIVED: count((stream) => stream.upstream?.meter?.wireBytesReceived ?? 0),
  UPSTREAM_WIRE_BYTES_SENT: count((stream) => stream.upstream?.meter?.wireBytesSent ?? 0),
  UPSTREAM_HEADER_BYTES_RECEIVED: count((stream) => stream.upstream?.meter?.headerBytesReceived ?? 0),
  UPSTREAM_HEADER_BYTES_SENT: count((stream) => stream.upstream?.meter?.headerBytesSent ?? 0),
  UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED: count(
    (stream) => stream.upstream?.meter?.decompressedHeaderBytesReceived ?? 0,
  ),
  UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT: count((stream) => stream.upstream?.meter?.decompressedHeaderBytesSent ?? 0),

  DOWNSTREAM_LOCAL_ADDRESS: address(localAddress),
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: withoutPort(localAddress),
  DOWNSTREAM_LOCAL_PORT: port(localAddress),
  DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID: endpointId(localAddress),
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS: address(directLocal),
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT: withoutPort(directLocal),
  DOWNSTREAM_DIRECT_LOCAL_PORT: port(directLocal),
  DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID: endpointId(directLocal),
  DOWNSTREAM_REMOTE_ADDRESS: address(remoteAddress),
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: withoutPort(remoteAddress),
  DOWNSTREAM_REMOTE_PORT: port(remoteAddress),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: address(directRemote),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: withoutPort(directRemote),
  DOWNSTREAM_DIRECT_REMOTE_PORT: port(directRemote),
  UPSTREAM_LOCAL_ADDRESS: address(upstreamLocal),
  UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: withoutPort(upstreamLocal),
  UPSTREAM_LOCAL_PORT: port(upstreamLocal),
  UPSTREAM_REMOTE_ADDRESS: address(upstreamRemote),
  UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: withoutPort(upstreamRemote),
  UPSTREAM_REMOTE_PORT: port(upstreamRemote),
  UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID: endpointId(upstreamRemote),
  UPSTREAM_HOST: address(upstreamHost),
  UPSTREAM_HOST_NAME: text((stream) => {
    const host = stream.upstream?.host ?? null;
    return host === null ? null : hostName(host);
  }),
  UPSTREAM_HOST_NAME_WITHOUT_PORT: text((stream) => {
    const host = stream.upstream?.host ?? null;
    return host === null ? null : withoutHostPort(hostName(host));
  }),
  UPSTREAM_HOSTS_ATTEMPTED: attempted((host) => host.address.text),
  UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT: attempted((host) => addressText(host.address, AddressPart.WithoutPort)),
  UPSTREAM_HOST_NAMES_ATTEMPTED: attempted(hostName),
  UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT: attempted((host) => withoutHostPort(hostName(host))),
  UPSTREAM_CLUSTER: named((stream) => upstreamName(stream.upstream)),
  UPSTREAM_CLUSTER_RAW: named((stream) => stream.upstream?.clusterName),
  UPSTREAM_CONNECTION_ID: count((stream) => stream.upstream?.connection?.id ?? 0),
  UPSTREAM_CONNECTION_IDS_ATTEMPTED: text((stream) => {
    const ids = stream.upstream?.connectionIdsAttempted;
    return ids === undefined || ids.length === 0 ? null : ids.join(',');
  }),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: count((stream) => stream.upstream?.attemptCount ?? 0),
  UPSTREAM_TRANSPORT_FAILURE_REASON: reason((stream) => stream.upstream?.transportFailureReason),
  UPSTREAM_LOCAL_CLOSE_REASON: reason((stream) => stream.upstream?.connection?.localCloseReason),
  UPSTREAM_DETECTED_CLOSE_TYPE: text((stream) => upstreamCloseType(stream)),

  CONNECTION_ID: count((stream) => stream.connection?.id ?? 0),
  DOWNSTREAM_TRANSPORT_FAILURE_REASON: reason((stream) => stream.connection?.transportFailureReason),
  DOWNSTREAM_LOCAL_CLOSE_REASON: reason((stream) => stream.connection?.localCloseReason),
  DOWNSTREAM_DETECTED_CLOSE_TYPE: text(({ connection }) =>
    connection?.sentReset ? 'LocalReset' : closeType(connection),
  ),
  DOWNSTREAM_CX_RTT: count(({ connection }) => {
    const ms = connection === null ? -1 : connection.roundTripMs();
    return ms < 0 ? null : ms;
  }),
  FILTER_CHAIN_NAME: named((stream) => stream.connection?.filterChainName),
  LISTENER_NAME: named((stream) => stream.listener?.name),
  ROUTE_NAME: named((stream) => stream.route?.name),
  ROUTE_RESOLUTION_COUNT: count((stream) => stream.routeResolutionCount),
  ROUTE_RESOLUTION_TIME_US: unsupported('route lookups are not timed'),
  VIRTUAL_CLUSTER_NAME: named((stream) => stream.virtualClusterName),
  STREAM_ID: plain(
    () =>
      new ContextSegment((context) => {
        const id = context.stream.requestId;
        return id === '' ? (context.requestHeaders?.get('x-request-id') ?? null) : id;
      }),
  ),
  UNIQUE_ID: plain(() => new ContextSegment(() => crypto.randomUUID())),
  TRACE_ID: named((stream) => stream.traceId),
  SPAN_ID: named((stream) => stream.spanId),
  HOSTNAME: plain(() => new FixedSegment(wireText(hostname()))),
  ENVIRONMENT: withArgument(
    'required',
    true,
    (name, maxLength) => new FixedSegment(truncated(wireText(process.env[name] ?? '-'), maxLength)),
  ),

  TLS_JA3_FINGERPRINT: named((stream) => stream.connection?.ja3),
  TLS_JA4_FINGERPRINT: named((stream) => stream.connection?.ja4),
  ...TLS_OPERATORS,
};
