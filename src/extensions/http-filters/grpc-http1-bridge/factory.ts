import type { Message } from '@bufbuild/protobuf';
import type { Config } from '../../../api/gen/envoy/extensions/filters/http/grpc_http1_bridge/v3/config_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { GrpcHttp1BridgeFilter } from './filter.ts';

const NAME = 'envoy.extensions.filters.http.grpc_http1_bridge.v3.Config';

/** envoy.filters.http.grpc_http1_bridge: lets HTTP/1 clients call unary gRPC methods. */
export const grpcHttp1BridgeFilter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.grpc_http1_bridge',
  aliases: ['envoy.grpc_http1_bridge'],
  configType: NAME,
  support: [{ message: NAME, fields: '*' }],
  build: (message: Message) => {
    const { upgradeProtobufToGrpc, ignoreQueryParameters } = message as Config;
    return {
      isTerminal: false,
      createFilter: () => new GrpcHttp1BridgeFilter(upgradeProtobufToGrpc, ignoreQueryParameters),
    };
  },
};
