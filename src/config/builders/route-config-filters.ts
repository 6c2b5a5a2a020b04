import type { Any } from '@bufbuild/protobuf/wkt';
import type { CorsPolicy, FilterConfig } from '../../api/gen/envoy/config/route/v3/route_components_pb.d.ts';
import { ROUTE_CORS_KEY } from '../../routing/cors-policy.ts';
import { FilterConfigs } from '../../routing/filter-configs.ts';
import type { BuildContext } from '../build-context.ts';
import { buildCorsPolicy } from './cors-policy.ts';

const FILTER_CONFIG_TYPE = 'envoy.config.route.v3.FilterConfig';

/**
 * `typed_per_filter_config` of one level. Source: Envoy, PerFilterConfigs.
 * @param cors the level's deprecated `cors`, which the cors filter finds by ROUTE_CORS_KEY
 */
export function buildFilterConfigs(
  context: BuildContext,
  messages: { readonly [name: string]: Any },
  cors?: CorsPolicy,
  corsField = 'cors',
): FilterConfigs {
  const names = Object.keys(messages);
  if (names.length === 0 && cors === undefined) return FilterConfigs.NONE;
  const configs = new Map<string, unknown>();
  if (cors !== undefined) configs.set(ROUTE_CORS_KEY, buildCorsPolicy(context.at(corsField), cors));
  const disabled = new Map<string, boolean>();
  for (const name of names) {
    const field = `typed_per_filter_config[${JSON.stringify(name)}]`;
    const message = context.unpack(field, messages[name]);
    if (message === null) continue;
    if (message.$typeName !== FILTER_CONFIG_TYPE) {
      buildOne(context, field, name, messages[name]!, false, configs);
      disabled.set(name, false);
      continue;
    }
    const wrapper = message as FilterConfig;
    disabled.set(name, wrapper.disabled);
    if (wrapper.disabled) continue;
    if (wrapper.config === undefined) {
      context.refuse(`${field}.config`, `Empty route/virtual host per filter configuration for ${name} filter`);
    } else if (wrapper.config.typeUrl !== '') {
      buildOne(context, `${field}.config`, name, wrapper.config, wrapper.isOptional, configs);
    }
  }
  return new FilterConfigs(configs, disabled);
}

function buildOne(
  context: BuildContext,
  field: string,
  name: string,
  any: Any,
  optional: boolean,
  configs: Map<string, unknown>,
): void {
  const message = context.unpack(field, any);
  if (message === null) return;
  const factory = context.shared.extensions.findByRouteType(message.$typeName);
  if (factory?.buildRoute === undefined) {
    if (optional) return;
    context.refuse(
      field,
      `Didn't find a registered implementation for '${name}' with type URL: '${message.$typeName}'`,
      'the filter is not supported yet or takes no configuration per route',
    );
    return;
  }
  const built = factory.buildRoute(message, context.at(field));
  if (built !== null) configs.set(name, built);
}
