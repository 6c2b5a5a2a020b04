import type { LeastRequest } from '../../../api/gen/envoy/extensions/load_balancing_policies/least_request/v3/least_request_pb.d.ts';
import {
  activeRequestBias,
  buildLocalitySettings,
  buildSlowStart,
  LOCALITY_LB_SUPPORT,
} from '../../../config/builders/balancers.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { LeastRequestPolicy } from '../../../upstream/balancing/least-request.ts';

const FULL_SCAN = 1;

/** Source: envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest. */
export const leastRequestPolicy: ExtensionFactory<'load-balancing-policy', LeastRequest> = {
  kind: 'load-balancing-policy',
  name: 'envoy.load_balancing_policies.least_request',
  configType: 'envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest',
  support: [
    { message: 'envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest', fields: '*' },
    ...LOCALITY_LB_SUPPORT,
  ],
  build(config, context) {
    return new LeastRequestPolicy({
      choiceCount: config.choiceCount ?? 2,
      fullScan: config.selectionMethod === FULL_SCAN || config.enableFullScan === true,
      activeRequestBias: activeRequestBias(context, 'active_request_bias', config.activeRequestBias),
      locality: buildLocalitySettings(config.localityLbConfig),
      slowStart: buildSlowStart(context, 'slow_start_config', config.slowStartConfig),
    });
  },
};
