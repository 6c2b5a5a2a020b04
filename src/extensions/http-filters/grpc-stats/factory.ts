import type { Message } from '@bufbuild/protobuf';
import type { FilterConfig } from '../../../api/gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { MethodStatsTable } from '../../../grpc/method-stats.ts';
import { GrpcStatsFilter, type GrpcStatsSettings } from './filter.ts';

const NAME = 'envoy.extensions.filters.http.grpc_stats.v3.FilterConfig';

function settingsOf(message: FilterConfig): GrpcStatsSettings {
  const specifier = message.perMethodStatSpecifier;
  let allowlist: Set<string> | null = null;
  if (specifier.case === 'individualMethodStatsAllowlist') {
    allowlist = new Set();
    for (const { name, methodNames } of specifier.value.services) {
      for (const method of methodNames) allowlist.add(`${name}/${method}`);
    }
  }
  return {
    forAllMethods: specifier.case === 'statsForAllMethods' && specifier.value.value,
    allowlist,
    upstreamStats: message.enableUpstreamStats,
    emitFilterState: message.emitFilterState,
    replaceDots: message.replaceDotsInGrpcServiceName,
  };
}

/** envoy.filters.http.grpc_stats: counts calls and messages by service and method. */
export const grpcStatsFilter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.grpc_stats',
  aliases: ['envoy.grpc_stats'],
  configType: NAME,
  support: [
    { message: NAME, fields: '*' },
    { message: 'envoy.config.core.v3.GrpcMethodList', fields: '*' },
    { message: 'envoy.config.core.v3.GrpcMethodList.Service', fields: '*' },
  ],
  build: (config: Message) => {
    const settings = settingsOf(config as FilterConfig);
    const table = new MethodStatsTable('grpc');
    return {
      isTerminal: false,
      createFilter: ({ environment }) => new GrpcStatsFilter(settings, table, environment.clusters),
    };
  },
};
