import type { Address } from '../net/address.ts';
import type { LoadMetrics } from './orca-report.ts';
import type { HttpPool, TcpPool } from './pool.ts';

/** Why a host is not (fully) usable, one bit each. Source: Envoy, Host::HealthFlag. */
export const HealthFlag = {
  FailedActiveHc: 1 << 0,
  FailedOutlierCheck: 1 << 1,
  FailedEdsHealth: 1 << 2,
  DegradedActiveHc: 1 << 3,
  DegradedEdsHealth: 1 << 4,
  PendingDynamicRemoval: 1 << 5,
  PendingActiveHc: 1 << 6,
  ExcludedViaImmediateHcFail: 1 << 7,
  ActiveHcTimeout: 1 << 8,
  EdsStatusDraining: 1 << 9,
  DegradedOutlier: 1 << 10,
} as const;
export type HealthFlag = (typeof HealthFlag)[keyof typeof HealthFlag];

/** As `/clusters` lists them, in this order. */
export const HEALTH_FLAG_NAMES: readonly (readonly [HealthFlag, string])[] = [
  [HealthFlag.FailedActiveHc, '/failed_active_hc'],
  [HealthFlag.FailedOutlierCheck, '/failed_outlier_check'],
  [HealthFlag.FailedEdsHealth, '/failed_eds_health'],
  [HealthFlag.DegradedActiveHc, '/degraded_active_hc'],
  [HealthFlag.DegradedEdsHealth, '/degraded_eds_health'],
  [HealthFlag.PendingDynamicRemoval, '/pending_dynamic_removal'],
  [HealthFlag.PendingActiveHc, '/pending_active_hc'],
  [HealthFlag.ExcludedViaImmediateHcFail, '/excluded_via_immediate_hc_fail'],
  [HealthFlag.ActiveHcTimeout, '/active_hc_timeout'],
  [HealthFlag.EdsStatusDraining, '/eds_status_draining'],
  [HealthFlag.DegradedOutlier, '/degraded_outlier_detection'],
];

const UNHEALTHY = HealthFlag.FailedActiveHc | HealthFlag.FailedOutlierCheck | HealthFlag.FailedEdsHealth;
const DEGRADED = HealthFlag.DegradedActiveHc | HealthFlag.DegradedEdsHealth | HealthFlag.DegradedOutlier;
const EXCLUDED = HealthFlag.PendingActiveHc | HealthFlag.ExcludedViaImmediateHcFail;
const EDS_FLAGS = HealthFlag.FailedEdsHealth | HealthFlag.DegradedEdsHealth | HealthFlag.EdsStatusDraining;

export const HostHealth = { Unhealthy: 0, Degraded: 1, Healthy: 2 } as const;
export type HostHealth = (typeof HostHealth)[keyof typeof HostHealth];

/** Health as the configuration or EDS states it (envoy.config.core.v3.HealthStatus). */
export const EdsHealth = { Unknown: 0, Healthy: 1, Unhealthy: 2, Draining: 3, Timeout: 4, Degraded: 5 } as const;
export type EdsHealth = (typeof EdsHealth)[keyof typeof EdsHealth];
export const EDS_HEALTH_NAMES = ['UNKNOWN', 'HEALTHY', 'UNHEALTHY', 'DRAINING', 'TIMEOUT', 'DEGRADED'] as const;

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subZone: string;
}
export const NO_LOCALITY: Locality = { region: '', zone: '', subZone: '' };

/** Identity and order of localities. */
export function localityKey(locality: Locality): string {
  return `${locality.region}\u0000${locality.zone}\u0000${locality.subZone}`;
}

/** `filter_metadata`: namespace → Struct as plain JSON. */
export type Metadata = Readonly<Record<string, Readonly<Record<string, unknown>>>>;
export const NO_METADATA: Metadata = {};

/** @param flags bits of {@link HealthFlag} */
export function healthOfFlags(flags: number): HostHealth {
  if ((flags & UNHEALTHY) !== 0) return HostHealth.Unhealthy;
  return (flags & DEGRADED) !== 0 ? HostHealth.Degraded : HostHealth.Healthy;
}

/** One endpoint, as plain data: it crosses threads by structured cloning. */
export interface HostSpec {
  /** What makes it the same host from update to update; empty: its address. LOGICAL_DNS hosts keep theirs as addresses change. */
  readonly identity: string;
  readonly address: Address;
  /** Further addresses of the same host, tried in order after `address` (happy eyeballs); usually empty. */
  readonly additionalAddresses: readonly Address[];
  /** `endpoint.hostname`, or the DNS name behind the address; empty when there is none. */
  readonly hostname: string;
  /** 1 and up. */
  readonly weight: number;
  readonly locality: Locality;
  readonly priority: number;
  readonly metadata: Metadata;
  /** Metadata of the locality's `LocalityLbEndpoints`. */
  readonly localityMetadata: Metadata;
  readonly edsHealth: EdsHealth;
}

export function hostIdentity(spec: HostSpec): string {
  return spec.identity === '' ? spec.address.text : spec.identity;
}

/** Per-host counts of one worker; plain fields, so that touching them costs nothing. */
export class HostStats {
  cxActive = 0;
  cxTotal = 0;
  cxConnectFail = 0;
  rqActive = 0;
  rqPendingActive = 0;
  rqTotal = 0;
  rqSuccess = 0;
  rqError = 0;
  rqTimeout = 0;
}

/** Something to be told when a host's health or weight changes: the host set that it is in. */
export interface HostObserver {
  onHostChange(host: Host): void;
}

/** One upstream host of one cluster in one worker. Keeps its identity (and with it pools and counts) across updates. */
export class Host {
  readonly identity: string;
  /** Where new connections go. Changes only for hosts with an identity of their own. */
  address: Address;
  /** Cluster that it belongs to. */
  readonly clusterName: string;
  additionalAddresses: readonly Address[];
  hostname: string;
  weight: number;
  locality: Locality;
  priority: number;
  metadata: Metadata;
  localityMetadata: Metadata;
  edsHealth: EdsHealth;
  /** What it says of its own load, for load reports; null until it has said anything that is reported. */
  loadMetrics: LoadMetrics | null = null;
  /** Monotonic ms at which it joined; slow start counts from here. */
  readonly createdMs: number;
  /** Bits of {@link HealthFlag}. */
  healthFlags = 0;
  /** By kind of pool and {@link ResourcePriority}; filled by the cluster when first needed, null before that. */
  httpPools: (HttpPool | null)[] | null = null;
  /** By {@link ResourcePriority}; likewise. */
  tcpPools: (TcpPool | null)[] | null = null;
  /** Pools of connections that only certain requests may share. */
  keyedPools: Map<string, HttpPool | TcpPool> | null = null;
  observer: HostObserver | null = null;
  #stats: HostStats | null = null;

  constructor(spec: HostSpec, clusterName: string, nowMs: number) {
    this.identity = hostIdentity(spec);
    this.address = spec.address;
    this.clusterName = clusterName;
    this.additionalAddresses = spec.additionalAddresses;
    this.hostname = spec.hostname;
    this.weight = spec.weight;
    this.locality = spec.locality;
    this.priority = spec.priority;
    this.metadata = spec.metadata;
    this.localityMetadata = spec.localityMetadata;
    this.edsHealth = spec.edsHealth;
    this.createdMs = nowMs;
    this.#takeEdsHealth(spec.edsHealth);
  }

  /** Made when first asked for: most of many thousands of hosts never carry anything. */
  get stats(): HostStats {
    this.#stats ??= new HostStats();
    return this.#stats;
  }

  /** As `stats`, for whoever looks at all hosts: null as long as there is nothing to see. */
  get countsSoFar(): HostStats | null {
    return this.#stats;
  }

  /** Takes over what may change without a new identity. @returns whether balancers must be rebuilt */
  update(spec: HostSpec): boolean {
    const before = this.healthFlags;
    const changed =
      this.weight !== spec.weight ||
      localityKey(this.locality) !== localityKey(spec.locality) ||
      this.priority !== spec.priority ||
      JSON.stringify(this.metadata) !== JSON.stringify(spec.metadata);
    this.address = spec.address;
    this.weight = spec.weight;
    this.locality = spec.locality;
    this.priority = spec.priority;
    this.metadata = spec.metadata;
    this.localityMetadata = spec.localityMetadata;
    this.hostname = spec.hostname;
    this.additionalAddresses = spec.additionalAddresses;
    this.edsHealth = spec.edsHealth;
    this.#takeEdsHealth(spec.edsHealth);
    return changed || before !== this.healthFlags;
  }

  #takeEdsHealth(health: EdsHealth): void {
    let flags = this.healthFlags & ~EDS_FLAGS;
    if (health === EdsHealth.Unhealthy || health === EdsHealth.Timeout) flags |= HealthFlag.FailedEdsHealth;
    else if (health === EdsHealth.Draining) flags |= HealthFlag.FailedEdsHealth | HealthFlag.EdsStatusDraining;
    else if (health === EdsHealth.Degraded) flags |= HealthFlag.DegradedEdsHealth;
    this.healthFlags = flags;
  }

  /** Sets or clears a flag and tells the host set when it made a difference. */
  setFlag(flag: HealthFlag, on: boolean): void {
    const next = on ? this.healthFlags | flag : this.healthFlags & ~flag;
    if (next === this.healthFlags) return;
    this.healthFlags = next;
    this.observer?.onHostChange(this);
  }

  get health(): HostHealth {
    return healthOfFlags(this.healthFlags);
  }

  /** Not counted at all when loads are computed: waits for its first health check. */
  get isExcluded(): boolean {
    return (this.healthFlags & EXCLUDED) !== 0;
  }

  /** `envoy.lb` metadata `canary: true`. */
  get isCanary(): boolean {
    return this.metadata['envoy.lb']?.canary === true;
  }
}

/** A spec with everything but the address at its default; for tests and code that makes hosts by hand. */
export function hostSpec(address: Address, fields: Partial<HostSpec> = {}): HostSpec {
  return {
    identity: '',
    address,
    additionalAddresses: [],
    hostname: '',
    weight: 1,
    locality: NO_LOCALITY,
    priority: 0,
    metadata: NO_METADATA,
    localityMetadata: NO_METADATA,
    edsHealth: EdsHealth.Unknown,
    ...fields,
  };
}
