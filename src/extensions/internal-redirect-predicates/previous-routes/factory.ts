import type { PreviousRoutesConfig } from '../../../api/gen/envoy/extensions/internal_redirect/previous_routes/v3/previous_routes_config_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { RedirectPredicate } from '../../../pipeline/router/redirect-predicates.ts';

const MESSAGE = 'envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig';

const PREDICATE: RedirectPredicate = { accepts: ({ history, from, to }) => history.visit(from, to) };

/** Refuses targets to which the same route has redirected the request before. */
export const previousRoutesPredicate: ExtensionFactory<'internal-redirect-predicate', PreviousRoutesConfig> = {
  kind: 'internal-redirect-predicate',
  name: 'envoy.internal_redirect_predicates.previous_routes',
  configType: MESSAGE,
  support: [{ message: MESSAGE, fields: '*' }],
  build: () => PREDICATE,
};
