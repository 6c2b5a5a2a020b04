import type { SubstitutionFormatString } from '../../api/gen/envoy/config/core/v3/substitution_format_string_pb.d.ts';
import type {
  LocalReplyConfig as LocalReplyConfigMessage,
  ResponseMapper,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.d.ts';
import { type BodyFormat, LocalReplyConfig, type LocalReplyMapper } from '../../pipeline/local-reply.ts';
import { HeaderMutations } from '../../routing/header-mutation.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildAccessLogFilter } from './access-log.ts';
import { readDataSource } from './data-source.ts';
import { buildSubstitutionFormat } from './format.ts';
import { buildHeaderMutation } from './route-config-headers.ts';

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3';

/** What the builders of this file obey. */
export const LOCAL_REPLY_SUPPORT: readonly FieldSupport[] = [
  { message: `${HCM}.LocalReplyConfig`, fields: '*' },
  { message: `${HCM}.ResponseMapper`, fields: '*' },
];

/** What is wrong is reported and left out. */
export function buildLocalReplies(
  context: BuildContext,
  field: string,
  message: LocalReplyConfigMessage | undefined,
): LocalReplyConfig {
  if (message === undefined) return LocalReplyConfig.NONE;
  const mappers = message.mappers
    .map((mapper, index) => buildMapper(context.at(`${field}.mappers[${index}]`), mapper))
    .filter((mapper) => mapper !== null);
  return new LocalReplyConfig(mappers, buildBodyFormat(context.at(`${field}.body_format`), message.bodyFormat));
}

function buildMapper(context: BuildContext, message: ResponseMapper): LocalReplyMapper | null {
  if (message.filter === undefined) {
    context.refuse('filter', 'a filter is missing', 'a mapper needs an access log filter that picks the replies');
    return null;
  }
  const filter = buildAccessLogFilter(context.at('filter'), message.filter);
  const additions = message.headersToAdd
    .map((header, index) => buildHeaderMutation(context, `headers_to_add[${index}]`, header))
    .filter((mutation) => mutation !== null);
  const text = message.body === undefined ? null : readDataSource(context, 'body', message.body);
  const format = buildBodyFormat(context.at('body_format_override'), message.bodyFormatOverride);
  if (filter === null) return null;
  const body = text === null ? null : wireText(text);
  return { filter, status: message.statusCode ?? 0, body, headers: new HeaderMutations([], additions), format };
}

/** A body format with its content type; null: none, or errors were reported. Also of direct responses. */
function buildBodyFormat(context: BuildContext, message: SubstitutionFormatString | undefined): BodyFormat | null {
  if (message === undefined) return null;
  const formatter = buildSubstitutionFormat(context, message);
  if (formatter === null) return null;
  const usual = message.format.case === 'jsonFormat' ? 'application/json' : 'text/plain';
  return { formatter, contentType: message.contentType === '' ? usual : message.contentType };
}
