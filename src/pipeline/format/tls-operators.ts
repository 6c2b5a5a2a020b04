import { certificatesOf } from '../../net/tls/certificate.ts';
import type { CertificateFacts, TransportSecurity } from '../../net/transport.ts';
import { urlEncodedPem } from '../encoded-pem.ts';
import type { StreamInfo } from '../stream-info.ts';
import { type Operator, type OperatorTable, plain, withArgument } from './operator-table.ts';
import { TextSegment } from './segment.ts';
import { IsoTimeSegment, PatternTimeSegment } from './time-format.ts';

type SecurityReader = (stream: StreamInfo) => TransportSecurity | null;

const downstream: SecurityReader = (stream) => stream.connection?.security ?? null;
const upstream: SecurityReader = (stream) => stream.upstream?.connection?.security ?? null;

/** A fact of the session; nothing on a plain connection, nor where it is empty. */
function fact(read: SecurityReader, part: (security: TransportSecurity) => string): Operator {
  return plain(
    () =>
      new TextSegment((stream) => {
        const security = read(stream);
        const text = security === null ? '' : part(security);
        return text === '' ? null : text;
      }),
  );
}

function ofPeer(read: SecurityReader, part: (peer: CertificateFacts) => string): Operator {
  return fact(read, ({ peer }) => (peer === null ? '' : part(peer)));
}

function ofLocal(read: SecurityReader, part: (local: CertificateFacts) => string): Operator {
  return fact(read, ({ local }) => (local === null ? '' : part(local)));
}

function ofChain(part: (certificate: CertificateFacts) => string): Operator {
  return fact(downstream, ({ peerChainPem }) => (certificatesOf(peerChainPem) ?? []).map(part).join(','));
}

/** Of the second certificate that the peer presented. */
function ofIssuer(part: (certificate: CertificateFacts) => string): Operator {
  return fact(downstream, ({ peerChainPem }) => {
    const issuer = certificatesOf(peerChainPem)?.[1];
    return issuer === undefined ? '' : part(issuer);
  });
}

/** When a peer's certificate begins or ends to be valid: ISO 8601, or by the format given. */
function time(read: SecurityReader, part: (peer: CertificateFacts) => number): Operator {
  const moment = ({ stream }: { readonly stream: StreamInfo }): number | null => {
    const peer = read(stream)?.peer ?? null;
    return peer === null ? null : part(peer);
  };
  return withArgument('optional', false, (format) =>
    format === '' ? new IsoTimeSegment(moment, false) : new PatternTimeSegment(moment, format, false),
  );
}

/** Of both directions. */
function common(side: string, read: SecurityReader): OperatorTable {
  return {
    [`${side}_TLS_VERSION`]: fact(read, (security) => security.protocolVersion),
    [`${side}_TLS_CIPHER`]: fact(read, (security) => security.cipher),
    [`${side}_TLS_GROUP`]: fact(read, (security) => security.group),
    [`${side}_TLS_SESSION_ID`]: fact(read, (security) => security.sessionId),
    [`${side}_LOCAL_DNS_SAN`]: ofLocal(read, (local) => local.dnsNames.join(',')),
    [`${side}_LOCAL_IP_SAN`]: ofLocal(read, (local) => local.ipNames.join(',')),
    [`${side}_LOCAL_URI_SAN`]: ofLocal(read, (local) => local.uriNames.join(',')),
    [`${side}_PEER_CERT`]: ofPeer(read, (peer) => urlEncodedPem(peer.pem)),
    [`${side}_PEER_DNS_SAN`]: ofPeer(read, (peer) => peer.dnsNames.join(',')),
    [`${side}_PEER_IP_SAN`]: ofPeer(read, (peer) => peer.ipNames.join(',')),
    [`${side}_PEER_URI_SAN`]: ofPeer(read, (peer) => peer.uriNames.join(',')),
    [`${side}_PEER_ISSUER`]: ofPeer(read, (peer) => peer.issuer),
    [`${side}_PEER_SUBJECT`]: ofPeer(read, (peer) => peer.subject),
    [`${side}_PEER_CERT_V_START`]: time(read, (peer) => peer.validFromMs),
    [`${side}_PEER_CERT_V_END`]: time(read, (peer) => peer.validToMs),
  };
}

/** Operators about TLS sessions and certificates. Source: Envoy access log documentation, "Command operators". */
export const TLS_OPERATORS: OperatorTable = {
  ...common('DOWNSTREAM', downstream),
  ...common('UPSTREAM', upstream),
  DOWNSTREAM_LOCAL_EMAIL_SAN: ofLocal(downstream, (local) => local.emailNames.join(',')),
  DOWNSTREAM_LOCAL_OTHERNAME_SAN: ofLocal(downstream, (local) => local.otherNames.join(',')),
  DOWNSTREAM_LOCAL_SUBJECT: ofLocal(downstream, (local) => local.subject),
  DOWNSTREAM_PEER_EMAIL_SAN: ofPeer(downstream, (peer) => peer.emailNames.join(',')),
  DOWNSTREAM_PEER_OTHERNAME_SAN: ofPeer(downstream, (peer) => peer.otherNames.join(',')),
  DOWNSTREAM_PEER_FINGERPRINT_1: ofPeer(downstream, (peer) => peer.sha1),
  DOWNSTREAM_PEER_FINGERPRINT_256: ofPeer(downstream, (peer) => peer.sha256),
  DOWNSTREAM_PEER_SERIAL: ofPeer(downstream, (peer) => peer.serialNumber),
  DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1: ofChain((certificate) => certificate.sha1),
  DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256: ofChain((certificate) => certificate.sha256),
  DOWNSTREAM_PEER_CHAIN_SERIALS: ofChain((certificate) => certificate.serialNumber),
  DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256: ofIssuer((certificate) => certificate.sha256),
  DOWNSTREAM_PEER_ISSUER_SERIAL: ofIssuer((certificate) => certificate.serialNumber),
  UPSTREAM_SERVER_NAME: fact(upstream, (security) => security.serverName),
};
