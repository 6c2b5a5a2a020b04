import type { PreviousHostsPredicate } from '../../../api/gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { RetryHostPredicate, RetryHostPredicateFactory } from '../../../pipeline/router/retry-plugins.ts';
import type { Host } from '../../../upstream/host.ts';

/** Avoids hosts that this request has tried already. */
class PreviousHosts implements RetryHostPredicate {
  readonly #attempted: Host[] = [];

  shouldSelectAnotherHost(host: Host): boolean {
    return this.#attempted.includes(host);
  }

  onHostAttempted(host: Host): void {
    this.#attempted.push(host);
  }
}

const FACTORY: RetryHostPredicateFactory = { create: () => new PreviousHosts() };

/** Source: envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate. */
export const previousHostsPredicate: ExtensionFactory<'retry-host-predicate', PreviousHostsPredicate> = {
  kind: 'retry-host-predicate',
  name: 'envoy.retry_host_predicates.previous_hosts',
  configType: 'envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate',
  support: [{ message: 'envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate', fields: '*' }],
  build: () => FACTORY,
};
