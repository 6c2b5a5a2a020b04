/** What one side did in one case: titled sections in the order of their creation, compared as text. */
export class Transcript {
  readonly #sections: { title: string; text: string }[];

  constructor() {
    this.#sections = [];
  }

  add(title: string, text: string): void {
    this.#sections.push({ title, text });
  }

  toString(): string {
    return this.#sections.map(({ title, text }) => `== ${title}\n${text.replace(/\n*$/, '\n')}`).join('\n');
  }
}

/** Counters and gauges of `/stats` in text form; histograms are left out. */
export function readStats(body: string): Map<string, number> {
  const stats = new Map<string, number>();
  for (const line of body.split('\n')) {
    const found = /^(.*): (\d+)$/.exec(line);
    if (found !== null) stats.set(found[1] ?? '', Number(found[2]));
  }
  return stats;
}

/** What became of the stats that `patterns` choose: the change of each, where there was one. */
export function statsChange(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
  patterns: readonly RegExp[],
): Map<string, number> {
  const changes = new Map<string, number>();
  for (const name of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    if (!patterns.some((pattern) => pattern.test(name))) continue;
    const change = (after.get(name) ?? 0) - (before.get(name) ?? 0);
    if (change !== 0) changes.set(name, change);
  }
  return changes;
}
