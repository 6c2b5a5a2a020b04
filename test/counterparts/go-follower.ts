/** Scenarios of the differential harness with a go-control-plane behind each side. */
import type { Exchange } from '../differential/exchange.ts';
import type { Side } from '../differential/side.ts';
import type { GoControlPlane } from './go-control-plane.ts';
import { groupsOf, type World } from './resources.ts';

export const NODE = 'node-1';

/** Told in order (`-ads`), as Envoy wants it: endpoints that came before their changed cluster would not come again. Its plane starts with the usual world. */
export class Follower {
  readonly plane: GoControlPlane;
  readonly #first: World;

  /** @param first what it says from the start */
  constructor(plane: GoControlPlane, first: World) {
    this.plane = plane;
    this.#first = first;
  }

  get port(): number {
    return this.plane.port;
  }

  ready(side: Side): Promise<void> {
    return this.plane.set(NODE, groupsOf(this.#first, side));
  }

  stop(): Promise<void> {
    return this.plane.stop();
  }
}

export const planeOf = (exchange: Exchange): GoControlPlane => (exchange.side.companion as Follower).plane;

/** Waits until the proxy has judged a version of each type, and writes the verdicts down. */
export async function judged(exchange: Exchange, versions: Readonly<Record<string, string>>): Promise<void> {
  const plane = planeOf(exchange);
  const lines: string[] = [];
  for (const [type, version] of Object.entries(versions)) {
    const short = type.replace(/.*\./, '');
    await plane.until(`a verdict on ${short} ${version}`, () => plane.verdict(type, version) !== undefined);
    const taken = plane.verdict(type, version)!.error === '';
    lines.push(`${short} ${version}: ${taken ? 'taken' : 'refused'}`);
  }
  exchange.note('verdicts', lines.join('\n'));
  await exchange.refreshListeners();
}

export async function change(
  exchange: Exchange,
  world: World,
  versions: Readonly<Record<string, string>>,
): Promise<void> {
  await planeOf(exchange).set(NODE, groupsOf(world, exchange.side));
  await judged(exchange, versions);
}
