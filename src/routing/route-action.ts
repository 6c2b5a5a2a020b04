import type { PathRewrite } from './path-rewrite.ts';
import type { RedirectTarget } from './redirect.ts';
import type { RetryPolicy } from './retry-policy.ts';
import type {
  HashPolicy,
  HedgePolicy,
  InternalRedirectPolicy,
  MirrorPolicy,
  RateLimitPolicy,
  RegexSubstitution,
  StreamDuration,
  UpgradeConfig,
} from './route-policies.ts';
import type { MetadataStruct, ValueFormatter } from './stream-view.ts';

/** What a route does; the class of `Route.action` tells too, the number is for `switch`. */
export const ActionKind = { Forward: 0, Redirect: 1, DirectResponse: 2, NonForwarding: 3 } as const;
export type ActionKind = (typeof ActionKind)[keyof typeof ActionKind];

export const RoutingPriority = { Default: 0, High: 1 } as const;
export type RoutingPriority = (typeof RoutingPriority)[keyof typeof RoutingPriority];

/** Where the new Host comes from. */
export type HostRewrite =
  | { readonly kind: 'none' }
  | { readonly kind: 'literal'; readonly host: string }
  /** The chosen upstream host's name, set when it is known (`auto_host_rewrite`). */
  | { readonly kind: 'auto' }
  | { readonly kind: 'header'; readonly header: string }
  | { readonly kind: 'path-regex'; readonly substitution: RegexSubstitution }
  | { readonly kind: 'format'; readonly formatter: ValueFormatter };

export const NO_HOST_REWRITE: HostRewrite = { kind: 'none' };

export interface ForwardActionFields {
  /** 503, 404 or 500. */
  clusterNotFoundStatus: number;
  /** Fields of `envoy.lb`; null: none. */
  metadataMatch: MetadataStruct | null;
  pathRewrite: PathRewrite | null;
  hostRewrite: HostRewrite;
  appendXForwardedHost: boolean;
  /** Whole response; 0: none. Default 15,000. */
  timeoutMs: number;
  /** Null: as the connection manager's stream_idle_timeout; 0: none. */
  idleTimeoutMs: number | null;
  /** Null: as the connection manager's. */
  flushTimeoutMs: number | null;
  streamDuration: StreamDuration;
  /** Deprecated `max_grpc_timeout`; null: `grpc-timeout` is ignored. */
  maxGrpcTimeoutMs: number | null;
  grpcTimeoutOffsetMs: number | null;
  retryPolicy: RetryPolicy;
  hedgePolicy: HedgePolicy;
  mirrorPolicies: readonly MirrorPolicy[];
  hashPolicies: readonly HashPolicy[];
  priority: RoutingPriority;
  rateLimits: readonly RateLimitPolicy[];
  includeVirtualHostRateLimits: boolean;
  upgrades: readonly UpgradeConfig[];
  /** Null: redirects of the upstream pass through. */
  internalRedirect: InternalRedirectPolicy | null;
}

/** The request goes to a cluster (`Route.cluster` names it). Source: envoy.config.route.v3.RouteAction. */
export class ForwardAction {
  readonly kind = ActionKind.Forward;
  readonly clusterNotFoundStatus: number;
  readonly metadataMatch: MetadataStruct | null;
  readonly pathRewrite: PathRewrite | null;
  readonly hostRewrite: HostRewrite;
  readonly appendXForwardedHost: boolean;
  readonly timeoutMs: number;
  readonly idleTimeoutMs: number | null;
  readonly flushTimeoutMs: number | null;
  readonly streamDuration: StreamDuration;
  readonly maxGrpcTimeoutMs: number | null;
  readonly grpcTimeoutOffsetMs: number | null;
  readonly retryPolicy: RetryPolicy;
  readonly hedgePolicy: HedgePolicy;
  readonly mirrorPolicies: readonly MirrorPolicy[];
  readonly hashPolicies: readonly HashPolicy[];
  readonly priority: RoutingPriority;
  readonly rateLimits: readonly RateLimitPolicy[];
  readonly includeVirtualHostRateLimits: boolean;
  readonly upgrades: readonly UpgradeConfig[];
  readonly internalRedirect: InternalRedirectPolicy | null;

  constructor(fields: ForwardActionFields) {
    this.clusterNotFoundStatus = fields.clusterNotFoundStatus;
    this.metadataMatch = fields.metadataMatch;
    this.pathRewrite = fields.pathRewrite;
    this.hostRewrite = fields.hostRewrite;
    this.appendXForwardedHost = fields.appendXForwardedHost;
    this.timeoutMs = fields.timeoutMs;
    this.idleTimeoutMs = fields.idleTimeoutMs;
    this.flushTimeoutMs = fields.flushTimeoutMs;
    this.streamDuration = fields.streamDuration;
    this.maxGrpcTimeoutMs = fields.maxGrpcTimeoutMs;
    this.grpcTimeoutOffsetMs = fields.grpcTimeoutOffsetMs;
    this.retryPolicy = fields.retryPolicy;
    this.hedgePolicy = fields.hedgePolicy;
    this.mirrorPolicies = fields.mirrorPolicies;
    this.hashPolicies = fields.hashPolicies;
    this.priority = fields.priority;
    this.rateLimits = fields.rateLimits;
    this.includeVirtualHostRateLimits = fields.includeVirtualHostRateLimits;
    this.upgrades = fields.upgrades;
    this.internalRedirect = fields.internalRedirect;
  }

  /** What the route says about an upgrade type (lower case); null: the connection manager decides. */
  upgrade(type: string): UpgradeConfig | null {
    for (const upgrade of this.upgrades) {
      if (upgrade.type === type) return upgrade;
    }
    return null;
  }
}

/** The client is sent elsewhere; `redirectUrl(action, headers)` builds the Location. */
export class RedirectAction {
  readonly kind = ActionKind.Redirect;
  /** 301, 302, 303, 307 or 308. */
  readonly status: number;
  readonly target: RedirectTarget;
  /** Made by `require_tls`, not by a route. */
  readonly forTls: boolean;

  constructor(status: number, target: RedirectTarget, forTls: boolean) {
    this.status = status;
    this.target = target;
    this.forTls = forTls;
  }
}

/** The proxy answers by itself. */
export class DirectResponseAction {
  readonly kind = ActionKind.DirectResponse;
  readonly status: number;
  /** Latin1 string of the body's bytes. */
  readonly body: string;
  /** Null: `body` as it is. */
  readonly bodyFormat: ValueFormatter | null;
  /** Of a formatted body; null: text/plain. */
  readonly contentType: string | null;

  constructor(status: number, body: string, bodyFormat: ValueFormatter | null, contentType: string | null) {
    this.status = status;
    this.body = body;
    this.bodyFormat = bodyFormat;
    this.contentType = contentType;
  }
}

/** `non_forwarding_action`: for gRPC servers that read route tables; a proxy answers 500-class errors to it. */
export class NonForwardingAction {
  readonly kind = ActionKind.NonForwarding;
}

export type RouteAction = ForwardAction | RedirectAction | DirectResponseAction | NonForwardingAction;
