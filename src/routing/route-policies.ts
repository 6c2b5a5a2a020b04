import type { HeaderEdits } from './header-edit.ts';
import type { HeaderMatcher } from './header-matcher.ts';
import type { QueryParameterMatcher } from './query-parameter-matcher.ts';
import type { Regex } from './regex.ts';
import type { FractionalPercent, RuntimeFraction } from './runtime-fraction.ts';
import type { SpanTag } from './span-tag.ts';
import type { MetadataStruct, ValueFormatter } from './stream-view.ts';

/** Source: envoy.config.route.v3.HedgePolicy. */
export class HedgePolicy {
  static readonly NONE = new HedgePolicy(1, null, false);

  readonly initialRequests: number;
  readonly additionalRequestChance: FractionalPercent | null;
  readonly hedgeOnPerTryTimeout: boolean;

  constructor(
    initialRequests: number,
    additionalRequestChance: FractionalPercent | null,
    hedgeOnPerTryTimeout: boolean,
  ) {
    this.initialRequests = initialRequests;
    this.additionalRequestChance = additionalRequestChance;
    this.hedgeOnPerTryTimeout = hedgeOnPerTryTimeout;
  }
}

/** Source: envoy.config.route.v3.RouteAction.RequestMirrorPolicy. */
export class MirrorPolicy {
  /** Empty when `clusterHeader` names it. */
  readonly cluster: string;
  readonly clusterHeader: string;
  readonly fraction: RuntimeFraction;
  /** Whether its span is reported; null: as the request's own. */
  readonly traceSampled: boolean | null;
  readonly appendShadowSuffix: boolean;
  readonly requestMutations: HeaderEdits;
  /** Empty: the host stays. */
  readonly hostRewriteLiteral: string;

  constructor(
    cluster: string,
    clusterHeader: string,
    fraction: RuntimeFraction,
    traceSampled: boolean | null,
    appendShadowSuffix: boolean,
    requestMutations: HeaderEdits,
    hostRewriteLiteral: string,
  ) {
    this.cluster = cluster;
    this.clusterHeader = clusterHeader;
    this.fraction = fraction;
    this.traceSampled = traceSampled;
    this.appendShadowSuffix = appendShadowSuffix;
    this.requestMutations = requestMutations;
    this.hostRewriteLiteral = hostRewriteLiteral;
  }
}

/** One source of the load balancing hash. `terminal`: stop when it gave a hash. */
export type HashPolicy =
  | {
      readonly kind: 'header';
      readonly terminal: boolean;
      /** Lower case. */
      readonly name: string;
      /** Null: the value as it is. */
      readonly rewrite: RegexSubstitution | null;
    }
  | {
      readonly kind: 'cookie';
      readonly terminal: boolean;
      readonly name: string;
      /** Null: no cookie is made; 0: a session cookie. */
      readonly ttlSeconds: number | null;
      readonly path: string;
      readonly attributes: readonly { readonly name: string; readonly value: string }[];
    }
  | { readonly kind: 'source-ip'; readonly terminal: boolean }
  | { readonly kind: 'query-parameter'; readonly terminal: boolean; readonly name: string }
  | { readonly kind: 'filter-state'; readonly terminal: boolean; readonly key: string };

/** A pattern and what replaces its matches (`\1` stands for a group). */
export class RegexSubstitution {
  readonly pattern: Regex;
  readonly substitution: string;

  constructor(pattern: Regex, substitution: string) {
    this.pattern = pattern;
    this.substitution = substitution;
  }

  apply(text: string): string {
    return this.pattern.replaceAll(text, this.substitution);
  }
}

/** Namespace and path of keys into metadata. */
export interface MetadataKey {
  readonly namespace: string;
  readonly path: readonly string[];
}

/** Source: envoy.config.route.v3.RateLimit.Action. */
export type RateLimitAction =
  | { readonly kind: 'source-cluster' }
  | { readonly kind: 'destination-cluster' }
  | {
      readonly kind: 'request-headers';
      readonly headerName: string;
      readonly descriptorKey: string;
      readonly skipIfAbsent: boolean;
    }
  | {
      readonly kind: 'query-parameters';
      readonly parameterName: string;
      readonly descriptorKey: string;
      readonly skipIfAbsent: boolean;
    }
  | { readonly kind: 'remote-address' }
  | {
      readonly kind: 'remote-address-match';
      readonly descriptorKey: string;
      readonly descriptorValue: ValueFormatter;
      readonly defaultValue: string;
      readonly contains: (ip: string) => boolean;
      /** What the ranges do not hold. */
      readonly inverted: boolean;
    }
  | { readonly kind: 'masked-remote-address'; readonly v4PrefixBits: number; readonly v6PrefixBits: number }
  | {
      readonly kind: 'generic-key';
      readonly descriptorKey: string;
      readonly descriptorValue: ValueFormatter;
      readonly defaultValue: string;
    }
  | {
      readonly kind: 'header-value-match';
      readonly descriptorKey: string;
      readonly descriptorValue: ValueFormatter;
      readonly defaultValue: string;
      readonly expectMatch: boolean;
      readonly headers: readonly HeaderMatcher[];
    }
  | {
      readonly kind: 'query-parameter-value-match';
      readonly descriptorKey: string;
      readonly descriptorValue: ValueFormatter;
      readonly defaultValue: string;
      readonly expectMatch: boolean;
      readonly parameters: readonly QueryParameterMatcher[];
    }
  | {
      readonly kind: 'metadata';
      readonly descriptorKey: string;
      readonly key: MetadataKey;
      readonly defaultValue: string;
      readonly source: 'dynamic' | 'route' | 'cluster' | 'cluster-locality';
      readonly skipIfAbsent: boolean;
    };

/** Source: envoy.config.route.v3.RateLimit. */
export class RateLimitPolicy {
  readonly stage: number;
  /** Runtime key that turns the policy off; empty: none. */
  readonly disableKey: string;
  readonly actions: readonly RateLimitAction[];
  /** Where a limit that overrides the service's comes from. */
  readonly limitOverride: MetadataKey | null;
  /** Null: 1. */
  readonly hitsAddend: number | ValueFormatter | null;
  readonly applyOnStreamDone: boolean;

  constructor(
    stage: number,
    disableKey: string,
    actions: readonly RateLimitAction[],
    limitOverride: MetadataKey | null,
    hitsAddend: number | ValueFormatter | null,
    applyOnStreamDone: boolean,
  ) {
    this.stage = stage;
    this.disableKey = disableKey;
    this.actions = actions;
    this.limitOverride = limitOverride;
    this.hitsAddend = hitsAddend;
    this.applyOnStreamDone = applyOnStreamDone;
  }
}

/** Source: envoy.config.route.v3.InternalRedirectPolicy. */
export class InternalRedirectPolicy {
  readonly maxInternalRedirects: number;
  /** Of 301, 302, 303, 307, 308. */
  readonly responseCodes: readonly number[];
  readonly predicates: readonly { readonly name: string; readonly typeUrl: string; readonly config: unknown }[];
  readonly allowCrossSchemeRedirect: boolean;
  /** Lower case. */
  readonly responseHeadersToCopy: readonly string[];

  constructor(
    maxInternalRedirects: number,
    responseCodes: readonly number[],
    predicates: readonly { readonly name: string; readonly typeUrl: string; readonly config: unknown }[],
    allowCrossSchemeRedirect: boolean,
    responseHeadersToCopy: readonly string[],
  ) {
    this.maxInternalRedirects = maxInternalRedirects;
    this.responseCodes = responseCodes;
    this.predicates = predicates;
    this.allowCrossSchemeRedirect = allowCrossSchemeRedirect;
    this.responseHeadersToCopy = responseHeadersToCopy;
  }
}

/** How a CONNECT is ended here and its payload sent as plain bytes (`connect_config`). */
export class ConnectConfig {
  /** PROXY protocol version sent upstream; 0: none. */
  readonly proxyProtocolVersion: 0 | 1 | 2;
  readonly allowPost: boolean;

  constructor(proxyProtocolVersion: 0 | 1 | 2, allowPost: boolean) {
    this.proxyProtocolVersion = proxyProtocolVersion;
    this.allowPost = allowPost;
  }
}

/** What a route says about an upgrade type; a type that it does not name follows the connection manager. */
export class UpgradeConfig {
  /** Lower case: `websocket`, `connect`, `connect-udp`. */
  readonly type: string;
  readonly enabled: boolean;
  readonly connect: ConnectConfig | null;

  constructor(type: string, enabled: boolean, connect: ConnectConfig | null) {
    this.type = type;
    this.enabled = enabled;
    this.connect = connect;
  }
}

/** Limits on the whole stream (`max_stream_duration`); null: as the connection manager says. */
export class StreamDuration {
  static readonly UNSET = new StreamDuration(false, null, null, null);

  /** The message was given: Envoy then leaves `grpc-timeout` to these fields alone. */
  readonly configured: boolean;
  readonly maxStreamDurationMs: number | null;
  readonly grpcTimeoutHeaderMaxMs: number | null;
  readonly grpcTimeoutHeaderOffsetMs: number | null;

  constructor(
    configured: boolean,
    maxStreamDurationMs: number | null,
    grpcTimeoutHeaderMaxMs: number | null,
    grpcTimeoutHeaderOffsetMs: number | null,
  ) {
    this.configured = configured;
    this.maxStreamDurationMs = maxStreamDurationMs;
    this.grpcTimeoutHeaderMaxMs = grpcTimeoutHeaderMaxMs;
    this.grpcTimeoutHeaderOffsetMs = grpcTimeoutHeaderOffsetMs;
  }
}

/** Name of the span, and whether it is sent upstream. */
export class Decorator {
  readonly operation: string;
  readonly propagate: boolean;

  constructor(operation: string, propagate: boolean) {
    this.operation = operation;
    this.propagate = propagate;
  }
}

/** What a route says of its requests' traces, before the connection manager does. Source: envoy.config.route.v3.Tracing. */
export class RouteTracing {
  readonly clientSampling: FractionalPercent;
  readonly randomSampling: FractionalPercent;
  readonly overallSampling: FractionalPercent;
  /** Each name once. */
  readonly customTags: readonly SpanTag[];
  /** Names of spans; null: as the connection manager says. */
  readonly operation: ValueFormatter | null;
  readonly upstreamOperation: ValueFormatter | null;

  constructor(
    clientSampling: FractionalPercent,
    randomSampling: FractionalPercent,
    overallSampling: FractionalPercent,
    customTags: readonly SpanTag[],
    operation: ValueFormatter | null,
    upstreamOperation: ValueFormatter | null,
  ) {
    this.clientSampling = clientSampling;
    this.randomSampling = randomSampling;
    this.overallSampling = overallSampling;
    this.customTags = customTags;
    this.operation = operation;
    this.upstreamOperation = upstreamOperation;
  }
}

/** Static metadata of a route, virtual host or table: namespace → struct. */
export type ConfigMetadata = ReadonlyMap<string, MetadataStruct>;
export const NO_METADATA: ConfigMetadata = new Map();
