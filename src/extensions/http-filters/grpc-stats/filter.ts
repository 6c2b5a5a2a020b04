import type { ByteBuffer } from '../../../base/byte-buffer.ts';
import { MessageCounter } from '../../../grpc/framing.ts';
import { type MethodStats, type MethodStatsTable, methodOfPath } from '../../../grpc/method-stats.ts';
import { isGrpcContentType } from '../../../http/grpc-headers.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../../../http/header-map.ts';
import { Flow, HttpFilter } from '../../../pipeline/http-filter.ts';
import type { ClusterManager } from '../../../upstream/cluster-manager.ts';
import { GrpcStatsState } from './stats-state.ts';

export interface GrpcStatsSettings {
  /** Each method is counted by its name. */
  readonly forAllMethods: boolean;
  /** `service/method` of those that are; null: none. */
  readonly allowlist: ReadonlySet<string> | null;
  readonly upstreamStats: boolean;
  readonly emitFilterState: boolean;
  readonly replaceDots: boolean;
}

const KEY = 'envoy.filters.http.grpc_stats';

/** How the client speaks. */
const Dialect = {
  None: 0,
  Grpc: 1,
  ConnectUnary: 2,
  ConnectStreaming: 3,
} as const;
type Dialect = (typeof Dialect)[keyof typeof Dialect];

/** Flag of the last message of a Connect stream, which tells the outcome in JSON. Source: connectrpc.com/docs/protocol. */
const CONNECT_END = 2;

/** What is kept of that message; more would be no outcome. */
const MAX_END_BYTES = 65_536;

/** Messages of a response; of a Connect stream also whether it ended well. */
class ResponseCounter extends MessageCounter {
  #end = '';
  #ended = false;

  protected override counts(flags: number): boolean {
    if (flags !== CONNECT_END) return true;
    this.#ended = true;
    return false;
  }

  protected override onPart(flags: number, bytes: Buffer, start: number, end: number): void {
    if (flags === CONNECT_END && this.#end.length < MAX_END_BYTES) this.#end += bytes.latin1Slice(start, end);
  }

  get connectSuccess(): boolean {
    if (!this.#ended) return false;
    try {
      const end: unknown = JSON.parse(this.#end);
      return typeof end === 'object' && end !== null && !('error' in end);
    } catch {
      return false;
    }
  }
}

/** Counts calls and messages. Source: Envoy, GrpcStatsFilter. */
export class GrpcStatsFilter extends HttpFilter {
  readonly #settings: GrpcStatsSettings;
  readonly #table: MethodStatsTable;
  readonly #clusters: ClusterManager;
  #dialect: Dialect = Dialect.None;
  #stats: MethodStats | null = null;
  #countsResponse = false;
  #requests: MessageCounter | null = null;
  #responses: ResponseCounter | null = null;
  #state: GrpcStatsState | null = null;

  constructor(settings: GrpcStatsSettings, table: MethodStatsTable, clusters: ClusterManager) {
    super();
    this.#settings = settings;
    this.#table = table;
    this.#clusters = clusters;
  }

  override onRequestHeaders(headers: RequestHeaders, _end: boolean): Flow {
    this.#dialect = dialectOf(headers);
    if (this.#dialect === Dialect.None) return Flow.Continue;
    if (this.#dialect !== Dialect.ConnectUnary) this.#requests = new MessageCounter();
    const { route } = this.stream;
    const cluster = route === null ? null : this.#clusters.get(route.cluster);
    let name = methodOfPath(headers.path);
    if (cluster === null || name === null) return Flow.Continue;
    const { forAllMethods, allowlist, replaceDots } = this.#settings;
    if (forAllMethods) {
      if (replaceDots) name = { service: name.service.replaceAll('.', '_'), method: name.method };
    } else if (allowlist === null || !allowlist.has(`${name.service}/${name.method}`)) {
      name = null;
    }
    this.#stats = this.#table.of(cluster, name);
    return Flow.Continue;
  }

  override onRequestData(data: ByteBuffer, end: boolean): Flow {
    const counted = this.#requests === null ? 0 : this.#requests.inspect(data);
    if (counted > 0) {
      this.#writeState();
      this.#stats?.chargeRequestMessages(counted);
    } else if (this.#dialect === Dialect.ConnectUnary && end) {
      this.#writeState();
      if (this.#state !== null) this.#state.requestMessages = 1;
      this.#stats?.chargeRequestMessages(1);
    }
    return Flow.Continue;
  }

  override onResponseHeaders(headers: ResponseHeaders, end: boolean): Flow {
    const isGrpc = end
      ? headers.has('grpc-status')
      : headers.status === 200 && isGrpcContentType(headers.get('content-type'));
    this.#countsResponse = isGrpc || this.#dialect === Dialect.ConnectStreaming;
    if (this.#countsResponse) this.#responses = new ResponseCounter();
    const stats = this.#stats;
    if (stats === null) return Flow.Continue;
    if (this.#dialect === Dialect.ConnectUnary) stats.chargeOutcome(headers.status === 200);
    else if (headers.status !== 200 || !isConnectStream(headers)) stats.chargeStatus(headers.get('grpc-status'));
    if (end) this.#recordUpstreamTime(stats);
    return Flow.Continue;
  }

  override onResponseData(data: ByteBuffer, end: boolean): Flow {
    const stats = this.#stats;
    const counted = this.#responses === null ? 0 : this.#responses.inspect(data);
    if (counted > 0) {
      this.#writeState();
      stats?.chargeResponseMessages(counted);
    }
    if (!end) return Flow.Continue;
    if (this.#dialect === Dialect.ConnectStreaming) {
      stats?.chargeOutcome(this.#responses?.connectSuccess ?? false);
      if (stats !== null) this.#recordUpstreamTime(stats);
    } else if (this.#dialect === Dialect.ConnectUnary) {
      this.#writeState();
      if (this.#state !== null) this.#state.responseMessages = 1;
      stats?.chargeResponseMessages(1);
      if (stats !== null) this.#recordUpstreamTime(stats);
    }
    return Flow.Continue;
  }

  override onResponseTrailers(trailers: HeaderMap): Flow {
    const stats = this.#stats;
    if (stats === null || this.#dialect !== Dialect.Grpc) return Flow.Continue;
    stats.chargeStatus(trailers.get('grpc-status'));
    this.#recordUpstreamTime(stats);
    return Flow.Continue;
  }

  #writeState(): void {
    if (!this.#settings.emitFilterState) return;
    let state = this.#state;
    if (state === null) {
      state = new GrpcStatsState();
      this.#state = state;
      this.stream.info.setFilterState(KEY, state);
    }
    if (this.#requests !== null) state.requestMessages = this.#requests.count;
    if (this.#responses !== null) state.responseMessages = this.#responses.count;
  }

  #recordUpstreamTime(stats: MethodStats): void {
    const { upstream } = this.stream.info;
    if (!this.#settings.upstreamStats || upstream === null) return;
    const { lastByteSentMs, lastByteReceivedMs } = upstream;
    if (lastByteSentMs < 0 || lastByteReceivedMs < 0) return;
    stats.recordUpstreamTime(Math.trunc(lastByteReceivedMs - lastByteSentMs));
  }
}

/** Source: Envoy, Grpc::Common::isConnectStreamingRequestHeaders and its neighbours. */
function dialectOf(headers: RequestHeaders): Dialect {
  if (headers.path === null) return Dialect.None;
  if (isGrpcContentType(headers.get('content-type'))) return Dialect.Grpc;
  if (isConnectStream(headers)) return Dialect.ConnectStreaming;
  return headers.has('connect-protocol-version') ? Dialect.ConnectUnary : Dialect.None;
}

function isConnectStream(headers: HeaderMap): boolean {
  return headers.get('content-type')?.startsWith('application/connect+') ?? false;
}
