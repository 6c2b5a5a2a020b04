import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import { type AcceptedSocket, ListenerFilter, PeekStatus } from '../../../net/filter.ts';
import { ClientHello } from '../../../net/tls/client-hello.ts';
import { HelloReader, HelloState } from '../../../net/tls/hello-reader.ts';
import type { Counter } from '../../../stats/counter.ts';
import type { Histogram } from '../../../stats/histogram.ts';
import { ja3, ja4 } from './fingerprints.ts';

export interface TlsInspectorStats {
  readonly client_hello_too_large: Counter;
  readonly tls_found: Counter;
  readonly tls_not_found: Counter;
  readonly alpn_found: Counter;
  readonly alpn_not_found: Counter;
  readonly sni_found: Counter;
  readonly sni_not_found: Counter;
  readonly bytes_processed: Histogram;
}

/** What the filters of one configuration share. */
export interface TlsInspectorSettings {
  readonly stats: TlsInspectorStats;
  readonly ja3: boolean;
  readonly ja4: boolean;
  readonly closeOnErrors: boolean;
  readonly maxHelloBytes: number;
  /** What is looked at first; doubled while it does not suffice. */
  readonly initialBytes: number;
}

/** Reads a ClientHello, if there is one, for filter chains to match: server name, ALPN, fingerprints, `tls`. */
export class TlsInspectorFilter extends ListenerFilter {
  readonly maxPeekBytes: number;
  readonly #settings: TlsInspectorSettings;
  readonly #reader = new HelloReader();
  #requested: number;

  constructor(settings: TlsInspectorSettings) {
    super();
    this.#settings = settings;
    // One more: the filter decides by itself what happens at the limit.
    this.maxPeekBytes = settings.maxHelloBytes + 1;
    this.#requested = settings.initialBytes;
  }

  override onPeek(socket: AcceptedSocket, data: ByteBuffer): PeekStatus {
    const { stats, maxHelloBytes, closeOnErrors } = this.#settings;
    for (;;) {
      const seen = Math.min(data.length, this.#requested);
      const state = this.#reader.read(data, seen);
      if (state === HelloState.More) {
        if (seen >= maxHelloBytes) {
          stats.client_hello_too_large.inc();
          stats.bytes_processed.recordValue(seen);
          return PeekStatus.Close;
        }
        if (seen < this.#requested) return PeekStatus.NeedMore;
        this.#requested = Math.min(2 * seen, maxHelloBytes);
        if (data.length > seen) continue;
        return PeekStatus.NeedMore;
      }
      stats.bytes_processed.recordValue(this.#reader.consumed);
      if (state === HelloState.Closed) return PeekStatus.Close;
      const hello = state === HelloState.Complete ? ClientHello.parse(this.#reader.body) : null;
      const name = hello === null || !hello.encryptedHelloIsWellFormed ? null : hello.serverName();
      if (hello !== null && name !== null) return this.#onHello(socket, hello, name);
      stats.tls_not_found.inc();
      if (!closeOnErrors) return PeekStatus.Continue;
      if (seen >= maxHelloBytes) stats.client_hello_too_large.inc();
      return PeekStatus.Close;
    }
  }

  #onHello(socket: AcceptedSocket, hello: ClientHello, name: string): PeekStatus {
    const settings = this.#settings;
    const { stats } = settings;
    if (settings.ja3) socket.ja3 = ja3(hello);
    if (settings.ja4) socket.ja4 = ja4(hello);
    const protocols = hello.applicationProtocols();
    if (protocols !== null) socket.applicationProtocols = protocols;
    if (name === '') {
      stats.sni_not_found.inc();
    } else {
      stats.sni_found.inc();
      socket.requestedServerName = name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
    }
    if (!hello.isOfKnownVersion) {
      stats.tls_not_found.inc();
      return PeekStatus.Close;
    }
    stats.tls_found.inc();
    if (protocols === null) stats.alpn_not_found.inc();
    else stats.alpn_found.inc();
    socket.detectedTransportProtocol = 'tls';
    return PeekStatus.Continue;
  }
}
