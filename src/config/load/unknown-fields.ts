import type { DescMessage, Message } from '@bufbuild/protobuf';
import type { ApiRegistry } from '../../api/api-registry.ts';
import { numberOfUnknown } from '../../api/sound-encoding.ts';
import { type ConfigError, configError } from '../diagnostics/config-error.ts';
import { FieldPath } from '../field-path.ts';
import type { AnyMessages } from './any-messages.ts';
import { type KnownMessages, NO_MESSAGES, walkMessage } from './message-walk.ts';

/**
 * Reports fields that the API does not know in a message that came as bytes, those inside Anys too.
 * @param known messages that have none
 */
export function checkUnknownFields(
  message: Message,
  desc: DescMessage,
  anys: AnyMessages,
  api: ApiRegistry,
  into: ConfigError[],
  mode: 'reject' | 'warn',
  known: KnownMessages = NO_MESSAGES,
): void {
  const severity = mode === 'warn' ? 'warning' : 'error';
  walkMessage(message, desc, new FieldPath(''), api, anys, {
    message(inner, innerDesc, path) {
      if (known.has(inner)) return false;
      const unknown = inner.$unknown;
      if (unknown !== undefined && unknown.length > 0) {
        const numbers = [...new Set(unknown.map(({ no }) => numberOfUnknown(no)))].join(', ');
        into.push(configError(severity, path.text, `${innerDesc.typeName} has no field with the number ${numbers}`));
      }
      return true;
    },
    broken(_any, reason, path) {
      into.push(configError('error', path.text, reason));
    },
  });
}
