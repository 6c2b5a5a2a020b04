import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { HttpInspectorFilter } from './filter.ts';

const NAME = 'envoy.extensions.filters.listener.http_inspector.v3.HttpInspector';

/** Source: envoy.extensions.filters.listener.http_inspector.v3.HttpInspector. */
export const httpInspectorFilter: ExtensionFactory<'listener-filter'> = {
  kind: 'listener-filter',
  name: 'envoy.filters.listener.http_inspector',
  aliases: ['envoy.listener.http_inspector'],
  configType: NAME,
  support: [{ message: NAME, fields: '*' }],
  build: (_config, context) => {
    // Not of the listener: all inspectors of the process count together.
    const { stats } = context.shared;
    const settings = {
      http10_found: stats.counter('http_inspector.http10_found'),
      http11_found: stats.counter('http_inspector.http11_found'),
      http2_found: stats.counter('http_inspector.http2_found'),
      http_not_found: stats.counter('http_inspector.http_not_found'),
      read_error: stats.counter('http_inspector.read_error'),
    };
    return () => ({ createFilter: () => new HttpInspectorFilter(settings) });
  },
};
