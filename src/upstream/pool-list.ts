/** A member of one {@link PoolList} at a time. */
export interface PoolListNode<T> {
  previous: T | null;
  next: T | null;
  list: PoolList<T> | null;
}

/** Doubly linked list through its members: moves and removals cost nothing and allocate nothing. */
export class PoolList<T> {
  head: (T & PoolListNode<T>) | null = null;
  tail: (T & PoolListNode<T>) | null = null;
  size = 0;

  pushFront(node: T & PoolListNode<T>): void {
    node.list = this;
    node.previous = null;
    node.next = this.head;
    if (this.head !== null) this.head.previous = node;
    else this.tail = node;
    this.head = node;
    this.size++;
  }

  remove(node: T & PoolListNode<T>): void {
    const previous = node.previous as (T & PoolListNode<T>) | null;
    const next = node.next as (T & PoolListNode<T>) | null;
    if (previous !== null) previous.next = next;
    else this.head = next;
    if (next !== null) next.previous = previous;
    else this.tail = previous;
    node.previous = null;
    node.next = null;
    node.list = null;
    this.size--;
  }

  /** Members as they are now; the list may change while they are walked. */
  toArray(): T[] {
    const out: T[] = [];
    for (let node = this.head; node !== null; node = node.next as (T & PoolListNode<T>) | null) out.push(node);
    return out;
  }

  /** Moves every member to `target`, order kept. */
  moveAllTo(target: PoolList<T>): void {
    for (let node = this.tail; node !== null; node = this.tail) {
      this.remove(node);
      target.pushFront(node);
    }
  }
}
