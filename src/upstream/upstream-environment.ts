import type { ClientCodec, ClientCodecEvents, CodecTransport } from '../http/codec.ts';
import type { Http2Options } from '../http/h2/http2-options.ts';
import type { Http2CodecStats } from '../http/h2/http2-stats.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { SocketRuntime } from '../net/transport.ts';
import type { TransportSocketServices } from '../net/transport-socket.ts';
import type { Scope } from '../stats/store.ts';
import type { RuntimeIntegers } from './circuit-breaker.ts';

/** Makes client codecs for the connections of one cluster. */
export type ClientCodecFactory = (
  transport: CodecTransport,
  events: ClientCodecEvents,
  options: Http2Options,
  stats: Http2CodecStats,
) => ClientCodec;

/** How connections are made in a worker. */
export interface UpstreamSockets {
  readonly runtime: SocketRuntime;
  readonly services: TransportSocketServices;
}

/** What clusters of one worker need from it. */
export interface UpstreamEnvironment {
  readonly dispatcher: Dispatcher;
  /** Root scope of the worker's store. */
  readonly stats: Scope;
  readonly runtime: RuntimeIntegers;
  /** Null where nobody speaks HTTP/2. */
  readonly createHttp2Codec: ClientCodecFactory | null;
  /** Null where there are no upstream connections (main). */
  readonly sockets: UpstreamSockets | null;
  /** Circuit-breaker counts that all workers share ({@link CELLS_PER_CLUSTER} cells); null: each counts for itself. */
  sharedCells(cluster: string): Int32Array | null;
}
