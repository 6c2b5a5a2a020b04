import type { HeaderMutation } from '../../api/gen/envoy/config/common/mutation_rules/v3/mutation_rules_pb.d.ts';
import type { CommandParser } from '../../pipeline/format/format-parser.ts';
import { type HeaderEdit, HeaderEdits } from '../../routing/header-edit.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildHeaderMutation } from './route-config-headers.ts';
import { buildStringMatcher } from './route-config-matchers.ts';

const MUTATION = 'envoy.config.common.mutation_rules.v3.HeaderMutation';

/** What `buildHeaderEdits` obeys. */
export const HEADER_EDIT_SUPPORT: readonly FieldSupport[] = [
  { message: MUTATION, fields: 'remove append remove_on_match' },
  { message: `${MUTATION}.RemoveOnMatch`, fields: '*' },
];

/** Header mutations that run one behind the other. What is wrong is reported at `field[i]` and left out. */
export function buildHeaderEdits(
  context: BuildContext,
  field: string,
  messages: readonly HeaderMutation[],
  formatters: readonly CommandParser[] = [],
): HeaderEdits {
  if (messages.length === 0) return HeaderEdits.NONE;
  const edits: HeaderEdit[] = [];
  messages.forEach((message, i) => {
    const edit = buildEdit(context, `${field}[${i}]`, message, formatters);
    if (edit !== null) edits.push(edit);
  });
  return new HeaderEdits(edits);
}

function buildEdit(
  context: BuildContext,
  field: string,
  message: HeaderMutation,
  formatters: readonly CommandParser[],
): HeaderEdit | null {
  const { action } = message;
  switch (action.case) {
    case 'remove':
      return { kind: 'remove', name: wireText(action.value).toLowerCase() };
    case 'removeOnMatch': {
      const at = `${field}.remove_on_match.key_matcher`;
      if (action.value.keyMatcher === undefined) return null;
      const names = buildStringMatcher(context, at, action.value.keyMatcher);
      return names === null ? null : { kind: 'remove-matching', names };
    }
    case 'append': {
      const built = buildHeaderMutation(context, `${field}.append`, action.value, formatters);
      if (built === null) return null;
      return {
        kind: 'append',
        name: built.name,
        value: built.value,
        action: built.action,
        keepEmptyValue: built.keepEmptyValue,
      };
    }
    default:
      context.refuse(field, 'a mutation is missing', 'set remove, append or remove_on_match');
      return null;
  }
}
