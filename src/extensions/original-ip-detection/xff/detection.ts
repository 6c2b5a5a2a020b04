import type { RequestHeaders } from '../../../http/header-map.ts';
import { type Address, ipAddress } from '../../../net/address.ts';
import type { Connection } from '../../../net/connection.ts';
import { ipVersion } from '../../../net/ip-version.ts';
import type { IpDetection, IpDetectionResult } from '../../../pipeline/connection-manager-config.ts';
import { lastAddressOfXff } from '../../../pipeline/forwarded-for.ts';

function result(address: Address | null, trusted: boolean, skipXffAppend: boolean): IpDetectionResult {
  return {
    address,
    allowTrustedAddressChecks: trusted,
    skipXffAppend,
    rejectStatus: 0,
    rejectBody: '',
    rejectDetails: '',
  };
}

/** The address a number of places from the end of x-forwarded-for. */
export class XffByHops implements IpDetection {
  readonly #hops: number;
  readonly #skipAppend: boolean;

  constructor(hops: number, skipAppend: boolean) {
    this.#hops = hops;
    this.#skipAppend = skipAppend;
  }

  detect(headers: RequestHeaders, _connection: Connection): IpDetectionResult {
    const { address, single } = lastAddressOfXff(headers, this.#hops);
    return result(address, single, this.#skipAppend);
  }
}

/**
 * The last address of x-forwarded-for that is not a trusted proxy's, where the peer is a trusted proxy itself.
 * Source: Envoy, Utility::getLastNonTrustedAddressFromXFF.
 */
export class XffByTrustedProxies implements IpDetection {
  readonly #isTrusted: (ip: string) => boolean;
  readonly #skipAppend: boolean;

  constructor(isTrusted: (ip: string) => boolean, skipAppend: boolean) {
    this.#isTrusted = isTrusted;
    this.#skipAppend = skipAppend;
  }

  detect(headers: RequestHeaders, connection: Connection): IpDetectionResult {
    const remote = connection.remoteAddress;
    // Envoy appends behind peers that it does not trust, whatever skip_xff_append says.
    if (remote.kind !== 'ip' || !this.#isTrusted(remote.ip)) return result(null, false, false);
    const entries = (headers.getJoined('x-forwarded-for') ?? '').split(',').map((entry) => entry.trim());
    let last: Address | null = null;
    for (let i = entries.length - 1; i >= 0; i--) {
      const text = entries[i]!;
      if (ipVersion(text) === 0) {
        last = null;
        break;
      }
      last = ipAddress(text, 0);
      if (!this.#isTrusted(text)) break;
    }
    return result(last, last !== null && entries.length === 1, this.#skipAppend);
  }
}
