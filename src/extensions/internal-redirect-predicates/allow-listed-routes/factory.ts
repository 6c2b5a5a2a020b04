import type { AllowListedRoutesConfig } from '../../../api/gen/envoy/extensions/internal_redirect/allow_listed_routes/v3/allow_listed_routes_config_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { RedirectPredicate } from '../../../pipeline/router/redirect-predicates.ts';

const MESSAGE = 'envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig';

/** Takes only targets whose route's name is listed. */
export const allowListedRoutesPredicate: ExtensionFactory<'internal-redirect-predicate', AllowListedRoutesConfig> = {
  kind: 'internal-redirect-predicate',
  name: 'envoy.internal_redirect_predicates.allow_listed_routes',
  configType: MESSAGE,
  support: [{ message: MESSAGE, fields: '*' }],
  build(config): RedirectPredicate {
    const names = new Set(config.allowedRouteNames);
    return { accepts: ({ to }) => names.has(to) };
  },
};
