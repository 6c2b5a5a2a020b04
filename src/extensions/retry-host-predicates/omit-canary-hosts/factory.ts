import type { OmitCanaryHostsPredicate } from '../../../api/gen/envoy/extensions/retry/host/omit_canary_hosts/v3/omit_canary_hosts_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { RetryHostPredicate, RetryHostPredicateFactory } from '../../../pipeline/router/retry-plugins.ts';

/** Avoids hosts whose `envoy.lb` metadata says `canary: true`. Without state: one serves all requests. */
const OMIT_CANARIES: RetryHostPredicate = {
  shouldSelectAnotherHost: (host) => host.isCanary,
  onHostAttempted() {},
};
const FACTORY: RetryHostPredicateFactory = { create: () => OMIT_CANARIES };

/** Source: envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate. */
export const omitCanaryHostsPredicate: ExtensionFactory<'retry-host-predicate', OmitCanaryHostsPredicate> = {
  kind: 'retry-host-predicate',
  name: 'envoy.retry_host_predicates.omit_canary_hosts',
  configType: 'envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate',
  support: [{ message: 'envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate', fields: '*' }],
  build: () => FACTORY,
};
