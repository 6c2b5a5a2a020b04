import type { Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { ApiRegistry } from '../api/api-registry.ts';
import type { Tracing_Http } from '../api/gen/envoy/config/trace/v3/http_tracer_pb.d.ts';
import type { RuntimeReader } from '../routing/runtime-fraction.ts';
import type { Scope } from '../stats/store.ts';
import type { RouteDependency } from './builders/config-source.ts';
import type { ExtensionDependency, ExtensionFeed } from './builders/discovered-extension.ts';
import type { FilterChainSpec } from './builders/filter-chains.ts';
import type { ScopeDependency } from './builders/scoped-routes.ts';
import type { ExtensionRegistry } from './extension-registry.ts';
import { FieldPath } from './field-path.ts';
import type { AnyMessages } from './load/any-messages.ts';
import type { TlsBuild } from './secrets/tls-build.ts';

/** One thing that is wrong (or, as a warning, doubtful) with a configuration, by the path of its field. */
export interface BuildIssue {
  /** Such as `static_resources.clusters[0].lb_policy`; proto field names. */
  readonly path: string;
  readonly reason: string;
  /** What to do about it; empty: nothing known. */
  readonly hint: string;
}

/** What is shared by all contexts of one build. */
export interface BuildScope {
  readonly api: ApiRegistry;
  /** Messages inside Anys, decoded once. */
  readonly anys: AnyMessages;
  readonly extensions: ExtensionRegistry;
  readonly runtime: RuntimeReader;
  readonly errors: BuildIssue[];
  readonly warnings: BuildIssue[];
  /** Root stats scope of the thread that builds; a throw-away one in a dry build. */
  readonly stats: Scope;
  /** Names of clusters that exist, for checks of static routes; null: do not check. */
  readonly clusterNames: ReadonlySet<string> | null;
  /** On main: files that the configuration names must be there. */
  readonly checksFiles?: boolean;
  /** The node has no id or no cluster: nothing can be discovered. */
  readonly lacksNode?: boolean;
  /** Takes the route tables that the listener under construction gets by RDS; absent: nobody asks. */
  readonly routeDependencies?: RouteDependency[];
  /** Takes the scopes of routes that the listener under construction gets by SRDS; absent: nobody asks. */
  readonly scopeDependencies?: ScopeDependency[];
  /** Takes the extensions that the listener under construction gets by ECDS; absent: nobody asks. */
  readonly extensionDependencies?: ExtensionDependency[];
  /** In a worker: the discovered configurations of extensions. Absent: none are known. */
  readonly extensionFeed?: ExtensionFeed;
  /** What main's dry build knows of TLS; absent: a worker builds, and gets from main what files hold. */
  readonly tls?: TlsBuild;
  /** The bootstrap's `tracing.http`, for connection managers that name no tracer; absent: none. */
  readonly defaultTracer?: Tracing_Http;
  /** Filter chains of the listener's present version, by {@link FilterChainSpec.key}: equal ones are used again. */
  readonly presentChains?: ReadonlyMap<string, FilterChainSpec>;
  /** Told when what is being built depends on more than its message: where it stands, a file, stats. Absent: nobody asks. */
  readonly onOutside?: () => void;
}

/** What may differ between the builds of a thread and decide what comes out, even by its absence. */
const DIFFERS: Readonly<Record<keyof BuildScope, boolean>> = {
  api: false,
  anys: false,
  extensions: false,
  runtime: false,
  errors: false,
  warnings: false,
  stats: true,
  clusterNames: true,
  checksFiles: true,
  lacksNode: true,
  routeDependencies: true,
  scopeDependencies: true,
  extensionDependencies: true,
  extensionFeed: true,
  tls: true,
  defaultTracer: true,
  presentChains: true,
  onOutside: false,
};
const DIFFERING = (Object.keys(DIFFERS) as (keyof BuildScope)[]).filter((key) => DIFFERS[key]);

/** The same scope; whoever asks it for what differs between builds is noted. */
function observedScope(scope: BuildScope, onOutside: () => void): BuildScope {
  const observed = { ...scope, onOutside };
  for (const key of DIFFERING) {
    Object.defineProperty(observed, key, {
      enumerable: true,
      get: () => {
        onOutside();
        scope.onOutside?.();
        return scope[key];
      },
    });
  }
  return observed;
}

/**
 * Where a builder stands in the configuration. Builders never throw for bad configuration: they `refuse` and go on, so that
 * all errors come at once; a builder that cannot give a result returns null.
 */
export class BuildContext {
  readonly shared: BuildScope;
  readonly #at: FieldPath;
  /** Null: the root. */
  readonly #stats: Scope | null;

  constructor(shared: BuildScope, path: string | FieldPath = '', stats: Scope | null = null) {
    this.shared = shared;
    this.#at = typeof path === 'string' ? new FieldPath(path) : path;
    this.#stats = stats;
  }

  /** Stats scope that the thing under construction should use. */
  get stats(): Scope {
    this.dependsOnOutside();
    return this.#stats ?? this.shared.stats;
  }

  /** Path of the message under construction; empty at the root. */
  get path(): string {
    this.dependsOnOutside();
    return this.#at.text;
  }

  /** What is being built depends on more than its message, such as a file: it is made anew each time. */
  dependsOnOutside(): void {
    this.shared.onOutside?.();
  }

  /** Context of a field (`listeners[2].name`), relative to this one. */
  at(field: string): BuildContext {
    return new BuildContext(this.shared, field === '' ? this.#at : this.#at.at(field), this.#stats);
  }

  /** The same place; whatever is built from there tells of it when it depends on more than its message. */
  observed(onOutside: () => void): BuildContext {
    return new BuildContext(observedScope(this.shared, onOutside), this.#at, this.#stats);
  }

  withStats(stats: Scope): BuildContext {
    return new BuildContext(this.shared, this.#at, stats);
  }

  resolve(field: string): string {
    this.dependsOnOutside();
    return this.#at.at(field).text;
  }

  /** Reports that `field` (relative) is wrong or not supported. */
  refuse(field: string, reason: string, hint = ''): void {
    this.shared.errors.push({ path: this.resolve(field), reason, hint });
  }

  warn(field: string, reason: string, hint = ''): void {
    this.shared.warnings.push({ path: this.resolve(field), reason, hint });
  }

  get errorCount(): number {
    return this.shared.errors.length;
  }

  /** Unpacks an Any (and a TypedStruct inside it). Null: refused, with the reason reported at `field`. */
  unpack(field: string, any: Any | undefined): Message | null {
    return this.shared.extensions.unpack(this, field, any);
  }
}
