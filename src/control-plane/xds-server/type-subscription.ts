/** What a client says in answer to a response. */
export interface Refusal {
  readonly version: string;
  readonly reason: string;
  /** Wall clock, ms. */
  readonly atMs: number;
}

/** One type on one stream: what is wanted, what was sent, what was said to it. State of the world and delta share it. */
export class TypeSubscription {
  readonly typeUrl: string;
  /** Everything of the type is wanted. */
  wildcard: boolean;
  readonly names = new Set<string>();
  /** State of the world: further names were asked for since the last response. */
  namesChanged = false;
  /** Version of each resource that the client has, as far as was told; delta and, for what changes alone, state of the world. */
  readonly sent = new Map<string, string>();
  /** Of names that do not exist, for delta: the client was told. */
  readonly missing = new Set<string>();
  /** Version that was sent last; empty: none. */
  sentVersion = '';
  ackedVersion = '';
  nonce = '';
  /** Sent and neither acknowledged nor refused. */
  awaiting = false;
  /** The last word was a refusal. */
  refusal: Refusal | null = null;
  /** A further name was asked for that was not sent yet, or everything must be sent again. */
  due = true;

  constructor(typeUrl: string, wildcard: boolean) {
    this.typeUrl = typeUrl;
    this.wildcard = wildcard;
  }
}
