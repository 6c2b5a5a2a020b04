import type { RequestHeaders } from '../../../http/header-map.ts';
import { ipAddress } from '../../../net/address.ts';
import type { Connection } from '../../../net/connection.ts';
import { ipVersion } from '../../../net/ip-version.ts';
import type { IpDetection, IpDetectionResult } from '../../../pipeline/connection-manager-config.ts';

/** Takes the client's address from one header. Source: Envoy, CustomHeaderIPDetection. */
export class CustomHeaderDetection implements IpDetection {
  readonly #header: string;
  readonly #trusted: boolean;
  readonly #rejection: IpDetectionResult | null;

  /** @param rejectStatus answers requests without an address; 0: they pass */
  constructor(header: string, trusted: boolean, rejectStatus: number) {
    this.#header = header;
    this.#trusted = trusted;
    this.#rejection =
      rejectStatus === 0
        ? null
        : {
            address: null,
            allowTrustedAddressChecks: false,
            skipXffAppend: true,
            rejectStatus,
            rejectBody: '',
            rejectDetails: 'rejecting_because_detection_failed',
          };
  }

  detect(headers: RequestHeaders, _connection: Connection): IpDetectionResult | null {
    const value = headers.get(this.#header);
    if (value === null || ipVersion(value) === 0) return this.#rejection;
    return {
      address: ipAddress(value, 0),
      allowTrustedAddressChecks: this.#trusted,
      skipXffAppend: true,
      rejectStatus: 0,
      rejectBody: '',
      rejectDetails: '',
    };
  }
}
