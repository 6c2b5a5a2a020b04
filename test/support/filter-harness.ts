import { ByteBuffer } from '../../src/base/byte-buffer.ts';
import { LoggerRegistry } from '../../src/base/log.ts';
import { SharedTable } from '../../src/base/shared-table.ts';
import type { ResetReason } from '../../src/http/codec.ts';
import { HeaderMap, RequestHeaders, ResponseHeaders } from '../../src/http/header-map.ts';
import { Connection } from '../../src/net/connection.ts';
import type { Dispatcher } from '../../src/net/dispatcher.ts';
import { NO_SECRETS, NO_TLS } from '../../src/net/transport-socket.ts';
import { type ConnectionContext, NO_ROUTE_TABLES } from '../../src/pipeline/environment.ts';
import {
  type FilterStream,
  Flow,
  type HttpFilter,
  type HttpFilterBuilder,
  type LocalReply,
  type ResponseWatermarks,
} from '../../src/pipeline/http-filter.ts';
import { type DemandWaiter, NOTHING_ON_DEMAND } from '../../src/pipeline/on-demand.ts';
import { StreamInfo } from '../../src/pipeline/stream-info.ts';
import type { Route } from '../../src/routing/route.ts';
import { EMPTY_RUNTIME } from '../../src/routing/runtime-fraction.ts';
import { StatsStore } from '../../src/stats/store.ts';
import { ClusterManager } from '../../src/upstream/cluster-manager.ts';
import { FakeLoop, FakeTransport } from './fake-transport.ts';

/** What one direction has let through and what it holds. */
class Side {
  /** Behind the filter: `H`, body text, `T`; `$` at the end. */
  passed = '';
  held: ByteBuffer | null = null;
  flow: Flow = Flow.Continue;
  headersHeld = false;
  trailersHeld = false;
  ended = false;

  pass(what: string, end: boolean): void {
    this.passed += end ? `${what}$` : what;
  }

  release(): void {
    if (this.flow === Flow.Continue) return;
    this.flow = Flow.Continue;
    const body = this.held?.latin1() ?? '';
    this.held = null;
    if (this.headersHeld) this.passed += 'H';
    this.headersHeld = false;
    this.passed += body;
    if (this.trailersHeld) this.passed += 'T';
    if (this.ended) this.passed += '$';
  }
}

/**
 * Drives one filter without sockets: the test plays client and upstream, moves the clock (`loop.advance`), and looks at what
 * passed behind the filter. Keeps the contract of the walk for one filter: held data, resumes inside hooks, one local reply.
 */
export class FilterHarness implements FilterStream {
  readonly loop = new FakeLoop();
  readonly store = new StatsStore();
  readonly info: StreamInfo;
  readonly connection: Connection;
  readonly context: ConnectionContext;
  readonly filter: HttpFilter;
  readonly request = new Side();
  readonly response = new Side();
  route: Route | null = null;
  readonly trace = null;
  /** Of the route, least specific first. */
  configs: readonly unknown[] = [];
  requestHeaders: RequestHeaders | null = null;
  requestTrailers: HeaderMap | null = null;
  responseHeaders: ResponseHeaders | null = null;
  responseTrailers: HeaderMap | null = null;
  requestBufferLimit = 1_048_576;
  reply: LocalReply | null = null;
  resetDetails = '';
  routeCacheClears = 0;
  readonly health = { failed: false };
  #depth = 0;
  #resumeRequest = false;
  #resumeResponse = false;

  constructor(builder: HttpFilterBuilder, shared: SharedTable = new SharedTable(null)) {
    const { dispatcher } = this.loop;
    this.connection = new Connection(dispatcher, new FakeTransport(this.loop), true);
    this.info = new StreamInfo(this.connection, dispatcher.wallMs, dispatcher.nowMs, 0);
    const stats = this.store.root;
    const loggers = new LoggerRegistry({ write: () => {} }, 'info');
    this.context = {
      environment: {
        dispatcher,
        clusters: new ClusterManager({
          dispatcher,
          stats,
          runtime: EMPTY_RUNTIME,
          sockets: null,
          sharedCells: () => null,
        }),
        runtime: EMPTY_RUNTIME,
        local: { nodeId: 'node', clusterName: 'cluster', zone: 'zone', address: '192.0.2.1' },
        loggers,
        logFiles: { open: () => ({ write: () => {} }) },
        stats,
        health: this.health,
        shared,
        routeTables: NO_ROUTE_TABLES,
        onDemand: NOTHING_ON_DEMAND,
        transportSockets: { dispatcher, tls: NO_TLS, secrets: NO_SECRETS },
        sharedClockOffsetMs: 0,
      },
      drain: { drainClose: () => false },
      listener: { name: 'listener', scope: stats, direction: 'unspecified', bufferLimit: 1_048_576, logBy() {} },
    };
    const filter = builder.createFilter(this.context);
    if (filter === null) throw new Error('the builder made no filter');
    this.filter = filter;
    filter.stream = this;
  }

  demandRoutes(_waiter: DemandWaiter): boolean {
    return false;
  }

  // --- the client ---

  sendHeaders(fields: Readonly<Record<string, string>>, end = true): Flow {
    const headers = new RequestHeaders();
    for (const [name, value] of Object.entries({ ':method': 'GET', ':path': '/', ':authority': 'h', ...fields })) {
      if (name === ':method') headers.method = value;
      else if (name === ':path') headers.path = value;
      else if (name === ':authority') headers.authority = value;
      else headers.add(name, value);
    }
    this.requestHeaders = headers;
    return this.#headers(this.request, end, () => this.filter.onRequestHeaders(headers, end));
  }

  sendData(text: string, end = true): Flow {
    return this.#data(this.request, text, end, (data) => this.filter.onRequestData(data, end));
  }

  sendTrailers(fields: Readonly<Record<string, string>>): Flow {
    const trailers = mapOf(new HeaderMap(), fields);
    this.requestTrailers = trailers;
    return this.#trailers(this.request, () => this.filter.onRequestTrailers(trailers));
  }

  // --- the upstream ---

  answerHeaders(status: number, fields: Readonly<Record<string, string>> = {}, end = true): Flow {
    const headers = mapOf(ResponseHeaders.of(status), fields);
    this.responseHeaders = headers;
    return this.#headers(this.response, end, () => this.filter.onResponseHeaders(headers, end));
  }

  answerData(text: string, end = true): Flow {
    return this.#data(this.response, text, end, (data) => this.filter.onResponseData(data, end));
  }

  answerTrailers(fields: Readonly<Record<string, string>>): Flow {
    const trailers = mapOf(new HeaderMap(), fields);
    this.responseTrailers = trailers;
    return this.#trailers(this.response, () => this.filter.onResponseTrailers(trailers));
  }

  destroy(): void {
    this.filter.onStreamComplete();
    this.filter.onDestroy();
  }

  stat(name: string): number {
    return this.store.valueOf(name) ?? 0;
  }

  #hook(side: Side, hook: () => Flow): Flow {
    this.#depth++;
    let flow: Flow = Flow.Continue;
    this.loop.turn(() => {
      flow = hook();
    });
    this.#depth--;
    const resumed = side === this.request ? this.#resumeRequest : this.#resumeResponse;
    this.#resumeRequest = false;
    this.#resumeResponse = false;
    return resumed ? Flow.Continue : flow;
  }

  #headers(side: Side, end: boolean, hook: () => Flow): Flow {
    side.ended = end;
    const flow = this.#hook(side, hook);
    if (side === this.request && this.reply !== null) return flow;
    if (flow === Flow.Continue) {
      side.pass('H', end);
    } else {
      side.flow = flow;
      side.headersHeld = true;
    }
    return flow;
  }

  #data(side: Side, text: string, end: boolean, hook: (data: ByteBuffer) => Flow): Flow {
    const data = ByteBuffer.from(Buffer.from(text, 'latin1'));
    side.ended = end;
    const holding = side.flow;
    let flow: Flow = holding === Flow.Pause ? Flow.Pause : this.#hook(side, () => hook(data));
    if (side === this.request && this.reply !== null) return flow;
    if (flow === Flow.Continue && holding === Flow.Continue) {
      side.pass(data.latin1(), end);
      return flow;
    }
    side.held ??= new ByteBuffer();
    side.held.moveFrom(data);
    if (flow === Flow.Continue) {
      side.release();
    } else {
      side.flow = flow;
      flow = side.flow;
    }
    return flow;
  }

  #trailers(side: Side, hook: () => Flow): Flow {
    side.ended = true;
    const holding = side.flow;
    const flow = holding === Flow.Pause ? Flow.Pause : this.#hook(side, hook);
    if (side === this.request && this.reply !== null) return flow;
    if (holding !== Flow.Continue || flow !== Flow.Continue) {
      side.trailersHeld = true;
      side.flow = flow === Flow.Continue ? holding : flow;
      if (flow === Flow.Continue) side.release();
    } else {
      side.pass('T', true);
    }
    return flow;
  }

  // --- FilterStream ---

  get dispatcher(): Dispatcher {
    return this.loop.dispatcher;
  }

  clearRouteCache(): void {
    this.routeCacheClears++;
  }

  routeConfig(): unknown {
    return this.configs[this.configs.length - 1];
  }

  routeConfigs(): readonly unknown[] {
    return this.configs;
  }

  continueRequest(): void {
    if (this.#depth > 0) this.#resumeRequest = true;
    else this.request.release();
  }

  continueResponse(): void {
    if (this.#depth > 0) this.#resumeResponse = true;
    else this.response.release();
  }

  injectResponseData(data: ByteBuffer): void {
    if (this.#depth > 0) throw new Error('data injected inside a hook');
    this.response.passed += data.latin1();
    data.clear();
  }

  get bufferedRequest(): ByteBuffer | null {
    return this.request.held;
  }

  get bufferedResponse(): ByteBuffer | null {
    return this.response.held;
  }

  addRequestTrailers(): HeaderMap {
    this.requestTrailers = new HeaderMap();
    return this.requestTrailers;
  }

  addResponseTrailers(): HeaderMap {
    this.responseTrailers = new HeaderMap();
    return this.responseTrailers;
  }

  addDataBeforeResponseTrailers(data: ByteBuffer): void {
    if (this.#depth === 0) throw new Error('data added outside of a hook');
    if (this.response.flow === Flow.Continue) this.response.passed += data.latin1();
    else {
      this.response.held ??= new ByteBuffer();
      this.response.held.moveFrom(data);
    }
  }

  /** The reply's headers run through the filter's response hook, as in the chain. */
  sendLocalReply(reply: LocalReply): void {
    if (this.reply !== null) throw new Error('two local replies');
    this.reply = reply;
    this.info.responseCodeDetails = reply.details;
    const headers = ResponseHeaders.of(reply.status);
    reply.modifyHeaders?.(headers);
    this.responseHeaders = headers;
    this.filter.onResponseHeaders(headers, reply.body === '');
  }

  resetStream(_reason: ResetReason, details: string): void {
    this.resetDetails = details;
  }

  encode1xxHeaders(_headers: ResponseHeaders): void {}

  encodeHeaders(headers: ResponseHeaders, end: boolean): void {
    this.responseHeaders = headers;
    this.filter.onResponseHeaders(headers, end);
    this.response.pass('H', end);
  }

  encodeData(data: ByteBuffer, end: boolean): void {
    this.response.pass(data.latin1(), end);
  }

  encodeMetadata(): void {}
  setMetadataSink(): void {}

  encodeTrailers(_trailers: HeaderMap): void {
    this.response.pass('T', true);
  }

  recreateStream(): boolean {
    return false;
  }

  pauseRequest(): void {}
  resumeRequest(): void {}
  setResponseWatermarks(_observer: ResponseWatermarks | null): void {}
}

function mapOf<M extends HeaderMap>(target: M, fields: Readonly<Record<string, string>>): M {
  for (const [name, value] of Object.entries(fields)) target.add(name, value);
  return target;
}
