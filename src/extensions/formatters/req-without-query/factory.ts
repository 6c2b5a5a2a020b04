import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import { REQ_WITHOUT_QUERY } from '../../../pipeline/format/header-operators.ts';
import { TableParser } from '../../../pipeline/format/operator-table.ts';

/** `%REQ_WITHOUT_QUERY(X?Y):Z%`: a request header without what follows a question mark. */
export const reqWithoutQueryFormatter: ExtensionFactory<'formatter'> = {
  kind: 'formatter',
  name: 'envoy.formatter.req_without_query',
  configType: 'envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery',
  support: [{ message: 'envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery', fields: '*' }],
  build: () => new TableParser({ REQ_WITHOUT_QUERY }),
};
