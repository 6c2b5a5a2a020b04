import type { ServerFlags } from './server-flags.ts';

/** How long a drain sequence takes to close every answered connection, ms. Immediate: from its first moment. */
export function drainTimeMs(flags: ServerFlags): number {
  return flags.drainStrategy === 'immediate' ? 0 : patienceMs(flags);
}

/** The longest delay that the runtime's own timer takes; a longer one would fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** How long what drains may go on, whatever the strategy, ms: `--drain-time-s`, as far as a timer can wait (24 days). */
export function patienceMs(flags: ServerFlags): number {
  return Math.min(flags.drainTimeS * 1000, MAX_DELAY_MS);
}
