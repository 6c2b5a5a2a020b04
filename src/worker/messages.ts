import type { LogLevel } from '../base/log.ts';
import type { Address } from '../net/address.ts';
import type { TlsContextInUse } from '../net/transport-socket.ts';
import type { LocalInfo } from '../pipeline/environment.ts';
import type { Demand, DemandOutcome } from '../routing/on-demand.ts';
import type { StatsDelta } from '../stats/delta.ts';
import type { EdsHealth, Locality, Metadata } from '../upstream/host.ts';
import type { HostUpdate } from '../upstream/host-update.ts';
import type { ClusterLoad } from './load-counts.ts';

/** How a worker starts. Structured-cloneable: it crosses into a thread. */
export interface WorkerOptions {
  /** 0 for the first; only that one opens what cannot be shared (pipes, sockets without SO_REUSEPORT). */
  readonly index: number;
  readonly workerCount: number;
  readonly local: LocalInfo;
  readonly logLevel: LogLevel;
  readonly componentLevels: readonly (readonly [string, LogLevel])[];
  /** Access logs are written at least this often, ms. */
  readonly fileFlushIntervalMs: number;
  readonly fileFlushMinBytes: number;
  /** Resources are changed by their bytes; each is one encoded message. */
  readonly runtime: Readonly<Record<string, unknown>>;
  /** Numbers that all workers share ({@link SharedTable}); null with one worker. */
  readonly sharedMemory: SharedArrayBuffer | null;
  /** Names that `--disable-extensions` took away. */
  readonly disabledExtensions: readonly string[];
  /** Of connections to internal listeners, each way. */
  readonly internalBufferBytes: number;
  /** envoy.config.trace.v3.Tracing.Http: the tracer of connection managers that name none; null: they have none. */
  readonly defaultTracer: Uint8Array | null;
}

/** A listening socket's outcome. */
export interface ListenOutcome {
  readonly listener: string;
  /** Index among the listener's addresses. */
  readonly addressIndex: number;
  /** With the port that the system gave; empty when it failed. */
  readonly address: string;
  /** Envoy's words when it failed; empty otherwise. */
  readonly error: string;
}

/** A listener to be opened, or another version of one. */
export interface ListenerOrder {
  readonly bytes: Uint8Array;
  /** Only filter chains differ from the present version: its sockets stay, and the connections of chains that both have. */
  readonly inPlace: boolean;
}

/** Why a resource could not be taken, were it said in earnest. */
export interface RehearsalFault {
  readonly name: string;
  readonly details: string;
}

/** A scope of routes. */
export interface ScopeOrder {
  readonly name: string;
  /** See `scopeKey`. */
  readonly scopeKey: string;
  /** Key of its route table; empty: it is asked for on demand. */
  readonly routes: string;
}

/** What main asks of a worker. `id` names the answer. */
export type ToWorker =
  | {
      readonly kind: 'clusters';
      readonly id: number;
      readonly changed: readonly Uint8Array[];
      readonly removed: readonly string[];
      /** Of those changed: applied in the same turn, so that no request finds them empty. */
      readonly hosts: readonly HostUpdate[];
      /** Circuit-breaker counts that all workers share, by cluster; empty with one worker. */
      readonly breakerCells: Readonly<Record<string, SharedArrayBuffer>>;
    }
  | {
      readonly kind: 'listeners';
      readonly id: number;
      readonly changed: readonly ListenerOrder[];
      readonly removed: readonly string[];
      /** For the connections of what is replaced or removed, ms. */
      readonly drainMs: number;
      /** `--drain-strategy immediate`: every answer closes its connection. */
      readonly immediate: boolean;
      /** Ports already given by the system: `<listener>|<address index>` → port. */
      readonly ports: Readonly<Record<string, number>>;
    }
  | {
      readonly kind: 'routes';
      readonly id: number;
      readonly changed: readonly { readonly key: string; readonly bytes: Uint8Array }[];
      readonly removed: readonly string[];
    }
  /** Scopes of one source; the tables that they name were sent before. */
  | {
      readonly kind: 'scopes';
      readonly id: number;
      readonly key: string;
      readonly changed: readonly ScopeOrder[];
      readonly removed: readonly string[];
      /** Nobody uses the source any more. */
      readonly gone: boolean;
    }
  /** Discovered configurations of extensions: bytes of a TypedExtensionConfig. Sent before the listeners that need them. */
  | {
      readonly kind: 'extensions';
      readonly id: number;
      readonly changed: readonly { readonly key: string; readonly bytes: Uint8Array }[];
      readonly removed: readonly string[];
    }
  /** State of which the last word counts. At most one is under way: what comes meanwhile is gathered. */
  | {
      readonly kind: 'feed';
      readonly id: number;
      /** Each cluster and priority once. */
      readonly hosts: readonly HostUpdate[];
      /** By the keys of their `SecretDependency`: bytes of a Secret, files inline; null: not needed any more. Sent before what needs them. */
      readonly secrets: readonly (readonly [key: string, secret: Uint8Array | null])[];
      /** Null: as before. */
      readonly runtime: Readonly<Record<string, unknown>> | null;
    }
  /** What was asked for on demand is there, or not to be had. */
  | { readonly kind: 'settled'; readonly demandId: number; readonly outcome: DemandOutcome }
  | { readonly kind: 'stats'; readonly id: number }
  | { readonly kind: 'logging'; readonly levels: readonly (readonly [string, LogLevel])[] }
  | { readonly kind: 'health'; readonly failed: boolean }
  | { readonly kind: 'drain'; readonly action: DrainAction }
  | { readonly kind: 'reopen' }
  | { readonly kind: 'hostStats'; readonly id: number }
  /** What clusters have carried since they were asked last. */
  | { readonly kind: 'loads'; readonly id: number; readonly clusters: readonly string[] }
  | { readonly kind: 'certs'; readonly id: number }
  /** Builds and opens what an edit needs, and changes nothing. */
  | {
      readonly kind: 'rehearse';
      readonly id: number;
      readonly clusters: readonly Uint8Array[];
      readonly listeners: readonly Uint8Array[];
    }
  | { readonly kind: 'stop'; readonly id: number };

export interface DrainAction {
  /** Close gradually over this long, ms; 0: at once. */
  readonly graceMs: number;
  readonly immediate: boolean;
  readonly inboundOnly: boolean;
  /** Begin the drain sequence: answers close their connections, more and more of them. */
  readonly begin: boolean;
  /** Stop listening now. */
  readonly stopListening: boolean;
}

/** One host as `/clusters` shows it: what it is, and this worker's counts. */
export interface HostStatus {
  readonly cluster: string;
  readonly address: Address;
  readonly hostname: string;
  /** Bits of `HealthFlag`. */
  readonly healthFlags: number;
  readonly edsHealth: EdsHealth;
  readonly weight: number;
  readonly locality: Locality;
  /** Of its locality within the priority; 0: none is given. */
  readonly localityWeight: number;
  readonly metadata: Metadata;
  readonly priority: number;
  readonly canary: boolean;
  /** By Envoy's names: `cx_active`, `rq_total`, ... */
  readonly counts: Readonly<Record<HostCount, number>>;
}

/** What the last assignment of a cluster's endpoints says of all of them. */
export interface ClusterPolicy {
  readonly cluster: string;
  /** Percent. */
  readonly overprovisioningFactor: number;
  /** Share of requests that are turned away, 0-1, and what load reports call those. */
  readonly dropOverload: number;
  readonly dropCategory: string;
}

/** The clusters of one thread. */
export interface Members {
  readonly hosts: readonly HostStatus[];
  readonly policies: readonly ClusterPolicy[];
}

export const HOST_COUNTERS = [
  'cx_connect_fail',
  'cx_total',
  'rq_error',
  'rq_success',
  'rq_timeout',
  'rq_total',
] as const;
export const HOST_GAUGES = ['cx_active', 'rq_active', 'rq_pending_active'] as const;
export type HostCount = (typeof HOST_COUNTERS)[number] | (typeof HOST_GAUGES)[number];

/** What a worker answers. */
export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'done'; readonly id: number }
  /** An order that could not be carried out: a bug. */
  | { readonly kind: 'failed'; readonly id: number; readonly message: string }
  | { readonly kind: 'listening'; readonly id: number; readonly outcomes: readonly ListenOutcome[] }
  | { readonly kind: 'stats'; readonly id: number; readonly delta: StatsDelta }
  | ({ readonly kind: 'hostStats'; readonly id: number } & Members)
  | { readonly kind: 'loads'; readonly id: number; readonly loads: readonly ClusterLoad[] }
  | { readonly kind: 'certs'; readonly id: number; readonly contexts: readonly TlsContextInUse[] }
  | { readonly kind: 'rehearsed'; readonly id: number; readonly faults: readonly RehearsalFault[] }
  /** A request needs something that main may fetch: `settled` answers. */
  | { readonly kind: 'demand'; readonly demandId: number; readonly demand: Demand }
  | { readonly kind: 'bug'; readonly message: string }
  | { readonly kind: 'log'; readonly level: LogLevel; readonly logger: string; readonly message: string };
