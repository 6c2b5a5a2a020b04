import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import { type AcceptedSocket, ListenerFilter, PeekStatus } from '../../../net/filter.ts';
import { PROXY_PROTOCOL_STATE, ProxyProtocolState } from '../../../net/proxy-protocol-state.ts';
import type { Counter } from '../../../stats/counter.ts';
import { type HeaderRules, HeaderState, MAX_HEADER_BYTES, ProxyHeaderParser } from './proxy-header.ts';
import { applyTlvRules, type TlvRules } from './tlv-rules.ts';

export interface VersionStats {
  readonly found: Counter;
  readonly disallowed: Counter;
  readonly error: Counter;
}

/** What the filters of one configuration share. */
export interface ProxyProtocolSettings {
  readonly rules: HeaderRules;
  readonly tlvRules: TlvRules;
  /** `downstream_cx_proxy_proto_error`: every malformed header, and every one that is missing. */
  readonly legacyError: Counter;
  readonly notFoundAllowed: Counter;
  readonly notFoundDisallowed: Counter;
  readonly v1: VersionStats;
  readonly v2: VersionStats;
}

/** Takes a connection's addresses from its PROXY header, which it removes. */
export class ProxyProtocolFilter extends ListenerFilter {
  readonly maxPeekBytes: number = MAX_HEADER_BYTES;
  readonly #settings: ProxyProtocolSettings;
  readonly #parser: ProxyHeaderParser;

  constructor(settings: ProxyProtocolSettings) {
    super();
    this.#settings = settings;
    this.#parser = new ProxyHeaderParser(settings.rules);
  }

  override onPeek(socket: AcceptedSocket, data: ByteBuffer): PeekStatus {
    const parser = this.#parser;
    const state = parser.parse(data);
    if (state === HeaderState.More) return PeekStatus.NeedMore;
    this.#count(state);
    if (state === HeaderState.Absent) return PeekStatus.Continue;
    if (state !== HeaderState.Found) return PeekStatus.Close;
    const { source, destination } = parser;
    const tlvs = applyTlvRules(this.#settings.tlvRules, parser.tlvs, socket);
    const { objects } = socket.ownState();
    // A filter before this one may have said it.
    if (!objects.has(PROXY_PROTOCOL_STATE)) {
      const from = source ?? socket.remoteAddress;
      objects.set(PROXY_PROTOCOL_STATE, new ProxyProtocolState(from, destination ?? socket.localAddress, tlvs));
    }
    if (source !== null && destination !== null) {
      if (destination.text !== socket.localAddress.text) {
        socket.localAddress = destination;
        socket.localAddressRestored = true;
      }
      socket.remoteAddress = source;
    }
    data.drain(parser.length);
    return PeekStatus.Continue;
  }

  #count(state: HeaderState): void {
    const settings = this.#settings;
    if (state === HeaderState.Malformed) settings.legacyError.inc();
    if (this.#parser.version === 0) {
      if (state === HeaderState.Absent) settings.notFoundAllowed.inc();
      else settings.notFoundDisallowed.inc();
      return;
    }
    const stats = this.#parser.version === 1 ? settings.v1 : settings.v2;
    if (state === HeaderState.Malformed) {
      stats.error.inc();
      return;
    }
    stats.found.inc();
    if (state === HeaderState.Denied) stats.disallowed.inc();
  }
}
