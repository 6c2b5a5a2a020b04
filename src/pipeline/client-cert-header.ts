import type { RequestHeaders } from '../http/header-map.ts';
import type { Connection } from '../net/connection.ts';
import type { CertificateFacts, TransportSecurity } from '../net/transport.ts';
import type { MatchTree } from '../routing/unified-matcher.ts';
import { pemBlocks, urlEncodedPem } from './encoded-pem.ts';
import { HttpMatchData } from './http-match-data.ts';

const FORWARDED_CLIENT_CERT = 'x-forwarded-client-cert';

export type ForwardClientCert = 'sanitize' | 'forward-only' | 'append-forward' | 'sanitize-set' | 'always-forward-only';

/** `set_current_client_cert_details`. */
export interface ClientCertDetails {
  readonly subject: boolean;
  readonly cert: boolean;
  readonly chain: boolean;
  readonly dns: boolean;
  readonly uri: boolean;
  readonly issuer: boolean;
  /** An array of objects instead of `Key=value` pairs. */
  readonly json: boolean;
}

/** How the client's certificate is told to the upstream. */
export interface ClientCertPolicy {
  readonly forward: ForwardClientCert;
  readonly details: ClientCertDetails;
}

export const SANITIZED_CLIENT_CERT: ClientCertPolicy = {
  forward: 'sanitize',
  details: { subject: false, cert: false, chain: false, dns: false, uri: false, issuer: false, json: false },
};

/** `forward_client_cert_matcher`: the policy of each request; null or undefined: as the connection manager's. */
export type ClientCertMatcher = MatchTree<HttpMatchData, ClientCertPolicy>;

/** What a connection's client is said to be; the same for all of its requests. */
interface Description {
  readonly text: string;
  /** One object of the array; empty unless asked for. */
  readonly json: string;
}

const NONE: Description = { text: '', json: '' };

/**
 * Sets or removes `x-forwarded-client-cert`. One per connection manager and connection: what it says is kept.
 * Source: Envoy, ConnectionManagerUtility::mutateXfccRequestHeader.
 */
export class ClientCertHeader {
  readonly #policy: ClientCertPolicy;
  readonly #matcher: ClientCertMatcher | null;
  #described: Description | null = null;
  #describedBy: ClientCertPolicy;

  /** @param matcher null: `policy` is that of all requests */
  constructor(policy: ClientCertPolicy, matcher: ClientCertMatcher | null) {
    this.#policy = policy;
    this.#describedBy = policy;
    this.#matcher = matcher;
  }

  apply(headers: RequestHeaders, connection: Connection): void {
    const matcher = this.#matcher;
    const matched = matcher === null ? null : matcher.match(new HttpMatchData(headers, connection));
    const policy = matched ?? this.#policy;
    const { forward, details } = policy;
    if (forward === 'always-forward-only') return;
    const security = connection.security;
    if (forward === 'sanitize' || security === null || !security.peerCertificatePresented) {
      headers.remove(FORWARDED_CLIENT_CERT);
      return;
    }
    if (forward === 'forward-only') return;
    if (this.#describedBy !== policy) this.#described = null;
    this.#describedBy = policy;
    this.#described ??= security.peer === null ? NONE : describe(security, security.peer, details);
    const own = this.#described;
    if (own.text === '') return;
    const given = forward === 'append-forward' ? headers.get(FORWARDED_CLIENT_CERT) : null;
    if (given === null || given === '') {
      headers.set(FORWARDED_CLIENT_CERT, details.json ? `[${own.json}]` : own.text);
      return;
    }
    // To an array an object is appended; to anything else, pairs.
    const array = details.json ? withoutBracket(given) : null;
    headers.set(FORWARDED_CLIENT_CERT, array === null ? `${given},${own.text}` : `${array}${own.json}]`);
  }
}

/** A JSON array up to where its next element goes; null: it is none. */
function withoutBracket(text: string): string | null {
  const trimmed = text.trim();
  if (!trimmed.startsWith('[') || !trimmed.endsWith(']')) return null;
  try {
    const list: unknown = JSON.parse(trimmed);
    if (!Array.isArray(list)) return null;
    return list.length === 0 ? '[' : `${JSON.stringify(list).slice(0, -1)},`;
  } catch {
    return null;
  }
}

function describe(security: TransportSecurity, peer: CertificateFacts, details: ClientCertDetails): Description {
  const by = security.local?.uriNames ?? [];
  const pairs: string[] = by.map((uri) => `By=${uri}`);
  pairs.push(`Hash=${peer.sha256}`);
  if (details.cert) pairs.push(`Cert="${urlEncodedPem(peer.pem)}"`);
  if (details.chain && security.peerChainPem !== '') pairs.push(`Chain="${urlEncodedPem(security.peerChainPem)}"`);
  if (details.subject) pairs.push(`Subject="${peer.subject}"`);
  if (details.uri) {
    if (peer.uriNames.length === 0) pairs.push('URI=');
    for (const uri of peer.uriNames) pairs.push(`URI=${uri}`);
  }
  if (details.dns) for (const name of peer.dnsNames) pairs.push(`DNS=${name}`);
  if (details.issuer) pairs.push(`Issuer="${peer.issuer}"`);
  return { text: pairs.join(';'), json: details.json ? describeAsJson(security, peer, details) : '' };
}

function describeAsJson(security: TransportSecurity, peer: CertificateFacts, details: ClientCertDetails): string {
  const by = security.local?.uriNames ?? [];
  const object: Record<string, unknown> = {};
  if (by.length > 0) object.by = by;
  object.hash = peer.sha256;
  if (details.cert) object.cert = peer.pem;
  if (details.chain && security.peerChainPem !== '') object.chain = pemBlocks(security.peerChainPem);
  if (details.subject) object.subject = peer.subject;
  if (details.uri && peer.uriNames.length > 0) object.uri = peer.uriNames;
  if (details.dns && peer.dnsNames.length > 0) object.dns = peer.dnsNames;
  if (details.issuer) object.issuer = peer.issuer;
  return JSON.stringify(object);
}
