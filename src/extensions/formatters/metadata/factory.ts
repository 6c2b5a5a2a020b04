import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { METADATA } from '../../../pipeline/format/metadata-operators.ts';
import { TableParser } from '../../../pipeline/format/operator-table.ts';

/** `%METADATA(TYPE:NAMESPACE:KEY):Z%`, which is built in; the extension is accepted as Envoy accepts it. */
export const metadataFormatter: ExtensionFactory<'formatter'> = {
  kind: 'formatter',
  name: 'envoy.formatter.metadata',
  configType: 'envoy.extensions.formatter.metadata.v3.Metadata',
  support: [{ message: 'envoy.extensions.formatter.metadata.v3.Metadata', fields: '*' }],
  build: () => new TableParser({ METADATA }),
};
