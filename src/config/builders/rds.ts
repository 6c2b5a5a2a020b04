import type { Rds } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.d.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildConfigSource, CONFIG_SOURCE_SUPPORT, digestOf, type RouteDependency } from './config-source.ts';

export const RDS_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.extensions.filters.network.http_connection_manager.v3.Rds', fields: '*' },
  ...CONFIG_SOURCE_SUPPORT,
];

/** A discovered route table: who wants it is told to `context.shared.routeDependencies`. */
export function buildRds(context: BuildContext, message: Rds, statPrefix: string): RouteDependency | null {
  const source = buildConfigSource(context, 'config_source', message.configSource);
  if (source === null) return null;
  const key = `${message.routeConfigName}|${digestOf(context, message)}`;
  const dependency = { key, name: message.routeConfigName, source, statPrefix: `http.${statPrefix}` };
  context.shared.routeDependencies?.push(dependency);
  return dependency;
}
