import type { SocketOption as SocketOptionMessage } from '../../api/gen/envoy/config/core/v3/socket_option_pb.d.ts';
import type { SocketOption } from '../../net/transport.ts';
import type { BuildContext } from '../build-context.ts';

const STATES = ['prebind', 'bound', 'listening'] as const;

/** envoy.config.core.v3.SocketOption messages at run time. */
export function buildSocketOptions(
  context: BuildContext,
  field: string,
  messages: readonly SocketOptionMessage[],
): SocketOption[] {
  const options: SocketOption[] = [];
  messages.forEach((message, index) => {
    if (message.type !== undefined) context.refuse(`${field}[${index}].type`, 'socket types are not supported yet');
    options.push({
      level: Number(message.level),
      name: Number(message.name),
      value: message.value.case === 'bufValue' ? message.value.value : Number(message.value.value ?? 0n),
      state: STATES[message.state] ?? 'prebind',
    });
  });
  return options;
}
