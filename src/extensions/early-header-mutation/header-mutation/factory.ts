import type { Message } from '@bufbuild/protobuf';
import type { HeaderMutation } from '../../../api/gen/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { buildHeaderEdits, HEADER_EDIT_SUPPORT } from '../../../config/builders/header-edits.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { EarlyHeaderMutation } from '../../../pipeline/connection-manager-config.ts';
import { EarlyHeaderEdits } from './mutation.ts';

const NAME = 'envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation';

function build(message: HeaderMutation, context: BuildContext): EarlyHeaderMutation | null {
  const before = context.errorCount;
  const edits = buildHeaderEdits(context, 'mutations', message.mutations);
  return context.errorCount > before ? null : new EarlyHeaderEdits(edits);
}

/** envoy.http.early_header_mutation.header_mutation: changes request headers before anything looks at them. */
export const earlyHeaderMutation: ExtensionFactory<'early-header-mutation'> = {
  kind: 'early-header-mutation',
  name: 'envoy.http.early_header_mutation.header_mutation',
  configType: NAME,
  support: [...HEADER_EDIT_SUPPORT, { message: NAME, fields: '*' }],
  build: (message: Message, context) => build(message as HeaderMutation, context),
};
