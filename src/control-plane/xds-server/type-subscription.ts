import type { SnapshotType } from './snapshot.ts';

/** What a client says in answer to a response. */
export interface Refusal {
  readonly version: string;
  readonly reason: string;
  /** Wall clock, ms. */
  readonly atMs: number;
  /** How often in a row the type was refused. */
  readonly count: number;
  /** When what was refused is sent once more, wall clock, ms. */
  readonly retryAtMs: number;
}

/** What a name costs beside its text: places in the set, among those that were sent and among those that are missing. */
export const NAME_BYTES = 100;

/** One type on one stream: what is wanted, what was sent, what was said to it. State of the world and delta share it. */
export class TypeSubscription {
  readonly typeUrl: string;
  /** Everything of the type is wanted. */
  wildcard: boolean;
  readonly names: ReadonlySet<string>;
  readonly #names = new Set<string>();
  /** What the client has made us keep, about, in bytes. */
  keptBytes: number;
  /** As much of it is counted to its connection. */
  countedBytes = 0;
  /** Names were asked for, be it the star: to name nothing is no wildcard any more (state of the world). */
  named = false;
  /** State of the world: further names were asked for since the last response. */
  namesChanged = false;
  /** Version of each resource that the client has, as far as was told; delta and, for what changes alone, state of the world. */
  readonly sent = new Map<string, string>();
  /** State of the world, where all of a type comes at once: what was sent last; null: nothing, or not all of it. */
  sentType: SnapshotType | null = null;
  /** Of names that do not exist, for delta: the client was told. */
  readonly missing = new Set<string>();
  /** Version that was sent last, or that the client said it has when it came; empty: none. */
  sentVersion = '';
  ackedVersion = '';
  /** What the client said it has when it came, until the first response; empty: nothing. */
  heldVersion = '';
  nonce = '';
  /** Numbers of responses that were neither acknowledged nor refused. */
  readonly pending: number[] = [];
  /** What the last response held, until it is answered. */
  lastSent: readonly { readonly name: string }[] = [];
  /** The last word was a refusal. */
  refusal: Refusal | null = null;
  /** What was refused is to be sent once more. */
  retrying = false;
  /** A further name was asked for that was not sent yet, or everything must be sent again. */
  due = true;
  /** When a change of the snapshot made it due, monotonic ms; -1: none did. */
  changedAtMs = -1;
  /** Wall clock, ms; 0: never. */
  sentAtMs = 0;
  ackedAtMs = 0;
  /** From the change of the snapshot to its acknowledgement, ms; -1: not known. */
  pushMs = -1;
  responses = 0;

  constructor(typeUrl: string, wildcard: boolean) {
    this.typeUrl = typeUrl;
    this.wildcard = wildcard;
    this.names = this.#names;
    this.keptBytes = typeUrl.length;
  }

  /** @returns whether it is new */
  addName(name: string): boolean {
    if (this.#names.has(name)) return false;
    this.#names.add(name);
    this.keptBytes += name.length + NAME_BYTES;
    return true;
  }

  dropName(name: string): void {
    if (this.#names.delete(name)) this.keptBytes -= name.length + NAME_BYTES;
  }

  /** The last response is neither acknowledged nor refused. */
  get awaiting(): boolean {
    return this.pending.length > 0 && String(this.pending.at(-1)) === this.nonce;
  }

  /** It was asked for something, and is not any more. */
  get wantsNothing(): boolean {
    return this.named && !this.wildcard && this.names.size === 0;
  }

  /** Version that the client has of a resource, as far as was told; empty: none. */
  heldOf(name: string): string {
    return this.sent.get(name) ?? this.sentType?.resources.get(name)?.version ?? '';
  }
}
