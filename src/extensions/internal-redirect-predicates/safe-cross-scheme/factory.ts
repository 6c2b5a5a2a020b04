import type { SafeCrossSchemeConfig } from '../../../api/gen/envoy/extensions/internal_redirect/safe_cross_scheme/v3/safe_cross_scheme_config_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { RedirectPredicate } from '../../../pipeline/router/redirect-predicates.ts';

const MESSAGE = 'envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig';

const PREDICATE: RedirectPredicate = { accepts: ({ fromSecure, toSecure }) => fromSecure || !toSecure };

/** With `allow_cross_scheme_redirect`: what came in plain text does not go on to https. */
export const safeCrossSchemePredicate: ExtensionFactory<'internal-redirect-predicate', SafeCrossSchemeConfig> = {
  kind: 'internal-redirect-predicate',
  name: 'envoy.internal_redirect_predicates.safe_cross_scheme',
  configType: MESSAGE,
  support: [{ message: MESSAGE, fields: '*' }],
  build: () => PREDICATE,
};
