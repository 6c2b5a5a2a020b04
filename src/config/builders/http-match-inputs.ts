import type { Message } from '@bufbuild/protobuf';
import type {
  HttpRequestHeaderMatchInput,
  HttpRequestQueryParamMatchInput,
} from '../../api/gen/envoy/type/matcher/v3/http_inputs_pb.d.ts';
import type { CertificateFacts } from '../../net/transport.ts';
import type { HttpMatchData } from '../../pipeline/http-match-data.ts';
import { QueryParameters } from '../../routing/query-parameter-matcher.ts';
import type { MatchInput } from '../../routing/unified-matcher.ts';
import { wireText } from '../../routing/wire-text.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildNetworkInput, NETWORK_INPUT_SUPPORT } from './network-match-inputs.ts';

const HTTP = 'envoy.type.matcher.v3';
const SSL = 'envoy.extensions.matching.common_inputs.ssl.v3';

export const HTTP_INPUT_SUPPORT: readonly FieldSupport[] = [
  { message: `${HTTP}.HttpRequestHeaderMatchInput`, fields: 'header_name' },
  { message: `${HTTP}.HttpRequestQueryParamMatchInput`, fields: 'query_param' },
  ...['UriSanInput', 'DnsSanInput', 'SubjectInput'].map((name) => ({ message: `${SSL}.${name}`, fields: '*' })),
  ...NETWORK_INPUT_SUPPORT,
];

const text = (get: (data: HttpMatchData) => string | null): MatchInput<HttpMatchData> => ({ type: 'text', get });

function ofPeer(read: (peer: CertificateFacts) => string): MatchInput<HttpMatchData> {
  return text(({ connection }) => {
    const peer = connection.security?.peer ?? null;
    const found = peer === null ? '' : read(peer);
    return found === '' ? null : found;
  });
}

/** Bytes as text; what is no escape stays. */
function percentDecoded(value: string): string {
  return value.replace(/%([0-9a-fA-F]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}

/**
 * An input that reads a request, or its connection.
 * @returns null when it is none of them
 */
export function buildHttpInput(config: Message): MatchInput<HttpMatchData> | null {
  switch (config.$typeName as string) {
    case `${HTTP}.HttpRequestHeaderMatchInput`: {
      const name = wireText((config as HttpRequestHeaderMatchInput).headerName).toLowerCase();
      return text(({ headers }) => headers.lookupJoined(name));
    }
    case `${HTTP}.HttpRequestQueryParamMatchInput`: {
      const name = wireText((config as HttpRequestQueryParamMatchInput).queryParam);
      return text(({ headers }) => {
        const value = new QueryParameters(headers.path ?? '').get(name);
        return value === null ? null : percentDecoded(value);
      });
    }
    case `${SSL}.UriSanInput`:
      return ofPeer(({ uriNames }) => uriNames.join(','));
    case `${SSL}.DnsSanInput`:
      return ofPeer(({ dnsNames }) => dnsNames.join(','));
    case `${SSL}.SubjectInput`:
      return ofPeer(({ subject }) => subject);
    default: {
      // Those two are of connections that are being accepted.
      if (/\.(?:TransportProtocol|ApplicationProtocol)Input$/.test(config.$typeName)) return null;
      return buildNetworkInput(config);
    }
  }
}
