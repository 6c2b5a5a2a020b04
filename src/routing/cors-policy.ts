import type { RuntimeFraction } from './runtime-fraction.ts';
import type { StringMatcher } from './string-matcher.ts';

/**
 * Under this name `cors` of virtual hosts and routes (the deprecated fields) stands among their filter configurations: the cors
 * filter falls back to it where `typed_per_filter_config` has none.
 */
export const ROUTE_CORS_KEY = 'envoy.config.route.v3.CorsPolicy';

/** What one level says about cross-origin requests. Empty texts and nulls: the less specific level decides. */
export interface CorsPolicy {
  readonly allowOrigins: readonly StringMatcher[];
  readonly allowMethods: string;
  readonly allowHeaders: string;
  readonly exposeHeaders: string;
  readonly maxAge: string;
  readonly allowCredentials: boolean | null;
  readonly allowPrivateNetworkAccess: boolean | null;
  readonly forwardNotMatchingPreflights: boolean | null;
  /** Null: always. */
  readonly enabled: RuntimeFraction | null;
  /** Null: never. */
  readonly shadowEnabled: RuntimeFraction | null;
}
