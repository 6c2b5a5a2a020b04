import type { Dispatcher, TurnTask } from '../net/dispatcher.ts';
import type { Acceptor, ListeningSocket, Transport } from '../net/transport.ts';
import type { Histogram } from '../stats/histogram.ts';

/** One open address of a listener. It goes from version to version of its listener, and never stops accepting in between. */
export class ListeningAddress implements Acceptor, TurnTask {
  readonly index: number;
  /** Set as soon as it is open. */
  socket: ListeningSocket | null = null;
  readonly #dispatcher: Dispatcher;
  #acceptor: Acceptor;
  #acceptedPerEvent: Histogram;
  /** Since the last poll: the runtime accepts all that wait when it hears of one. */
  #accepted = 0;

  constructor(index: number, dispatcher: Dispatcher, acceptor: Acceptor, acceptedPerEvent: Histogram) {
    this.index = index;
    this.#dispatcher = dispatcher;
    this.#acceptor = acceptor;
    this.#acceptedPerEvent = acceptedPerEvent;
  }

  /** Another version of the listener takes the connections from now on. */
  handOver(acceptor: Acceptor, acceptedPerEvent: Histogram): void {
    this.#acceptor = acceptor;
    this.#acceptedPerEvent = acceptedPerEvent;
  }

  onAccept(transport: Transport): void {
    this.#count();
    this.#acceptor.onAccept(transport);
  }

  onOutOfDescriptors(): void {
    this.#count();
    this.#acceptor.onOutOfDescriptors?.();
  }

  #count(): void {
    if (this.#accepted++ === 0) this.#dispatcher.deferToPollEnd(this);
  }

  onTurnEnd(): void {
    this.#acceptedPerEvent.recordValue(this.#accepted);
    this.#accepted = 0;
  }
}
