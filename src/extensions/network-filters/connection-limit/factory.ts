import type { Message } from '@bufbuild/protobuf';
import type { ConnectionLimit as ConnectionLimitMessage } from '../../../api/gen/envoy/extensions/filters/network/connection_limit/v3/connection_limit_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { durationMsOr } from '../../../config/builders/durations.ts';
import { buildFeatureFlag, FEATURE_FLAG_SUPPORT } from '../../../config/builders/feature-flag.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { NetworkFilterBuilder } from '../../../net/filter.ts';
import type { ConnectionContext } from '../../../pipeline/environment.ts';
import { CONNECTION_LIMIT_STATS, ConnectionLimit, ConnectionLimitFilter } from './filter.ts';

const NAME = 'envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit';

function build(config: ConnectionLimitMessage, context: BuildContext): NetworkFilterBuilder<ConnectionContext> {
  const { stats } = context.shared;
  const delayMs = durationMsOr(config.delay, 0);
  const enabled = buildFeatureFlag(context, config.runtimeEnabled);
  const group = CONNECTION_LIMIT_STATS.create(stats, `connection_limit.${config.statPrefix}`);
  const cellName = `connection_limit ${context.path}`;
  let limit: ConnectionLimit | null = null;
  return {
    isTerminal: false,
    createFilter({ environment }) {
      const cell = environment.shared.cell(cellName);
      limit ??= new ConnectionLimit(group, Number(config.maxConnections ?? 0n), delayMs, enabled, cell);
      return new ConnectionLimitFilter(limit);
    },
  };
}

/** Source: envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit. The limit holds for all workers together. */
export const connectionLimitFilter: ExtensionFactory<'network-filter'> = {
  kind: 'network-filter',
  name: 'envoy.filters.network.connection_limit',
  configType: NAME,
  support: [{ message: NAME, fields: '*' }, FEATURE_FLAG_SUPPORT],
  build: (config: Message, context) => build(config as ConnectionLimitMessage, context),
};
