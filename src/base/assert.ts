/** Thrown by {@link assert}: a bug of ours, never a fault of a peer or of a configuration. */
export class AssertionError extends Error {
  override name = 'AssertionError';
}

/** States what must hold if our own code is right. One catch per connection counts, logs and closes (design: Errors). */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
