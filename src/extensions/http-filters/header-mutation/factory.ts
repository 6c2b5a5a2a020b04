import type { Message } from '@bufbuild/protobuf';
import type { KeyValueMutation } from '../../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type {
  HeaderMutation,
  HeaderMutationPerRoute,
  Mutations,
} from '../../../api/gen/envoy/extensions/filters/http/header_mutation/v3/header_mutation_pb.d.ts';
import type { BuildContext } from '../../../config/build-context.ts';
import { buildFormatters, buildTextFormat } from '../../../config/builders/format.ts';
import { buildHeaderEdits, HEADER_EDIT_SUPPORT } from '../../../config/builders/header-edits.ts';
import type { ExtensionFactory } from '../../../config/extension-registry.ts';
import type { CommandParser } from '../../../pipeline/format/format-parser.ts';
import type { HttpFilterBuilder } from '../../../pipeline/http-filter.ts';
import { HeaderEdits } from '../../../routing/header-edit.ts';
import type { AppendAction } from '../../../routing/header-mutation.ts';
import { wireText } from '../../../routing/wire-text.ts';
import { HeaderMutationFilter, type MessageMutations } from './filter.ts';
import type { QueryEdit } from './query-edit.ts';

const PACKAGE = 'envoy.extensions.filters.http.header_mutation.v3';

const NOTHING: MessageMutations = {
  request: HeaderEdits.NONE,
  query: [],
  requestTrailers: HeaderEdits.NONE,
  response: HeaderEdits.NONE,
  responseTrailers: HeaderEdits.NONE,
};

/** `context` stands at the Mutations. */
function buildMutations(context: BuildContext, message: Mutations | undefined): MessageMutations {
  if (message === undefined) return NOTHING;
  const formatters = buildFormatters(context, 'formatters', message.formatters) ?? [];
  return {
    request: buildHeaderEdits(context, 'request_mutations', message.requestMutations, formatters),
    query: buildQueryEdits(context, message.queryParameterMutations, formatters),
    requestTrailers: buildHeaderEdits(
      context,
      'request_trailers_mutations',
      message.requestTrailersMutations,
      formatters,
    ),
    response: buildHeaderEdits(context, 'response_mutations', message.responseMutations, formatters),
    responseTrailers: buildHeaderEdits(
      context,
      'response_trailers_mutations',
      message.responseTrailersMutations,
      formatters,
    ),
  };
}

function buildQueryEdits(
  context: BuildContext,
  messages: readonly KeyValueMutation[],
  formatters: readonly CommandParser[],
): QueryEdit[] {
  const out: QueryEdit[] = [];
  messages.forEach((message, i) => {
    const field = `query_parameter_mutations[${i}]`;
    const { append } = message;
    if (append === undefined) {
      if (message.remove === '') context.refuse(field, 'No mutation specified.', 'set append or remove');
      else out.push({ kind: 'remove', name: wireText(message.remove) });
      return;
    }
    const { record } = append;
    if (record === undefined) {
      context.refuse(`${field}.append`, 'No record specified for parameter mutation.');
    } else if (record.value?.kind.case !== 'stringValue') {
      context.refuse(`${field}.append.record.value`, 'Only string value is allowed for parameter.');
    } else {
      const at = `${field}.append.record.value`;
      const value = buildTextFormat(context, at, record.value.kind.value, true, formatters);
      const action = append.action as number as AppendAction;
      if (value !== null) out.push({ kind: 'append', name: wireText(record.key), value, action });
    }
  });
  return out;
}

function build(message: HeaderMutation, context: BuildContext): HttpFilterBuilder | null {
  const before = context.errorCount;
  const mutations = buildMutations(context.at('mutations'), message.mutations);
  if (context.errorCount > before) return null;
  const specificLast = message.mostSpecificHeaderMutationsWins;
  return { isTerminal: false, createFilter: () => new HeaderMutationFilter(mutations, specificLast) };
}

function buildRoute(message: HeaderMutationPerRoute, context: BuildContext): MessageMutations | null {
  const before = context.errorCount;
  const mutations = buildMutations(context.at('mutations'), message.mutations);
  return context.errorCount > before ? null : mutations;
}

/** envoy.filters.http.header_mutation: changes headers, trailers and query parameters. */
export const headerMutationFilter: ExtensionFactory<'http-filter'> = {
  kind: 'http-filter',
  name: 'envoy.filters.http.header_mutation',
  configType: `${PACKAGE}.HeaderMutation`,
  support: [
    ...HEADER_EDIT_SUPPORT,
    { message: `${PACKAGE}.HeaderMutation`, fields: '*' },
    { message: `${PACKAGE}.HeaderMutationPerRoute`, fields: '*' },
    { message: `${PACKAGE}.Mutations`, fields: '*' },
    { message: 'envoy.config.core.v3.KeyValueMutation', fields: '*' },
    { message: 'envoy.config.core.v3.KeyValueAppend', fields: 'record action' },
    { message: 'envoy.config.core.v3.KeyValuePair', fields: '*' },
  ],
  build: (message: Message, context) => build(message as HeaderMutation, context),
  routeConfigType: `${PACKAGE}.HeaderMutationPerRoute`,
  buildRoute: (message: Message, context) => buildRoute(message as HeaderMutationPerRoute, context),
};
