import type { PreviousPrioritiesConfig } from '../../../api/gen/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config_pb.d.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { RetryPriorityFactory } from '../../../pipeline/router/retry-plugins.ts';
import { PreviousPriorities } from './retry-priority.ts';

/** Source: envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig. */
export const previousPrioritiesRetry: ExtensionFactory<'retry-priority', PreviousPrioritiesConfig> = {
  kind: 'retry-priority',
  name: 'envoy.retry_priorities.previous_priorities',
  configType: 'envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig',
  support: [
    { message: 'envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig', fields: '*' },
  ],
  build(config): RetryPriorityFactory {
    const { updateFrequency } = config;
    return { create: () => new PreviousPriorities(updateFrequency) };
  },
};
