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

const HANDSHAKE_FAILURE_ALERT = 'SSLV3_ALERT_HANDSHAKE_FAILURE';

/** Of a client whose hello was answered by an alert: BoringSSL says so besides where that is `handshake_failure`. */
export function helloFailure(runtimeText: string): string {
  return handshakeFailure(runtimeText).replace(
    HANDSHAKE_FAILURE_ALERT,
    `${HANDSHAKE_FAILURE_ALERT}|${SSL_LIBRARY + 154}:SSL routines:OPENSSL_internal:HANDSHAKE_FAILURE_ON_CLIENT_HELLO`,
  );
}

/** Of a record that does not open, what BoringSSL's ciphers say before its TLS does. */
const BAD_DECRYPT = '|503316581:Cipher functions:OPENSSL_internal:BAD_DECRYPT';
/** Closing an end that has failed is one more failure (Envoy: SslSocket::shutdownSsl). */
const IS_SHUT_DOWN = `|${SSL_LIBRARY + 194}:SSL routines:OPENSSL_internal:PROTOCOL_IS_SHUTDOWN:TLS_error_end`;

/** Of an open session that we ended by an alert. */
export function sessionFailure(runtimeText: string): string {
  const cipher = runtimeText.includes('BAD_RECORD_MAC') ? BAD_DECRYPT : '';
  return handshakeFailure(runtimeText).replace('TLS_error:', `TLS_error:${cipher}`) + IS_SHUT_DOWN;
}

/** Of an open session whose connection the peer reset. */
export const RESET_FAILURE =
  'TLS_error:|33554536:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end';

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
