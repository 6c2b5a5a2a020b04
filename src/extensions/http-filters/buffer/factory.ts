import type { Message } from '@bufbuild/protobuf';
import type {
  Buffer as BufferMessage,
  BufferPerRoute,
} from '../../../api/gen/envoy/extensions/filters/http/buffer/v3/buffer_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { BufferFilter, type BufferSettings } from './filter.ts';

const PACKAGE = 'envoy.extensions.filters.http.buffer.v3';

function settings(message: BufferMessage): BufferSettings {
  return { disabled: false, maxRequestBytes: message.maxRequestBytes ?? 0 };
}

function routeSettings(message: BufferPerRoute): BufferSettings {
  const { override } = message;
  return override.case === 'buffer' ? settings(override.value) : { disabled: true, maxRequestBytes: 0 };
}

/** envoy.filters.http.buffer: waits for the whole request before it goes on. */
export const bufferFilter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.buffer',
  aliases: ['envoy.buffer'],
  configType: `${PACKAGE}.Buffer`,
  support: [
    { message: `${PACKAGE}.Buffer`, fields: '*' },
    { message: `${PACKAGE}.BufferPerRoute`, fields: '*' },
  ],
  build: (message: Message) => {
    const own = settings(message as BufferMessage);
    return { isTerminal: false, createFilter: () => new BufferFilter(own) };
  },
  routeConfigType: `${PACKAGE}.BufferPerRoute`,
  buildRoute: (message: Message) => routeSettings(message as BufferPerRoute),
};
