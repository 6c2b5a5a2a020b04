import { PROTOCOL_NAMES, type Protocol, RESET_REASON_TEXT, type ResetReason } from '../../http/codec.ts';
import { GrpcStatus, grpcStatusIn, isGrpcContentType } from '../../http/grpc-headers.ts';
import type { HeaderMap, RequestHeaders } from '../../http/header-map.ts';
import type { SpanTag } from '../../routing/span-tag.ts';
import type { Cluster } from '../../upstream/cluster.ts';
import type { Host } from '../../upstream/host.ts';
import type { LogContext } from '../access-logger.ts';
import { flagText } from '../format/stream-operators.ts';
import { shortFlags } from '../response-flag.ts';
import type { StreamInfo, UpstreamInfo } from '../stream-info.ts';
import type { TracingConfig } from '../tracing.ts';
import type { Span, SpanSettings } from './span.ts';

/** Clients of our own are never the first to see a request. Source: Envoy, Tracing::EgressConfig. */
const ASYNC_CLIENT: SpanSettings = { egress: true, spawnUpstreamSpan: false };

/** How an attempt went, as far as its span tells. */
export interface AttemptOutcome {
  /** 0: no answer. */
  readonly status: number;
  /** Bits of ResponseFlag. */
  readonly flags: number;
  /** Null: no stream was made. */
  readonly protocol: Protocol | null;
}

/**
 * The trace of one request: its span, and those of its attempts. There is one only where a tracer is configured and could read
 * what the request's headers say. Source: Envoy, source/common/tracing/http_tracer_impl.cc.
 */
export class StreamTrace {
  readonly config: TracingConfig;
  readonly span: Span;
  readonly #context: LogContext;

  /** @param context the request as it stands whenever it is asked */
  constructor(config: TracingConfig, span: Span, context: LogContext) {
    this.config = config;
    this.span = span;
    this.#context = context;
  }

  get #info(): StreamInfo {
    return this.#context.stream;
  }

  // --- attempts ---

  /**
   * Where the request is about to go: tells the upstream, and begins the attempt's span where it has one of its own.
   *
   * @param alwaysChild the router's `start_child_span`
   * @param attempt counted from 1
   * @param nowWallMs since the epoch
   */
  startAttempt(
    cluster: Cluster,
    headers: RequestHeaders,
    attempt: number,
    alwaysChild: boolean,
    nowWallMs: number,
  ): Span | null {
    const { config } = this;
    let child: Span | null = null;
    if (config.spawnUpstreamSpan || alwaysChild) {
      child = this.span.spawnChild(config, `router ${cluster.spec.statName} egress`, nowWallMs);
      if (attempt > 1 && child.sampled) child.setTag('retry.count', String(attempt - 1));
    }
    if (!config.noContextPropagation) (child ?? this.span).inject(headers);
    return child;
  }

  finishAttempt(span: Span, cluster: Cluster, host: Host, upstream: UpstreamInfo, outcome: AttemptOutcome): void {
    if (span.sampled) {
      this.#tagAttempt(span, cluster, host, outcome);
      if (this.config.verbose) logUpstream(span, this.#info, upstream);
      if (outcome.status === 0 || outcome.status >= 500) span.setTag('error', 'true');
      this.#modify(span, true);
    }
    span.finish();
  }

  /** @param sampled null: as the request's own span */
  startAsync(operation: string, headers: RequestHeaders, sampled: boolean | null, nowWallMs: number): Span {
    const child = this.span.spawnChild(ASYNC_CLIENT, operation, nowWallMs);
    if (sampled !== null) child.setSampled(sampled);
    child.inject(headers);
    return child;
  }

  /** Nobody but the tracer names such a span, and custom tags are of the connection manager's. */
  finishAsync(span: Span, cluster: Cluster, host: Host | null, outcome: AttemptOutcome): void {
    if (span.sampled) {
      this.#tagAttempt(span, cluster, host, outcome);
      if (outcome.status === 0 || outcome.status >= 500) span.setTag('error', 'true');
    }
    span.finish();
  }

  #tagAttempt(span: Span, cluster: Cluster, host: Host | null, outcome: AttemptOutcome): void {
    span.setTag('http.protocol', outcome.protocol === null ? '-' : PROTOCOL_NAMES[outcome.protocol]!);
    if (host !== null) {
      span.setTag('upstream_address', host.address.text);
      span.setTag('peer.address', host.address.text);
    }
    const { spec } = cluster;
    tagResult(span, spec.name, spec.statName, outcome.status, shortFlags(outcome.flags));
  }

  // --- the request's own span ---

  /** The end of the request. */
  finish(): void {
    const { span } = this;
    if (span.sampled) {
      const context = this.#context;
      const info = context.stream;
      span.setTag('node_id', this.config.nodeId);
      span.setTag('zone', this.config.zone);
      if (context.requestHeaders !== null) this.#tagRequest(span, context.requestHeaders, info);
      span.setTag('request_size', String(info.bytesReceived));
      span.setTag('response_size', String(info.bytesSent));
      const { upstream } = info;
      tagResult(
        span,
        upstream === null ? '' : upstream.clusterName,
        upstream === null ? '' : upstream.clusterStatName,
        info.responseCode,
        flagText(info, 'short'),
      );
      if (this.config.verbose) logDownstream(span, info);
      if (info.responseCode === 0 || info.responseCode >= 500) span.setTag('error', 'true');
      this.#modify(span, false);
      if (context.responseHeaders !== null) tagGrpcResponse(span, context.responseHeaders);
      if (context.responseTrailers !== null) tagGrpcResponse(span, context.responseTrailers);
    }
    span.finish();
  }

  #tagRequest(span: Span, headers: RequestHeaders, info: StreamInfo): void {
    const id = headers.get('x-request-id');
    if (id !== null) span.setTag('guid:x-request-id', id);
    span.setTag('http.url', originalUrl(headers, this.config.maxPathTagLength));
    span.setTag('http.method', headers.method);
    span.setTag('downstream_cluster', headers.get('x-envoy-downstream-service-cluster') ?? '-');
    span.setTag('user_agent', headers.get('user-agent') ?? '-');
    span.setTag('http.protocol', info.protocol === null ? '-' : PROTOCOL_NAMES[info.protocol]!);
    const peer = info.connection?.directRemoteAddress ?? null;
    if (peer !== null) span.setTag('peer.address', peer.kind === 'ip' ? peer.ip : peer.text);
    const clientTrace = headers.get('x-client-trace-id');
    if (clientTrace !== null) span.setTag('guid:x-client-trace-id', clientTrace);
    const contentType = headers.get('content-type');
    if (!isGrpcContentType(contentType)) return;
    if (headers.path !== null) span.setTag('grpc.path', headers.path);
    if (headers.authority !== null) span.setTag('grpc.authority', headers.authority);
    span.setTag('grpc.content_type', contentType!);
    const timeout = headers.get('grpc-timeout');
    if (timeout !== null) span.setTag('grpc.timeout', timeout);
  }

  /** Custom tags and the configured name; those of the route go before those of the connection manager. */
  #modify(span: Span, upstream: boolean): void {
    const { config } = this;
    const context = this.#context;
    const { route } = context.stream;
    const own = route === null ? null : route.tracing;
    const tags = own === null ? NO_TAGS : own.customTags;
    for (const tag of tags) tag.apply(span, context);
    for (const tag of config.customTags) {
      if (tags.length === 0 || !tags.some(({ name }) => name === tag.name)) tag.apply(span, context);
    }
    const format = upstream
      ? (own?.upstreamOperation ?? config.upstreamOperation)
      : (own?.operation ?? config.operation);
    const operation = format === null ? '' : format.format(context);
    if (operation !== '') span.setOperation(operation);
  }
}

const NO_TAGS: readonly SpanTag[] = [];

/** Of both directions. Source: Envoy, HttpTracerUtility::setCommonTags. @param cluster empty: none */
function tagResult(span: Span, cluster: string, statName: string, status: number, flags: string): void {
  span.setTag('component', 'proxy');
  if (cluster !== '') {
    span.setTag('upstream_cluster', cluster);
    span.setTag('upstream_cluster.name', statName === '' ? cluster : statName);
  }
  span.setTag('http.status_code', String(status));
  span.setTag('response_flags', flags);
}

/** What a gRPC server answers, in its headers or trailers. */
export function tagGrpcResponse(span: Span, headers: HeaderMap): void {
  const status = headers.get('grpc-status');
  if (status === null) return;
  span.setTag('grpc.status_code', status);
  const message = headers.get('grpc-message');
  if (message !== null) span.setTag('grpc.message', message);
  if (SERVER_FAULTS.has(grpcStatusIn(headers))) span.setTag('error', 'true');
}

/** What is not the caller's own doing. Source: Envoy, addGrpcResponseTags. */
const SERVER_FAULTS: ReadonlySet<number> = new Set([
  GrpcStatus.Unknown,
  GrpcStatus.DeadlineExceeded,
  GrpcStatus.Unimplemented,
  GrpcStatus.ResourceExhausted,
  GrpcStatus.Internal,
  GrpcStatus.Unavailable,
  GrpcStatus.DataLoss,
]);

/** An attempt's stream ended before its time. */
export function tagReset(span: Span, reason: ResetReason): void {
  if (!span.sampled) return;
  span.setTag('error', 'true');
  span.setTag('error.reason', RESET_REASON_TEXT[reason]);
}

/** Source: Envoy, Http::Utility::buildOriginalUri. */
function originalUrl(headers: RequestHeaders, maxPathLength: number): string {
  if (headers.path === null) return '';
  const path = headers.get('x-envoy-original-path') ?? headers.path;
  return `${headers.get('x-forwarded-proto') ?? ''}://${headers.authority ?? ''}${path.slice(0, maxPathLength)}`;
}

// --- verbose: when bytes came and went ---

function log(span: Span, info: StreamInfo, ms: number, event: string): void {
  if (ms >= 0) span.log(info.startWallMs + (ms - info.startMs), event);
}

function logUpstream(span: Span, info: StreamInfo, upstream: UpstreamInfo): void {
  log(span, info, upstream.firstByteSentMs, 'first_upstream_tx_byte_sent');
  log(span, info, upstream.lastByteSentMs, 'last_upstream_tx_byte_sent');
  log(span, info, upstream.firstByteReceivedMs, 'first_upstream_rx_byte_received');
  log(span, info, upstream.lastByteReceivedMs, 'last_upstream_rx_byte_received');
}

function logDownstream(span: Span, info: StreamInfo): void {
  log(span, info, info.lastRxByteMs, 'last_downstream_rx_byte_received');
  if (info.upstream !== null) logUpstream(span, info, info.upstream);
  log(span, info, info.firstTxByteMs, 'first_downstream_tx_byte_sent');
  log(span, info, info.lastTxByteMs, 'last_downstream_tx_byte_sent');
}
