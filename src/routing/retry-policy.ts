import type { HeaderMatcher } from './header-matcher.ts';

/** Conditions of `retry_on`, one bit each. Source: Envoy, router filter, x-envoy-retry-on and x-envoy-retry-grpc-on. */
export const RetryOn = {
  FiveXx: 1 << 0,
  GatewayError: 1 << 1,
  ConnectFailure: 1 << 2,
  Retriable4xx: 1 << 3,
  RefusedStream: 1 << 4,
  GrpcCancelled: 1 << 5,
  GrpcDeadlineExceeded: 1 << 6,
  GrpcResourceExhausted: 1 << 7,
  GrpcUnavailable: 1 << 8,
  GrpcInternal: 1 << 9,
  RetriableStatusCodes: 1 << 10,
  Reset: 1 << 11,
  RetriableHeaders: 1 << 12,
  EnvoyRateLimited: 1 << 13,
  Http3PostConnectFailure: 1 << 14,
  ResetBeforeRequest: 1 << 15,
} as const;

const HTTP_WORDS: ReadonlyMap<string, number> = new Map([
  ['5xx', RetryOn.FiveXx],
  ['gateway-error', RetryOn.GatewayError],
  ['connect-failure', RetryOn.ConnectFailure],
  ['envoy-ratelimited', RetryOn.EnvoyRateLimited],
  ['retriable-4xx', RetryOn.Retriable4xx],
  ['refused-stream', RetryOn.RefusedStream],
  ['retriable-status-codes', RetryOn.RetriableStatusCodes],
  ['retriable-headers', RetryOn.RetriableHeaders],
  ['reset', RetryOn.Reset],
  ['http3-post-connect-failure', RetryOn.Http3PostConnectFailure],
  ['reset-before-request', RetryOn.ResetBeforeRequest],
]);

const GRPC_WORDS: ReadonlyMap<string, number> = new Map([
  ['cancelled', RetryOn.GrpcCancelled],
  ['deadline-exceeded', RetryOn.GrpcDeadlineExceeded],
  ['resource-exhausted', RetryOn.GrpcResourceExhausted],
  ['unavailable', RetryOn.GrpcUnavailable],
  ['internal', RetryOn.GrpcInternal],
]);

/** Every word that `retry_on` knows, for diagnostics. */
export const RETRY_ON_WORDS: readonly string[] = [...HTTP_WORDS.keys(), ...GRPC_WORDS.keys()];

function parseWords(text: string, words: ReadonlyMap<string, number>): number {
  let bits = 0;
  for (const word of text.split(',')) bits |= words.get(word.trim()) ?? 0;
  return bits;
}

/** Bits of the comma-separated words of `x-envoy-retry-on`; unknown words are ignored, as Envoy does. */
export function parseRetryOn(text: string): number {
  return parseWords(text, HTTP_WORDS);
}

/** Bits of the comma-separated words of `x-envoy-retry-grpc-on`. */
export function parseRetryGrpcOn(text: string): number {
  return parseWords(text, GRPC_WORDS);
}

/** Bits of `RetryPolicy.retry_on`, which takes the words of both headers. */
export function parseRetryOnPolicy(text: string): number {
  return parseRetryOn(text) | parseRetryGrpcOn(text);
}

export const ResetHeaderFormat = { Seconds: 0, UnixTimestamp: 1 } as const;
export type ResetHeaderFormat = (typeof ResetHeaderFormat)[keyof typeof ResetHeaderFormat];

/** A response header that says when the rate limit lifts. */
export class ResetHeader {
  readonly name: string;
  readonly format: ResetHeaderFormat;

  constructor(name: string, format: ResetHeaderFormat) {
    this.name = name;
    this.format = format;
  }
}

/** A host predicate, retry priority or options predicate: an extension that upstream work resolves by name. */
export class RetryExtension {
  readonly name: string;
  readonly typeUrl: string;
  /** What the extension's builder made of its configuration. */
  readonly config: unknown;

  constructor(name: string, typeUrl: string, config: unknown) {
    this.name = name;
    this.typeUrl = typeUrl;
    this.config = config;
  }
}

/** All of a policy; every field is required so that none is forgotten. */
export interface RetryPolicyFields {
  /** Bits of `RetryOn`. */
  retryOn: number;
  numRetries: number;
  /** 0: none. */
  perTryTimeoutMs: number;
  /** 0: none. */
  perTryIdleTimeoutMs: number;
  retriableStatusCodes: readonly number[];
  retriableHeaders: readonly HeaderMatcher[];
  retriableRequestHeaders: readonly HeaderMatcher[];
  /** Null: 25 ms, or the runtime key `upstream.base_retry_backoff_ms`. */
  baseIntervalMs: number | null;
  /** Null: ten times the base. */
  maxIntervalMs: number | null;
  rateLimitedResetHeaders: readonly ResetHeader[];
  rateLimitedMaxIntervalMs: number;
  hostPredicates: readonly RetryExtension[];
  priority: RetryExtension | null;
  optionsPredicates: readonly RetryExtension[];
  hostSelectionMaxAttempts: number;
  refreshClusterOnRetry: boolean;
}

const NO_RETRIES: RetryPolicyFields = {
  retryOn: 0,
  numRetries: 1,
  perTryTimeoutMs: 0,
  perTryIdleTimeoutMs: 0,
  retriableStatusCodes: [],
  retriableHeaders: [],
  retriableRequestHeaders: [],
  baseIntervalMs: null,
  maxIntervalMs: null,
  rateLimitedResetHeaders: [],
  rateLimitedMaxIntervalMs: 300_000,
  hostPredicates: [],
  priority: null,
  optionsPredicates: [],
  hostSelectionMaxAttempts: 1,
  refreshClusterOnRetry: false,
};

/** Source: envoy.config.route.v3.RetryPolicy. */
export class RetryPolicy {
  static readonly NONE = new RetryPolicy(NO_RETRIES);
  static readonly DEFAULTS: RetryPolicyFields = NO_RETRIES;

  readonly retryOn: number;
  readonly numRetries: number;
  readonly perTryTimeoutMs: number;
  readonly perTryIdleTimeoutMs: number;
  readonly retriableStatusCodes: readonly number[];
  readonly retriableHeaders: readonly HeaderMatcher[];
  readonly retriableRequestHeaders: readonly HeaderMatcher[];
  readonly baseIntervalMs: number | null;
  readonly maxIntervalMs: number | null;
  readonly rateLimitedResetHeaders: readonly ResetHeader[];
  readonly rateLimitedMaxIntervalMs: number;
  readonly hostPredicates: readonly RetryExtension[];
  readonly priority: RetryExtension | null;
  readonly optionsPredicates: readonly RetryExtension[];
  readonly hostSelectionMaxAttempts: number;
  readonly refreshClusterOnRetry: boolean;

  constructor(fields: RetryPolicyFields) {
    this.retryOn = fields.retryOn;
    this.numRetries = fields.numRetries;
    this.perTryTimeoutMs = fields.perTryTimeoutMs;
    this.perTryIdleTimeoutMs = fields.perTryIdleTimeoutMs;
    this.retriableStatusCodes = fields.retriableStatusCodes;
    this.retriableHeaders = fields.retriableHeaders;
    this.retriableRequestHeaders = fields.retriableRequestHeaders;
    this.baseIntervalMs = fields.baseIntervalMs;
    this.maxIntervalMs = fields.maxIntervalMs;
    this.rateLimitedResetHeaders = fields.rateLimitedResetHeaders;
    this.rateLimitedMaxIntervalMs = fields.rateLimitedMaxIntervalMs;
    this.hostPredicates = fields.hostPredicates;
    this.priority = fields.priority;
    this.optionsPredicates = fields.optionsPredicates;
    this.hostSelectionMaxAttempts = fields.hostSelectionMaxAttempts;
    this.refreshClusterOnRetry = fields.refreshClusterOnRetry;
  }
}
