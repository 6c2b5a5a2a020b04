/** One response flag: Envoy's short and long names, and a bit (as index, since there are more than 32 in time). */
export interface ResponseFlagInfo {
  readonly short: string;
  readonly long: string;
}

/** Envoy's response flags in its bit order (`%RESPONSE_FLAGS%` lists them in this order). Source: stream_info/utility.h. */
export const RESPONSE_FLAGS: readonly ResponseFlagInfo[] = [
  { short: 'LH', long: 'FailedLocalHealthCheck' },
  { short: 'UH', long: 'NoHealthyUpstream' },
  { short: 'UT', long: 'UpstreamRequestTimeout' },
  { short: 'LR', long: 'LocalReset' },
  { short: 'UR', long: 'UpstreamRemoteReset' },
  { short: 'UF', long: 'UpstreamConnectionFailure' },
  { short: 'UC', long: 'UpstreamConnectionTermination' },
  { short: 'UO', long: 'UpstreamOverflow' },
  { short: 'NR', long: 'NoRouteFound' },
  { short: 'DI', long: 'DelayInjected' },
  { short: 'FI', long: 'FaultInjected' },
  { short: 'RL', long: 'RateLimited' },
  { short: 'UAEX', long: 'UnauthorizedExternalService' },
  { short: 'RLSE', long: 'RateLimitServiceError' },
  { short: 'DC', long: 'DownstreamConnectionTermination' },
  { short: 'URX', long: 'UpstreamRetryLimitExceeded' },
  { short: 'SI', long: 'StreamIdleTimeout' },
  { short: 'IH', long: 'InvalidEnvoyRequestHeaders' },
  { short: 'DPE', long: 'DownstreamProtocolError' },
  { short: 'UMSDR', long: 'UpstreamMaxStreamDurationReached' },
  { short: 'RFCF', long: 'ResponseFromCacheFilter' },
  { short: 'NFCF', long: 'NoFilterConfigFound' },
  { short: 'DT', long: 'DurationTimeout' },
  { short: 'UPE', long: 'UpstreamProtocolError' },
  { short: 'NC', long: 'NoClusterFound' },
  { short: 'OM', long: 'OverloadManagerTerminated' },
  { short: 'DF', long: 'DnsResolutionFailed' },
  { short: 'DO', long: 'DropOverload' },
  { short: 'DR', long: 'DownstreamRemoteReset' },
  { short: 'UDO', long: 'UnconditionalDropOverload' },
];

export const ResponseFlag = {
  FailedLocalHealthCheck: 1 << 0,
  NoHealthyUpstream: 1 << 1,
  UpstreamRequestTimeout: 1 << 2,
  LocalReset: 1 << 3,
  UpstreamRemoteReset: 1 << 4,
  UpstreamConnectionFailure: 1 << 5,
  UpstreamConnectionTermination: 1 << 6,
  UpstreamOverflow: 1 << 7,
  NoRouteFound: 1 << 8,
  DelayInjected: 1 << 9,
  FaultInjected: 1 << 10,
  RateLimited: 1 << 11,
  UnauthorizedExternalService: 1 << 12,
  RateLimitServiceError: 1 << 13,
  DownstreamConnectionTermination: 1 << 14,
  UpstreamRetryLimitExceeded: 1 << 15,
  StreamIdleTimeout: 1 << 16,
  InvalidEnvoyRequestHeaders: 1 << 17,
  DownstreamProtocolError: 1 << 18,
  UpstreamMaxStreamDurationReached: 1 << 19,
  ResponseFromCacheFilter: 1 << 20,
  NoFilterConfigFound: 1 << 21,
  DurationTimeout: 1 << 22,
  UpstreamProtocolError: 1 << 23,
  NoClusterFound: 1 << 24,
  OverloadManager: 1 << 25,
  DnsResolutionFailed: 1 << 26,
  DropOverload: 1 << 27,
  DownstreamRemoteReset: 1 << 28,
  UnconditionalDropOverload: 1 << 29,
} as const;
export type ResponseFlag = (typeof ResponseFlag)[keyof typeof ResponseFlag];

/** The short names of the flags that are set, in the order of their bits; `-`: none. */
export function shortFlags(flags: number): string {
  let out = '';
  for (let i = 0; i < RESPONSE_FLAGS.length; i++) {
    if ((flags & (1 << i)) !== 0) out += (out === '' ? '' : ',') + RESPONSE_FLAGS[i]!.short;
  }
  return out === '' ? '-' : out;
}
