import type { HandshakeCounts } from '../tls/handshake-outcome.ts';
import { groupName, type HandshakeView } from '../tls/handshake-policy.ts';
import { isChainVerdict } from '../tls/peer-verifier.ts';
import { groupNumberOf, sessionIdOf } from '../tls/session-cache.ts';
import type { TransportError } from '../transport.ts';
import { type BunTlsSocket, type BunTlsTransport, ENDED } from './bun-tls-transport.ts';

const NAME_MISMATCH = 'ERR_TLS_CERT_ALTNAME_INVALID';

/** What Bun tells of a handshake that is done. */
export function viewOf(
  transport: BunTlsTransport,
  socket: BunTlsSocket,
  curve: string,
  error: Error | null,
): HandshakeView {
  const protocolVersion = socket.getTLSVersion();
  const alpn = socket.alpnProtocol;
  let chainError = '';
  if (!socket.authorized) {
    chainError = (error as { code?: string } | null)?.code ?? 'CERT_UNTRUSTED';
    // Said only of chains that are trusted: whose name is to be checked is Envoy's matchers' to say.
    if (chainError === NAME_MISMATCH) chainError = '';
  }
  const session = protocolVersion === 'TLSv1.2' ? socket.getSession() : undefined;
  return {
    protocolVersion,
    cipher: socket.getCipher()?.name ?? '',
    // A resumed session shakes no hands over a curve: it keeps the one that it began with.
    curve: curve === '' && session !== undefined ? groupName(groupNumberOf(session)) : curve,
    alpn: typeof alpn === 'string' ? alpn : '',
    serverName: transport.serverName,
    sessionId: session === undefined ? '' : sessionIdOf(session),
    resumed: socket.isSessionReused(),
    chainError,
    leaf: socket.getPeerX509Certificate()?.raw ?? null,
  };
}

/** The server has said hello too. */
export function hasAnswer(socket: BunTlsSocket): boolean {
  return (socket.getCipher()?.name ?? null) !== null;
}

/** The handshake did not come to its end. @param unanswered nothing but an alert came for our hello */
export function unfinished(error: Error | null, counts: HandshakeCounts, unanswered: boolean): TransportError {
  const message = error?.message ?? '';
  if (!/^error:[0-9a-f]{8}:/.test(message)) return ENDED;
  return { code: 'TLS', message: unanswered ? counts.helloFailure(message) : counts.runtimeFailure(message) };
}

/**
 * Whether only the certificate was found wanting. The verdict's code alone would not do: it is known before the peer has
 * proved that the certificate is its own.
 */
export function isFinished(socket: BunTlsSocket, error: Error | null): boolean {
  const code = (error as { code?: string } | null)?.code ?? '';
  if (code !== NAME_MISMATCH && !isChainVerdict(code)) return false;
  try {
    // BoringSSL exports nothing before the handshake is complete.
    return (socket.exportKeyingMaterial(8, 'EXPORTER-finished')?.length ?? 0) === 8;
  } catch {
    return false;
  }
}
