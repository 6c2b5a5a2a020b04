import type { RouteSpec } from '../../routing/route.ts';
import type { VirtualHostSpec } from '../../routing/virtual-host.ts';
import type { BuildContext } from '../build-context.ts';
import type { BuiltHost, BuiltRoute, RoutePieces } from './route-pieces.ts';

/** Names of clusters that exist. */
export interface ClusterNames extends Iterable<string> {
  has(name: string): boolean;
}

/** Takes down the names that were asked for. */
class AskedNames implements ClusterNames {
  readonly #names: ClusterNames;
  readonly asked: string[] = [];

  constructor(names: ClusterNames) {
    this.#names = names;
  }

  has(name: string): boolean {
    this.asked.push(name);
    return this.#names.has(name);
  }

  [Symbol.iterator](): Iterator<string> {
    return this.#names[Symbol.iterator]();
  }
}

/** How the pieces of a table, its virtual hosts and their routes, come to be built. */
export interface PieceBuilds {
  /** In its place the builders of pieces work. */
  readonly context: BuildContext;
  /** Null: names are not checked. */
  readonly clusterNames: ClusterNames | null;
  /** @returns null: nobody asks for it */
  host(index: number, build: () => VirtualHostSpec): VirtualHostSpec | null;
  /** @returns null: nobody asks for it, or it cannot be built */
  route(hostIndex: number, index: number, build: () => RouteSpec | null): RouteSpec | null;
}

/** Each piece is built, and none is kept. */
export class EachBuilt implements PieceBuilds {
  readonly context: BuildContext;
  readonly clusterNames: ClusterNames | null;

  constructor(context: BuildContext, clusterNames: ClusterNames | null) {
    this.context = context;
    this.clusterNames = clusterNames;
  }

  host(_index: number, build: () => VirtualHostSpec): VirtualHostSpec {
    return build();
  }

  route(_hostIndex: number, _index: number, build: () => RouteSpec | null): RouteSpec | null {
    return build();
  }
}

/**
 * Building one version of a table of which pieces were built before. A piece is built once if all that it becomes follows from itself and
 * from what stands above it, which is equal where pieces are: no error, no warning, no file, no stats, no place in the table. Names of
 * clusters are looked at again each time.
 */
export class RouteReuse implements PieceBuilds {
  readonly context: BuildContext;
  readonly clusterNames: ClusterNames | null;
  readonly #pieces: RoutePieces;
  readonly #keepsSpecs: boolean;
  readonly #asked: AskedNames | null;
  /** Grows with every look at what lies outside. */
  #outside = 0;

  /** @param keepsSpecs false: all that is asked is whether it can be built */
  constructor(context: BuildContext, pieces: RoutePieces, clusterNames: ClusterNames | null, keepsSpecs: boolean) {
    this.context = context.observed(() => {
      this.#outside++;
    });
    this.#pieces = pieces;
    this.#asked = clusterNames === null ? null : new AskedNames(clusterNames);
    this.clusterNames = this.#asked;
    this.#keepsSpecs = keepsSpecs;
  }

  host(index: number, build: () => VirtualHostSpec): VirtualHostSpec | null {
    const piece = this.#pieces.hosts[index]!;
    const known = this.#known(piece.built);
    if (known !== null) return known.spec;
    const [spec, clusters] = this.#watch(build);
    spec.index = piece.index;
    piece.built = clusters === undefined ? null : { spec: this.#keepsSpecs ? spec : null, clusters };
    return spec;
  }

  route(hostIndex: number, index: number, build: () => RouteSpec | null): RouteSpec | null {
    const piece = this.#pieces.hosts[hostIndex]!.routes[index]!;
    const known = this.#known(piece.built);
    if (known !== null) return known.spec;
    const [spec, clusters] = this.#watch(build);
    piece.built = spec === null || clusters === undefined ? null : { spec: this.#keepsSpecs ? spec : null, clusters };
    return spec;
  }

  /** What was built of a piece, if it still holds; null: it must be built. */
  #known<B extends BuiltRoute | BuiltHost>(built: B | null): B | null {
    if (built === null || (this.#keepsSpecs && built.spec === null)) return null;
    if (this.#asked === null) return built;
    if (built.clusters === null) return null;
    for (const name of built.clusters) if (!this.#asked.has(name)) return null;
    return built;
  }

  /** @returns the result, and the clusters that it names: undefined when there was more to it than its message */
  #watch<T>(build: () => T): [T, readonly string[] | null | undefined] {
    const { errors, warnings } = this.context.shared;
    const before = this.#outside + errors.length + warnings.length;
    const from = this.#asked?.asked.length ?? 0;
    const result = build();
    if (this.#outside + errors.length + warnings.length !== before) return [result, undefined];
    return [result, this.#asked?.asked.slice(from) ?? null];
  }
}
