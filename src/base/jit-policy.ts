interface JitRuntime {
  readonly unsafe?: { setJITPolicy?: (scale: number) => void };
}

/**
 * How many times more reluctant the compilers are while a thread starts. Nearly all of that code runs once: compiling it costs
 * as much CPU as running it (measured: 100 ms against 215 ms for a small configuration), on the core that is to serve. Loops over
 * large configurations still get compiled.
 */
const START_UP_SCALE = 20;

function setScale(scale: number): void {
  // Only Bun has it; without it nothing changes but the time to start.
  (globalThis as { Bun?: JitRuntime }).Bun?.unsafe?.setJITPolicy?.(scale);
}

/** Tells the calling thread's compilers that what follows runs once. */
export function beginStartUp(): void {
  setScale(START_UP_SCALE);
}

/** What follows runs often: the runtime's usual policy. */
export function endStartUp(): void {
  setScale(1);
}
