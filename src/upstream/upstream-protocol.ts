import { Protocol } from '../http/codec.ts';
import { NO_SOCKET_OPTIONS, type TransportSocketOptions } from '../net/transport-socket.ts';

/** How a cluster chooses the protocol of its connections. */
export const ProtocolChoice = {
  Http1: 0,
  Http2: 1,
  /** As the downstream's (`use_downstream_protocol_config`). */
  Downstream: 2,
  /** By ALPN (`auto_config`). */
  Auto: 3,
} as const;
export type ProtocolChoice = (typeof ProtocolChoice)[keyof typeof ProtocolChoice];

/** Kinds of HTTP pools; they number the slots of a host. */
export const PoolKind = { Http1: 0, Http2: 1, Auto: 2 } as const;
export type PoolKind = (typeof PoolKind)[keyof typeof PoolKind];

/** What ALPN offers unless the configuration or the request says otherwise. */
const ALPN_OF_KIND: readonly (readonly string[])[] = [['http/1.1'], ['h2'], ['h2', 'http/1.1']];
const PLAIN_OPTIONS: readonly TransportSocketOptions[] = ALPN_OF_KIND.map((applicationProtocolFallback) => ({
  ...NO_SOCKET_OPTIONS,
  applicationProtocolFallback,
}));

export function poolKind(choice: ProtocolChoice, downstream: Protocol | null): PoolKind {
  switch (choice) {
    case ProtocolChoice.Http1:
      return PoolKind.Http1;
    case ProtocolChoice.Http2:
      return PoolKind.Http2;
    case ProtocolChoice.Auto:
      return PoolKind.Auto;
    default:
      return downstream !== null && downstream >= Protocol.Http2 ? PoolKind.Http2 : PoolKind.Http1;
  }
}

/** Source: Envoy, wrapTransportSocketOptions. */
export function withAlpnFallback(options: TransportSocketOptions, kind: PoolKind): TransportSocketOptions {
  if (options.key === '') return PLAIN_OPTIONS[kind]!;
  return { ...options, applicationProtocolFallback: ALPN_OF_KIND[kind]! };
}
