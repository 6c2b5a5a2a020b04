import type { RuntimeFractionalPercent } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { CorsPolicy as RouteCorsPolicy } from '../../api/gen/envoy/config/route/v3/route_components_pb.d.ts';
import type { CorsPolicy as FilterCorsPolicy } from '../../api/gen/envoy/extensions/filters/http/cors/v3/cors_pb.d.ts';
import type { CorsPolicy } from '../../routing/cors-policy.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildRuntimeFraction, buildStringMatcher } from './route-config-matchers.ts';

export const CORS_SUPPORT: readonly FieldSupport[] = [{ message: 'envoy.config.route.v3.CorsPolicy', fields: '*' }];

/** A policy of a route, a virtual host or a `typed_per_filter_config`; `context` stands at it. */
export function buildCorsPolicy(context: BuildContext, message: FilterCorsPolicy | RouteCorsPolicy): CorsPolicy {
  let enabled: RuntimeFractionalPercent | undefined;
  if ('enabledSpecifier' in message) {
    enabled = message.enabledSpecifier.case === 'filterEnabled' ? message.enabledSpecifier.value : undefined;
  } else {
    enabled = message.filterEnabled;
  }
  return {
    allowOrigins: message.allowOriginStringMatch
      .map((each, i) => buildStringMatcher(context, `allow_origin_string_match[${i}]`, each))
      .filter((each) => each !== null),
    allowMethods: wireText(message.allowMethods),
    allowHeaders: wireText(message.allowHeaders),
    exposeHeaders: wireText(message.exposeHeaders),
    maxAge: wireText(message.maxAge),
    allowCredentials: message.allowCredentials ?? null,
    allowPrivateNetworkAccess: message.allowPrivateNetworkAccess ?? null,
    forwardNotMatchingPreflights: message.forwardNotMatchingPreflights ?? null,
    enabled: enabled === undefined ? null : buildRuntimeFraction(context, enabled),
    shadowEnabled: message.shadowEnabled === undefined ? null : buildRuntimeFraction(context, message.shadowEnabled),
  };
}
