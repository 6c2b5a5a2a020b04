import type { LoggerRegistry } from '../base/log.ts';
import type { SharedTable } from '../base/shared-table.ts';
import type { Connection } from '../net/connection.ts';
import type { Dispatcher } from '../net/dispatcher.ts';
import type { TransportSocketServices } from '../net/transport-socket.ts';
import type { RuntimeReader } from '../routing/runtime-fraction.ts';
import { ScopeSet } from '../routing/scoped-routes.ts';
import type { Scope } from '../stats/store.ts';
import type { ClusterManager } from '../upstream/cluster-manager.ts';
import type { LogFiles } from './access-logger.ts';
import type { RouteTableSource } from './connection-manager-config.ts';
import type { OnDemand } from './on-demand.ts';
import type { StreamInfo } from './stream-info.ts';

/** Who this proxy is (bootstrap node and command line). */
export interface LocalInfo {
  readonly nodeId: string;
  readonly clusterName: string;
  readonly zone: string;
  /** IP address by which the node is known; Envoy picks a non-loopback interface's. */
  readonly address: string;
}

/** Whether connections should be closed, now or gradually. One per listener; see Envoy's draining documentation. */
export interface DrainDecision {
  /** True when this response's connection should be closed (`connection: close`, GOAWAY): drawn anew at each call. */
  drainClose(): boolean;
}

/** What one worker thread offers to what runs in it. Lives as long as the worker. */
export interface WorkerEnvironment {
  readonly dispatcher: Dispatcher;
  readonly clusters: ClusterManager;
  readonly runtime: RuntimeReader;
  readonly local: LocalInfo;
  readonly loggers: LoggerRegistry;
  readonly logFiles: LogFiles;
  /** Root scope of this worker's store. */
  readonly stats: Scope;
  /** Route tables that are discovered. */
  readonly routeTables: RouteTableFeed;
  /** What is fetched only when a request needs it. */
  readonly onDemand: OnDemand;
  /** What transport sockets of listeners are made with. */
  readonly transportSockets: TransportSocketServices;
  /** The server-wide health switch (`/healthcheck/fail`). */
  readonly health: { readonly failed: boolean };
  /** Numbers that all workers of the process share, such as rate limits. */
  readonly shared: SharedTable;
  /** Added to `dispatcher.nowMs`: a time that workers can compare. */
  readonly sharedClockOffsetMs: number;
}

/** The discovered route tables of one worker. */
export interface RouteTableFeed {
  /** @param key of a `RouteDependency`. There is no table before main has sent one. */
  source(key: string): RouteTableSource;
  /** @param key of a `ScopeDependency`. There are no scopes before main has sent them. */
  scopes(key: string): ScopeSet;
}

export const NO_ROUTE_TABLES: RouteTableFeed = {
  source: () => ({ current: () => null }),
  scopes: (key) => new ScopeSet(key),
};

/** What a network filter is made for: one connection of one listener. */
export interface ConnectionContext {
  readonly environment: WorkerEnvironment;
  readonly drain: DrainDecision;
  readonly listener: ListenerView;
}

/** What filters may know of the listener that accepted their connection. */
export interface ListenerView {
  readonly name: string;
  /** `listener.<address>.` scope. */
  readonly scope: Scope;
  readonly direction: 'unspecified' | 'inbound' | 'outbound';
  readonly bufferLimit: number;
  /** The listener's own log of the connection is to tell what `info` does: it is the stream of a filter that takes the connection as a whole. */
  logBy(connection: Connection, info: StreamInfo): void;
}
