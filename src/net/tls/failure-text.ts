/** BoringSSL's library of SSL errors, in the upper byte of an error's number. */
const SSL_LIBRARY = 0x10000000;

/** Reasons that Envoy's own checks end in; the rest come numbered from the runtime. */
const VERIFY_FAILED = SSL_LIBRARY + 125;

/** `%..._TRANSPORT_FAILURE_REASON%` of a failed handshake, from an error as BoringSSL prints it. */
export function handshakeFailure(runtimeText: string): string {
  const match = /error:([0-9a-f]{8}):([^:]*):([^:]*):(\S+)/i.exec(runtimeText);
  if (match === null) return `TLS_error:${runtimeText}:TLS_error_end`;
  return `TLS_error:|${Number.parseInt(match[1]!, 16)}:${match[2]}:${match[3]}:${match[4]}:TLS_error_end`;
}

/** Of a certificate that was found wanting. @param detail such as `verify cert failed: SAN matcher` */
export function verifyFailure(detail: string): string {
  const end = detail === '' ? '' : `:${detail}`;
  return `TLS_error:|${VERIFY_FAILED}:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED${end}:TLS_error_end`;
}

export const NO_CLIENT_CERTIFICATE = 'PEER_DID_NOT_RETURN_A_CERTIFICATE';

/** Of a client that presented no certificate where one is required. */
export const NO_CLIENT_CERTIFICATE_FAILURE = `TLS_error:|${SSL_LIBRARY + 192}:SSL routines:OPENSSL_internal:${NO_CLIENT_CERTIFICATE}:peer did not provide required client certificate:TLS_error_end`;

/** Envoy's NotReadySslSocket. */
export const SECRET_MISSING_FAILURE = 'TLS error: Secret is not supplied by SDS';
