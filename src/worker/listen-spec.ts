import type { ListenerSpec } from '../config/builders/listener.ts';
import type { Address } from '../net/address.ts';
import { keepAliveOptions, type ListenSpec, type SocketFeatures, type SocketOption } from '../net/transport.ts';

/** How one address of a listener is opened. @throws Error when the runtime lacks what the configuration asks for */
export function listenSpecOf(spec: ListenerSpec, address: Address, features: SocketFeatures): ListenSpec {
  return {
    address,
    reusePort: spec.reusePort,
    backlog: spec.backlog,
    ipv6Only: !spec.ipv4Compat,
    transparent: spec.transparent,
    freebind: spec.freebind,
    socketOptions: socketOptionsOf(spec, features),
  };
}

function socketOptionsOf(spec: ListenerSpec, features: SocketFeatures): readonly SocketOption[] {
  const { keepalive } = spec;
  const options =
    keepalive === null
      ? spec.socketOptions
      : [
          ...spec.socketOptions,
          ...keepAliveOptions(keepalive.probes, keepalive.idleSeconds, keepalive.intervalSeconds),
        ];
  if (features.socketOptions) return options;
  if (options.length > 0)
    throw new Error('this runtime cannot set socket options: remove socket_options and tcp_keepalive');
  if (spec.transparent || spec.freebind) throw new Error('this runtime knows neither transparent nor freebind');
  return options;
}
