interface CollectingRuntime {
  readonly gc?: (synchronously: boolean) => void;
}

/** What a thread can tell of its heap, and have done with it. */
export interface Heap {
  /** Bytes in use, by the runtime's own count. */
  usedBytes(): number;
  /** Frees what nobody refers to, and gives the memory back to the system; the thread stands still meanwhile. */
  collect(): void;
}

/** The calling thread's heap. Only Bun offers a collection; elsewhere nothing happens. */
export const THREAD_HEAP: Heap = {
  usedBytes: () => process.memoryUsage().heapUsed,
  collect: () => (globalThis as { Bun?: CollectingRuntime }).Bun?.gc?.(true),
};
