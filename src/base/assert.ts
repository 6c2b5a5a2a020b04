/** Thrown by {@link assert}: a bug of ours, never a fault of a peer or of a configuration. */
export class AssertionError extends Error {
  override name = 'AssertionError';
}

/** States what must hold if our own code is right. One catch per connection counts, logs and closes (design: Errors). */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** For the `default` of a switch over a closed union: compiles only when every case is handled. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${String(value)}`);
}
