import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.d.ts';
import type { ScopedRouteConfiguration } from '../../api/gen/envoy/config/route/v3/scoped_route_pb.d.ts';
import type {
  ScopedRoutes_ScopeKeyBuilder,
  ScopedRoutes as ScopedRoutesMessage,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.d.ts';
import { type HeaderFragment, ScopeSet, scopeKey } from '../../routing/scoped-routes.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildConfigSource, CONFIG_SOURCE_SUPPORT, digestOf, type SourceSpec } from './config-source.ts';
import { buildRouteTable } from './route-config.ts';

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3';
const KEY_BUILDER = `${HCM}.ScopedRoutes.ScopeKeyBuilder`;

export const SCOPED_ROUTES_SUPPORT: readonly FieldSupport[] = [
  { message: `${HCM}.ScopedRoutes`, fields: '*' },
  { message: KEY_BUILDER, fields: '*' },
  { message: `${KEY_BUILDER}.FragmentBuilder`, fields: '*' },
  { message: `${KEY_BUILDER}.FragmentBuilder.HeaderValueExtractor`, fields: '*' },
  { message: `${KEY_BUILDER}.FragmentBuilder.HeaderValueExtractor.KvElement`, fields: '*' },
  { message: `${HCM}.ScopedRds`, fields: 'scoped_rds_config_source', refused: 'srds_resources_locator' },
  { message: `${HCM}.ScopedRouteConfigurationsList`, fields: '*' },
  { message: 'envoy.config.route.v3.ScopedRouteConfiguration', fields: '*' },
  { message: 'envoy.config.route.v3.ScopedRouteConfiguration.Key', fields: '*' },
  { message: 'envoy.config.route.v3.ScopedRouteConfiguration.Key.Fragment', fields: '*' },
  ...CONFIG_SOURCE_SUPPORT,
];

/** Discovered scopes: who wants them, and where the route tables come from that they name. */
export interface ScopeDependency {
  /** What the scopes of a worker are kept under: equal for equal sources and names. */
  readonly key: string;
  readonly name: string;
  readonly source: SourceSpec;
  /** Of the route tables; absent: scopes must bring their own. */
  readonly rdsSource: ConfigSource | undefined;
  /** The connection manager's: `http.<prefix>`. */
  readonly statPrefix: string;
}

export type BuiltScopes =
  | { readonly kind: 'fixed'; readonly fragments: readonly HeaderFragment[]; readonly scopes: ScopeSet }
  | { readonly kind: 'discovered'; readonly fragments: readonly HeaderFragment[]; readonly key: string };

/** `key` of a scope as requests are looked up by it. */
export function keyOfScope(message: ScopedRouteConfiguration): string {
  const fragments = message.key?.fragments ?? [];
  return scopeKey(fragments.map(({ type }) => wireText(type.case === 'stringKey' ? type.value : '')));
}

/**
 * `scoped_routes` of a connection manager. Whose scopes are discovered is told to `context.shared.scopeDependencies`.
 * @returns null when errors were reported
 */
export function buildScopedRoutes(
  context: BuildContext,
  message: ScopedRoutesMessage,
  statPrefix: string,
): BuiltScopes | null {
  const before = context.errorCount;
  const fragments = buildFragments(context.at('scope_key_builder'), message.scopeKeyBuilder);
  const { configSpecifier } = message;
  if (configSpecifier.case === 'scopedRds') {
    const at = context.at('scoped_rds');
    const { scopedRdsConfigSource, srdsResourcesLocator } = configSpecifier.value;
    if (srdsResourcesLocator !== '') {
      at.refuse('srds_resources_locator', 'xdstp collections are not supported yet', 'name no locator');
    }
    const source = buildConfigSource(at, 'scoped_rds_config_source', scopedRdsConfigSource);
    if (message.rdsConfigSource !== undefined) buildConfigSource(context, 'rds_config_source', message.rdsConfigSource);
    if (source === null || context.errorCount > before) return null;
    const parts = [configSpecifier.value, ...(message.rdsConfigSource === undefined ? [] : [message.rdsConfigSource])];
    const key = [message.name, ...parts.map((part) => digestOf(context, part))].join('|');
    const { name, rdsConfigSource: rdsSource } = message;
    context.shared.scopeDependencies?.push({ key, name, source, rdsSource, statPrefix: `http.${statPrefix}` });
    return { kind: 'discovered', fragments, key };
  }
  const scopes = new ScopeSet('');
  if (configSpecifier.case === 'scopedRouteConfigurationsList') {
    configSpecifier.value.scopedRouteConfigurations.forEach((scope, index) => {
      const at = context.at(`scoped_route_configurations_list.scoped_route_configurations[${index}]`);
      if (scope.routeConfiguration === undefined) {
        at.refuse('route_configuration', 'You must specify a route_configuration with inline scoped routes.');
        return;
      }
      const table = buildRouteTable(at.at('route_configuration'), scope.routeConfiguration);
      if (table === null) return;
      const tables = { current: () => table };
      scopes.set({ name: scope.name, key: keyOfScope(scope), tables });
    });
  } else {
    context.refuse('', 'scopes are missing', 'give scoped_rds or scoped_route_configurations_list');
  }
  return context.errorCount > before ? null : { kind: 'fixed', fragments, scopes };
}

function buildFragments(
  context: BuildContext,
  message: ScopedRoutes_ScopeKeyBuilder | undefined,
): readonly HeaderFragment[] {
  return (message?.fragments ?? []).map((fragment, index) => {
    const at = context.at(`fragments[${index}].header_value_extractor`);
    const extractor = fragment.type.value;
    const extractType = extractor?.extractType;
    const elementSeparator = wireText(extractor?.elementSeparator ?? '');
    if (extractType?.case === undefined) at.refuse('', 'HeaderValueExtractor extract_type not set.');
    if (extractType?.case === 'index' && extractType.value !== 0 && elementSeparator === '') {
      at.refuse('index', 'Index > 0 for empty string element separator.');
    }
    return {
      name: wireText(extractor?.name ?? '').toLowerCase(),
      elementSeparator,
      index: extractType?.case === 'index' ? extractType.value : 0,
      element:
        extractType?.case === 'element'
          ? { key: wireText(extractType.value.key), separator: wireText(extractType.value.separator) }
          : null,
    };
  });
}
