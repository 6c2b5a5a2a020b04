/** How a stream that is no more came to its end. */
export const ClosedBy = { Unknown: 0, Peer: 1, Us: 2 } as const;
export type ClosedBy = (typeof ClosedBy)[keyof typeof ClosedBy];

const ROOM = 512;

/**
 * The streams that closed last. Frames for one that the peer has ended are its error (RFC 9113 section 5.1); frames for one that
 * we have reset were only on their way. Two rings of 512 ids, made when first needed.
 */
export class ClosedStreams {
  #byPeer: Uint32Array | null = null;
  #byUs: Uint32Array | null = null;
  #peerAt = 0;
  #usAt = 0;

  add(id: number, byPeer: boolean): void {
    if (byPeer) {
      this.#byPeer ??= new Uint32Array(ROOM);
      this.#byPeer[this.#peerAt++ & (ROOM - 1)] = id;
    } else {
      this.#byUs ??= new Uint32Array(ROOM);
      this.#byUs[this.#usAt++ & (ROOM - 1)] = id;
    }
  }

  find(id: number): ClosedBy {
    if (this.#byUs?.includes(id) === true) return ClosedBy.Us;
    return this.#byPeer?.includes(id) === true ? ClosedBy.Peer : ClosedBy.Unknown;
  }
}
