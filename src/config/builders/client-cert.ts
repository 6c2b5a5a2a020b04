import type {
  HttpConnectionManager_ForwardClientCertConfig,
  HttpConnectionManager_SetCurrentClientCertDetails,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.d.ts';
import type { Matcher } from '../../api/gen/xds/type/matcher/v3/matcher_pb.d.ts';
import type { ClientCertMatcher, ClientCertPolicy } from '../../pipeline/client-cert-header.ts';
import type { HttpMatchData } from '../../pipeline/http-match-data.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildHttpInput, HTTP_INPUT_SUPPORT } from './http-match-inputs.ts';
import { buildUnifiedMatcher, type MatcherParts, UNIFIED_MATCHER_SUPPORT } from './unified-matcher.ts';

const MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const CONFIG = `${MANAGER}.ForwardClientCertConfig`;

export const CLIENT_CERT_SUPPORT: readonly FieldSupport[] = [
  { message: `${MANAGER}.SetCurrentClientCertDetails`, fields: '*' },
  { message: CONFIG, fields: '*' },
  ...HTTP_INPUT_SUPPORT,
  ...UNIFIED_MATCHER_SUPPORT,
];

const FORWARD = ['sanitize', 'forward-only', 'append-forward', 'sanitize-set', 'always-forward-only'] as const;

/** Of a connection manager, or of an action of its matcher. @param forward a ForwardClientCertDetails of the API */
export function clientCertPolicy(
  forward: number,
  details: HttpConnectionManager_SetCurrentClientCertDetails | undefined,
): ClientCertPolicy {
  return {
    forward: FORWARD[forward] ?? 'sanitize',
    details: {
      subject: details?.subject ?? false,
      cert: details?.cert ?? false,
      chain: details?.chain ?? false,
      dns: details?.dns ?? false,
      uri: details?.uri ?? false,
      issuer: details?.issuer ?? false,
      json: details?.format === 1,
    },
  };
}

const PARTS: MatcherParts<HttpMatchData, ClientCertPolicy> = {
  input: (_context, config) => buildHttpInput(config),
  action: (_context, config) =>
    config.$typeName === CONFIG ? actionPolicy(config as HttpConnectionManager_ForwardClientCertConfig) : null,
};

function actionPolicy(message: HttpConnectionManager_ForwardClientCertConfig): ClientCertPolicy {
  return clientCertPolicy(message.forwardClientCertDetails, message.setCurrentClientCertDetails);
}

/** `context` stands at the connection manager. @returns null: there is none, or errors were reported */
export function buildClientCertMatcher(context: BuildContext, message: Matcher | undefined): ClientCertMatcher | null {
  return message === undefined ? null : buildUnifiedMatcher(context, 'forward_client_cert_matcher', message, PARTS);
}
