import type { Message } from '@bufbuild/protobuf';
import type { RoutePieces } from '../config/builders/route-pieces.ts';
import type { AnyMessages } from '../config/load/any-messages.ts';
import type { PositionMap } from '../config/load/position-map.ts';
import type { ResourceType } from './resource-type.ts';
import type { SubscriptionStats } from './subscription-stats.ts';

/** Where a resource was written, for the messages about what is wrong with it. */
export interface ResourceOrigin {
  /** Null: it came in binary form. */
  readonly positions: PositionMap | null;
  /** Path of the resource within the text; empty for binary ones. */
  readonly path: string;
  /** Messages inside its Anys, where they are decoded already. */
  readonly anys: AnyMessages | null;
}

/** One resource as it arrived: decoded, its fields checked one by one, not yet built. */
export interface DiscoveredResource {
  readonly name: string;
  readonly version: string;
  readonly message: Message;
  /** Its deterministic encoding: equal bytes are an equal resource. */
  readonly bytes: Uint8Array;
  readonly origin: ResourceOrigin;
  /** Of a route table that came encoded: what it shares with the version before. */
  readonly pieces?: RoutePieces;
}

/** What is held of a type already: what comes next is mostly equal to it. */
export interface HeldResources {
  latest(name: string): DiscoveredResource | undefined;
}

/** A change: the one form in which watchers see every transport. Full states of the world are translated where they arrive. */
export interface ResourceUpdate {
  readonly changed: readonly DiscoveredResource[];
  readonly removed: readonly string[];
  /** Names and aliases that the server answered for, whether they exist or not. Of virtual hosts alone. */
  readonly answered?: readonly string[];
  /** `version_info`, or `system_version_info` of delta. */
  readonly version: string;
}

/** A resource that the watcher did not take. The last good one stays in force. */
export interface ResourceRefusal {
  readonly name: string;
  readonly details: string;
}

export interface ResourceWatcher {
  /**
   * Applies what can be applied. Updates of one subscription come one after the other.
   * @returns the refusals; empty: everything was taken (ACK)
   */
  onUpdate(update: ResourceUpdate): Promise<readonly ResourceRefusal[]>;
  /** Nothing came in time, or what came could not be read at all. Told every time; `details` is empty for a timeout. */
  onFailure(reason: 'timeout' | 'rejected' | 'connection', details: string): void;
}

/** Which resources of a type somebody wants. */
export interface Interest {
  readonly type: ResourceType;
  /** Null: all that there are (wildcard). */
  readonly names: readonly string[] | null;
  /** The first answer must have come this long after the start, ms; see `initial_fetch_timeout`. 0 or absent: whenever. */
  readonly fetchTimeoutMs?: number;
  /** Resources named `<namespace>/...` are wanted as well, and asked for without a name. */
  readonly namespace?: string;
  /** By name: that a resource was removed matters. Others keep what is in force then, as in Envoy. */
  readonly hearsRemovals?: boolean;
}

export interface Subscription {
  /** Starts fetching. Not before the watcher can be called. */
  start(): void;
  /** Asks for more names, on demand: what is known already is asked for again. Sources that hold one state know no demand. */
  want(names: readonly string[]): void;
  /** Names that were asked for on demand, and that nobody needs. */
  unwant(names: readonly string[]): void;
  stop(): void;
}

/** Files, gRPC and REST behind one shape. */
export interface ResourceSource {
  watch(interest: Interest, watcher: ResourceWatcher, stats: SubscriptionStats): Subscription;
}

/** What a person should read when resources were refused, in Envoy's words. */
export function refusalText(type: ResourceType, refusals: readonly ResourceRefusal[]): string {
  const named = refusals.map(({ name, details }) => (name === '' ? details : `${name}: ${details}`));
  switch (type.short) {
    case 'CDS':
      return `Error adding/updating cluster(s) ${named.join(', ')}`;
    case 'LDS':
      return `Error adding/updating listener(s) ${named.map((text) => `${text}\n`).join('')}`;
    default:
      return refusals.map(({ details }) => details).join(', ');
  }
}
