import type { SourceSpec } from '../builders/config-source.ts';

/** What a secret is used as. */
export type SecretKind = 'certificate' | 'validation';

/**
 * A secret that a transport socket takes from its worker's feed, where main puts it: one that changes (SDS, files), or a
 * static one.
 */
export interface SecretDependency {
  /** What the feed calls it: equal for equal sources. */
  readonly key: string;
  readonly kind: SecretKind;
  /** The SDS name, or that of the static secret; empty for one that stands in the transport socket itself. */
  readonly name: string;
  /** Where it is discovered; null: `secret` has it. */
  readonly source: SourceSpec | null;
  /** Bytes of an envoy.extensions.transport_sockets.tls.v3.Secret with its file names; empty when it is discovered. */
  readonly secret: Uint8Array;
  /** Bytes of the Secret that it is merged over (`combined_validation_context`); empty: of none. */
  readonly base: Uint8Array;
}
