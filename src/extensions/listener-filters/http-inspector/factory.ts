import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { defineStats } from '../../../stats/stat-group.ts';
import { HttpInspectorFilter } from './filter.ts';

const NAME = 'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector';

const STATS = defineStats({
  counters: ['http10_found', 'http11_found', 'http2_found', 'http_not_found', 'read_error'],
});

/** Source: envoy.extensions.filters.listener.http_inspector.v3.HttpInspector. */
export const httpInspectorFilter: ExtensionFactory<'listener-filter'> = {
  kind: 'listener-filter',
  name: 'envoy.filters.listener.http_inspector',
  aliases: ['envoy.listener.http_inspector'],
  configType: NAME,
  support: [{ message: NAME, fields: '*' }],
  build: (_config, context) => {
    const stats = STATS.create(context.shared.stats, 'http_inspector');
    return () => ({ createFilter: () => new HttpInspectorFilter(stats) });
  },
};
