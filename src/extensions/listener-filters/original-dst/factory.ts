import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { OriginalDstFilter } from './filter.ts';

const NAME = 'envoy.extensions.filters.listener.original_dst.v3.OriginalDst';

/** Source: envoy.extensions.filters.listener.original_dst.v3.OriginalDst. */
export const originalDstFilter: ExtensionFactory<'listener-filter'> = {
  kind: 'listener-filter',
  name: 'envoy.filters.listener.original_dst',
  aliases: ['envoy.listener.original_dst'],
  configType: NAME,
  support: [{ message: NAME, fields: '*' }],
  build: () => {
    const filter = new OriginalDstFilter();
    return () => ({ createFilter: () => filter });
  },
};
