import type { Message } from '@bufbuild/protobuf';
import type { HealthCheck } from '../../../api/gen/envoy/extensions/filters/http/health_check/v3/health_check_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { durationMsOr } from '../../../config/builders/durations.ts';
import { buildHeaderMatchers } from '../../../config/builders/route-config-matchers.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { HttpFilterBuilder } from '../../../pipeline/http-filter.ts';
import { HealthCheckFilter, type HealthCheckSettings } from './filter.ts';
import { HealthCheckCache } from './health-check-cache.ts';

const NAME = 'envoy.extensions.filters.http.health_check.v3.HealthCheck';

function build(message: HealthCheck, context: BuildContext): HttpFilterBuilder | null {
  const before = context.errorCount;
  const passThrough = message.passThroughMode ?? false;
  const cacheMs = durationMsOr(message.cacheTime, 0);
  if (!passThrough && cacheMs > 0) {
    context.refuse('cache_time', 'cache_time_ms must not be set when path_through_mode is disabled');
  }
  const settings: HealthCheckSettings = {
    passThrough,
    headers: buildHeaderMatchers(context, 'headers', message.headers),
    minHealthy: Object.entries(message.clusterMinHealthyPercentages)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([cluster, percent]) => ({ cluster, percent: percent.value })),
  };
  if (context.errorCount > before) return null;
  let cache: HealthCheckCache | null = null;
  return {
    isTerminal: false,
    createFilter: ({ environment, listener }) => {
      if (cacheMs > 0) {
        cache ??= new HealthCheckCache(
          cacheMs,
          environment.shared.cell(`health_check|${listener.name}|${context.path}`),
        );
      }
      return new HealthCheckFilter(settings, cache, environment);
    },
  };
}

/** envoy.filters.http.health_check: answers health checks of the proxy itself, or caches the upstream's answers. */
export const healthCheckFilter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.health_check',
  aliases: ['envoy.health_check'],
  configType: NAME,
  support: [
    { message: NAME, fields: '*' },
    { message: 'envoy.type.v3.Percent', fields: '*' },
  ],
  build: (message: Message, context) => build(message as HealthCheck, context),
};
