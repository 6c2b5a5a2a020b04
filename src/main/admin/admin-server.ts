import type { AdminSpec } from '../../config/builders/bootstrap.ts';
import { http1Options } from '../../http/h1/http1-options.ts';
import { Http1ServerCodec } from '../../http/h1/server-codec.ts';
import type { Address } from '../../net/address.ts';
import { Connection, ConnectionEvent, type ConnectionEvents } from '../../net/connection.ts';
import type { Acceptor, ListeningSocket, SocketRuntime, Transport } from '../../net/transport.ts';
import { SANITIZED_CLIENT_CERT } from '../../pipeline/client-cert-header.ts';
import { HttpConnectionManager } from '../../pipeline/connection-manager.ts';
import type { ConnectionManagerConfig } from '../../pipeline/connection-manager-config.ts';
import {
  createConnectionManagerStats,
  createListenerHttpStats,
  createTracingStats,
} from '../../pipeline/connection-manager-stats.ts';
import type { ConnectionContext, ListenerView, WorkerEnvironment } from '../../pipeline/environment.ts';
import { HttpDateCache } from '../../pipeline/http-date.ts';
import { LocalReplyConfig } from '../../pipeline/local-reply.ts';
import { EscapedSlashesAction } from '../../routing/path-normalization.ts';
import { RuntimeFraction } from '../../routing/runtime-fraction.ts';
import { HistogramUnit } from '../../stats/histogram.ts';
import { defineStats } from '../../stats/stat-group.ts';
import { type Scope, StatsStore } from '../../stats/store.ts';
import { AdminFilter } from './admin-filter.ts';
import type { AdminRouter } from './admin-router.ts';

const LISTENER_STATS = defineStats({
  counters: [
    'downstream_cx_destroy',
    'downstream_cx_overflow',
    'downstream_cx_overload_reject',
    'downstream_cx_total',
    'downstream_cx_transport_socket_connect_timeout',
    'downstream_global_cx_overflow',
    'downstream_listener_filter_error',
    'downstream_listener_filter_remote_close',
    'downstream_pre_cx_timeout',
    'no_filter_chain_match',
    'main_thread.downstream_cx_total',
  ],
  gauges: ['downstream_cx_active', 'downstream_pre_cx_active', 'main_thread.downstream_cx_active'],
  histograms: {
    connections_accepted_per_socket_event: HistogramUnit.Unspecified,
    downstream_cx_length_ms: HistogramUnit.Milliseconds,
  },
} as const);

const BUFFER_LIMIT_BYTES = 1024 * 1024;

/** The admin listener: it runs on main, with the same connection manager as every other. Source: Envoy, AdminImpl. */
export class AdminServer implements Acceptor, ListenerView {
  readonly name = 'admin';
  readonly direction = 'unspecified';
  readonly bufferLimit = BUFFER_LIMIT_BYTES;
  readonly scope: Scope;
  readonly #spec: AdminSpec;
  readonly #environment: WorkerEnvironment;
  readonly #sockets: SocketRuntime;
  readonly #context: ConnectionContext;
  readonly #config: ConnectionManagerConfig;
  readonly #stats;
  readonly #connections = new Set<Connection>();
  #listening: ListeningSocket | null = null;

  constructor(spec: AdminSpec, router: AdminRouter, environment: WorkerEnvironment, sockets: SocketRuntime) {
    this.#spec = spec;
    this.#environment = environment;
    this.#sockets = sockets;
    this.scope = environment.stats.createScope('listener.admin');
    this.#stats = LISTENER_STATS.create(this.scope);
    this.#context = { environment, drain: { drainClose: () => false }, listener: this };
    this.#config = adminManagerConfig(spec, router, environment, this.scope);
  }

  /** It has no log of connections. */
  logBy(): void {}

  /** @throws Error with `code` */
  listen(): Address {
    this.#listening = this.#sockets.listen(
      {
        address: this.#spec.address,
        reusePort: false,
        backlog: 0,
        ipv6Only: true,
        transparent: false,
        freebind: false,
        socketOptions: this.#spec.socketOptions,
      },
      this,
    );
    return this.#listening.address;
  }

  onAccept(transport: Transport): void {
    const connection = new Connection(this.#environment.dispatcher, transport, true);
    transport.setHandler(connection);
    const stats = this.#stats;
    stats.downstream_cx_total.inc();
    stats.downstream_cx_active.inc();
    stats['main_thread.downstream_cx_total'].inc();
    stats['main_thread.downstream_cx_active'].inc();
    stats.connections_accepted_per_socket_event.recordValue(1);
    connection.setBufferLimit(BUFFER_LIMIT_BYTES);
    this.#connections.add(connection);
    connection.addEvents(new AdminConnectionWatch(this, connection));
    connection.addFilter(new HttpConnectionManager(this.#config, this.#context));
    connection.startFilters();
  }

  onConnectionClosed(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    const stats = this.#stats;
    stats.downstream_cx_destroy.inc();
    stats.downstream_cx_active.dec();
    stats['main_thread.downstream_cx_active'].dec();
    const lengthMs = this.#environment.dispatcher.nowMs - connection.startMs;
    stats.downstream_cx_length_ms.recordValue(Math.max(0, Math.round(lengthMs)));
  }

  stop(): void {
    this.#listening?.close();
    this.#listening = null;
    for (const connection of [...this.#connections]) connection.close(1, '');
  }
}

class AdminConnectionWatch implements ConnectionEvents {
  readonly #server: AdminServer;
  readonly #connection: Connection;

  constructor(server: AdminServer, connection: Connection) {
    this.#server = server;
    this.#connection = connection;
  }

  onConnectionEvent(event: ConnectionEvent): void {
    if (event !== ConnectionEvent.Connected) this.#server.onConnectionClosed(this.#connection);
  }

  onAboveWriteHighWatermark(): void {}

  onBelowWriteLowWatermark(): void {}
}

/** Envoy's fixed settings of the admin connection manager (AdminImpl's overrides of ConnectionManagerConfig). */
function adminManagerConfig(
  spec: AdminSpec,
  router: AdminRouter,
  environment: WorkerEnvironment,
  listenerScope: Scope,
): ConnectionManagerConfig {
  const root = environment.stats;
  const http1 = http1Options({ validateScheme: true });
  const codecStats = {
    droppedHeadersWithUnderscores: root.counter('http1.dropped_headers_with_underscores'),
    requestsRejectedWithUnderscoresInHeaders: root.counter('http1.requests_rejected_with_underscores_in_headers'),
    metadataNotSupportedError: root.counter('http1.metadata_not_supported_error'),
    responseFlood: root.counter('http1.response_flood'),
  };
  const paths = { normalizePath: true, mergeSlashes: true, escapedSlashes: EscapedSlashesAction.KeepUnchanged };
  const stats = createConnectionManagerStats(root.createScope('http.admin'));
  return {
    statPrefix: 'admin',
    stats,
    listenerStats: createListenerHttpStats(listenerScope.createScope('http.admin')),
    createCodec: (_connection, transport, events) => new Http1ServerCodec(transport, events, http1, codecStats, false),
    routes: { current: () => null },
    filters: [
      {
        name: 'envoy.filters.http.admin',
        builder: { isTerminal: true, createFilter: () => new AdminFilter(router) },
        disabled: false,
      },
    ],
    upgrades: [],
    accessLoggers: spec.accessLoggers.map((make) => make(environment)),
    accessLogOnNewRequest: false,
    accessLogOnTunnelEstablished: false,
    accessLogFlushIntervalMs: 0,
    localReplies: LocalReplyConfig.NONE,
    serverName: 'envoy',
    serverHeader: 0,
    via: '',
    schemeOverwrite: '',
    idleTimeoutMs: 0,
    maxConnectionDurationMs: 0,
    maxConnectionDurationJitter: 0,
    safeMaxConnectionDuration: false,
    maxStreamDurationMs: 0,
    maxRequestsPerConnection: 0,
    streamIdleTimeoutMs: 0,
    requestTimeoutMs: 0,
    requestHeadersTimeoutMs: 0,
    drainTimeoutMs: 100,
    drainTimeoutJitter: 0,
    delayedCloseTimeoutMs: 0,
    useRemoteAddress: true,
    xffNumTrustedHops: 0,
    skipXffAppend: false,
    appendXForwardedPort: false,
    isInternalAddress: () => false,
    ipDetections: [],
    earlyHeaderMutations: [],
    generateRequestId: false,
    preserveExternalRequestId: false,
    alwaysSetRequestIdInResponse: false,
    packTraceReason: false,
    // Nobody sees them, as in Envoy.
    tracingStats: createTracingStats(new StatsStore().root),
    tracing: null,
    addUserAgent: false,
    forwardProto: null,
    onDelayedCloseTimeout: () => stats.downstreamCxDelayedCloseTimeout.inc(),
    proxy100Continue: false,
    normalizePath: RuntimeFraction.ALWAYS,
    pathNormalization: paths,
    pathNormalizationOff: { ...paths, normalizePath: false },
    slashesUntouched: false,
    stripMatchingPort: false,
    stripAnyPort: false,
    stripTrailingHostDot: false,
    clientCert: SANITIZED_CLIENT_CERT,
    clientCertMatcher: null,
    environment,
    dates: new HttpDateCache(),
    hooksByClass: new Map(),
  };
}
