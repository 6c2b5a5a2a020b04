import type { Message } from '@bufbuild/protobuf';
import type { HttpConnectionManager } from '../../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.d.ts';
import {
  buildConnectionManager,
  CONNECTION_MANAGER_SUPPORT,
} from '../../../config/builders/http-connection-manager.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';

/** envoy.filters.network.http_connection_manager: a thin factory over `pipeline/`. */
export const httpConnectionManager: ExtensionFactory<'network-filter'> = {
  kind: 'network-filter',
  name: 'envoy.filters.network.http_connection_manager',
  aliases: ['envoy.http_connection_manager'],
  configType: 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
  support: CONNECTION_MANAGER_SUPPORT,
  build: (config: Message, context) => buildConnectionManager(context, config as HttpConnectionManager),
};
