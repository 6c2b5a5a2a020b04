import type { ServerFlags } from './server-flags.ts';

/** How long a drain sequence takes to close every answered connection, ms. Immediate: from its first moment. */
export function drainTimeMs(flags: ServerFlags): number {
  return flags.drainStrategy === 'immediate' ? 0 : flags.drainTimeS * 1000;
}
