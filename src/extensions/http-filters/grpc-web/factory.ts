import type { Message } from '@bufbuild/protobuf';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { MethodStatsTable } from '../../../grpc/method-stats.ts';
import { GrpcWebFilter } from './filter.ts';

const NAME = 'envoy.extensions.filters.http.grpc_web.v3.GrpcWeb';

/** envoy.filters.http.grpc_web: gRPC for browsers. */
export const grpcWebFilter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.grpc_web',
  aliases: ['envoy.grpc_web'],
  configType: NAME,
  support: [{ message: NAME, fields: '*' }],
  build: (_message: Message) => {
    const table = new MethodStatsTable('grpc-web');
    return { isTerminal: false, createFilter: ({ environment }) => new GrpcWebFilter(table, environment.clusters) };
  },
};
