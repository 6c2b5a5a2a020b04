import { isDeepStrictEqual } from 'node:util';
import type { OmitHostMetadataConfig } from '../../../api/gen/envoy/extensions/retry/host/omit_host_metadata/v3/omit_host_metadata_config_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { RetryHostPredicate, RetryHostPredicateFactory } from '../../../pipeline/router/retry-plugins.ts';
import type { Host } from '../../../upstream/host.ts';

/** The namespace that is matched (Envoy: MetadataFilters::ENVOY_LB); others are ignored. */
const NAMESPACE = 'envoy.lb';

/** Avoids hosts whose metadata holds all the given values. Without state: one serves all requests. */
class OmitHostMetadata implements RetryHostPredicate {
  readonly #criteria: readonly [string, unknown][];

  constructor(criteria: readonly [string, unknown][]) {
    this.#criteria = criteria;
  }

  shouldSelectAnotherHost(host: Host): boolean {
    if (this.#criteria.length === 0) return false;
    const metadata = host.metadata[NAMESPACE];
    if (metadata === undefined) return false;
    for (const [key, value] of this.#criteria) if (!isDeepStrictEqual(metadata[key], value)) return false;
    return true;
  }

  onHostAttempted(): void {}
}

/** Source: envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig. */
export const omitHostMetadataPredicate: ExtensionFactory<'retry-host-predicate', OmitHostMetadataConfig> = {
  kind: 'retry-host-predicate',
  name: 'envoy.retry_host_predicates.omit_host_metadata',
  configType: 'envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig',
  support: [
    { message: 'envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig', fields: '*' },
    { message: 'envoy.config.core.v3.Metadata', fields: 'filter_metadata', inert: 'typed_filter_metadata' },
  ],
  build(config): RetryHostPredicateFactory {
    const predicate = new OmitHostMetadata(Object.entries(config.metadataMatch?.filterMetadata[NAMESPACE] ?? {}));
    return { create: () => predicate };
  },
};
