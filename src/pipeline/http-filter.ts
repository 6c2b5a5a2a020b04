import type { ByteBuffer } from '../base/byte-buffer.ts';
import type { ResetReason } from '../http/codec.ts';
import type { HeaderMap, RequestHeaders, ResponseHeaders } from '../http/header-map.ts';
import type { MetadataSink, StreamMetadata } from '../http/stream-metadata.ts';
import type { Connection } from '../net/connection.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { Route } from '../routing/route.ts';
import type { ConnectionContext } from './environment.ts';
import type { DemandWaiter } from './on-demand.ts';
import type { StreamInfo } from './stream-info.ts';
import type { StreamTrace } from './trace/stream-trace.ts';

/** What a filter hook answers. */
export const Flow = {
  /** Go on with the next filter. */
  Continue: 0,
  /**
   * Stop here. What comes later waits in the stream's buffer (its source is stopped at the high watermark) and is not shown
   * to this filter until it calls `continueRequest`/`continueResponse`; then the walk goes on behind this filter.
   */
  Pause: 1,
  /**
   * Stop here and collect. What comes later is still shown to this filter, piece by piece (`onRequestData`), and kept in the
   * buffer until the filter answers Continue or calls `continue...`; the next filters then see it all at once. More than the
   * buffer limit: 413 for requests, 500 for responses.
   */
  PauseAndBuffer: 2,
} as const;
export type Flow = (typeof Flow)[keyof typeof Flow];

/** A local reply: an answer of ours instead of the upstream's. */
export interface LocalReply {
  readonly status: number;
  /** Latin1 string of the body's bytes (see wireText). */
  readonly body: string;
  /** Envoy's response code details. */
  readonly details: string;
  /** For gRPC requests; null derives it from the status. */
  readonly grpcStatus: number | null;
  /** Changes the headers before local_reply_config sees them. */
  readonly modifyHeaders: ((headers: ResponseHeaders) => void) | null;
}

/** What a filter may do with its stream. A method is added here only when two filters need it. */
export interface FilterStream {
  readonly dispatcher: Dispatcher;
  readonly info: StreamInfo;
  readonly connection: Connection;
  /** Null: the request is not traced. */
  readonly trace: StreamTrace | null;
  /** The route of this request; picked when first asked for. Null: none matches. */
  readonly route: Route | null;
  /** Forgets the route, so that changed headers are matched anew. */
  clearRouteCache(): void;
  /**
   * Asks for what a request without a route may be routed by (a scope's table, a virtual host), where that is fetched on demand. When
   * the waiter is told, the route is picked anew.
   * @returns false: there is nothing to ask for
   */
  demandRoutes(waiter: DemandWaiter): boolean;
  readonly requestHeaders: RequestHeaders | null;
  readonly requestTrailers: HeaderMap | null;
  readonly responseHeaders: ResponseHeaders | null;
  readonly responseTrailers: HeaderMap | null;
  /** Most specific per-route configuration of this filter; null: none. */
  routeConfig(): unknown;
  /** All levels, least specific first. */
  routeConfigs(): readonly unknown[];

  /** Goes on behind this filter. Inside a hook it is queued until the hook has returned. */
  continueRequest(): void;
  continueResponse(): void;
  /**
   * Sends a part of the response's body on behind this filter while it holds the rest (it took `data` out of
   * `bufferedResponse`, or made it). Not inside a hook.
   */
  injectResponseData(data: ByteBuffer): void;
  /** What is buffered so far in this direction, or null; to be changed only by the filter that holds it. */
  readonly bufferedRequest: ByteBuffer | null;
  readonly bufferedResponse: ByteBuffer | null;
  /** Soft limit in bytes of the request's buffer. */
  requestBufferLimit: number;
  /** Adds trailers at the end of a request or response that has none yet. Only in a hook that saw `end`. */
  addRequestTrailers(): HeaderMap;
  addResponseTrailers(): HeaderMap;
  /** Adds body in front of the trailers, behind what this filter holds. Only inside `onResponseTrailers`. Takes all of `data`. */
  addDataBeforeResponseTrailers(data: ByteBuffer): void;
  /** Answers the request from here. Ends the walk by itself: whatever the hook returns then is ignored. */
  sendLocalReply(reply: LocalReply): void;
  resetStream(reason: ResetReason, details: string): void;

  // For terminal filters: the response enters the chain here.
  encode1xxHeaders(headers: ResponseHeaders): void;
  encodeHeaders(headers: ResponseHeaders, end: boolean): void;
  encodeData(data: ByteBuffer, end: boolean): void;
  encodeTrailers(trailers: HeaderMap): void;
  /** Waits here for the response's headers. */
  encodeMetadata(metadata: StreamMetadata): void;
  /** Where the request's metadata goes from now on, with what came before; null: nowhere yet. */
  setMetadataSink(sink: MetadataSink | null): void;
  /**
   * The request begins anew with its changed headers, through all filters, as if it had just come; this stream ends, and is logged, with
   * `response`. Nothing may be done with it afterwards.
   * @param body the whole of it; null: none
   * @returns false: the request is not complete
   */
  recreateStream(response: ResponseHeaders, body: ByteBuffer | null): boolean;
  /** Asks the request's source to stop and go on; counted. */
  pauseRequest(): void;
  resumeRequest(): void;
  /** Told when the response's sink is full; the stream tells at once if it is so already. */
  setResponseWatermarks(observer: ResponseWatermarks | null): void;
}

export interface ResponseWatermarks {
  onResponseSinkFull(): void;
  onResponseSinkReady(): void;
}

/**
 * A filter of one HTTP stream. Every hook defaults to Continue; the chain calls only those that a class overrides. Hooks run
 * in configured order for requests and in reverse for responses.
 */
export abstract class HttpFilter {
  /** Set before any hook runs. */
  stream!: FilterStream;

  onRequestHeaders(_headers: RequestHeaders, _end: boolean): Flow {
    return Flow.Continue;
  }

  onRequestData(_data: ByteBuffer, _end: boolean): Flow {
    return Flow.Continue;
  }

  onRequestTrailers(_trailers: HeaderMap): Flow {
    return Flow.Continue;
  }

  onResponse1xxHeaders(_headers: ResponseHeaders): Flow {
    return Flow.Continue;
  }

  onResponseHeaders(_headers: ResponseHeaders, _end: boolean): Flow {
    return Flow.Continue;
  }

  onResponseData(_data: ByteBuffer, _end: boolean): Flow {
    return Flow.Continue;
  }

  onResponseTrailers(_trailers: HeaderMap): Flow {
    return Flow.Continue;
  }

  /** The stream is answered from here, by whichever filter or timeout: give up what would have led to an answer. */
  onLocalReply(): void {}

  /** The stream is complete, before the access log is written. */
  onStreamComplete(): void {}

  /** Last call: release what is held, cancel what is pending. No use of `stream` beyond this. */
  onDestroy(): void {}
}

/** Makes the filters of a chain's streams. Built once per configuration. */
export interface HttpFilterBuilder {
  /** Only the router and its like: the last filter of a chain. */
  readonly isTerminal: boolean;
  /** @returns null to stay out of this stream */
  createFilter(context: ConnectionContext): HttpFilter | null;
}
