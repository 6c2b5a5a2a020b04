import type { ConnectionState } from '../base/connection-state.ts';
import type { RequestHeaders } from '../http/header-map.ts';
import type { Address } from '../net/address.ts';
import type { Connection } from '../net/connection.ts';
import type { NetworkMatchData } from '../net/network-match-data.ts';

const NO_NAMES: readonly string[] = [];

/** What matchers of requests read: the request, and its connection. Source: Envoy, Http::Matching::HttpMatchingDataImpl. */
export class HttpMatchData implements NetworkMatchData {
  readonly headers: RequestHeaders;
  readonly connection: Connection;

  constructor(headers: RequestHeaders, connection: Connection) {
    this.headers = headers;
    this.connection = connection;
  }

  get directRemoteAddress(): Address {
    return this.connection.directRemoteAddress;
  }

  get remoteAddress(): Address {
    return this.connection.remoteAddress;
  }

  get localAddress(): Address {
    return this.connection.localAddress;
  }

  get requestedServerName(): string {
    return this.connection.requestedServerName;
  }

  /** Of connections that are being accepted alone; there are no inputs for it here. */
  get detectedTransportProtocol(): string {
    return '';
  }

  get applicationProtocols(): readonly string[] {
    return NO_NAMES;
  }

  get state(): ConnectionState | null {
    return this.connection.state;
  }
}
