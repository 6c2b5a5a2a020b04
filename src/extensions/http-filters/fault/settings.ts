import type { RequestHeaders } from '../../../http/header-map.ts';
import type { HeaderMatcher } from '../../../routing/header-matcher.ts';
import { FractionalPercent } from '../../../routing/runtime-fraction.ts';
import type { MetadataStruct } from '../../../routing/stream-view.ts';

/** A share that a request header may lower, where the request controls the fault. */
export interface FaultShare {
  readonly percentage: FractionalPercent;
  /** Empty: no header lowers it. */
  readonly header: string;
}

export interface DelayFault {
  readonly share: FaultShare;
  /** Null: `x-envoy-fault-delay-request` says, ms. */
  readonly fixedMs: number | null;
}

export interface AbortFault {
  readonly share: FaultShare;
  readonly kind: 'http' | 'grpc' | 'header';
  /** Of `kind`; 0 for `header`. */
  readonly status: number;
  readonly body: string;
}

export interface RateLimitFault {
  readonly share: FaultShare;
  /** KiB per second; null: `x-envoy-fault-throughput-response` says. */
  readonly fixedKbps: number | null;
}

/** Source: envoy.extensions.filters.http.fault.v3.HTTPFault. */
export interface FaultSettings {
  readonly delay: DelayFault | null;
  readonly abort: AbortFault | null;
  readonly responseRateLimit: RateLimitFault | null;
  /** Empty: any. */
  readonly upstreamCluster: string;
  readonly headers: readonly HeaderMatcher[];
  readonly downstreamNodes: ReadonlySet<string>;
  readonly maxActiveFaults: number;
  readonly delayPercentKey: string;
  readonly abortPercentKey: string;
  readonly delayDurationKey: string;
  readonly abortHttpStatusKey: string;
  readonly abortGrpcStatusKey: string;
  readonly maxActiveFaultsKey: string;
  readonly responseRateLimitPercentKey: string;
  readonly disableDownstreamClusterStats: boolean;
  /** Left in the stream's dynamic metadata when a fault happens. */
  readonly filterMetadata: MetadataStruct;
}

/** The first value of a header as an unsigned number; null: absent or none. */
export function headerNumber(headers: RequestHeaders, name: string): number | null {
  const text = headers.get(name)?.trim() ?? '';
  return /^\+?[0-9]{1,19}$/.test(text) ? Number(text) : null;
}

/** The share of requests that get this fault, for this request. */
export function shareOf(share: FaultShare, headers: RequestHeaders): FractionalPercent {
  if (share.header === '') return share.percentage;
  const asked = headerNumber(headers, share.header);
  if (asked === null || asked > 0xffff_ffff || asked >= share.percentage.numerator) return share.percentage;
  return new FractionalPercent(asked, share.percentage.denominator);
}
