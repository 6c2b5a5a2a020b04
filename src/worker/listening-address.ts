import type { Acceptor, ListeningSocket, Transport } from '../net/transport.ts';

/** One open address of a listener. It goes from version to version of its listener, and never stops accepting in between. */
export class ListeningAddress implements Acceptor {
  readonly index: number;
  /** Who takes the connections. */
  acceptor: Acceptor;
  /** Set as soon as it is open. */
  socket: ListeningSocket | null = null;

  constructor(index: number, acceptor: Acceptor) {
    this.index = index;
    this.acceptor = acceptor;
  }

  onAccept(transport: Transport): void {
    this.acceptor.onAccept(transport);
  }

  onOutOfDescriptors(): void {
    this.acceptor.onOutOfDescriptors?.();
  }
}
