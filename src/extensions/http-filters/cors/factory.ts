import type { Message } from '@bufbuild/protobuf';
import type { CorsPolicy as CorsPolicyMessage } from '../../../api/gen/envoy/extensions/filters/http/cors/v3/cors_pb.d.ts';
import { buildCorsPolicy, CORS_SUPPORT } from '../../../config/builders/cors-policy.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { CORS_STATS, CorsFilter } from './filter.ts';

const PACKAGE = 'envoy.extensions.filters.http.cors.v3';

/** envoy.filters.http.cors: answers preflights and marks responses for cross-origin requests. */
export const corsFilter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.cors',
  aliases: ['envoy.cors'],
  configType: `${PACKAGE}.Cors`,
  support: [
    ...CORS_SUPPORT,
    { message: `${PACKAGE}.Cors`, fields: '*' },
    { message: `${PACKAGE}.CorsPolicy`, fields: '*' },
  ],
  build: (_message: Message, context) => {
    const stats = CORS_STATS.create(context.stats, 'cors');
    return { isTerminal: false, createFilter: () => new CorsFilter(stats) };
  },
  routeConfigType: `${PACKAGE}.CorsPolicy`,
  buildRoute: (message: Message, context) => buildCorsPolicy(context, message as CorsPolicyMessage),
};
