import { RetryPolicy } from '../../src/routing/retry-policy.ts';
import { ForwardAction, type ForwardActionFields, NO_HOST_REWRITE } from '../../src/routing/route-action.ts';
import { HedgePolicy, StreamDuration } from '../../src/routing/route-policies.ts';

/** A forwarding route's action with Envoy's defaults. */
export function forwardAction(fields: Partial<ForwardActionFields> = {}): ForwardAction {
  return new ForwardAction({
    clusterNotFoundStatus: 503,
    metadataMatch: null,
    pathRewrite: null,
    hostRewrite: NO_HOST_REWRITE,
    appendXForwardedHost: false,
    timeoutMs: 15_000,
    idleTimeoutMs: null,
    flushTimeoutMs: null,
    streamDuration: StreamDuration.UNSET,
    maxGrpcTimeoutMs: null,
    grpcTimeoutOffsetMs: null,
    retryPolicy: RetryPolicy.NONE,
    hedgePolicy: HedgePolicy.NONE,
    mirrorPolicies: [],
    hashPolicies: [],
    priority: 0,
    rateLimits: [],
    includeVirtualHostRateLimits: false,
    upgrades: [],
    internalRedirect: null,
    ...fields,
  });
}
