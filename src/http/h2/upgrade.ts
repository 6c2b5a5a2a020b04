import { isUpgrade } from '../h1/message-writer.ts';
import type { RequestHeaders, ResponseHeaders } from '../header-map.ts';

/**
 * An extended CONNECT (RFC 8441) is handed on as the HTTP/1 upgrade that it stands for, so that the pipeline knows one kind only
 * (Envoy: transformUpgradeRequestFromH2toH1). `bytestream` is no upgrade: it is CONNECT with a path.
 */
export function upgradeFromExtendedConnect(headers: RequestHeaders): void {
  const protocol = headers.protocol;
  if (headers.method !== 'CONNECT' || protocol === null || protocol === 'bytestream') return;
  headers.method = 'GET';
  headers.set('upgrade', protocol);
  headers.set('connection', 'upgrade');
  headers.protocol = null;
}

/** A response that says `connection: upgrade`, which HTTP/2 leaves out. */
export function answersUpgrade(headers: ResponseHeaders): boolean {
  return isUpgrade(headers);
}

/** The answer to an extended CONNECT is handed on as that to the upgrade (transformUpgradeResponseFromH2toH1). */
export function upgradeResponse(headers: ResponseHeaders, protocol: string): void {
  if (headers.status !== 200) return;
  headers.set('upgrade', protocol);
  headers.set('connection', 'upgrade');
  headers.status = 101;
}
